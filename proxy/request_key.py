"""Which API key a request carries, as its fingerprint. Pure. Never here: a key that outlives the call."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from ..data.keys import fingerprint

KEY_PROTOCOL = "openai-insecure-api-key."
"""Subprotocol of the node SDK's browser class (docs/openai-usage.md E.1)."""


_QUERY_NAMES = ("client_secret", "api-key", "api_key")
"""Members of a query that hold a key where a browser's WebSocket can send no header; Azure documents `api-key`."""


def request_key_fingerprint(headers: Mapping[str, str], path: str = "") -> str | None:
    """The fingerprint of the API key a request carries.

    `Authorization: Bearer`, else Azure's `api-key`, else the subprotocol by which a browser's WebSocket names it, else
    a member of the query of `path`.
    """
    scheme, _, secret = (headers.get("authorization") or "").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return fingerprint(secret.strip())
    if azure := (headers.get("api-key") or "").strip():
        return fingerprint(azure)
    for offered in (headers.get("sec-websocket-protocol") or "").split(","):
        if (name := offered.strip()).startswith(KEY_PROTOCOL):
            return fingerprint(name.removeprefix(KEY_PROTOCOL))
    _, asked, query = path.partition("?")
    if asked and any(name in query for name in _QUERY_NAMES):
        members = parse_qs(query, errors="surrogateescape", max_num_fields=None)
        return next((fingerprint(members[name][0]) for name in _QUERY_NAMES if name in members), None)
    return None
