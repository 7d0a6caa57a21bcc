"""How the pretend service behaves: every switch in one place, with what it stands for.

The defaults are the plain case as recorded or reported of the real service; tests turn one switch at a time.
No behaviour lives here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .script import Scripted

USAGE_SCOPE = "api.usage.read"
MANAGEMENT_SCOPE = "api.management.read"


class AbortBilling(StrEnum):
    """What a generation costs whose client left first. Not documented by the provider, so it is a switch."""

    FULL = "full"
    PARTIAL = "partial"
    """Its input, and the share of its output that had been sent."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One API key."""

    secret: str
    """What the client sends as `Authorization: Bearer`."""
    api_key_id: str
    """`key_...`, as the Usage API names it."""
    project_id: str = "proj_sim"
    organization: str = "org-sim"
    user_id: str = "user-sim"
    name: str = "a key"
    tracked: bool = True
    """False for a key made before 2023-12-20: billed, but its `api_key_id` is null in the Usage API."""


DEFAULT_KEYS = (Key(secret="sk-sim-0001", api_key_id="key_sim0001"),)


@dataclass(kw_only=True)
class Settings:
    """Every switch. Not frozen: a test may turn one while the server runs."""

    now: Callable[[], float] = time.time
    """Seconds since 1970; the only clock that reaches bodies, headers and books."""
    seed: int = 0
    keys: Sequence[Key] = field(default=DEFAULT_KEYS)
    admin_key: str = "sk-admin-sim"
    admin_scopes: frozenset[str] = frozenset({USAGE_SCOPE, MANAGEMENT_SCOPE})
    scope_status: int = 403
    """Status for a missing scope: 403, or 401 (both are reported of the real service)."""

    lag: float | tuple[float, float] = 300.0
    """Seconds from completion until the Usage API shows a call: constant, or uniform between two (seeded)."""
    late_share: float = 0.2
    """Share of the calls billed `late_s` after they completed."""
    late_s: int = 60
    split_share: float = 0.0
    """Share of the calls whose tokens are billed half in their minute and half in the next."""
    rise_share: float = 0.0
    """Share of the calls first billed for half; the rest follows after `correction_s`."""
    fall_share: float = 0.0
    """Share of the calls first billed with a tenth too much; it is taken back after `correction_s`."""
    correction_s: float = 1200.0
    empty_buckets: bool = True
    """Whether the Usage API sends minutes without usage, as the real one does, or leaves them out."""
    refuse_future_end: bool = False
    """Whether an `end_time` in the future is refused (seen by one client of the real service)."""

    any_model: bool = False
    """Whether a model that is not listed is served all the same, under the name that was asked for."""
    script: Sequence[Scripted] = ()
    """Answers that are given instead of the simulator's own."""
    aborts: AbortBilling = AbortBilling.FULL
    warm_ups_billed: bool = False
    """Whether a socket's `response.create` that generates nothing is billed. Not documented by the provider."""
    silent_cached: float = 0.2
    """Share of the chat usages that leave out `prompt_tokens_details`, as a fifth of the recorded ones do."""
    obfuscation: bool = True
    words_max: int = 24
    """Longest answer, in pieces; one piece is one chunk of a stream."""
    json_chunked: bool = False
    """Whether JSON bodies go out chunked, without a Content-Length."""
    compression: str = ""
    """`gzip` or `br`: used where the client offers it. Empty: never."""
    think_delay_s: float = 0.0
    """Wall-clock seconds before the headers of an answer."""
    chunk_delay_s: float = 0.0
    """Wall-clock seconds between the chunks of a stream."""
    background_s: float = 5.0
    """Seconds, by the given clock, that a background response takes; queued for the first half."""
    prefix: str = ""
    """A path in front of `/v1`, for an upstream URL that has one."""
