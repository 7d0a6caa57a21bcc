"""Two books in, verdicts out: the rules of docs/design/audit.md "Verdicts", in their order.

`judge_chain` takes everything that the verdicts of one chain may rest on and gives a finding for each run in it. It is
total and pure: no clock, no file, no socket, the same answer whatever the order of its rows. There is one place here
that says `verified`; it is the last line of `_clear`, reached only where every minute of the run's window is confirmed
at every usage endpoint and no least solution puts an excess into the window or a deficit under one of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from ..data.call import Standing
from .bucket import Problem, UsageEndpoint
from .case import Case, name_order
from .chain import Chain, Share
from .concern import last_good_us, unplaced, whole
from .drawn import IMAGE_TOKENS
from .finding import ChainFinding, Finding, Proof, Spot
from .history import History, Minutes, differs_since, minutes_of
from .pair import set_aside
from .placement import Placed, Placement
from .solve import Solved, counted_rows, rows_by_run, solve
from .unit import RunName
from .unknown import Because, able_calls, explained_minutes, may_be
from .verdict import Reason, Verdict

Place = Callable[[Sequence[Solved]], Placed | None]
"""Searches for a placement of every call of a clean chain; None: not searched."""


def judge_chain(chain: Chain, *, place: Place | None = None) -> ChainFinding:
    """The verdict on every run of a chain."""
    minutes = _minutes(chain)
    until = _known_until(chain, minutes)
    bill = [row for each in minutes.values() for row in each.bill]
    ways = [
        {**chain.facts.optional, **dict(zip(chain.optional_classes, so, strict=True))}
        for so in product((False, True), repeat=len(chain.optional_classes))
    ]
    sides = [
        set_aside(
            bill,
            rows=chain.rows,
            key_serves=chain.facts.serves,
            image_tokens_billed=billed.get(IMAGE_TOKENS, False),
        )
        for billed in ways
    ]
    books = [
        solve(chain, compared, until=until, counted=counted_rows(chain, billed))
        for billed, (compared, _) in zip(ways, sides, strict=True)
    ]
    compared, aside = sides[0]
    able = able_calls(chain.rows, chain.gaps, chain.facts.optional)
    found = ChainFinding(
        chain=chain,
        until=until,
        minutes=minutes,
        solved=books[0],
        able=able,
        explained={pair: explained_minutes(able, pair, chain.facts.pairs) for pair in chain.facts.pairs},
        aside=tuple(aside),
        rows_of=rows_by_run(chain.rows),
        billed=frozenset(row.minute for row in compared if not row.empty),
        findings=(),
        unplaced=(),
        placed=None,
    )
    if place is not None and found.clean and len(books) == 1:
        found = replace(found, placed=place(books[0]))
    findings = tuple(_of_run(found, share, books) for share in chain.shares)
    return replace(found, findings=findings, unplaced=unplaced(found))


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
    confirmed = frozenset.intersection(*(each.confirmed for each in minutes.values()))
    window = range(chain.window.start, chain.window.end)
    return next((minute for minute in window if minute not in confirmed), chain.window.end)


def _of_run(found: ChainFinding, share: Share, books: Sequence[tuple[Solved, ...]]) -> Finding:
    cases = [Case(found=found, share=share, solved=book) for book in books]
    return whole(_by_every_book(share, cases), cases[0])


def _by_every_book(share: Share, cases: Sequence[Case]) -> Finding:
    """One verdict from all books that may hold. They differ in whether optional amounts are billed."""
    said = [_first_that_matches(case) for case in cases]
    first = said[0]
    if len(said) == 1:
        return first
    if len({(each.verdict, each.reason) for each in said}) == 1:
        joint = {run for each in said for run in each.joint} | ({share.run} if share.run is not None else set())
        return replace(first, joint=tuple(sorted(joint, key=name_order))) if any(each.joint for each in said) else first
    if any(each.verdict in _BEFORE_THE_BOOKS for each in said):
        return next(each for each in said if each.verdict in _BEFORE_THE_BOOKS)
    return Finding(share=share, verdict=Verdict.INCOMPLETE, reason=Reason.OPTIONAL, because=(Because.OPTIONAL,))


_BEFORE_THE_BOOKS = frozenset(
    {Verdict.NOT_PERMITTED, Verdict.UNAVAILABLE, Verdict.PENDING, Verdict.DATA_NOT_AVAILABLE, Verdict.WARNING}
)


def _first_that_matches(case: Case) -> Finding:
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


def _failed_read(case: Case) -> Finding | None:
    """Rule 1."""
    latest = [history.latest(case.share.window) for history in case.chain.histories.values()]
    problems = [read.problem for read in latest if read is not None and not read.good]
    if Problem.NOT_PERMITTED in problems:
        return Finding(share=case.share, verdict=Verdict.NOT_PERMITTED)
    return Finding(share=case.share, verdict=Verdict.UNAVAILABLE) if problems else None


def _still_open(case: Case) -> Finding | None:
    """Rule 2."""
    if case.share.open:
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.RUN_OPEN)
    if any(row.open for row in case.own):
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.CALL_OPEN)
    return None


def _unsteady(case: Case) -> Finding | None:
    """Rule 3."""
    if not all(each.fell.isdisjoint(case.window) for each in case.found.minutes.values()):
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


def _not_known(case: Case) -> Finding | None:
    """Rule 4, while the window is not known."""
    if case.known:
        return None
    minutes = case.found.minutes.values()
    if not all(each.unread.isdisjoint(case.window) for each in minutes):
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.NOT_READ)
    nothing_yet = case.bill_zero and not case.book_zero
    verdict = Verdict.DATA_NOT_AVAILABLE if nothing_yet else Verdict.PENDING
    settled_us = case.share.window.end_us + case.chain.waiting.settle_us
    asked = [last_good_us(history, case.share) for history in case.chain.histories.values()]
    if any(each < settled_us for each in asked):
        return Finding(share=case.share, verdict=verdict, reason=Reason.NOT_SETTLED)
    return Finding(share=case.share, verdict=verdict, reason=Reason.NOT_CONFIRMED)


def _clear(case: Case) -> Finding:
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
    impossible = placed is not None and placed.outcome is Placement.IMPOSSIBLE
    if impossible and not any(row.loose for row in case.chain.rows):
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.TIMING)
    proof = Proof.PLACED if placed is not None and placed.outcome is Placement.PLACED else Proof.AMOUNT
    return Finding(share=case.share, verdict=Verdict.VERIFIED, proof=proof)


def _neighbour_decides(case: Case) -> Finding | None:
    """Rule 4, where the window is known and not clear, and what is not known yet may still decide."""
    waiting = [
        row for row in case.chain.rows if row.open and case.share.window.meets(row.first_minute, row.last_minute)
    ]
    if waiting:
        named = sorted({row.run for row in waiting if row.run is not None}, key=name_order)
        return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.OPEN_CALL, named=tuple(named))
    if case.found.closed or _same_for_every_end(case):
        return None
    after = [each for each in case.others if each.window.end > case.found.until or each.open]
    named = sorted({each.run for each in after or case.others if each.run is not None}, key=name_order)
    return Finding(share=case.share, verdict=Verdict.PENDING, reason=Reason.NEIGHBOUR, named=tuple(named))


def _same_for_every_end(case: Case) -> bool:
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


def _surely_short(case: Case, solved: Solved) -> bool:
    """Whether every least solution has an excess in minutes of this run alone that nothing explains."""
    return solved.certain(case.alone(case.window) - case.explained(solved), more=True)


def _surely_over(case: Case, solved: Solved) -> bool:
    """Whether every least solution has a deficit in minutes in which calls of this run alone ended."""
    return solved.certain(case.own_ends_alone(solved), more=False)


def _not_visible(case: Case) -> Finding | None:
    """Rule 8."""
    if case.bill_zero and not case.book_zero:
        return Finding(share=case.share, verdict=Verdict.OVER, reason=Reason.KEY_NOT_VISIBLE)
    return None


def _explained(case: Case) -> Finding | None:
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


def _short(case: Case) -> Finding | None:
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


def _over(case: Case) -> Finding:
    """Rule 11. Nothing else arrives here."""
    less = [each for each in case.reached if not each[1].more]
    if not less:
        return Finding(share=case.share, verdict=Verdict.WARNING, reason=Reason.UNDECIDED)
    sure = any(_surely_over(case, each) for each in case.solved)
    return Finding(share=case.share, verdict=Verdict.OVER, joint=_joint(case, less, sure=sure))


def _joint(case: Case, spots: Sequence[tuple[Solved, Spot]], *, sure: bool) -> tuple[RunName, ...]:
    """The runs that share the doubt; none where the error is surely this run's."""
    return () if sure else case.runs_of(spots)
