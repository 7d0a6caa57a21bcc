"""The head of an HTTP/1.1 message: found, checked and taken apart. Pure.

    end = head_end(received)                    # where a head that is complete ends
    parse_request_head(received[:end])          # RequestHead, or HeadError
    parse_response_head(received[:end])         # ResponseHead, or HeadError

Two readers judge every head, and it passes only if both take it: the grammar here for the first line, which is
stricter than that of any library (one space between its parts, HTTP/1.0 or 1.1, no control byte), and llhttp for the
fields. Where versions of httptools differ (0.6 takes folded lines and a space before the colon) the check is ours.
Names and values are those of llhttp; what goes on is the raw head, so nothing is spelled anew that need not be.

Never here: bodies (`framing`), and what a field means for a call (`head`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import httptools

from .head import Fields, Said, said_by
from .labels import OUR_HEADERS

HEAD_BYTES_MAX = 256 * 1024

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_ABSOLUTE = re.compile(rb"(?i)https?://[^/?#]*")
_NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_OURS = frozenset(name.encode() for name in OUR_HEADERS)

Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser


class HeadError(Exception):
    """This is no head that all readers would see alike. Its text says why, without anything of the head."""


class HeadSizeError(HeadError):
    """A head is over `HEAD_BYTES_MAX`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request's head."""

    raw: bytes
    """As it came, the empty line at its end included."""
    method: str
    target: bytes
    minor: int
    """1 for HTTP/1.1, 0 for HTTP/1.0."""
    fields: Fields
    said: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """A response's head."""

    raw: bytes
    """As it came, the empty line at its end included."""
    status_code: int
    minor: int
    """1 for HTTP/1.1, 0 for HTTP/1.0."""
    fields: Fields
    said: Said


def head_end(received: bytes | bytearray, begin: int = 0) -> int | None:
    """Where the head that `received` begins with ends, its empty line included; None: not here yet.

    `begin`: how much of it was looked at before. Raises `HeadError` where no head can come of it any more.
    """
    at = received.find(b"\r\n\r\n", max(0, begin - 3))
    if 0 <= at <= HEAD_BYTES_MAX - 4:
        return at + 4
    if at >= 0 or len(received) > HEAD_BYTES_MAX:
        raise HeadSizeError(f"the head is over {HEAD_BYTES_MAX} bytes")
    if _BARE_LF.search(received, max(0, begin - 1)):
        raise HeadError("a line of the head ends in a bare LF")
    return None


def without_empty_lines(received: bytes | bytearray) -> bytes | bytearray:
    """The bytes of a connection without the empty lines that may stand before a request (RFC 9112 section 2.2)."""
    found = _EMPTY_LINES.match(received)
    return received[found.end() :] if found else received


def parse_request_head(raw: bytes) -> RequestHead:
    """Take a complete request head apart; raises `HeadError`."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise HeadError("the request line is misshapen")
    method, target, minor = line.groups()
    fields = _fields(raw[line.end() :], b"POST / HTTP/1.%b\r\n" % minor, httptools.HttpRequestParser)
    return RequestHead(
        raw=raw, method=method.decode(), target=target, minor=int(minor), fields=fields, said=said_by(fields)
    )


def parse_response_head(raw: bytes) -> ResponseHead:
    """Take a complete response head apart; raises `HeadError`."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise HeadError("the status line is misshapen")
    minor, status_code, _ = line.groups()
    # Whatever the status says of a body, the fields are judged as if one may follow.
    fields = _fields(raw[line.end() :], b"HTTP/1.%b 200 OK\r\n" % minor, httptools.HttpResponseParser)
    return ResponseHead(raw=raw, status_code=int(status_code), minor=int(minor), fields=fields, said=said_by(fields))


def says_close(head: RequestHead | ResponseHead) -> bool:
    """Whether a head says that its connection ends with this message."""
    options = {option.strip() for value in head.said.get(b"connection", ()) for option in value.lower().split(b",")}
    return b"close" in options or (head.minor == 0 and b"keep-alive" not in options)


def origin_form(target: bytes) -> bytes:
    """The path and query of a request target: one in absolute form loses its scheme and authority."""
    found = _ABSOLUTE.match(target)
    if found is None:
        return target
    path = target[found.end() :]
    return path if path.startswith(b"/") else b"/" + path


class _Collected:
    """What httptools calls back: it looks for a method of this name."""

    __slots__ = ("fields", "on_header")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.on_header: Callable[[bytes, bytes], None] = self._take

    def _take(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))


def _fields(block: bytes, line: bytes, parser: Callable[[object], Parser]) -> Fields:
    """The fields of a head whose first line was judged already; `line` stands in for it."""
    collected = _Collected()
    try:
        parser(collected).feed_data(line + block)
    except httptools.HttpParserUpgrade:
        # It wants to speak another protocol; as a head it is whole.
        pass
    except httptools.HttpParserError as error:
        raise HeadError(_words(error)) from None
    fields = collected.fields
    if block.count(b"\r\n") != len(fields) + 1 or block.count(b"\n") != len(fields) + 1:
        raise HeadError("a field of the head goes over more than one line")
    if not _NAMES.fullmatch(b"".join([name for name, _ in fields])):
        raise HeadError("a field's name is no token")
    return tuple(fields)


def _words(error: Exception) -> str:
    """llhttp's words, which quote nothing of the head."""
    says = str(error).strip()
    return says[:1].lower() + says[1:] if says else "the head is misshapen"


_HOST_AND_OURS = re.compile(
    rb"(?i)\r\n(host|" + b"|".join(map(re.escape, map(str.encode, OUR_HEADERS))) + rb"):[^\r\n]*"
)


def forwarded_head(head: RequestHead, *, target: bytes, host: bytes) -> bytes:
    """A request's head on its way to the upstream: line by line as it came, but for target, `Host` and our labels.

    Where it had no `Host` (HTTP/1.0 may do without) it is put first.
    """
    named = False

    def line(found: re.Match[bytes]) -> bytes:
        nonlocal named
        if found[1].lower() != b"host":
            return b""
        named = True
        return b"\r\n" + found[1] + b": " + host

    begin = head.raw.index(b"\r\n")
    lines = _HOST_AND_OURS.sub(line, head.raw[begin:])
    return _first_line(head, target) + (b"" if named else b"\r\nHost: " + host) + lines


def composed_head(head: RequestHead, *, target: bytes, fields: Fields) -> bytes:
    """A request's head with other fields than it came with."""
    lines = [_first_line(head, target), *(name + b": " + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def forwarded_fields(head: RequestHead, *, host: bytes) -> Fields:
    """The fields of `forwarded_head`, for a head that is composed anew."""
    fields = [
        (name, host if lower == b"host" else value)
        for name, value in head.fields
        if (lower := name.lower()) not in _OURS
    ]
    return tuple(fields) if b"host" in head.said else ((b"Host", host), *fields)


def _first_line(head: RequestHead, target: bytes) -> bytes:
    return b"%b %b HTTP/1.%d" % (head.method.encode(), target, head.minor)
