"""Residuals: what is left where the two books differ, where it can lie, and who could explain it.

A residual is the difference of one model of one usage endpoint, all its fields together. The minutes it can lie in are
those in which some least solution has it; where the fields allow only one call, that call is named. A candidate is a
possibility with its evidence, never a finding: an abort that was billed nothing beside a call that went past the meter
looks the same as a billed abort.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..data.call import Standing
from .bucket import UsageEndpoint
from .finding import ChainFinding, Finding, Spot
from .named_calls import CountedCall, UnknownCall
from .report import UnclaimedMinute
from .solve import Solved
from .unit import Field, RunName
from .unknown import Able, Because, may_be
from .verdict import Verdict

MINUTES_MAX = 60
CALLS_MAX = 20


class CandidateKind(StrEnum):
    """Who could explain a residual."""

    BYPASS = "bypass"
    """A call with this key that went past the meter."""
    UNKNOWN = "unknown"
    """A call whose usage nobody stated."""
    HOSTED = "hosted"
    """A hosted tool that may be billed for what it read, beside what its call reports."""
    OPTIONAL = "optional"
    """Reported amounts of which it is not known yet whether they are billed."""
    NEIGHBOUR = "neighbour"
    """Another run, or calls outside any run, on the same key in the same minutes."""
    LATE = "late"
    """Billed later than the shift allows: as much is unclaimed right after. Try a larger `--shift`."""
    STILL_SETTLING = "still_settling"
    KEY_ID = "key_id"
    """The key id is not the one that was billed."""
    SEEN_TWICE = "seen_twice"
    """Two of our calls carry one request id: one response may be in the book twice."""
    ANOTHER_LEDGER = "another_ledger"
    """A second meter with a ledger of its own saw these calls; copy its journals in."""
    UNCOVERED = "uncovered"
    """Calls without a token total in the same minutes, which may be billed in tokens all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One possibility and what speaks for it."""

    kind: CandidateKind
    calls: tuple[str, ...] = ()
    """call_ids that it points at; exactly one where the fields allow no other."""
    runs: tuple[RunName, ...] = ()
    minutes: tuple[int, ...] = ()
    pinpointed: bool = False
    """The fields allow this one call alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """bill - book of one model, field by field."""

    usage_endpoint: UsageEndpoint
    model: str | None
    differences: dict[Field, int]
    minutes: tuple[int, ...]
    """Where it can lie; at most `MINUTES_MAX`, ascending."""
    certain: bool
    """Every least solution has it in these minutes."""
    candidates: tuple[Candidate, ...]


def residuals(
    found: ChainFinding,
    finding: Finding,
    *,
    calls: Sequence[CountedCall],
    unknown: Sequence[UnknownCall],
    unclaimed: Sequence[UnclaimedMinute],
) -> tuple[Residual, ...]:
    """Every residual that concerns a run. `calls` and `unknown`: those of its minutes.

    A model that is billed too much in one minute and too little in another makes two.
    """
    if not finding.bill_known:
        return ()
    made = []
    for solved in found.solved:
        for more in (True, False):
            spots = [spot for spot in finding.spots if spot.pair == solved.pair and spot.more is more]
            if spots:
                made.append(_residual(found, finding, solved, spots, calls, unknown, unclaimed))
    return tuple(made)


def inferred_counts(found: ChainFinding, finding: Finding) -> dict[str, int] | None:
    """What the one unknown call of a run would have used if all that is left were its own; None: not to be said.

    Only of an `incomplete` run with one unknown call, one model left over, and cached tokens within the input. It is
    stored apart and summed nowhere: an abort billed nothing beside a call past the meter looks the same.
    """
    able = [each for each in found.able if finding.share.window.meets(each.first_minute, each.last_minute)]
    if finding.verdict is not Verdict.INCOMPLETE or sum(each.calls for each in able) != 1 or not found.closed:
        return None
    left = [each for each in found.solved if any(each.total)]
    if len(left) != 1 or left[0].silent or any(amount < 0 for amount in left[0].total):
        return None
    counts = {str(field): amount for field, amount in zip(left[0].fields, left[0].total, strict=True)}
    return counts if Field.INPUT not in counts or counts.get(Field.CACHED, 0) <= counts[Field.INPUT] else None


def _residual(
    found: ChainFinding,
    finding: Finding,
    solved: Solved,
    spots: Sequence[Spot],
    calls: Sequence[CountedCall],
    unknown: Sequence[UnknownCall],
    unclaimed: Sequence[UnclaimedMinute],
) -> Residual:
    """The spots of one model and one side of the books."""
    more = spots[0].more
    minutes = tuple(sorted({spot.minute for spot in spots}))
    units = [unit for unit in finding.units if unit.pair == solved.pair and unit.compared]
    differences = {unit.field: unit.difference for unit in units if unit.difference and (unit.difference > 0) is more}
    if more:
        candidates = _candidates_for_more(found, finding, solved, minutes, calls, unknown)
    else:
        ours = [call for call in calls if call.usage_endpoint == solved.pair.usage_endpoint]
        counted = [call for call in ours if call.model in solved.pair.book_models and not call.optional]
        candidates = _candidates_for_less(solved, counted, unclaimed)
    others = [run for run in (*finding.joint, *finding.named) if run != finding.share.run]
    if others:
        candidates.append(Candidate(kind=CandidateKind.NEIGHBOUR, runs=tuple(dict.fromkeys(others))[:CALLS_MAX]))
    if not finding.final:
        candidates.append(Candidate(kind=CandidateKind.STILL_SETTLING))
    return Residual(
        usage_endpoint=solved.pair.usage_endpoint,
        model=solved.pair.model,
        differences=differences,
        minutes=minutes[:MINUTES_MAX],
        certain=solved.certain(minutes, more=more),
        candidates=tuple(candidates),
    )


_KINDS = {
    Because.UNKNOWN: CandidateKind.UNKNOWN,
    Because.UNKNOWN_ENDPOINT: CandidateKind.UNKNOWN,
    Because.GAP: CandidateKind.UNKNOWN,
    Because.HOSTED: CandidateKind.HOSTED,
    Because.OPTIONAL: CandidateKind.OPTIONAL,
}


def _candidates_for_more(
    found: ChainFinding,
    finding: Finding,
    solved: Solved,
    minutes: Sequence[int],
    told: Sequence[CountedCall],
    unknown: Sequence[UnknownCall],
) -> list[Candidate]:
    able = [
        each
        for each in found.able
        if may_be(each, solved.pair, found.chain.facts.pairs)
        and any(each.first_minute <= minute <= each.last_minute for minute in minutes)
    ]
    made = [_able_candidate(kind, able, told, unknown) for kind in dict.fromkeys(_KINDS[each.because] for each in able)]
    made.append(Candidate(kind=CandidateKind.BYPASS, minutes=tuple(minutes[:MINUTES_MAX])))
    window = finding.share.window
    if any(
        row.standing is Standing.UNCOVERED and window.meets(row.first_minute, row.last_minute)
        for row in found.chain.rows
    ):
        made.append(Candidate(kind=CandidateKind.UNCOVERED))
    made.append(Candidate(kind=CandidateKind.ANOTHER_LEDGER))
    return made


def _able_candidate(
    kind: CandidateKind, able: Sequence[Able], told: Sequence[CountedCall], unknown: Sequence[UnknownCall]
) -> Candidate:
    of_kind = [each for each in able if _KINDS[each.because] is kind]
    named = [call.call_id for call in told if any(_may_be_of(call, each) for each in of_kind)]
    if kind is not CandidateKind.UNKNOWN:
        return Candidate(kind=kind, calls=tuple(named[:CALLS_MAX]))
    named += [
        call.call_id
        for call in unknown
        if any(
            each.usage_endpoint in (None, call.usage_endpoint)
            and each.calls_at is None
            and (not each.models or call.model in (None, *each.models))
            for each in of_kind
        )
    ]
    alone = len(able) == 1 and of_kind[0].calls == 1 and len(named) == 1
    return Candidate(kind=kind, calls=tuple(named[:CALLS_MAX]), pinpointed=alone)


def _may_be_of(call: CountedCall, each: Able) -> bool:
    """Whether a call that told its usage may be one of those that may be billed beside it."""
    if each.models and call.model not in each.models:
        return False
    if each.calls_at is not None:
        # The tokens of image calls: those that were told, or whose usage nobody stated.
        told = call.input_tokens is not None and call.output_tokens is not None
        return call.usage_endpoint == each.calls_at and not call.optional and told is (each.because is Because.OPTIONAL)
    if call.usage_endpoint != each.usage_endpoint:
        return False
    if each.because is Because.OPTIONAL:
        return call.optional
    return each.because is Because.HOSTED and call.hosted and not call.optional and call.drew == each.draws


def _candidates_for_less(
    solved: Solved, ours: Sequence[CountedCall], unclaimed: Sequence[UnclaimedMinute]
) -> list[Candidate]:
    missing = {field: -amount for field, amount in zip(solved.fields, solved.total, strict=True)}
    made = []
    twice = [call.call_id for call in ours if call.seen_twice]
    if twice:
        made.append(Candidate(kind=CandidateKind.SEEN_TWICE, calls=tuple(twice[:CALLS_MAX])))
    late = [
        each
        for each in unclaimed
        if each.usage_endpoint is solved.pair.usage_endpoint
        and each.model in solved.pair.bill_models | solved.pair.book_models
    ]
    if late and all(sum(_unclaimed(each, field) for each in late) == n for field, n in missing.items()):
        made.append(Candidate(kind=CandidateKind.LATE, minutes=tuple(sorted({each.minute for each in late}))))
    # Not billed at all, or not on this key: then what is missing is some calls' own counts, field by field.
    alike = [call.call_id for call in ours if all(_stated(call, field) in (n, None) for field, n in missing.items())]
    pinpointed = len(alike) == 1 and bool(solved.bill)
    made.append(Candidate(kind=CandidateKind.KEY_ID, calls=tuple(alike[:CALLS_MAX]), pinpointed=pinpointed))
    return made


def _stated(call: CountedCall, field: Field) -> int | None:
    match field:
        case Field.INPUT:
            return call.input_tokens
        case Field.CACHED:
            return call.cached_input_tokens
        case Field.OUTPUT:
            return call.output_tokens
        case Field.IMAGES:
            return call.images


def _unclaimed(each: UnclaimedMinute, field: Field) -> int:
    match field:
        case Field.INPUT:
            return each.input_tokens
        case Field.CACHED:
            return each.cached_input_tokens
        case Field.OUTPUT:
            return each.output_tokens
        case Field.IMAGES:
            return each.images
