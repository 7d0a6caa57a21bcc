"""What of a chain concerns one run: its units on both sides, and whether its verdict is final.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .bucket import UsageEndpoint
from .case import Case
from .chain import Share
from .finding import ChainFinding, Finding, Unit, Unplaced
from .history import FALL_US, History, spaced
from .solve import Solved
from .unit import BillRow, BookRow, Field
from .verdict import FINAL, Reason, Verdict

DEFICIT_FINAL_US = FALL_US
"""What rests on a deficit is believed this long after the window: the provider may only be late."""
CLOSED_US = 7 * 24 * 3600 * 1_000_000
"""A run that is still not final this long after its first read is closed as it stands."""
CLOSED_READS = 1
"""Reads beside those that would confirm it, before a run is closed."""


def whole(finding: Finding, case: Case) -> Finding:
    """The finding with its units, where its error may lie, and whether it is final. `case`: by the first book."""
    minutes = case.found.minutes.values()
    clear = finding.verdict in (Verdict.VERIFIED, Verdict.NO_ACTIVITY) or case.clear
    proven = _is_proven(finding, case)
    closed = not proven and _is_closed(case)
    return replace(
        finding,
        final=proven or closed,
        closed=closed,
        units=tuple([unit for each in case.solved for unit in units_of(case, each, clear=clear)]),
        spots=tuple([spot for _, spot in case.reached]),
        bill_known=all(each.unread.isdisjoint(case.window) for each in minutes),
    )


def _is_proven(finding: Finding, case: Case) -> bool:
    """Whether a verdict is final by what it rests on."""
    if finding.verdict not in FINAL or finding.reason is Reason.OPTIONAL:
        return False
    rests_on_deficit = finding.verdict is Verdict.OVER or any(not spot.more for _, spot in case.reached)
    return not rests_on_deficit or _settled_for(case, DEFICIT_FINAL_US)


def _settled_for(case: Case, us: int) -> bool:
    """Whether every usage endpoint has a good read of the window that was made so long after its end."""
    return all(
        last_good_us(case.chain.histories.get(each) or History(usage_endpoint=each), case.share)
        >= case.share.window.end_us + us
        for each in UsageEndpoint
    )


def _is_closed(case: Case) -> bool:
    """Whether a run has been asked for long enough, and often enough: who comes back after a week reads it first.

    One that goes on, or was never read, never is.
    """
    if case.share.open or case.share.window.end_us > case.chain.now_us:
        return False
    asked = [
        read.asked_us
        for history in case.chain.histories.values()
        for read in history.reads
        if read.window.overlaps(case.share.window)
    ]
    if not asked or case.chain.now_us < min(asked) + CLOSED_US:
        return False
    waiting = case.chain.waiting
    return len(spaced(sorted(asked), waiting.interval_us)) >= waiting.stable_reads + CLOSED_READS


def last_good_us(history: History, share: Share) -> int:
    """When the last good read of a run's window was asked for; 0: there is none."""
    return max([read.asked_us for read in history.reads if read.good and read.window.overlaps(share.window)], default=0)


def units_of(case: Case, solved: Solved, *, clear: bool) -> list[Unit]:
    """Every field of one model as it concerns the run; none where neither the run nor its minutes know the model."""
    own = case.booked(solved)
    bill = [row for minute in case.window if minute in solved.billed for row in solved.billed[minute]]
    if not own and not bill:
        return []
    ended = [row for minute in case.window if minute in solved.ended for row in solved.ended[minute]]
    others = [row for row in ended if not case.share.owns(row)]
    fields = [*solved.fields, *([Field.CACHED] if solved.silent else [])]
    return [
        Unit(
            pair=solved.pair,
            field=field,
            book=sum([row.amount(field) for row in own]),
            others=sum([row.amount(field) for row in others]),
            bill=sum([row.amount(field) for row in bill]),
            difference=(
                _difference(case, solved, field, own, others, bill) if field in solved.fields and not clear else 0
            ),
            compared=field in solved.fields,
        )
        for field in fields
    ]


def _difference(
    case: Case,
    solved: Solved,
    field: Field,
    own: Sequence[BookRow],
    others: Sequence[BookRow],
    bill: Sequence[BillRow],
) -> int:
    """bill - book: of the chain once it is closed, of the run's window before."""
    if case.found.closed:
        return solved.total[solved.fields.index(field)]
    return sum(row.amount(field) for row in bill) - sum(row.amount(field) for row in (*own, *others))


def unplaced(found: ChainFinding) -> tuple[Unplaced, ...]:
    """Excess that no run's window can hold, model by model."""
    windows = [share.window for share in found.chain.shares]
    outside = [
        minute
        for minute in range(found.chain.window.start, found.until)
        if not any(minute in window for window in windows)
    ]
    found_here: list[Unplaced] = []
    for solved in found.solved:
        free = set(outside) - found.explained[solved.pair]
        if not solved.certain(frozenset(free), more=True):
            continue
        spots = solved.excess(free)
        found_here.append(
            Unplaced(
                pair=solved.pair,
                minutes=tuple(sorted({spot.minute for spot in spots})),
                amount={field: max(0, amount) for field, amount in zip(solved.fields, solved.total, strict=True)},
            )
        )
    return tuple(found_here)
