"""Where the members of a JSON object stand in its bytes, so that one can be put in or cut out and the rest kept.

For objects that are known to be valid JSON: `read_object` says whether bytes are one. Positions are bytes from the
start of the document. Never here: what a member means, and documents larger than the caller would hold in memory.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BARE = re.compile(rb"[^ \t\n\r,\]}]++")
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_OPENING = b"[{"


class Member(NamedTuple):
    """One member and the bytes it takes."""

    name: bytes
    """Its name as written, with its quotes; escapes are not undone."""
    begin: int
    """Where its name begins."""
    value_begin: int
    value_end: int


def read_object(data: bytes) -> dict[str, Any] | None:
    """The object that `data` is, read as leniently as clients read it; None: it is none, or broken."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            # Lone surrogates in escapes, invalid UTF-8 and NaN: clients differ, and nothing of them is changed.
            value = json.loads(data.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            return None
    return value if type(value) is dict else None


def members_of(data: bytes, at: int = 0) -> list[Member]:
    """The members of the object that begins at `at` or behind blanks there; `data` is valid JSON."""
    members: list[Member] = []
    at = _after_space(data, at) + 1
    while True:
        begin = _after_space(data, at)
        if data[begin] != 0x22:
            return members
        name_end = _end(_STRING, data, begin)
        value_begin = _after_space(data, _after_space(data, name_end) + 1)
        value_end = _value_end(data, value_begin)
        members.append(Member(data[begin:name_end], begin, value_begin, value_end))
        at = _after_space(data, value_end)
        if data[at] == 0x7D:
            return members
        at += 1


def stretch_of(members: list[Member], index: int) -> tuple[int, int]:
    """The stretch `[begin, end)` to cut so that the object has one member less: the member and one comma."""
    if index > 0:
        return members[index - 1].value_end, members[index].value_end
    if len(members) > 1:
        return members[0].begin, members[1].begin
    return members[0].begin, members[0].value_end


def _value_end(data: bytes, at: int) -> int:
    if data[at] == 0x22:
        return _end(_STRING, data, at)
    if data[at] not in _OPENING:
        return _end(_BARE, data, at)
    depth = 0
    while True:
        depth += 1 if data[at] in _OPENING else -1
        at += 1
        if depth == 0:
            return at
        at = _end(_TO_BRACKET, data, at)


def _after_space(data: bytes, at: int) -> int:
    return _end(_SPACE, data, at)


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    if found is None:
        raise ValueError("these bytes are no valid JSON object")
    return found.end()
