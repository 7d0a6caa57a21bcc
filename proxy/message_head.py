"""The head of an HTTP/1.1 message: found, checked and taken apart. Pure.

    end = head_end(received)                    # where a head that is complete ends
    parse_request_head(received[:end])          # RequestHead, or HeadError
    parse_response_head(received[:end])         # ResponseHead, or HeadError

Two readers judge every head, and it passes only if both take it: the grammar here, which is stricter than that of any
library (one space between the parts of the first line, HTTP/1.0 or 1.1; one line a field, no space before its colon, no
control byte), and llhttp. What goes on is the raw head, so nothing is spelled anew that need not be. An answer has some
thirty fields and few of them are asked for: those alone are looked up at once.

Never here: bodies (`framing`), and what a field means for a call (`head`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import httptools

from .head import REQUEST_WANTED, RESPONSE_WANTED, Fields, Said, said_by
from .labels import OUR_HEADERS

HEAD_BYTES_MAX = 256 * 1024

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_ABSOLUTE = re.compile(rb"(?i)https?://[^/?#]*")
_LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
"""All that may stand behind a first line."""
_FIELD = re.compile(rb"([^:\r\n]++):[ \t]*+([^\r\n]*+)\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_OURS = frozenset(name.encode() for name in OUR_HEADERS)

Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser


class HeadError(Exception):
    """This is no head that all readers would see alike. Its text says why, without anything of the head."""


class HeadSizeError(HeadError):
    """A head is over `HEAD_BYTES_MAX`."""


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class RequestHead:
    """A request's head."""

    raw: bytes
    """As it came, the empty line at its end included."""
    method: str
    target: bytes
    minor: int
    """1 for HTTP/1.1, 0 for HTTP/1.0."""
    wanted: Said
    """Its `REQUEST_WANTED`."""

    @property
    def fields(self) -> Fields:
        """All of its fields; made anew at each call."""
        return _fields_of(self.raw)

    @property
    def said(self) -> Said:
        """The values of all of its fields; made anew at each call."""
        return said_by(self.fields)


# Not frozen, though never changed: making a frozen one costs several times as much, and every call makes some.
@dataclass(slots=True, kw_only=True)
class ResponseHead:
    """A response's head."""

    raw: bytes
    """As it came, the empty line at its end included."""
    status_code: int
    minor: int
    """1 for HTTP/1.1, 0 for HTTP/1.0."""
    wanted: Said
    """Its `RESPONSE_WANTED`."""

    @property
    def fields(self) -> Fields:
        """All of its fields; made anew at each call."""
        return _fields_of(self.raw)


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
    _judge(b"POST / HTTP/1.%b\r\n" % minor, raw[line.end() :], httptools.HttpRequestParser)
    return RequestHead(
        raw=raw,
        method=method.decode(),
        target=target,
        minor=int(minor),
        wanted=said_by(_REQUEST_WANTED.findall(raw, line.end() - 1)),
    )


def parse_response_head(raw: bytes) -> ResponseHead:
    """Take a complete response head apart; raises `HeadError`."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise HeadError("the status line is misshapen")
    minor, status_code, _ = line.groups()
    # Whatever the status says of a body, the fields are judged as if one may follow.
    _judge(b"HTTP/1.%b 200 OK\r\n" % minor, raw[line.end() :], httptools.HttpResponseParser)
    wanted = said_by(_RESPONSE_WANTED.findall(raw, line.end() - 1))
    return ResponseHead(raw=raw, status_code=int(status_code), minor=int(minor), wanted=wanted)


def says_close(head: RequestHead | ResponseHead) -> bool:
    """Whether a head says that its connection ends with this message."""
    said = head.wanted.get(b"connection")
    if said is None:
        return head.minor == 0
    options = {option.strip() for value in said for option in value.lower().split(b",")}
    return b"close" in options or (head.minor == 0 and b"keep-alive" not in options)


def origin_form(target: bytes) -> bytes:
    """The path and query of a request target: one in absolute form loses its scheme and authority."""
    found = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if found is None:
        return target
    path = target[found.end() :]
    return path if path.startswith(b"/") else b"/" + path


def _judge(line: bytes, block: bytes, parser: Callable[[object], Parser]) -> None:
    """Raise `HeadError` where the lines of a head are not fields; `line` stands in for the first, judged already."""
    try:
        parser(_NO_CALLBACKS).feed_data(line + block)
    except httptools.HttpParserUpgrade:
        # It wants to speak another protocol; as a head it is whole.
        pass
    except httptools.HttpParserError as error:
        raise HeadError(_words(error)) from None
    # Versions of httptools differ here (0.6 takes folded lines and a space before the colon).
    if not _LINES.fullmatch(block):
        raise HeadError("a field of the head is misshapen, or goes over more than one line")


_NO_CALLBACKS = object()
"""httptools tells nothing to what has no method for it."""


def _finder(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Finds the fields of these names from the end of a head's first line on: name and value, blanks around it off.

    Names with one first letter are one branch, so that a field of another name costs a look at a letter.
    """
    by_letter: dict[bytes, list[bytes]] = {}
    for name in names:
        by_letter.setdefault(re.escape(name[:1]), []).append(re.escape(name[1:]))
    branches = b"|".join(letter + b"(?:" + b"|".join(rest) + b")" for letter, rest in by_letter.items())
    return re.compile(rb"(?i)\n(" + branches + rb"):[ \t]*+((?:[^ \t\r]++|[ \t]++(?!\r))*+)")


_REQUEST_WANTED, _RESPONSE_WANTED = _finder(REQUEST_WANTED), _finder(RESPONSE_WANTED)


def _fields_of(raw: bytes) -> Fields:
    return tuple((name, value.rstrip(b" \t")) for name, value in _FIELD.findall(raw, raw.index(b"\n") + 1))


def _words(error: Exception) -> str:
    """llhttp's words, which quote nothing of the head."""
    says = str(error).strip()
    return says[:1].lower() + says[1:] if says else "the head is misshapen"


_HOST = re.compile(rb"(?i)(\r\nhost:)[^\r\n]*")
_HOST_AND_OURS = re.compile(
    rb"(?i)\r\n(host|" + b"|".join(map(re.escape, map(str.encode, OUR_HEADERS))) + rb"):[^\r\n]*"
)


def forwarded_head(head: RequestHead, *, target: bytes, host: bytes) -> bytes:
    """A request's head on its way to the upstream: line by line as it came, but for target, `Host` and our labels.

    Where it had no `Host` (HTTP/1.0 may do without) it is put first.
    """
    begin, named = head.raw.index(b"\r\n"), False
    if len(head.wanted.get(b"host", ())) == 1 and _OURS.isdisjoint(head.wanted):
        found = _HOST.search(head.raw, begin)
        assert found is not None
        return b"%b%b %b%b" % (
            _first_line(head, target),
            head.raw[begin : found.end(1)],
            host,
            head.raw[found.end() :],
        )

    def line(found: re.Match[bytes]) -> bytes:
        nonlocal named
        if found[1].lower() != b"host":
            return b""
        named = True
        return b"\r\n" + found[1] + b": " + host

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
    return tuple(fields) if b"host" in head.wanted else ((b"Host", host), *fields)


def _first_line(head: RequestHead, target: bytes) -> bytes:
    return b"%b %b HTTP/1.%d" % (head.method.encode(), target, head.minor)
