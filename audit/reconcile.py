"""Two books in, verdicts out: the rules of DESIGN.md section 6, in their order, the first that matches.

`judge_chain` takes everything that the verdicts of one chain may rest on and gives a finding for each run in it. It is
total and pure: no clock, no file, no socket, the same answer whatever the order of its rows. There is one place here
that says `verified`; it is the last line of `_clear`, reached only where every minute of the run's window is confirmed
at every usage endpoint and no least solution puts an excess into the window or a deficit under one of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from ..data.call import Standing
from .bucket import Problem, UsageEndpoint
from .chain import Chain, Share
from .history import FALL_US, History, Minutes, differs_since, minutes_of
from .least import Dirty
from .pair import AsideBecause, ModelPair, set_aside
from .placement import Placed, Placement
from .solve import Solved, counted_rows, solve
from .unit import BillRow, BookRow, Field, RunName
from .unknown import Able, Because, able_calls, explained_minutes, may_be
from .verdict import FINAL, Reason, Verdict

DEFICIT_FINAL_US = FALL_US
"""What rests on a deficit is believed this long after the window: the provider may only be late."""
CLOSED_US = 7 * 24 * 3600 * 1_000_000
"""A run that is still not final this long after its first read is closed as it stands."""


class Proof(StrEnum):
    """What a `verified` rests on beside the least amount."""

    PLACED = "placed"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One usage endpoint, model and field, as it concerns one run."""

    pair: ModelPair
    field: Field
    book: int
    """The run's own counted calls."""
    others: int
    """Other counted calls of the key that ended in its window."""
    bill: int
    """Billed in the minutes of its window."""
    difference: int
    """bill - book of the whole chain as far as it is known, where the run is not clear of it; else 0."""
    compared: bool
    """False: one side says nothing of this field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One minute and unit in which some least solution has an excess, or a deficit."""

    pair: ModelPair
    field: Field
    minute: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A run's verdict on one key in one chain, and what it rests on."""

    share: Share
    verdict: Verdict
    reason: Reason | None = None
    proof: Proof | None = None
    final: bool = False
    closed: bool = False
    """Final only because it has been asked for long enough: it stands as it is."""
    joint: tuple[RunName, ...] = ()
    """Every run that what is wrong reaches, this one included; empty where it is this run's alone."""
    named: tuple[RunName, ...] = ()
    """Of `neighbour` and `open_call`: the runs that decide."""
    because: tuple[Because, ...] = ()
    """Of `incomplete`: why the excess may be explained, the least known first."""
    units: tuple[Unit, ...] = ()
    spots: tuple[Spot, ...] = ()
    """Where what is wrong may lie, in its window (excess) or under its calls (deficit)."""
    bill_known: bool = False
    """Every usage endpoint has a good read of every minute of the window, so that the bill may be shown as a bill."""

    @property
    def uncompared(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if not unit.compared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """An excess of a chain that lies in no run's window in any least solution."""

    pair: ModelPair
    minutes: tuple[int, ...]
    amount: Mapping[Field, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFinding:
    """What was found in one chain."""

    chain: Chain
    until: int
    """The first minute that is not confirmed, at most the chain's end."""
    minutes: Mapping[UsageEndpoint, Minutes]
    solved: tuple[Solved, ...]
    """If optional amounts whose class is not known are not billed."""
    able: tuple[Able, ...]
    explained: Mapping[ModelPair, frozenset[int]]
    """The minutes in which an excess of a model may be some such call's."""
    aside: tuple[tuple[AsideBecause, BillRow], ...]
    findings: tuple[Finding, ...]
    unplaced: tuple[Unplaced, ...]
    placed: Placed | None

    @property
    def closed(self) -> bool:
        return self.until >= self.chain.window.end

    @property
    def clean(self) -> bool:
        """Whether the whole chain is known and holds no error."""
        return self.closed and all(each.clean for each in self.solved)


Place = Callable[[Sequence[Solved]], Placed | None]
"""Searches for a placement of every call of a clean chain; None: not searched."""


def judge_chain(chain: Chain, *, place: Place | None = None) -> ChainFinding:
    """The verdict on every run of a chain."""
    minutes = _minutes(chain)
    until = _known_until(chain, minutes)
    compared, aside = set_aside(
        [row for each in minutes.values() for row in each.bill], rows=chain.rows, key_serves=chain.facts.serves
    )
    books = [
        solve(
            chain,
            compared,
            until=until,
            counted=counted_rows(chain, dict(zip(chain.optional_classes, so, strict=True))),
        )
        for so in product((False, True), repeat=len(chain.optional_classes))
    ]
    able = able_calls(chain.rows, chain.gaps)
    found = ChainFinding(
        chain=chain,
        until=until,
        minutes=minutes,
        solved=books[0],
        able=able,
        explained={pair: explained_minutes(able, pair, chain.facts.pairs) for pair in chain.facts.pairs},
        aside=tuple(aside),
        findings=(),
        unplaced=(),
        placed=None,
    )
    if place is not None and found.clean and len(books) == 1:
        found = replace(found, placed=place(books[0]))
    findings = tuple(
        _whole(_by_every_book(found, share, books, compared), found, share, compared) for share in chain.shares
    )
    return replace(found, findings=findings, unplaced=_unplaced(found))


def _minutes(chain: Chain, *, until_us: int | None = None) -> dict[UsageEndpoint, Minutes]:
    """What every usage endpoint's reads prove of a chain; of those until an instant alone, where one is given."""
    found = {}
    for endpoint in UsageEndpoint:
        history = chain.histories.get(endpoint) or History(usage_endpoint=endpoint)
        if until_us is not None:
            history = replace(history, reads=tuple(read for read in history.reads if read.asked_us <= until_us))
        found[endpoint] = minutes_of(history, chain.window, chain.waiting)
    return found


def _known_until(chain: Chain, minutes: Mapping[UsageEndpoint, Minutes]) -> int:
    """The first minute that some usage endpoint does not confirm, at most the chain's end."""
    unknown = (
        minute
        for minute in range(chain.window.start, chain.window.end)
        if not all(minute in each.confirmed for each in minutes.values())
    )
    return next(unknown, chain.window.end)


def _by_every_book(
    found: ChainFinding, share: Share, books: Sequence[Sequence[Solved]], bill: Sequence[BillRow]
) -> Finding:
    """One verdict from all books that may hold. They differ in whether optional amounts are billed."""
    first = _first_that_matches(found, share, books[0], bill)
    if len(books) == 1:
        return first
    said = [first, *(_first_that_matches(found, share, book, bill) for book in books[1:])]
    if len({(each.verdict, each.reason) for each in said}) == 1:
        joint = {run for each in said for run in each.joint} | ({share.run} if share.run is not None else set())
        return (
            replace(first, joint=tuple(sorted(joint, key=_name_order))) if any(each.joint for each in said) else first
        )
    if any(each.verdict in _BEFORE_THE_BOOKS for each in said):
        return next(each for each in said if each.verdict in _BEFORE_THE_BOOKS)
    return Finding(share=share, verdict=Verdict.INCOMPLETE, reason=Reason.OPTIONAL, because=(Because.OPTIONAL,))


_BEFORE_THE_BOOKS = frozenset(
    {Verdict.NOT_PERMITTED, Verdict.UNAVAILABLE, Verdict.PENDING, Verdict.DATA_NOT_AVAILABLE, Verdict.WARNING}
)


def _first_that_matches(
    found: ChainFinding, share: Share, solved: Sequence[Solved], bill: Sequence[BillRow]
) -> Finding:
    case = _Case(found=found, share=share, solved=tuple(solved), bill=tuple(bill))
    return (
        _failed_read(case)
        or _still_open(case)
        or _unsteady(case)
        or _not_known(case)
        or (_clear(case) if case.clear else None)
        or _neighbour_decides(case)
        or _not_visible(case)
        or _explained(case)
        or _short(case)
        or _over(case)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One run against one book, with what several rules ask."""

    found: ChainFinding
    share: Share
    solved: tuple[Solved, ...]
    bill: tuple[BillRow, ...]

    @property
    def chain(self) -> Chain:
        return self.found.chain

    @property
    def window(self) -> range:
        return range(self.share.window.start, self.share.window.end)

    @property
    def own(self) -> list[BookRow]:
        return [row for row in self.chain.rows if self.share.owns(row)]

    @property
    def known(self) -> bool:
        return self.share.window.end <= self.found.until

    @property
    def bill_zero(self) -> bool:
        return all(row.empty for row in self.bill if row.minute in self.share.window)

    @property
    def book_zero(self) -> bool:
        return not any(
            any(row.amount(field) for field in each.fields)
            for each in self.solved
            for row in each.rows
            if self.share.owns(row)
        )

    def ends(self, solved: Solved) -> frozenset[int]:
        """The minutes in which the run's own calls of a model ended: a deficit there may be theirs."""
        return frozenset(row.end_minute for row in solved.rows if self.share.owns(row))

    @property
    def reached(self) -> tuple[tuple[Solved, Spot], ...]:
        """Every excess that may lie in the window, and every deficit that may lie under the run's calls."""
        return tuple(
            (each, Spot(pair=each.pair, field=each.fields[spot.place], minute=spot.minute, more=spot.more))
            for each in self.solved
            for spot in sorted(
                each.excess(self.window) | each.deficit(self.ends(each)), key=lambda spot: (spot.minute, spot.place)
            )
        )

    @property
    def clear(self) -> bool:
        return not any(each.excess(self.window) or each.deficit(self.ends(each)) for each in self.solved)

    @property
    def guessed(self) -> bool:
        """Whether the run has to do with a model that is paired by renaming alone."""
        if self.chain.facts.renamed_holds:
            return False
        return any(
            each.guessed
            and (
                any(self.share.owns(row) for row in each.rows)
                or any(row.minute in self.share.window for row in each.bill)
            )
            for each in self.solved
        )

    @property
    def others(self) -> list[Share]:
        """The other runs of the chain; of an unnamed period there are none."""
        if self.share.run is None:
            return []
        return [each for each in self.chain.shares if each.run is not None and each.run != self.share.run]

    def alone(self, minutes: Sequence[int] | range) -> frozenset[int]:
        """Those of these minutes that lie in no other run's window."""
        return frozenset(minute for minute in minutes if not any(minute in other.window for other in self.others))

    def explained(self, solved: Solved) -> frozenset[int]:
        return self.found.explained[solved.pair]

    def own_ends_alone(self, solved: Solved) -> frozenset[int]:
        """The minutes in which calls of this run ended and none of another run or of none did."""
        others = {row.end_minute for row in solved.rows if not self.share.owns(row)}
        return frozenset(self.ends(solved) - others)

    def runs_of(self, spots: Sequence[tuple[Solved, Spot]]) -> tuple[RunName, ...]:
        """Every run that the errors seen in these spots reach, in this run's minutes or in others'."""
        names = set() if self.share.run is None else {self.share.run}
        for solved in self.solved:
            seen = {
                Dirty(minute=spot.minute, place=solved.fields.index(spot.field), more=spot.more)
                for each, spot in spots
                if each is solved
            }
            errors: set[Dirty] = set()
            for spot in seen:
                if spot not in errors:
                    errors |= solved.one_error(spot)
            for other in self.chain.shares:
                ends = {row.end_minute for row in solved.rows if other.owns(row)}
                if other.run is not None and any(
                    spot.minute in (other.window if spot.more else ends) for spot in errors
                ):
                    names.add(other.run)
        return tuple(sorted(names, key=_name_order))


def _name_order(name: RunName) -> tuple[str, str]:
    return name[0] or "", name[1]


def _failed_read(case: _Case) -> Finding | None:
    """Rule 1."""
    latest = [history.latest(case.share.window) for history in case.chain.histories.values()]
    problems = [read.problem for read in latest if read is not None and not read.good]
    if Problem.NOT_PERMITTED in problems:
        return Finding(share=case.share, verdict=Verdict.NOT_PERMITTED)
    return Finding(share=case.share, verdict=Verdict.UNAVAILABLE) if problems else None


def _still_open(case: _Case) -> Finding | None:
    """Rule 2."""
    if case.share.open:
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.RUN_OPEN)
    if any(row.open for row in case.own):
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.CALL_OPEN)
    return None


def _unsteady(case: _Case) -> Finding | None:
    """Rule 3."""
    if any(minute in each.fell for each in case.found.minutes.values() for minute in case.window):
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.FELL)
    final_us = case.share.final_us
    if final_us is None or (case.known and (case.clear or case.found.closed)):
        return None
    changed = any(differs_since(history, case.share.window, final_us) for history in case.chain.histories.values())
    if (changed and not case.known) or _known_until(
        case.chain, _minutes(case.chain, until_us=final_us)
    ) > case.found.until:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.CHANGED)
    return None


def _not_known(case: _Case) -> Finding | None:
    """Rule 4, while the window is not known."""
    if case.known:
        return None
    minutes = case.found.minutes.values()
    if any(minute in each.unread for each in minutes for minute in case.window):
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.NOT_READ)
    nothing_yet = case.bill_zero and not case.book_zero
    verdict = Verdict.DATA_NOT_AVAILABLE if nothing_yet else Verdict.PENDING
    settled_us = case.share.window.end_us + case.chain.waiting.settle_us
    asked = [_last_good_us(history, case.share) for history in case.chain.histories.values()]
    if any(each < settled_us for each in asked):
        return Finding(share=case.share, verdict=verdict, reason=Reason.NOT_SETTLED)
    return Finding(share=case.share, verdict=verdict, reason=Reason.NOT_CONFIRMED)


def _last_good_us(history: History, share: Share) -> int:
    return max((read.asked_us for read in history.reads if read.good and read.window.overlaps(share.window)), default=0)


def _clear(case: _Case) -> Finding:
    """Rules 5 to 7, of a run that is clear."""
    creates = [row for row in case.own if row.standing is not Standing.UNBILLED]
    proven = case.chain.facts.proven
    if case.share.ambiguous:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.UNLABELLED)
    if case.guessed:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.RENAMED)
    if not creates:
        if proven or case.share.counts_elsewhere:
            return Finding(share=case.share, verdict=Verdict.NO_ACTIVITY)
        return Finding(share=case.share, verdict=Verdict.DATA_NOT_AVAILABLE, reason=Reason.KEY_UNPROVEN)
    if not any(row.is_create_that_counts for row in creates):
        return Finding(share=case.share, verdict=Verdict.NOT_AUDITABLE)
    if case.book_zero and case.bill_zero and not proven:
        # An empty bill of a key id that never showed a token clears no call, known or unknown.
        return Finding(share=case.share, verdict=Verdict.DATA_NOT_AVAILABLE, reason=Reason.KEY_UNPROVEN)
    placed = case.found.placed
    loose = any(row.loose for row in case.chain.rows)
    if placed is not None and placed.outcome is Placement.IMPOSSIBLE and not loose:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.TIMING)
    proof = Proof.PLACED if placed is not None and placed.outcome is Placement.PLACED else Proof.AMOUNT
    return Finding(share=case.share, verdict=Verdict.VERIFIED, proof=proof)


def _neighbour_decides(case: _Case) -> Finding | None:
    """Rule 4, where the window is known and not clear, and what is not known yet may still decide."""
    waiting = [
        row for row in case.chain.rows if row.open and case.share.window.meets(row.first_minute, row.last_minute)
    ]
    if waiting:
        named = sorted({row.run for row in waiting if row.run is not None}, key=_name_order)
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.OPEN_CALL, named=tuple(named))
    if case.found.closed or _same_for_every_end(case):
        return None
    after = [each for each in case.others if each.window.end > case.found.until or each.open]
    named = sorted({each.run for each in after or case.others if each.run is not None}, key=_name_order)
    return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.NEIGHBOUR, named=tuple(named))


def _same_for_every_end(case: _Case) -> bool:
    """Whether rules 8 to 11 say the same however the chain goes on."""
    if any(_surely_short(case, each) for each in case.solved):
        return True
    spots = case.reached
    if any(_surely_over(case, each) for each in case.solved):
        # An excess that some end has, and no call explains, would make it `short`.
        return all(spot.minute in case.explained(each) for each, spot in spots if spot.more)
    return all(spot.more and spot.minute in case.explained(each) for each, spot in spots) and any(
        each.certain(case.alone(case.window), more=True) for each, _ in spots
    )


def _surely_short(case: _Case, solved: Solved) -> bool:
    """Whether every least solution has an excess in minutes of this run alone that nothing explains."""
    return solved.certain(case.alone(case.window) - case.explained(solved), more=True)


def _surely_over(case: _Case, solved: Solved) -> bool:
    """Whether every least solution has a deficit in minutes in which calls of this run alone ended."""
    return solved.certain(case.own_ends_alone(solved), more=False)


def _not_visible(case: _Case) -> Finding | None:
    """Rule 8."""
    if case.bill_zero and not case.book_zero:
        return Finding(share=case.share, verdict=Verdict.OVER, reason=Reason.KEY_NOT_VISIBLE)
    return None


def _explained(case: _Case) -> Finding | None:
    """Rule 9: some least solution puts all excess that reaches the run where calls of it may have been billed."""
    spots = case.reached
    more = [(each, spot) for each, spot in spots if spot.more]
    if not any(spot.minute in case.explained(each) for each, spot in more):
        return None
    if not all(each.avoidable(frozenset(case.window) - case.explained(each), more=True) for each in case.solved):
        return None
    if any(not spot.more for _, spot in spots):
        return _over(case)
    able = [
        call
        for call in case.found.able
        if any(
            may_be(call, each.pair, case.chain.facts.pairs) and call.first_minute <= spot.minute <= call.last_minute
            for each, spot in more
        )
    ]
    because = sorted({call.because for call in able}, key=_LEAST_KNOWN_FIRST.index)
    reason = Reason.OPTIONAL if because == [Because.OPTIONAL] else _REASONS.get(because[0]) if because else None
    return Finding(
        share=case.share,
        verdict=Verdict.INCOMPLETE,
        reason=reason,
        because=tuple(because),
        joint=_joint(case, more, sure=True),
    )


_LEAST_KNOWN_FIRST = (Because.UNKNOWN_ENDPOINT, Because.GAP, Because.UNKNOWN, Because.HOSTED, Because.OPTIONAL)
_REASONS = {
    Because.UNKNOWN_ENDPOINT: Reason.UNKNOWN_ENDPOINT,
    Because.GAP: Reason.GAP,
    Because.HOSTED: Reason.HOSTED,
}


def _short(case: _Case) -> Finding | None:
    """Rule 10."""
    spots = case.reached
    if not any(spot.more for _, spot in spots):
        return None
    sure = any(_surely_short(case, each) for each in case.solved)
    also = any(_surely_over(case, each) for each in case.solved)
    return Finding(
        share=case.share,
        verdict=Verdict.SHORT,
        reason=Reason.ALSO_OVER if also else None,
        joint=_joint(case, [each for each in spots if each[1].more], sure=sure),
    )


def _over(case: _Case) -> Finding:
    """Rule 11. Nothing else arrives here."""
    less = [each for each in case.reached if not each[1].more]
    if not less:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.UNDECIDED)
    sure = any(_surely_over(case, each) for each in case.solved)
    return Finding(share=case.share, verdict=Verdict.OVER, joint=_joint(case, less, sure=sure))


def _joint(case: _Case, spots: Sequence[tuple[Solved, Spot]], *, sure: bool) -> tuple[RunName, ...]:
    """The runs that share the doubt; none where the error is surely this run's."""
    return () if sure else case.runs_of(spots)


def _whole(finding: Finding, found: ChainFinding, share: Share, bill: Sequence[BillRow]) -> Finding:
    """The finding with its units, where its error may lie, and whether it is final."""
    case = _Case(found=found, share=share, solved=found.solved, bill=tuple(bill))
    minutes = found.minutes.values()
    clear = finding.verdict in (Verdict.VERIFIED, Verdict.NO_ACTIVITY) or case.clear
    finding = replace(
        finding,
        units=tuple(unit for each in found.solved for unit in _units(case, each, clear=clear)),
        spots=tuple(spot for _, spot in case.reached),
        bill_known=not any(minute in each.unread for each in minutes for minute in case.window),
    )
    if finding.verdict in FINAL and finding.reason is not Reason.OPTIONAL:
        rests_on_deficit = finding.verdict is Verdict.OVER or any(not spot.more for spot in finding.spots)
        if not rests_on_deficit or _settled_for(case, DEFICIT_FINAL_US):
            return replace(finding, final=True)
    closed = _is_closed(case)
    return replace(finding, final=closed, closed=closed)


def _settled_for(case: _Case, us: int) -> bool:
    """Whether every usage endpoint has a good read of the window that was made so long after its end."""
    return all(
        _last_good_us(case.chain.histories.get(each) or History(usage_endpoint=each), case.share)
        >= case.share.window.end_us + us
        for each in UsageEndpoint
    )


def _is_closed(case: _Case) -> bool:
    """Whether a run has been asked for long enough. One that goes on, or was never read, never is."""
    if case.share.open or case.share.window.end_us > case.chain.now_us:
        return False
    asked = [
        read.asked_us
        for history in case.chain.histories.values()
        for read in history.reads
        if read.window.overlaps(case.share.window)
    ]
    return bool(asked) and case.chain.now_us >= min(asked) + CLOSED_US


def _units(case: _Case, solved: Solved, *, clear: bool) -> list[Unit]:
    """Every field of one model as it concerns the run; none where neither the run nor its minutes know the model."""
    own = [row for row in solved.rows if case.share.owns(row)]
    bill = [row for row in solved.bill if row.minute in case.share.window]
    others = [row for row in solved.rows if not case.share.owns(row) and row.end_minute in case.share.window]
    if not own and not bill:
        return []
    fields = [*solved.fields, *([Field.CACHED] if solved.silent else [])]
    return [
        Unit(
            pair=solved.pair,
            field=field,
            book=sum(row.amount(field) for row in own),
            others=sum(row.amount(field) for row in others),
            bill=sum(row.amount(field) for row in bill),
            difference=(
                _difference(case, solved, field, own, others, bill) if field in solved.fields and not clear else 0
            ),
            compared=field in solved.fields,
        )
        for field in fields
    ]


def _difference(
    case: _Case,
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


def _unplaced(found: ChainFinding) -> tuple[Unplaced, ...]:
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
