"""What an audit hands back: one line a run, what was unclaimed, and the exit code; and who still waits for an audit.

Plain data for whoever prints it. Times are microseconds UTC, minutes whole minutes since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ..data.clock import US_PER_MINUTE
from .bucket import UsageEndpoint
from .unit import RunName
from .verdict import DIFFER, EXIT_CANNOT_TELL, EXIT_DIFFER, Reason, Verdict, exit_code, worst
from .window import Window

UNREAD = frozenset({Verdict.NOT_PERMITTED, Verdict.UNAVAILABLE})


def run_text(run: RunName) -> str:
    """A run as users write it: `chatdev/test_run_123`, or the bare run id where no framework is known."""
    return f"{run[0]}/{run[1]}" if run[0] else run[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLine:
    """The verdict on one run's minutes on one key."""

    audit_id: str
    """The row it is written in; that of the verdict that stands, where nothing new was written."""
    audited_us: int
    api_key_id: str
    window: Window
    verdict: Verdict
    reason: Reason | None
    final: bool
    proof: str | None
    stands: bool
    """A final verdict of before, which this audit left as it is."""
    unchanged: bool
    """Nothing was read and nothing is new since its last row, which says the same; no other was written."""
    runs: tuple[RunName, ...]
    """The runs that what is wrong reaches, where it is not surely this run's alone (`joint`); else empty."""
    detail: dict[str, Any]
    """Both books, d, k, reads, versions, as in the ledger's `audits.detail`; of one that stands, `joint`."""
    attempt: int = 1
    """1 for the first row of it."""
    closed: bool = False
    """Final only because it has been asked for long enough: it stands as it is."""
    message: str | None = None
    """The provider's own words, or what broke, where a read was not good."""
    request_id: str | None = None
    next_read_us: int | None = None
    """When another read could bring it further; None: it is final, or nothing but the run itself is waited for."""

    @property
    def joint(self) -> bool:
        return bool(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """The verdict on one run, or (`run` is None) on a period of one key, as if it were a run."""

    run: RunName | None
    verdict: Verdict
    reason: Reason | None
    final: bool
    attempt: int
    """1 for the first audit of a run."""
    parts: tuple[PartLine, ...]
    keyless: int = 0
    """Calls on keys without an id, which nothing can be compared with."""
    earlier_final: Verdict | None = None
    """The final verdict that stands beside a failed attempt."""

    @property
    def name(self) -> str:
        if self.run:
            return run_text(self.run)
        return ", ".join(sorted({part.api_key_id for part in self.parts})) or "calls on keys without an id"

    @property
    def closed(self) -> bool:
        """Whether a part is final only because it has been asked for long enough."""
        return any(part.closed for part in self.parts)

    @property
    def message(self) -> str | None:
        """The provider's own words, where a read was not good."""
        return next((part.message for part in self.parts if part.message), None)

    @property
    def next_read_us(self) -> int | None:
        """When another read could bring every part further."""
        return max((part.next_read_us for part in self.parts if part.next_read_us is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclaimedMinute:
    """A bill in a minute that no call and no run of this key accounts for."""

    api_key_id: str
    minute: int
    usage_endpoint: UsageEndpoint
    model: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    images: int
    at_most: bool = False
    """The excess lies in one of several minutes: here it is at most this much, and the minutes are not to be added."""


class Waiting(StrEnum):
    """Where a run stands with its audit."""

    NEVER_READ = "never_read"
    """It waits for its first audit."""
    NOT_FINAL = "not_final"
    """It was judged, is not final, and is due to be read or judged again, whatever its age."""
    NOT_DUE = "not_due"
    """It is not final, and another read would be too early."""
    FINAL = "final"
    CLOSED = "closed"
    """It was asked for long enough, and stands as it is."""
    NOT_ENDED = "not_ended"
    TOO_YOUNG = "too_young"
    """Ended less than `--min-age` ago and never read."""
    TOO_OLD = "too_old"
    """Ended more than `--max-age` ago and never read."""


DONE = frozenset({Waiting.FINAL, Waiting.CLOSED})
DUE = frozenset({Waiting.NEVER_READ, Waiting.NOT_FINAL})


def age_min(ended_us: int | None, now_us: int) -> int | None:
    """Whole minutes since a run's end; None: it has not ended."""
    return None if ended_us is None else max(0, now_us - ended_us) // US_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStanding:
    """Whether a run needs an audit, and why not."""

    run: RunName
    waiting: Waiting
    ended_us: int | None
    age_min: int | None
    """Whole minutes since its end; None while it is open."""
    verdict: Verdict | None
    """Its last; None: never audited."""
    attempts: int
    next_read_us: int | None = None
    """When it is due, where it is not yet."""

    @property
    def name(self) -> str:
        return run_text(self.run)

    @property
    def needs_audit(self) -> bool:
        """Whether an audit now could bring it further."""
        return self.waiting in DUE

    @property
    def done(self) -> bool:
        """Whether its verdict is final."""
        return self.waiting in DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The outcome of one audit command."""

    runs: tuple[RunLine, ...] = ()
    unclaimed: tuple[UnclaimedMinute, ...] = ()
    unread: tuple[tuple[str, Window], ...] = ()
    """Keys and minutes between the windows whose bill could not be read: nobody knows what they hold."""
    skipped: tuple[RunStanding, ...] = ()
    """Runs that were not due, with why."""
    unlabelled: int = 0
    """Creates that belong to no run."""
    reads: int = 0
    """Reads made."""
    timing: str | None = None
    """`test` where the waiting rules are switched off."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[Verdict]:
        return Counter(line.verdict for line in self.runs)

    @property
    def exit_code(self) -> int:
        """1 where books differ or a bill is unclaimed, else 3 where anything cannot be told, else 0.

        What cannot be told includes runs that were not due and lack a final verdict, and calls where no run has any.
        """
        if self.timing is not None:
            return EXIT_DIFFER if self._differ else EXIT_CANNOT_TELL
        return exit_code(
            (line.verdict for line in self.runs),
            unclaimed=bool(self.unclaimed),
            unread=bool(self.unread)
            or any(not standing.done for standing in self.skipped)
            or bool(self.unlabelled and not self.runs and not self.skipped),
        )

    @property
    def _differ(self) -> bool:
        return bool(self.unclaimed) or any(line.verdict in DIFFER for line in self.runs)

    @property
    def summary(self) -> str:
        """One line fit for a log: `Processed 3 runs: verified 1, pending 2, errors 0`."""
        counts = self.counts
        errors = sum(counts[verdict] for verdict in UNREAD)
        said = [
            f"{verdict} {counts[verdict]}" for verdict in reversed(Verdict) if counts[verdict] and verdict not in UNREAD
        ]
        runs = len(self.runs)
        text = f"Processed {runs} run{'' if runs == 1 else 's'}: {', '.join([*said, f'errors {errors}'])}"
        if self.unclaimed:
            minutes = {(each.api_key_id, each.minute) for each in self.unclaimed}
            text += f", unclaimed minutes {len(minutes)}"
        return text


class PartVerdict(Protocol):
    """As much of a part as its run's verdict is made from."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def reason(self) -> Reason | None: ...


def run_verdict(parts: Sequence[PartVerdict], *, keyless: int) -> tuple[Verdict, Reason | None]:
    """The worst over all parts; with a call on a key without an id, `not_auditable` at best."""
    said = [(part.verdict, part.reason) for part in parts]
    if keyless:
        said.append((Verdict.NOT_AUDITABLE, Reason.KEY_WITHOUT_ID))
    elif not parts:
        said.append((Verdict.NOT_AUDITABLE, Reason.NO_KEY))
    verdict = worst(each for each, _ in said)
    if verdict is None:
        raise ValueError("a run without a verdict")
    return verdict, next((reason for each, reason in said if each is verdict and reason is not None), None)
