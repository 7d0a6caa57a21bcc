"""What the head of a request or response says, read once. Pure, on raw header fields.

Never here: what a header means for a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .labels import OUR_HEADERS

Fields = tuple[tuple[bytes, bytes], ...]
"""Headers in their order, repeated ones too."""
Said = Mapping[bytes, Sequence[bytes]]
"""The values of each header, by its lower-case name."""

_REQUEST_NAMES = (
    "api-key",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "openai-organization",
    "openai-project",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
    "x-stainless-retry-count",
    *OUR_HEADERS,
)
_RESPONSE_NAMES = (
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "openai-organization",
    "openai-project",
    "transfer-encoding",
    "x-request-id",
)
REQUEST_NAMES = {name.encode(): name for name in _REQUEST_NAMES}
"""The request headers that a call's row is made of; an answer of OpenAI's has thirty, and eight of them matter."""
RESPONSE_NAMES = {name.encode(): name for name in _RESPONSE_NAMES}
REQUEST_WANTED = (*REQUEST_NAMES, b"connection", b"expect", b"host")
"""The request headers that anything at all is decided by."""
RESPONSE_WANTED = (*RESPONSE_NAMES, b"connection", b"sec-websocket-extensions")


def said_by(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """The same headers by their names."""
    said: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        lower = name.lower()
        if lower in said:
            said[lower].append(value)
        else:
            said[lower] = [value]
    return said


def plain_headers(said: Said, names: Mapping[bytes, str]) -> dict[str, str]:
    """Those of the headers that are named, by lower-case name; repeated ones joined by a comma."""
    return {
        names[raw]: (values[0] if len(values) == 1 else b", ".join(values)).decode("utf-8", "surrogateescape")
        for raw, values in said.items()
        if raw in names
    }


def all_headers(said: Said) -> dict[str, str]:
    """Every header by lower-case name; repeated ones joined by a comma."""
    return {
        raw.decode("latin-1"): b", ".join(values).decode("utf-8", "surrogateescape") for raw, values in said.items()
    }


def body_bytes(method: str, status_code: int, headers: Mapping[str, str]) -> int | None:
    """The Content-Length that frames this body; None where something else does, or there is no body."""
    if method == "HEAD" or status_code in (204, 304) or "transfer-encoding" in headers:
        return None
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None
