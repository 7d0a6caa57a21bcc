"""What the head of a request or response says, read once. Pure, on raw header fields as the engine has them.

Never here: what a header means for a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def plain_headers(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names to values, repeated ones joined by a comma: read many times, so made once."""
    plain: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        plain[name] = f"{plain[name]}, {value}" if name in plain else value
    return plain


def body_bytes(method: str, status_code: int, headers: Mapping[str, str]) -> int | None:
    """The Content-Length that frames this body; None where something else does, or there is no body."""
    if method == "HEAD" or status_code in (204, 304) or "transfer-encoding" in headers:
        return None
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None
