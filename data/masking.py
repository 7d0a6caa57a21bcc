"""What looks like a secret, and must not be written or said.

Recognised by its form alone: nothing here knows a key. Never here: what to do where one stands in the wrong place.
"""

from __future__ import annotations

import re

_BEGINNINGS = ("sk-", "sk_", "sess-", "ek_", "rk-", "rk_", "ghp_", "github_pat_", "xoxb-", "Bearer ")
"""How secrets of providers begin. `sess_` is a Realtime session's id, and no secret."""
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(sk-|sess-|ek_|rk-)[A-Za-z0-9_\-]{12,}")
_LONG = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_\-]{40,}")
"""Forty letters and digits in a row are made by a machine, to be kept to oneself."""
_ID_BEGINNINGS = ("key_", "key-", "user-", "proj_", "org-")
MASK = "***"


def looks_secret(value: str) -> bool:
    """Whether a value, as a whole, looks like an API key or a token and not like an id."""
    if value.startswith(_BEGINNINGS):
        return True
    return not value.startswith(_ID_BEGINNINGS) and _LONG.fullmatch(value) is not None


def masked(text: str) -> str:
    """The text with whatever looks like an API key in it cut down to its beginning: `sk-***`."""
    return _TOKEN.sub(rf"\1{MASK}", text)
