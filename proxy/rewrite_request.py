"""A request for a stream that will not tell its usage, changed so that it does. Pure.

Chat and legacy completions tell nothing of usage in a stream unless `stream_options.include_usage` is true
(docs/openai-usage.md A.2). It is put into the body as text: every other byte of the body stays, the caller's
other `stream_options` too, known to us or not. What cannot be changed with certainty (a name given twice, options
that are no object, a body that is no JSON) is left alone, and the provider says what it says.

`rewrite_stream` takes the answer's usage out again. Never here: sockets, and whether the upstream can be asked at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from .decode import DecodeError, Decoder
from .json_members import Member, members_of, read_object

BODY_BYTES_MAX = 4 * 1024 * 1024
"""A longer body is not held back to be changed: it passes as it comes, before and after decoding."""

ENDPOINTS = frozenset({"chat/completions", "completions", "engines/{id}/completions"})
"""What has `stream_options` (docs/openai-usage.md A.2); Responses and all others tell their usage unasked."""

_INCLUDE = b'"include_usage":true'
_OPTIONS = b'"stream_options"'


def may_ask(method: str, endpoint: str | None, headers: Mapping[str, str]) -> bool:
    """Whether this request's body is to be held back and looked at, as far as its head tells (lower-case names)."""
    if method != "POST" or endpoint not in ENDPOINTS:
        return False
    if headers.get("content-type", "").lstrip().lower().startswith("multipart/"):
        return False
    length = headers.get("content-length")
    if length is None:
        return "transfer-encoding" in headers
    return length.isascii() and length.isdigit() and 0 < int(length) <= BODY_BYTES_MAX


def ask_for_usage(body: bytes, content_encoding: str | None) -> bytes | None:
    """The body, without its encoding, that asks for usage too; None: nothing is to be changed, or not with certainty.

    `content_encoding`: the request's header; what is answered is never encoded.
    """
    plain = _decoded(body, content_encoding)
    request = None if plain is None else read_object(plain)
    if plain is None or request is None or request.get("stream") is not True:
        return None
    members = members_of(plain)
    if _named(members, b'"stream"') is None:
        return None
    if "stream_options" not in request:
        return _put(plain, members[-1].value_end, b"," + _OPTIONS + b":{" + _INCLUDE + b"}")
    options, given = _named(members, _OPTIONS), request["stream_options"]
    if options is None:
        return None
    if given is None:
        return plain[: options.value_begin] + b"{" + _INCLUDE + b"}" + plain[options.value_end :]
    if type(given) is not dict:
        return None
    if "include_usage" not in given:
        return _put(plain, options.value_begin + 1, _INCLUDE + (b"," if given else b""))
    said = _named(members_of(plain, options.value_begin), b'"include_usage"')
    if said is None or (given["include_usage"] is not False and given["include_usage"] is not None):
        return None
    return plain[: said.value_begin] + b"true" + plain[said.value_end :]


def _decoded(body: bytes, content_encoding: str | None) -> bytes | None:
    try:
        decoder = Decoder(content_encoding, decoded_bytes_max=BODY_BYTES_MAX)
        plain = decoder.feed(body)
        decoder.close()
    except DecodeError:
        return None
    return plain


def _named(members: list[Member], name: bytes) -> Member | None:
    """The one member of this name; None where there is none, or more than one, or one that is spelled with escapes."""
    found = [member for member in members if member.name == name or b"\\" in member.name]
    return found[0] if len(found) == 1 and found[0].name == name else None


def _put(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at:]
