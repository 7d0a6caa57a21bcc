"""Scripted answers: what the model says when a framework shall be led through its phases.

A file holds a JSON list of entries. One that fits a request is used up by it, the first that fits goes first; where
none fits the simulator answers as ever. Counts follow from what is said, as everywhere.

    [{"when": "You are the reviewer", "say": "Looks good.", "times": 3},
     {"call": {"name": "read_meter", "arguments": {"room": "kitchen"}}},
     {"say": {"rooms": 3}}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FIELDS = ("when", "say", "call", "times")
CALL_FIELDS = ("name", "arguments", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One answer."""

    when: str = ""
    """A text that must be in the request; empty: any request will do."""
    say: str | None = None
    """What the message says; None: no message."""
    calls: tuple[tuple[str, str], ...] = ()
    """The functions to call: name, and arguments as the wire has them."""
    times: int = 1
    """How many requests it answers; 0: any number."""


class Script:
    """Entries, and how often each was used. Used from the server's thread alone."""

    def __init__(self, entries: Sequence[Scripted]) -> None:
        self._entries = tuple(entries)
        self._used = [0] * len(self._entries)

    def answer(self, texts: Iterable[str]) -> Scripted | None:
        """The entry for a request with these texts; it is used up by that."""
        if not self._entries:
            return None
        asked = list(texts)
        for place, entry in enumerate(self._entries):
            left = entry.times == 0 or self._used[place] < entry.times
            if left and (not entry.when or any(entry.when in text for text in asked)):
                self._used[place] += 1
                return entry
        return None


def read_script(text: str) -> tuple[Scripted, ...]:
    """The entries of a script file; `ValueError` says what is wrong with it."""
    try:
        entries = json.loads(text)
    except ValueError as problem:
        raise ValueError(f"it is not JSON: {problem}") from problem
    if not isinstance(entries, list):
        raise ValueError("it is not a list of answers")
    return tuple(_entry(entry, number) for number, entry in enumerate(entries, 1))


def _entry(entry: Any, number: int) -> Scripted:
    _known(entry, FIELDS, number)
    when, times = entry.get("when", ""), entry.get("times", 1)
    if not isinstance(when, str):
        raise ValueError(f"answer {number}: 'when' is a text to be found in the request")
    if not isinstance(times, int) or isinstance(times, bool) or times < 0:
        raise ValueError(f"answer {number}: 'times' is a whole number, 0 for any number of times")
    if "say" not in entry and "call" not in entry:
        raise ValueError(f"answer {number}: it neither says nor calls anything ('say', 'call')")
    given = entry.get("call", [])
    calls = given if isinstance(given, list) else [given]
    say = _text(entry["say"]) if "say" in entry else None
    return Scripted(when=when, say=say, calls=tuple(_call(call, number) for call in calls), times=times)


def _call(call: Any, number: int) -> tuple[str, str]:
    _known(call, CALL_FIELDS, number)
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"answer {number}: a call has the 'name' of a function")
    return name, _text(call.get("input", call.get("arguments", {})))


def _known(value: Any, fields: tuple[str, ...], number: int) -> None:
    strange = sorted(set(value) - set(fields)) if isinstance(value, dict) else None
    if strange is None or strange:
        raise ValueError(f"answer {number}: expected an object of {', '.join(fields)}, got {strange or value!r}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
