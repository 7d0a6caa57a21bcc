"""Two books in, one verdict out: the rules of DESIGN.md section 6, in their order, the first that matches.

`Part` is everything a verdict may rest on: the minute book, the reads of the three usage endpoints, what is still
open, what was said before. `reconcile` is total and pure: no clock, no file, no socket, the same answer for the same
part whatever the order of its rows. There is one place here that says `verified`; it is the last line of
`_books_agree`, and it is reached only with every usage endpoint confirmed, every d = 0 and the corridor whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ..data.call import Standing
from .bucket import Problem, UsageEndpoint
from .corridor import Booked, first_break
from .history import GoodRead, History, confirmed, fell
from .placement import Placed, Placement
from .span import SHIFT_MIN, Window
from .unit import BookRow, Comparison, Field, Unit, bill_amount, book_amount, compare
from .unknown import Gap, Unknown, may_have_used, unknown_calls
from .verdict import FINAL, Reason, Verdict


class Proof(StrEnum):
    """What a `verified` rests on beside equal sums."""

    PLACED = "placed"
    CORRIDOR = "corridor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One key id, one window, and all that is known of it. Times are microseconds UTC, minutes as in `span`."""

    api_key_id: str
    window: Window
    histories: Mapping[UsageEndpoint, History]
    """All three usage endpoints; a missing one was never read."""
    book: Sequence[BookRow] = ()
    gaps: Sequence[Gap] = ()
    run_open: bool = False
    """A run in the window has not ended."""
    key_proven: bool = False
    """A good read, of whatever window, once showed tokens for this key id."""
    changed_since: str | None = None
    """audit_id of the latest final verdict on these minutes, if the bill in them is no longer what it was then."""
    change_said: bool = False
    """A `changed` warning was given since that final verdict."""
    placed: Placed | None = None
    """What the search for a placement found; None: not searched."""
    stable_reads: int = 2
    interval_us: int = 30 * 60 * 1_000_000
    settle_us: int = 60 * 60 * 1_000_000
    shift_min: int = SHIFT_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class CorridorBreak:
    """The first minute in which one unit's bill leaves its corridor."""

    unit: Unit
    minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A part's verdict and what it rests on."""

    verdict: Verdict
    comparison: Comparison
    reason: Reason | None = None
    proof: Proof | None = None
    breaks: tuple[CorridorBreak, ...] = ()
    counted_reads: Mapping[UsageEndpoint, tuple[GoodRead, ...]]
    """The reads that confirm each endpoint's bill; empty where it is not confirmed."""
    unknown: tuple[Unknown, ...] = ()
    bill_known: bool = True
    """Every usage endpoint has a good read, so that the bill may be shown as a bill."""

    @property
    def final(self) -> bool:
        return self.verdict in FINAL

    @property
    def uncompared(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.comparison.units if unit.uncompared)


def reconcile(part: Part) -> Finding:
    """The verdict on one part, by the first rule that matches."""
    histories = [part.histories.get(each) or History(usage_endpoint=each) for each in UsageEndpoint]
    comparison = compare(part.book, [row for history in histories for row in history.bill])
    settled_at = part.window.end_us + part.settle_us
    counted = {
        history.usage_endpoint: confirmed(
            history.reads,
            stable_reads=part.stable_reads,
            interval_us=part.interval_us,
            not_before_us=settled_at,
        )
        for history in histories
    }
    finding = Finding(
        verdict=Verdict.PENDING,
        comparison=comparison,
        counted_reads=counted,
        unknown=unknown_calls(part.book, part.gaps),
        bill_known=all(history.reads for history in histories),
    )
    return (
        _failed_read(finding, histories)
        or _still_open(finding, part)
        or _unsteady(finding, part, histories)
        or _too_early(finding, histories, settled_at)
        or _nothing_to_compare(finding, part)
        or _books_agree(finding, part)
        or _books_differ(finding, part)
    )


def _failed_read(finding: Finding, histories: Sequence[History]) -> Finding | None:
    """Rule 1."""
    problems = [history.latest.problem for history in histories if history.latest and not history.latest.good]
    if Problem.NOT_PERMITTED in problems:
        return replace(finding, verdict=Verdict.NOT_PERMITTED)
    return replace(finding, verdict=Verdict.UNAVAILABLE) if problems else None


def _still_open(finding: Finding, part: Part) -> Finding | None:
    """Rule 2."""
    if part.run_open:
        return replace(finding, reason=Reason.RUN_OPEN)
    return replace(finding, reason=Reason.CALL_OPEN) if any(row.open for row in part.book) else None


def _unsteady(finding: Finding, part: Part, histories: Sequence[History]) -> Finding | None:
    """Rule 3. A change after a final verdict is said at least once, and until the new bill is confirmed."""
    if any(fell(history) and not finding.counted_reads[history.usage_endpoint] for history in histories):
        return replace(finding, verdict=Verdict.WARNING, reason=Reason.FELL)
    if part.changed_since is not None and not (part.change_said and _confirmed(finding)):
        return replace(finding, verdict=Verdict.WARNING, reason=Reason.CHANGED)
    return None


def _too_early(finding: Finding, histories: Sequence[History], settled_at: int) -> Finding | None:
    """Rule 4."""
    if not finding.bill_known:
        return replace(finding, reason=Reason.NOT_READ)
    if any(history.reads[-1].asked_at < settled_at for history in histories):
        nothing_yet = finding.comparison.bill_zero and not finding.comparison.book_zero
        verdict = Verdict.DATA_NOT_AVAILABLE if nothing_yet else Verdict.PENDING
        return replace(finding, verdict=verdict, reason=Reason.NOT_SETTLED)
    return None if _confirmed(finding) else replace(finding, reason=Reason.NOT_CONFIRMED)


def _nothing_to_compare(finding: Finding, part: Part) -> Finding | None:
    """Rules 5 and 6, where the bill is empty and the book has no token either.

    An empty bill of a key id that never showed a token proves nothing, so it clears no unknown call and no call of
    zero tokens either: they get the answer of rule 5, not that of rule 7.
    """
    if not (finding.comparison.bill_zero and finding.comparison.book_zero):
        return None
    standings = {row.standing for row in part.book}
    comparable = bool(finding.unknown) or bool(standings & {Standing.COUNTED, Standing.UNKNOWN})
    if standings and not comparable:
        return replace(finding, verdict=Verdict.NOT_AUDITABLE)
    if not part.key_proven:
        return replace(finding, verdict=Verdict.DATA_NOT_AVAILABLE, reason=Reason.KEY_UNPROVEN)
    return None if comparable else replace(finding, verdict=Verdict.NO_ACTIVITY)


def _books_agree(finding: Finding, part: Part) -> Finding | None:
    """Rule 7."""
    if not finding.comparison.equal:
        return None
    breaks = _corridor_breaks(finding, part, may_fall=())
    steady = not any(row.loose for row in part.book)
    outcome = part.placed.outcome if part.placed else None
    if breaks or (outcome is Placement.IMPOSSIBLE and steady):
        return replace(finding, verdict=Verdict.WARNING, reason=Reason.TIMING, breaks=breaks)
    proof = Proof.PLACED if outcome is Placement.PLACED else Proof.CORRIDOR
    return replace(finding, verdict=Verdict.VERIFIED, proof=proof)


def _books_differ(finding: Finding, part: Part) -> Finding:
    """Rules 8 to 11."""
    comparison = finding.comparison
    if comparison.bill_zero and not comparison.book_zero:
        return replace(finding, verdict=Verdict.OVER, reason=Reason.KEY_NOT_VISIBLE)
    more = [unit for unit in comparison.units if unit.d > 0]
    less = [unit for unit in comparison.units if unit.d < 0]
    if more and not less and all(may_have_used(finding.unknown, unit.pair, comparison.pairs) for unit in more):
        breaks = _corridor_breaks(finding, part, may_fall=finding.unknown)
        if not breaks:
            return replace(finding, verdict=Verdict.INCOMPLETE)
        finding = replace(finding, breaks=breaks)
    if more:
        return replace(finding, verdict=Verdict.SHORT, reason=Reason.ALSO_OVER if less else None)
    return replace(finding, verdict=Verdict.OVER)


def _confirmed(finding: Finding) -> bool:
    return all(finding.counted_reads[each] for each in UsageEndpoint)


def _corridor_breaks(finding: Finding, part: Part, *, may_fall: Sequence[Unknown]) -> tuple[CorridorBreak, ...]:
    """Where each unit's bill leaves its corridor; d > 0 may fall anywhere in the active minutes of `may_fall`."""
    bill = [row for history in part.histories.values() for row in history.bill if not row.batch]
    breaks: list[CorridorBreak] = []
    for unit in finding.comparison.units:
        pair = unit.pair
        booked = [
            _clipped(row.first_minute, row.last_minute, book_amount(row, unit.field), part.window)
            for row in part.book
            if row.standing is Standing.COUNTED
            and row.usage_endpoint == pair.usage_endpoint
            and row.model in pair.book_models
        ]
        able = may_have_used(may_fall, pair, finding.comparison.pairs) if unit.d > 0 else ()
        if able:
            first = min(call.first_minute for call in able)
            last = max(call.last_minute for call in able)
            booked.append(_clipped(first, last, unit.d, part.window))
        billed: dict[int, int] = defaultdict(int)
        for row in bill:
            if row.usage_endpoint == pair.usage_endpoint and row.model in pair.bill_models:
                billed[row.minute] += bill_amount(row, unit.field)
        silent = unit.field is Field.CACHED
        minute = first_break(
            booked,
            billed,
            below=not (silent and unit.bill_silent),
            above=not (silent and unit.book_silent),
        )
        if minute is not None:
            breaks.append(CorridorBreak(unit=unit, minute=minute))
    return tuple(breaks)


def _clipped(first: int, last: int, amount: int, window: Window) -> Booked:
    """Active minutes of a part that was cut: what lies outside it has been shown to be closed."""
    first = min(max(first, window.start), window.end - 1)
    return Booked(first_minute=first, last_minute=max(first, min(last, window.end - 1)), amount=amount)
