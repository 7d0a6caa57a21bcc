"""Residuals: what is left where the two books differ, where it can lie, and who could explain it.

A residual is the difference of one model of one usage endpoint, all its fields together. The minutes it can lie in are
those that show a bill (or, where the book has more, those in which its calls were active); where the fields allow only
one call, that call is named. A candidate is a possibility with its evidence, never a finding: an abort that was billed
nothing beside a call that went past the meter looks the same as a billed abort.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..data.call import Standing
from .bucket import UsageEndpoint
from .named_calls import CountedCall, UnknownCall
from .questions import RunName
from .reconcile import Finding, Part
from .report import UnclaimedMinute
from .unit import Field, ModelPair, Unit, bill_amount
from .unknown import may_have_used
from .verdict import Verdict

MINUTES_MAX = 60
CALLS_MAX = 20


class CandidateKind(StrEnum):
    """Who could explain a residual."""

    BYPASS = "bypass"
    """A call with this key that went past the meter."""
    UNKNOWN = "unknown"
    """A call whose usage nobody stated."""
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
    """No call of this model was active in these minutes, so it lies nowhere else."""
    candidates: tuple[Candidate, ...]


def residuals(
    part: Part,
    finding: Finding,
    *,
    calls: Sequence[CountedCall],
    unknown: Sequence[UnknownCall],
    neighbours: Sequence[RunName],
    unclaimed: Sequence[UnclaimedMinute],
) -> tuple[Residual, ...]:
    """Every residual of a part. `calls` and `unknown`: those of its minutes; `neighbours`: other runs in them."""
    if not finding.bill_known:
        return ()
    found = []
    for pair in finding.comparison.pairs:
        units = [unit for unit in finding.comparison.units if unit.pair == pair and unit.d != 0]
        if units:
            found.append(_residual(part, finding, pair, units, calls, unknown, neighbours, unclaimed))
    return tuple(found)


def inferred_counts(finding: Finding) -> dict[str, int] | None:
    """What the one unknown call of a part would have used if all that is left were its own; None: not to be said.

    Only of an `incomplete` part with one unknown call, one model left over, and cached tokens within the input. It is
    stored apart and summed nowhere: an abort billed nothing beside a call past the meter looks the same.
    """
    if finding.verdict is not Verdict.INCOMPLETE or sum(call.calls for call in finding.unknown) != 1:
        return None
    units = [unit for unit in finding.comparison.units if unit.d > 0]
    if len({unit.pair for unit in units}) != 1:
        return None
    of_model = [unit for unit in finding.comparison.units if unit.pair == units[0].pair]
    if any(unit.uncompared for unit in of_model):
        return None
    counts = {str(unit.field): unit.d for unit in of_model}
    return counts if counts.get(Field.CACHED, 0) <= counts.get(Field.INPUT, 0) or Field.INPUT not in counts else None


def _residual(
    part: Part,
    finding: Finding,
    pair: ModelPair,
    units: Sequence[Unit],
    calls: Sequence[CountedCall],
    unknown: Sequence[UnknownCall],
    neighbours: Sequence[RunName],
    unclaimed: Sequence[UnclaimedMinute],
) -> Residual:
    differences = {unit.field: unit.d for unit in units}
    ours = [call for call in calls if call.usage_endpoint == pair.usage_endpoint and call.model in pair.book_models]
    more = any(d > 0 for d in differences.values())
    minutes, certain = _bill_minutes(part, pair, units) if more else (_book_minutes(part, pair), False)
    candidates: list[Candidate] = []
    if more:
        candidates += _candidates_for_more(part, finding, pair, unknown, neighbours, minutes)
    if any(d < 0 for d in differences.values()):
        candidates += _candidates_for_less(finding, differences, ours, pair, unclaimed)
    if not finding.final:
        candidates.append(Candidate(kind=CandidateKind.STILL_SETTLING))
    return Residual(
        usage_endpoint=pair.usage_endpoint,
        model=pair.model,
        differences=differences,
        minutes=minutes[:MINUTES_MAX],
        certain=certain,
        candidates=tuple(candidates),
    )


def _candidates_for_more(
    part: Part,
    finding: Finding,
    pair: ModelPair,
    unknown: Sequence[UnknownCall],
    neighbours: Sequence[RunName],
    minutes: Sequence[int],
) -> list[Candidate]:
    able = may_have_used(finding.unknown, pair, finding.comparison.pairs)
    found = []
    if able:
        named = [
            call.call_id
            for call in unknown
            if call.usage_endpoint in (None, pair.usage_endpoint)
            and (call.model is None or any(each.model == call.model for each in able))
        ]
        alone = sum(call.calls for call in able) == 1 and len(named) == 1
        found.append(Candidate(kind=CandidateKind.UNKNOWN, calls=tuple(named[:CALLS_MAX]), pinpointed=alone))
    found.append(Candidate(kind=CandidateKind.BYPASS, minutes=tuple(minutes[:MINUTES_MAX])))
    if neighbours:
        found.append(Candidate(kind=CandidateKind.NEIGHBOUR, runs=tuple(neighbours[:CALLS_MAX])))
    if any(row.standing is Standing.UNCOVERED for row in part.book):
        found.append(Candidate(kind=CandidateKind.UNCOVERED))
    found.append(Candidate(kind=CandidateKind.ANOTHER_LEDGER))
    return found


def _candidates_for_less(
    finding: Finding,
    differences: dict[Field, int],
    ours: Sequence[CountedCall],
    pair: ModelPair,
    unclaimed: Sequence[UnclaimedMinute],
) -> list[Candidate]:
    missing = {field: -d for field, d in differences.items()}
    found = []
    twice = [call.call_id for call in ours if call.seen_twice]
    if twice:
        found.append(Candidate(kind=CandidateKind.SEEN_TWICE, calls=tuple(twice[:CALLS_MAX])))
    late = [
        each
        for each in unclaimed
        if each.usage_endpoint is pair.usage_endpoint and each.model in pair.bill_models | pair.book_models
    ]
    if late and all(sum(_unclaimed(each, field) for each in late) == n for field, n in missing.items()):
        found.append(Candidate(kind=CandidateKind.LATE, minutes=tuple(sorted({each.minute for each in late}))))
    # Not billed at all, or not on this key: then what is missing is some calls' own counts, field by field.
    compared = {unit.field: -unit.d for unit in finding.comparison.units if unit.pair == pair and not unit.uncompared}
    alike = [
        call.call_id
        for call in ours
        if all(_stated(call, field) in (n, None) for field, n in compared.items()) and not finding.comparison.bill_zero
    ]
    found.append(
        Candidate(kind=CandidateKind.KEY_ID, calls=tuple(alike[:CALLS_MAX]), pinpointed=len(alike) == 1),
    )
    return found


def _bill_minutes(part: Part, pair: ModelPair, units: Sequence[Unit]) -> tuple[tuple[int, ...], bool]:
    """Minutes with a bill of this model; those without any active call of it alone, where they hold all of it."""
    fields = [unit.field for unit in units if unit.d > 0]
    billed: dict[int, int] = {}
    for history in part.histories.values():
        for row in history.bill:
            if not row.batch and row.usage_endpoint is pair.usage_endpoint and row.model in pair.bill_models:
                billed[row.minute] = billed.get(row.minute, 0) + sum(bill_amount(row, each) for each in fields)
    covered = [
        (row.first_minute, row.last_minute)
        for row in part.book
        if row.standing is Standing.COUNTED
        and row.usage_endpoint == pair.usage_endpoint
        and row.model in pair.book_models
    ]
    shown = sorted(minute for minute, amount in billed.items() if amount)
    alone = [minute for minute in shown if not any(first <= minute <= last for first, last in covered)]
    if alone and sum(billed[minute] for minute in alone) >= sum(unit.d for unit in units if unit.d > 0):
        return tuple(alone), True
    return tuple(shown), False


def _book_minutes(part: Part, pair: ModelPair) -> tuple[int, ...]:
    minutes: set[int] = set()
    for row in part.book:
        counted = row.standing is Standing.COUNTED and row.usage_endpoint == pair.usage_endpoint
        if counted and row.model in pair.book_models:
            minutes.update(range(row.first_minute, row.last_minute + 1))
    return tuple(sorted(minutes))


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
