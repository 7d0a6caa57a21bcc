"""Explains a run: the arithmetic of its parts as they stand, the residuals, and how to look for oneself.

Rests on stored reads alone; nothing is asked, nothing written. The admin key appears only as `$OPENAI_ADMIN_KEY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..data.clock import US_PER_S, Clock
from ..data.ledger import Ledger
from . import named_calls
from .bucket import GROUP_BY, UsageEndpoint
from .choice import AuditRequest, find_run
from .detail import part_detail
from .finding import Finding
from .judge import Judge
from .look import look
from .named_calls import InferredCall
from .questions import asking
from .reads import PageStore
from .report import UnclaimedMinute, run_text
from .residual import Residual, residuals
from .settings import AuditSettings
from .unclaimed import find_unclaimed
from .unit import RunName
from .usage_api import LIMIT
from .verdict import Verdict
from .window import Window

CALLS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PartExplanation:
    """One key's minutes."""

    api_key_id: str
    window: Window
    finding: Finding
    detail: dict[str, Any]
    """The long form of the finding, as in the ledger's `audits.detail`."""
    residuals: tuple[Residual, ...]
    inferred: InferredCall | None
    """What the last audit inferred for the one unknown call, where the part is still incomplete. Summed nowhere."""
    curl: tuple[str, ...]
    """The read of each usage endpoint as a command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One run."""

    run: RunName
    parts: tuple[PartExplanation, ...]
    unclaimed: tuple[UnclaimedMinute, ...]
    """Bill near the run that no call and no run accounts for."""
    keyless: int
    """Calls on keys without an id, which nothing can be compared with."""

    @property
    def name(self) -> str:
        return run_text(self.run)


def explain_run(
    ledger: Ledger, *, run: str, request: AuditRequest, settings: AuditSettings, clock: Clock, store: PageStore
) -> Explanation:
    """Explain a run by the reads that are stored. Raises `SubmeterError` for a run that there is not."""
    ledger.ingest()
    with asking(ledger) as asked:
        seen = look(asked, now_us=clock.now_us(), shift_min=request.shift_min, configured=settings.framework_key_ids)
        judge = Judge(asked, seen, store=store, settings=settings)
        name = find_run(run, seen, framework=request.framework)
        shares = seen.parts_of(name)
        judge.gather([(key, seen.keys[key].chain_of(share.window)) for key, share in shares])
        windows: dict[str, list[Window]] = {}
        for key, share in shares:
            windows.setdefault(key, []).append(share.window)
        unclaimed, _ = find_unclaimed(asked, seen, judge, windows)
        parts = []
        for key, share in shares:
            found, finding = judge.finding(key, share)
            window = share.window
            unknown = named_calls.unknown_calls(asked, key, window, most=CALLS_MAX)
            parts.append(
                PartExplanation(
                    api_key_id=key,
                    window=window,
                    finding=finding,
                    detail=part_detail(found, finding, settings=settings, unknown=unknown),
                    residuals=residuals(
                        found,
                        finding,
                        calls=named_calls.counted_calls(asked, key, window, most=CALLS_MAX),
                        unknown=unknown,
                        unclaimed=[each for each in unclaimed if each.api_key_id == key],
                    ),
                    inferred=(
                        named_calls.inferred_call(asked, key, window) if finding.verdict is Verdict.INCOMPLETE else None
                    ),
                    curl=tuple(curl_line(settings.usage_api_url, each, key, window) for each in UsageEndpoint),
                )
            )
    return Explanation(run=name, parts=tuple(parts), unclaimed=unclaimed, keyless=seen.keyless.get(name, 0))


def curl_line(url: str, endpoint: UsageEndpoint, api_key_id: str, window: Window) -> str:
    """One read of the Usage API for a shell that has `OPENAI_ADMIN_KEY`."""
    query = [
        ("start_time", str(window.start_us // US_PER_S)),
        ("end_time", str(window.end_us // US_PER_S)),
        ("bucket_width", "1m"),
        ("limit", str(LIMIT)),
        ("api_key_ids[]", api_key_id),
        *(("group_by[]", dimension) for dimension in GROUP_BY[endpoint]),
    ]
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
    return f"curl -sS -H \"Authorization: Bearer $OPENAI_ADMIN_KEY\" '{url}/organization/usage/{endpoint}?{text}'"
