"""Bytes to server-sent events, by the grammar of the WHATWG HTML standard, section 9.2.6 (read 2026-11).

A line ends with LF, CRLF or CR, which may be split between chunks; nothing else ends a line, not U+2028. A line that
begins with a colon is a comment. One space after the field's colon is dropped. Several `data` lines are joined by a
newline. A byte order mark at the start is dropped. Beyond the standard, as both official SDKs have it: the last event
may lack its blank line.

Data longer than 64 KiB (images in base64, the repeated answer in `response.completed`) is handed on to a `JsonBody`,
which bounds what is kept; other lines of that length are passed over.

Never here: what an event means, compression, and an unbounded line.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

from .json_body import JsonBody

LINE_BYTES_MAX = 64 * 1024
_DONE_LINE_BYTES_MAX = 32
DONE = b"[DONE]"
"""What ends a chat stream. The python SDK tests by prefix and the node SDK for equality; we take the prefix."""


class Event(NamedTuple):
    """One event that had data."""

    name: bytes
    """Its `event` field; empty: not said."""
    data: bytes | JsonBody
    """Its data lines joined by newlines; a `JsonBody` that holds them where they are long."""


class SseDecoder:
    """Chunks of one stream in, events out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        """The line that has not ended yet, unless it is being handed on or passed over."""
        self._parts_bytes = 0
        self._skip_lf = False
        self._first_line = True
        self._passing = False
        """Whether the line under way is passed over: too long, and no data."""
        self._long_line = False
        """Whether the line under way is handed on to `_document` as it comes."""
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._document: JsonBody | None = None
        self._dropped = False
        """Whether the event under way was taken before its blank line: what else it may hold says nothing."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, in order."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk:
            return []
        last = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        if last < 0:
            self._hold(chunk)
            return []
        self._skip_lf = chunk[-1] == 0x0D
        events: list[Event] = []
        lines = chunk[: last + 1].splitlines()
        if self._parts or self._passing or self._long_line:
            lines[0] = self._end_held(lines[0])
        if self._first_line:
            self._first_line = False
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        for line in lines:
            if line[:5] == b"data:":
                self._take_data(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data or self._document is not None:
                    events.append(self._dispatch())
                self._name = b""
                self._dropped = False
            elif line[:6] == b"event:":
                self._name = line[7:] if line[6:7] == b" " else line[6:]
            elif line == b"data":
                self._take_data(b"")
            elif line == b"event":
                self._name = b""
        if last + 1 < len(chunk):
            self._hold(chunk[last + 1 :])
        return events

    def whole(self, chunk: bytes) -> bytes | None:
        """The data of the event that is all of `chunk`, where that has one line and no name, as nearly every one has.

        None: it may hold something else, nothing was taken, and `feed` is to be asked.
        """
        if (
            chunk[:6] != b"data: "
            or chunk[-2:] != b"\n\n"
            or chunk.find(b"\n") != len(chunk) - 2
            or b"\r" in chunk
            or len(chunk) > LINE_BYTES_MAX
            # A line or an event is under way:
            or self._parts
            or self._data
            or self._name
            or self._document is not None
            or self._skip_lf
            or self._passing
            or self._long_line
            or self._dropped
        ):
            return None
        self._first_line = False
        return chunk[6:-2]

    def finish(self) -> list[Event]:
        """The event that the end of the stream completes, if one is under way."""
        self._skip_lf = False
        events = self.feed(b"\n") if self._parts or self._passing or self._long_line else []
        if self._data or self._document is not None:
            events.append(self._dispatch())
        return events

    def pending(self) -> Event | None:
        """The event under way, if all its lines so far have ended or the line under way is `[DONE]`; pure.

        Its blank line may come in a later chunk, but a client that reads lines has already seen it.
        """
        if self._parts:
            if self._parts_bytes > _DONE_LINE_BYTES_MAX or self._data or self._document is not None or self._dropped:
                # Behind other data of its event it is a part of that, to the SDKs as to us.
                return None
            line = b"".join(self._parts)
            if line[:5] == b"data:" and line[5:].lstrip(b" ").startswith(DONE):
                return Event(self._name, DONE)
            return None
        if self._document is not None:
            return None if self._long_line else Event(self._name, self._document)
        return Event(self._name, b"\n".join(self._data)) if self._data else None

    def drop_pending(self) -> None:
        """Forget the event that `pending` gave: its reader has taken it."""
        self._data.clear()
        self._data_bytes = 0
        self._document = None
        self._dropped = True
        if self._parts:
            self._parts.clear()
            self._parts_bytes = 0
            self._passing = True

    def _dispatch(self) -> Event:
        if self._document is not None:
            event = Event(self._name, self._document)
            self._document = None
        else:
            event = Event(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
        self._data.clear()
        self._data_bytes = 0
        return event

    def _take_data(self, value: bytes) -> None:
        """One whole data line, short or long."""
        if self._dropped:
            return
        if self._document is not None:
            self._document.feed(b"\n" + value)
            return
        self._data.append(value)
        self._data_bytes += len(value) + 1
        if self._data_bytes > LINE_BYTES_MAX:
            self._open_document()

    def _open_document(self) -> JsonBody:
        """Hand the event's data on to a document, from its first line."""
        document = JsonBody()
        document.feed(b"\n".join(self._data))
        self._data.clear()
        self._data_bytes = 0
        self._document = document
        return document

    def _hold(self, part: bytes) -> None:
        """Keep a part of a line that has not ended; a long one is handed on or passed over."""
        if self._passing:
            return
        if self._long_line and self._document is not None:
            self._document.feed(part)
            return
        self._parts.append(part)
        self._parts_bytes += len(part)
        if self._parts_bytes <= LINE_BYTES_MAX:
            return
        line = b"".join(self._parts)
        self._parts.clear()
        self._parts_bytes = 0
        if self._first_line:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line[:5] != b"data:" or self._dropped:
            self._passing = True
            return
        self._long_line = True
        value = line[6:] if line[5:6] == b" " else line[5:]
        if self._document is not None:
            self._document.feed(b"\n" + value)
        elif self._data:
            self._data.append(value)
            self._open_document()
        else:
            self._document = JsonBody()
            self._document.feed(value)

    def _end_held(self, rest: bytes) -> bytes:
        """The whole line that `rest` ends; a comment's colon where nothing is left to be done for it."""
        if self._passing:
            self._passing = False
            return b":"
        if self._long_line and self._document is not None:
            self._document.feed(rest)
            self._long_line = False
            return b":"
        self._parts.append(rest)
        line = b"".join(self._parts)
        self._parts.clear()
        self._parts_bytes = 0
        return line
