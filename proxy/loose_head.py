"""What a head that is refused says, as far as it can be read: for its row, never to be sent. Pure.

A head may be refused because somebody made it to do harm, so its lines are read one by one, each in a time that grows
with its length and no faster. Never here: what passes (`message_head`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .head import Fields

_REQUEST_LINE = re.compile(rb"([^\x00-\x20]+) +([^\x00-\x20]+) +HTTP/\d\.\d *\r?")
_NO_NAME = re.compile(rb"[\x00-\x20]")
_NO_VALUE = re.compile(rb"[\x00\r]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseHead:
    """A request's head as far as it can be read."""

    method: str
    target: bytes
    fields: Fields


def read_loosely(received: bytes) -> LooseHead | None:
    """What a head says, or the beginning of one; None: it has no request line."""
    first, newline, rest = received.partition(b"\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None or not newline:
        return None
    method, target = line.groups()
    return LooseHead(method=method.decode("utf-8", "surrogateescape"), target=target, fields=tuple(_fields_of(rest)))


def _fields_of(lines: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields among the lines up to the empty one; a line that is none, or does not end, is left out."""
    for line in lines.split(b"\n")[:-1]:
        said = line.removesuffix(b"\r")
        if not said:
            return
        name, colon, value = said.partition(b":")
        name = name.rstrip(b" \t")
        if colon and name and not _NO_NAME.search(name) and not _NO_VALUE.search(value):
            yield name, value.strip(b" \t")
