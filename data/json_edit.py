"""Changes single members of a JSON text and leaves every other byte of it as it is.

Order, spelling of numbers, escapes, indentation and line ends outside the named members stay; what is put in follows
the text's own indentation. Pure. Never here: what a member means.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an object, by its place in the text."""

    name: str
    starts: int
    """Where its name's quote is."""
    value_starts: int
    ends: int
    """One past its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One stretch of the text and what stands there afterwards."""

    starts: int
    ends: int
    text: str


def members(text: str, starts: int) -> list[Member]:
    """The members of the object at `starts`, in order. Raises `ValueError` where there is none."""
    if text[starts] != "{":
        raise ValueError(f"no object at {starts}")
    found: list[Member] = []
    at = _past_space(text, starts + 1)
    while text[at] != "}":
        name, name_ends = _DECODER.raw_decode(text, at)
        value_starts = _past_space(text, _past_space(text, name_ends) + 1)
        ends = _DECODER.raw_decode(text, value_starts)[1]
        found.append(Member(name=name, starts=at, value_starts=value_starts, ends=ends))
        at = _past_space(text, ends)
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return found


def items(text: str, starts: int) -> list[int]:
    """Where the items of the array at `starts` begin. Raises `ValueError` where there is none."""
    if text[starts] != "[":
        raise ValueError(f"no array at {starts}")
    found: list[int] = []
    at = _past_space(text, starts + 1)
    while text[at] != "]":
        found.append(at)
        at = _past_space(text, _DECODER.raw_decode(text, at)[1])
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return found


def root(text: str) -> int:
    """Where the one value of the text begins."""
    return _past_space(text, 0)


def member(text: str, starts: int, name: str) -> Member | None:
    """The member of that name that counts: the last one; None: there is none."""
    return next((each for each in reversed(members(text, starts)) if each.name == name), None)


def with_members(text: str, starts: int, values: Mapping[str, Any]) -> list[Edit]:
    """The edits that give members of one object these values; new ones come last. An equal value stays as spelled."""
    there = members(text, starts)
    edits: list[Edit] = []
    lead = text[starts + 1 : there[0].starts] if there else _own_lead(text, starts)
    added: list[str] = []
    for name, value in values.items():
        old = next((each for each in reversed(there) if each.name == name), None)
        if old is None:
            added.append(f"{lead}{_spelled(name)}: {_laid_out(text, value, lead)}")
        elif _spelled(json.loads(text[old.value_starts : old.ends])) != _spelled(value):
            edits.append(Edit(starts=old.value_starts, ends=old.ends, text=_laid_out(text, value, lead)))
    if added:
        at = there[-1].ends if there else starts + 1
        put = ("," if there else "") + ",".join(added)
        edits.append(Edit(starts=at, ends=at, text=put))
    return edits


def without_members(text: str, starts: int, names: Collection[str]) -> list[Edit]:
    """The edits that take members out of one object."""
    there = members(text, starts)
    kept = [place for place, each in enumerate(there) if each.name not in names]
    if len(kept) == len(there):
        return []
    if not kept:
        return [Edit(starts=starts + 1, ends=there[-1].ends, text="")]
    last = kept[-1]
    edits = [
        Edit(starts=each.starts, ends=there[place + 1].starts, text="")
        for place, each in enumerate(there[:last])
        if each.name in names
    ]
    if last + 1 < len(there):
        edits.append(Edit(starts=there[last].ends, ends=there[-1].ends, text=""))
    return edits


def edited(text: str, edits: Collection[Edit]) -> str:
    """The text with all edits made. They do not overlap."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda each: each.starts):
        parts += (text[at : edit.starts], edit.text)
        at = edit.ends
    return "".join([*parts, text[at:]])


def _past_space(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _laid_out(text: str, value: Any, lead: str) -> str:
    """A value as the text would spell it where members are led in by `lead`: over lines, or in one."""
    line_end, newline, indent = lead.rpartition("\n")
    if not newline:
        return _spelled(value)
    spelled = _spelled(value, indent=_unit(text))
    return spelled.replace("\n", line_end.rpartition("\n")[2] + "\n" + indent)


def _unit(text: str) -> str:
    """What one level of the text is indented by."""
    first = members(text, root(text))
    lead = text[root(text) + 1 : first[0].starts] if first else ""
    return lead.rpartition("\n")[2] or "  "


def _own_lead(text: str, starts: int) -> str:
    """How members of an object that has none would be led in: one level deeper than the line it stands on."""
    line = text[text.rfind("\n", 0, starts) + 1 : starts]
    if "\n" not in text[:starts]:
        return ""
    return "\n" + line[: len(line) - len(line.lstrip(_SPACE))] + _unit(text)


def _spelled(value: Any, *, indent: str | None = None) -> str:
    spelled = json.dumps(value, ensure_ascii=False, indent=indent)
    # Half of a surrogate pair, which JSON can name and UTF-8 cannot hold, stays the escape that it was.
    return json.dumps(value, indent=indent) if any("\ud800" <= each <= "\udfff" for each in spelled) else spelled
