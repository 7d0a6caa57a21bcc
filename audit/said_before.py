"""What was said before: the latest verdict on each part and run, and what the ledger now holds of what they rest on.

Answers of `audit_parts.sql` and `audit_run_verdicts.sql` as typed rows. Times are microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..data.clock import US_PER_MINUTE
from ..data.marks import split_run
from .questions import Asking, calls_text
from .unit import RunName
from .verdict import FINAL, Reason, Verdict
from .window import Window

_REASONS = {str(reason): reason for reason in Reason}
_VERDICTS = {str(verdict): verdict for verdict in Verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """The latest verdict on one run, key and window, and what the ledger now holds of what it rests on."""

    run: RunName | None
    api_key_id: str
    window: Window
    audit_id: str
    audited_us: int
    verdict: Verdict
    reason: Reason | None
    final: bool
    timing: str | None
    proof: str | None
    joint: tuple[RunName, ...]
    """The runs that what is wrong reaches, as far as they were listed; empty where it is this run's alone."""
    rests_on: Mapping[str, Any]
    """As `RestsOn.record` made it; empty where the verdict is of an earlier submeter."""
    next_read_us: int | None
    final_us: int | None
    """When the latest final verdict on it was reached."""
    attempts: int
    calls_now: str
    """What there is now of the calls it rests on, in the words of `rests_on`."""

    @property
    def closed(self) -> bool:
        """Whether it is final only because it has been asked for long enough."""
        return self.final and (self.verdict not in FINAL or self.reason is Reason.OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """The latest verdict on a run."""

    run: RunName
    verdict: Verdict
    reason: Reason | None
    final: bool
    audited_us: int
    final_verdict: Verdict | None
    attempts: int


def stored_parts(asked: Asking) -> tuple[StoredPart, ...]:
    """The latest verdict on every part."""
    return tuple(_stored_part(row) for row in asked.rows("audit_parts", asked.since) if row[7] in _VERDICTS)


def _stored_part(row: tuple[Any, ...]) -> StoredPart:
    framework, run_id, key, start_us, end_us, audit_id, audited_us, verdict, reason, final, timing, proof, *rest = row
    joint, rests_on, next_read_us, final_us, attempts, calls_now, digest_now = rest
    return StoredPart(
        run=None if run_id is None else (framework, run_id),
        api_key_id=key,
        window=Window(start=start_us // US_PER_MINUTE, end=end_us // US_PER_MINUTE),
        audit_id=audit_id,
        audited_us=audited_us,
        verdict=_VERDICTS[verdict],
        reason=_REASONS.get(reason),
        final=bool(final),
        timing=timing,
        proof=proof,
        joint=tuple(split_run(name) for name in orjson.loads(joint) or ()) if joint else (),
        rests_on=orjson.loads(rests_on) if rests_on else {},
        next_read_us=next_read_us,
        final_us=final_us,
        attempts=attempts,
        calls_now=calls_text(calls_now, digest_now),
    )


def stored_runs(asked: Asking) -> dict[RunName, StoredRun]:
    """The latest verdict on every run."""
    return {
        (framework, run_id): StoredRun(
            run=(framework, run_id),
            verdict=_VERDICTS[verdict],
            reason=_REASONS.get(reason),
            final=bool(final),
            audited_us=audited_us,
            final_verdict=_VERDICTS.get(final_verdict),
            attempts=attempts,
        )
        for framework, run_id, verdict, reason, final, audited_us, final_verdict, attempts in asked.rows(
            "audit_run_verdicts", asked.since
        )
        if verdict in _VERDICTS
    }
