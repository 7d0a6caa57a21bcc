"""Takes out of a stream the usage that we asked for and the client did not. Sans I/O: bytes in, bytes to send on out.

    hider = UsageHider()
    hider.feed(chunk)       # what may go on now
    hider.finish()          # the rest

With `include_usage` a chat stream has `usage: null` on every chunk and one chunk more, without choices, that has the
usage (docs/openai-usage.md A.2); some servers put it on the last chunk with choices. That chunk and those
members are cut out as text, and every other byte stays. What cannot be cut with certainty passes as it is: an event
that is no JSON object, that names `usage` twice, or that is longer than `EVENT_BYTES_MAX`.

An event is held until its blank line has come, and no more than one at a time. Comments, which keep a connection
alive, and `[DONE]`, on which clients act at once, are not held. Never here: what a usage says, and compression.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from .json_members import members_of, read_object, stretch_of
from .sse import DONE

EVENT_BYTES_MAX = 4 * 1024 * 1024
"""A longer event is not held; a chunk with audio has some ten KB."""

_EVENT_END = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)")
_NOT_HELD = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?::[^\r\n]*)?(?:\r\n|\r(?!\n|\Z)|\n))+")
"""Comments and blank lines at the beginning of what is held."""
_DONE_LINE = re.compile(rb"(?:\xef\xbb\xbf)?data: ?" + re.escape(DONE))
_DONE_BYTES_MAX = 64
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_DATA = b"data:"
_USAGE = b'"usage"'

_BARE = frozenset(
    {
        "id",
        "object",
        "created",
        "model",
        "service_tier",
        "system_fingerprint",
        "choices",
        "usage",
        "obfuscation",
        # Said by other servers beside the usage: OpenRouter, llama.cpp, Groq (docs/openai-usage.md F).
        "provider",
        "timings",
        "x_groq",
    }
)
"""What a chunk that is there for its usage alone may hold."""


class UsageHider:
    """One stream on its way to a client that did not ask for usage."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        """The event that has not ended yet, in parts as they came."""
        self._held_bytes = 0
        self._out: list[bytes] = []
        self._passing = False
        """Whether the rest of the event under way goes on as it comes; `_held` then is the line end before it."""
        self._cr_dropped: bool | None = None
        """Whether the event that ended with the last byte seen, a CR, was dropped; None: the last byte was none."""
        self._gave_up = False

    def feed(self, chunk: bytes) -> bytes:
        """What may go on once `chunk` has come."""
        if self._gave_up or not chunk:
            return chunk
        if self._cr_dropped is not None:
            if chunk[0] == 0x0A:
                # The other half of a CRLF, whose first half ended an event.
                if not self._cr_dropped:
                    self._out.append(b"\n")
                chunk = chunk[1:]
            self._cr_dropped = None
        if chunk:
            self._take(chunk)
        return self._flush()

    def finish(self) -> bytes:
        """What is left at the end of the stream; its last event may lack the blank line."""
        if self._held and not self._passing:
            self._out.append(_rewritten(b"".join(self._held)))
        self._held.clear()
        return self._flush()

    def give_up(self) -> bytes:
        """All that is held, as it came; what is fed from now on goes on unchanged."""
        if not self._passing:
            self._out.extend(self._held)
        self._held.clear()
        self._gave_up = True
        return self._flush()

    def _flush(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _take(self, chunk: bytes) -> None:
        """Nothing of ours changes before all of `chunk` is dealt with, so that `give_up` is right at any time."""
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if not self._passing and b"\n" not in chunk and b"\r" not in chunk:
            if self._held_bytes > EVENT_BYTES_MAX or self._is_done_line():
                self._pass_on(b"".join(self._held), 0)
            return
        data = b"".join(self._held)
        passing, cr_dropped = self._passing, None
        sent = len(data) - len(chunk) if passing else 0
        out: list[bytes] = []
        begin = 0
        while (found := _EVENT_END.search(data, begin)) is not None:
            event = data[max(begin, sent) : found.end()]
            kept = event if passing else _rewritten(event)
            out.append(kept)
            passing = False
            begin = found.end()
            if begin == len(data) and data[-1] == 0x0D:
                cr_dropped = kept[-2:] != event[-2:]
        if not passing and (free := _NOT_HELD.match(data, begin)) is not None:
            out.append(data[begin : free.end()])
            begin = free.end()
        self._out.extend(out)
        self._passing, self._cr_dropped = passing, cr_dropped
        self._held = [data[begin:]] if begin < len(data) else []
        self._held_bytes = len(data) - begin
        if passing or self._held_bytes > EVENT_BYTES_MAX or self._is_done_line():
            self._pass_on(data, max(begin, sent))

    def _is_done_line(self) -> bool:
        """Whether what is held is `[DONE]`, whose blank line no client waits for."""
        return 0 < self._held_bytes <= _DONE_BYTES_MAX and _DONE_LINE.match(b"".join(self._held)) is not None

    def _pass_on(self, data: bytes, begin: int) -> None:
        """Let go of the event under way, all but a note of the line end it may be at."""
        self._out.append(data[begin:])
        line_end = data[len(data.rstrip(b"\r\n")) :][-2:]
        self._held = [line_end] if line_end else []
        self._held_bytes = len(line_end)
        self._passing = True


def _rewritten(event: bytes) -> bytes:
    """One whole event without the usage; the same bytes where there is none, or none that can be cut for certain."""
    if _USAGE not in event:
        return event
    data, places = _data_of(event)
    chunk = read_object(data)
    if chunk is None or "usage" not in chunk:
        return event
    if _is_usage_alone(chunk):
        return b"".join(line for line in _LINE.findall(event) if line[:1] == b":")
    if chunk["usage"] is not None and type(chunk["usage"]) is not dict:
        return event
    members = members_of(data)
    named = [index for index, member in enumerate(members) if member.name == _USAGE]
    if len(named) != 1 or any(b"\\" in member.name for member in members):
        return event
    begin, end = (_place(places, at) for at in stretch_of(members, named[0]))
    _, *lines = event[begin:end].splitlines()
    if any(not line.startswith(_DATA) for line in lines):
        # Between two lines of data stands what is none.
        return event
    return event[:begin] + event[end:]


def _is_usage_alone(chunk: dict[str, Any]) -> bool:
    """Whether this is the chunk that is there because usage was asked for."""
    if type(chunk["usage"]) is not dict or chunk.get("choices"):
        return False
    return all(name in _BARE or value is None for name, value in chunk.items())


def _data_of(event: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """An event's data lines joined by newlines, and where each begins: (in the data, in the event)."""
    parts: list[bytes] = []
    places: list[tuple[int, int]] = []
    at = length = 0
    for line in _LINE.findall(event):
        text = line.rstrip(b"\r\n")
        bom = len(codecs.BOM_UTF8) if text.startswith(codecs.BOM_UTF8 + _DATA) else 0
        if text.startswith(_DATA, bom):
            skipped = bom + len(_DATA)
            skipped += text[skipped : skipped + 1] == b" "
            parts.append(text[skipped:])
            places.append((length, at + skipped))
            length += len(parts[-1]) + 1
        at += len(line)
    return b"\n".join(parts), places


def _place(places: list[tuple[int, int]], at: int) -> int:
    """Where a byte of the data stands in the event."""
    begin, begin_in_event = next(place for place in reversed(places) if place[0] <= at)
    return begin_in_event + at - begin
