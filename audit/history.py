"""What a row of reads proves: when a bill is confirmed, when it fell.

All good reads of one usage endpoint that cover one window, each reduced to its `state`: a digest of its rows in that
window, so that two reads are identical row by row exactly if their states are equal. A read that was not good is no
number and is not here, but the latest attempt is kept with its problem.

Pure; reads are ascending by `asked_at`, microseconds UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .bucket import UsageEndpoint
from .unit import FIELDS, BillRow, Field, bill_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodRead:
    """One good read, as seen through one window."""

    read_id: str
    asked_at: int
    state: str
    """Digest of the rows in the window."""
    holes: int = 0
    """Minutes without a bucket, in the whole read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The latest read, good or not."""

    read_id: str
    asked_at: int
    good: bool
    problem: str | None = None
    status_code: int | None = None
    message: str | None = None
    """The provider's own words."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One usage endpoint's reads of one window."""

    usage_endpoint: UsageEndpoint
    latest: Attempt | None = None
    """None: never read."""
    reads: tuple[GoodRead, ...] = ()
    states: Mapping[str, Sequence[BillRow]] = field(default_factory=dict)
    """The rows of each state that `reads` name."""

    @property
    def bill(self) -> Sequence[BillRow]:
        """The rows of the latest good read; none if there is none."""
        return self.states[self.reads[-1].state] if self.reads else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRead:
    """One stored read, good or not, as seen through one window."""

    attempt: Attempt
    state: str = ""
    """Digest of its rows in the window; of no meaning unless it is good."""
    holes: int = 0


def make_history(endpoint: UsageEndpoint, seen: Sequence[SeenRead], states: Mapping[str, Sequence[BillRow]]) -> History:
    """The history of one window: only good reads are numbers, but the last of all is remembered with its problem."""
    good = [read for read in seen if read.attempt.good]
    return History(
        usage_endpoint=endpoint,
        latest=seen[-1].attempt if seen else None,
        reads=tuple(
            GoodRead(read_id=read.attempt.read_id, asked_at=read.attempt.asked_at, state=read.state, holes=read.holes)
            for read in good
        ),
        states=states,
    )


def confirmed(
    reads: Sequence[GoodRead], *, stable_reads: int, interval_us: int, not_before_us: int
) -> tuple[GoodRead, ...]:
    """The reads that confirm the bill, oldest first; none if it is not confirmed.

    The latest reads that are all alike (none differing between them), of which `stable_reads` lie at least
    `interval_us` apart, the last at `not_before_us` or later. A read too soon after a counted one is not counted.
    """
    counted: list[GoodRead] = []
    for read in reversed(reads):
        if read.state != reads[-1].state:
            break
        if counted and counted[-1].asked_at - read.asked_at < interval_us:
            continue
        if not counted and read.asked_at < not_before_us:
            break
        counted.append(read)
        if len(counted) == stable_reads:
            return tuple(reversed(counted))
    return ()


def fell(history: History) -> bool:
    """Whether any unit of any minute ever went down from one good read to the next."""
    return any(
        _lower(history.states[before.state], history.states[after.state])
        for before, after in zip(history.reads, history.reads[1:], strict=False)
        if before.state != after.state
    )


def _lower(before: Sequence[BillRow], after: Sequence[BillRow]) -> bool:
    later = _minute_units(after)
    return any(later.get(unit, 0) < amount for unit, amount in _minute_units(before).items())


def _minute_units(rows: Sequence[BillRow]) -> dict[tuple[int, str, Field], int]:
    sums: dict[tuple[int, str, Field], int] = defaultdict(int)
    for row in rows:
        if not row.batch:
            for each in FIELDS[row.usage_endpoint]:
                sums[row.minute, row.model, each] += bill_amount(row, each)
    return sums
