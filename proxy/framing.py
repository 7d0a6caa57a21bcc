"""Where an HTTP/1.1 message ends, and which of its bytes are payload. Sans I/O, one direction, no byte altered.

    body = request_body(head)                       # or response_body(head, method); HeadError where it is in doubt
    payload, taken = body.take(data)                # pieces of `data` that are payload; how much of it is the message's
    body.ended                                      # whether the last byte of the message was in there
    body.until_close                                # whether only the connection's end ends it

Every byte of `data[:taken]` goes on as it came, chunk sizes, extensions and trailers too; what is behind it belongs to
the next message. A message whose end two readers could see differently is an error: two lengths, a length and
chunks, an encoding other than `chunked`, a chunk size that no 63 bits hold, a bare LF, a trailer that is no field.

The rules are those of RFC 9112 sections 6 and 7. `h11` is the second opinion in the tests. Never here: sockets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from .head import Said
from .message_head import HeadError, RequestHead, ResponseHead

CHUNK_LINE_BYTES_MAX = 16 * 1024
"""A chunk's size with its extensions."""
TRAILER_BYTES_MAX = 64 * 1024
SIZE_MAX = (1 << 63) - 1

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_END = b"\r\n"
_LENGTH_DIGITS_MAX = 18
_NO_BODY = frozenset({204, 304})


class BodyError(Exception):
    """The bytes of a body do not keep to its framing. Its text says how, without anything of the body."""


class Body(Protocol):
    """What is left of one message behind its head."""

    @property
    def ended(self) -> bool:
        """Whether the message is whole."""

    @property
    def until_close(self) -> bool:
        """Whether nothing but the end of the connection ends it."""

    def take(self, data: bytes) -> tuple[Sequence[bytes], int]:
        """The payload in `data`, piece by piece, and how many bytes of `data` are this message's.

        Raises `BodyError`; nothing of that `data` is then to go on.
        """


class LengthBody:
    """A body of so many bytes; of none, for a message without one."""

    __slots__ = ("_left", "ended")
    until_close = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = length == 0

    def take(self, data: bytes) -> tuple[Sequence[bytes], int]:
        size = len(data)
        if size <= self._left:
            self._left -= size
            self.ended = self._left == 0
            return ((data,) if size else ()), size
        piece = data[: self._left]
        self._left, self.ended = 0, True
        return ((piece,) if piece else ()), len(piece)


class CloseBody:
    """A body that lasts as long as its connection."""

    __slots__ = ()
    ended = False
    until_close = True

    def take(self, data: bytes) -> tuple[Sequence[bytes], int]:
        return (data,), len(data)


class ChunkedBody:
    """A body in chunks. Its extensions and trailers are checked for their shape and otherwise not looked at."""

    __slots__ = ("_end_due", "_left", "_line", "_tail", "_tail_bytes", "ended")
    until_close = False

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        """What is still to come of the payload of the chunk under way."""
        self._line = b""
        """The beginning of a line whose end has not come."""
        self._tail: list[bytes] | None = None
        """From the line of the last chunk on; None: it has not come."""
        self._tail_bytes = 0
        self._end_due = False
        """Whether the line end behind a chunk's payload is due."""

    @property
    def tail(self) -> bytes:
        """What came behind the payload: the last chunk's line, the trailers, the empty line."""
        return b"".join(self._tail or ())

    def take(self, data: bytes) -> tuple[Sequence[bytes], int]:
        payload: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.ended:
            if self._left:
                end = min(at + self._left, size)
                payload.append(data[at:end])
                self._left -= end - at
                self._end_due = self._left == 0
                at = end
                continue
            if not (self._line or self._end_due) and self._tail is None:
                # Nearly every chunk comes whole: its size, its payload and the line end behind it at once.
                found = _SIZE.match(data, at, at + CHUNK_LINE_BYTES_MAX)
                if found is not None:
                    begin, end = found.end(), found.end() + int(found[1], 16)
                    if begin < end and data[end : end + 2] == _END:
                        payload.append(data[begin:end])
                        at = end + 2
                        continue
            line, at = self._next_line(data, at)
            if line is None:
                break
            self._read_line(line)
        return payload, at

    def _next_line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """The line that ends in `data`, with its end; None: it does not end there. And where to go on."""
        end = data.find(b"\n", at) + 1
        if end:
            line = self._line + data[at:end] if self._line else data[at:end]
            self._line = b""
            return line, end
        self._line += data[at:]
        if len(self._line) > (CHUNK_LINE_BYTES_MAX if self._tail is None else TRAILER_BYTES_MAX):
            raise BodyError("a line between its chunks is too long")
        if self._end_due and self._line != b"\r":
            raise BodyError("a chunk does not end where its size says")
        return None, len(data)

    def _read_line(self, line: bytes) -> None:
        if self._tail is not None:
            self._read_trailer(line)
        elif self._end_due:
            if line != _END:
                raise BodyError("a chunk does not end where its size says")
            self._end_due = False
        else:
            found = _SIZE.fullmatch(line)
            if found is None or len(line) > CHUNK_LINE_BYTES_MAX:
                raise BodyError("a chunk's size is misshapen")
            self._left = int(found[1], 16)
            if self._left > SIZE_MAX:
                raise BodyError("a chunk's size is too large")
            if self._left == 0:
                self._tail = [line]

    def _read_trailer(self, line: bytes) -> None:
        assert self._tail is not None
        self._tail.append(line)
        self._tail_bytes += len(line)
        if line == _END:
            self.ended = True
        elif not _TRAILER.fullmatch(line):
            raise BodyError("a trailer is misshapen")
        elif self._tail_bytes > TRAILER_BYTES_MAX:
            raise BodyError("its trailers are too long")


def request_body(head: RequestHead) -> Body:
    """How a request's body ends; raises `HeadError` where readers could differ."""
    length = _length(head.wanted, head.minor)
    if length is None:
        return ChunkedBody()
    return LengthBody(max(length, 0))


def response_body(head: ResponseHead, method: str) -> Body:
    """How the body of an answer to a request with this method ends; raises `HeadError` where readers could differ.

    Not for 1xx, behind which another head comes.
    """
    length = _length(head.wanted, head.minor)
    if method == "HEAD" or head.status_code in _NO_BODY:
        return LengthBody(0)
    if length is None:
        return ChunkedBody()
    return CloseBody() if length < 0 else LengthBody(length)


def _length(said: Said, minor: int) -> int | None:
    """The Content-Length; -1: none is said; None: the body is chunked."""
    lengths, encodings = said.get(b"content-length", ()), said.get(b"transfer-encoding", ())
    if encodings:
        if lengths:
            raise HeadError("it has both a Content-Length and a Transfer-Encoding")
        if minor == 0 or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise HeadError("its Transfer-Encoding is not just chunked, or not in HTTP/1.1")
        return None
    if not lengths:
        return -1
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _LENGTH_DIGITS_MAX:
        raise HeadError("its Content-Length is not one number")
    return int(lengths[0])
