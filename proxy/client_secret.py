"""The client secret that an answer mints, as its fingerprint, and those of one proxy with the key that minted each.

A browser is handed a short-lived secret (`realtime/client_secrets` and its like) and calls with it: its calls are
billed to the key that minted it, so they belong to that key. Shapes: openai-python 3.57, `types/realtime` and
`types/beta`: `value` at the top, or `client_secret`, a string or an object with `value`.

Never here: a secret that outlives the answer it came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.keys import fingerprint

MINTING = frozenset(
    {
        "realtime/client_secrets",
        "realtime/sessions",
        "realtime/transcription_sessions",
        "realtime/translations/client_secrets",
        "chatkit/sessions",
    }
)
"""Endpoints whose answers mint one."""
MINTED_MAX = 16 * 1024
"""So many secrets are known at once; they live for minutes, and the oldest is forgotten first."""


def minted_fingerprint(endpoint: str | None, members: Mapping[str, Any]) -> str | None:
    """The fingerprint of the client secret that this answer mints; None: it mints none."""
    if endpoint not in MINTING:
        return None
    told = members.get("client_secret", members.get("value"))
    if isinstance(told, dict):
        told = told.get("value")
    # What is not ASCII (half a surrogate pair can be written in JSON) no request can carry as its key.
    return fingerprint(told) if type(told) is str and told and told.isascii() else None


class Minted:
    """The client secrets that were minted through one proxy, by fingerprint."""

    def __init__(self) -> None:
        self._minted_by: dict[str, str] = {}

    def add(self, key_fingerprint: str, *, minted_by: str) -> None:
        """A key, or a client secret, minted another."""
        self._minted_by[key_fingerprint] = self.owner(minted_by)
        if len(self._minted_by) > MINTED_MAX:
            del self._minted_by[next(iter(self._minted_by))]

    @property
    def owners(self) -> Mapping[str, str]:
        """Each secret with its key, the oldest first."""
        return self._minted_by

    def replace(self, owners: Mapping[str, str]) -> None:
        """Know these and no others, as another worker of the same proxy does."""
        self._minted_by = dict(owners)

    def owner(self, key_fingerprint: str) -> str:
        """The key that a call with this one belongs to: the one that minted it, or itself."""
        return self._minted_by.get(key_fingerprint, key_fingerprint)
