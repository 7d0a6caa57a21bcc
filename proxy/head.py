"""What the head of a request or response says, read once. Pure, on raw header fields.

Never here: what a header means for a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .labels import OUR_HEADERS

Fields = tuple[tuple[bytes, bytes], ...]
"""Headers in their order, repeated ones too."""

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
"""The request headers that anything is read from; an answer of OpenAI's has thirty, and eight of them matter."""
RESPONSE_NAMES = {name.encode(): name for name in _RESPONSE_NAMES}


def plain_headers(fields: Iterable[tuple[bytes, bytes]], names: Mapping[bytes, str]) -> dict[str, str]:
    """Those of the headers that are named, by lower-case name; repeated ones joined by a comma."""
    plain: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name = names.get(raw_name.lower())
        if name is not None:
            value = raw_value.decode("utf-8", "surrogateescape")
            plain[name] = f"{plain[name]}, {value}" if name in plain else value
    return plain


def body_bytes(method: str, status_code: int, headers: Mapping[str, str]) -> int | None:
    """The Content-Length that frames this body; None where something else does, or there is no body."""
    if method == "HEAD" or status_code in (204, 304) or "transfer-encoding" in headers:
        return None
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None
