"""Placement: can each call be put whole into one of its active minutes so that every bucket is equal?

The search is exact where it ends: `placed` with the placement found, which `holds` checks without the search, or
`impossible` if there is none. It is bounded in nodes and by a clock that the caller gives, per run of minutes; past a
bound the answer is `not_decided`. It is evidence for a verdict or against it, and never assumed. Models are searched
apart, and minutes where one side is exhausted on every field part one run of minutes from the next.

Pure, but for the clock it is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

NODES_MAX = 1_000_000
SECONDS_MAX = 1.0
ALL_SECONDS_MAX = 10.0
"""For all runs of minutes of one model together."""
KINDS_MAX = 400
"""Kinds of calls active in one minute; with more the search is not begun."""

Amounts = tuple[int, ...]
"""One number per compared field."""


class Placement(StrEnum):
    """What a search found."""

    PLACED = "placed"
    IMPOSSIBLE = "impossible"
    NOT_DECIDED = "not_decided"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Kind:
    """Calls alike in active minutes and amounts."""

    last: int
    first: int
    amounts: Amounts
    calls: int
    ended: int = 0
    """Their last open minute, without margin and shift; the search does not look at it."""
    position: int = -1
    """Which of the kinds given it is; set by `place`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """So many calls of one kind, put into one minute."""

    kind: int
    """Its place among the kinds given."""
    minute: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The outcome for one model."""

    outcome: Placement
    late_min: int = 0
    """Most minutes that a call was placed after it ended: how much of the shift this placement uses."""
    nodes: int = 0
    """Steps of the search."""
    witness: tuple[Put, ...] = ()
    """Where every call with an amount was put; only where it is `placed`."""


class _OutOfBounds(Exception):  # noqa: N818 - a bound reached, not an error
    pass


class _Budget:
    def __init__(self, nodes_max: int, seconds_max: float, now_s: Callable[[], float]) -> None:
        self.nodes = 0
        self._nodes_max = nodes_max
        self._now_s = now_s
        self._until_s = now_s() + seconds_max

    def spend(self) -> None:
        self.nodes += 1
        if self.nodes > self._nodes_max or (self.nodes % 1024 == 0 and self._now_s() > self._until_s):
            raise _OutOfBounds


def place(
    kinds: Sequence[Kind],
    billed: Mapping[int, Amounts],
    *,
    now_s: Callable[[], float],
    nodes_max: int = NODES_MAX,
    seconds_max: float = SECONDS_MAX,
) -> Placed:
    """Place the calls of one model. Bounds hold per run of minutes; one that is `impossible` decides the whole."""
    worst = Placement.PLACED
    nodes = 0
    witness: list[Put] = []
    until_s = now_s() + ALL_SECONDS_MAX
    named = [replace(kind, position=position) for position, kind in enumerate(kinds)]
    for run_kinds, run_billed in _runs(named, billed):
        if now_s() > until_s:
            return Placed(outcome=Placement.NOT_DECIDED, nodes=nodes)
        budget = _Budget(nodes_max, seconds_max, now_s)
        try:
            found = _search(run_kinds, run_billed, budget)
        except _OutOfBounds:
            worst = Placement.NOT_DECIDED
        else:
            if found is None:
                return Placed(outcome=Placement.IMPOSSIBLE, nodes=nodes + budget.nodes)
            witness += found
        nodes += budget.nodes
    if worst is not Placement.PLACED:
        return Placed(outcome=worst, nodes=nodes)
    if not holds(kinds, billed, witness):
        raise ArithmeticError("a placement was found that does not hold")
    late_min = max([0, *(put.minute - kinds[put.kind].ended for put in witness)])
    return Placed(outcome=worst, late_min=late_min, nodes=nodes, witness=tuple(witness))


def holds(kinds: Sequence[Kind], billed: Mapping[int, Amounts], witness: Iterable[Put]) -> bool:
    """Whether a placement is one: every call with an amount once, in an active minute, and every bucket equal."""
    left = {position: kind.calls for position, kind in enumerate(kinds) if any(kind.amounts)}
    sums: dict[int, list[int]] = {}
    for put in witness:
        kind = kinds[put.kind]
        left[put.kind] = left.get(put.kind, 0) - put.calls
        if put.calls < 1 or not kind.first <= put.minute <= kind.last:
            return False
        sums.setdefault(put.minute, [0] * len(kind.amounts))
        for place_of, amount in enumerate(kind.amounts):
            sums[put.minute][place_of] += amount * put.calls
    shown = {minute: list(amounts) for minute, amounts in billed.items() if any(amounts)}
    return not any(left.values()) and sums == shown


def _runs(
    kinds: Sequence[Kind], billed: Mapping[int, Amounts]
) -> Iterator[tuple[Sequence[Kind], Mapping[int, Amounts]]]:
    """Stretches of minutes that can be searched one by one.

    Before a border where the bill so far equals the book of the calls that ended before it, or of those that began
    before it, on every field, no other call can have been placed, and none of those can come later.
    """
    wide = len(next((kind.amounts for kind in kinds), next(iter(billed.values()), ())))
    nothing = (0,) * wide
    kinds = [kind for kind in kinds if any(kind.amounts)]
    begun: dict[int, Amounts] = defaultdict(lambda: nothing)
    ended: dict[int, Amounts] = defaultdict(lambda: nothing)
    for kind in kinds:
        whole = tuple(amount * kind.calls for amount in kind.amounts)
        begun[kind.first] = _sum(begun[kind.first], whole)
        ended[kind.last + 1] = _sum(ended[kind.last + 1], whole)
    minutes = {*begun, *ended, *(m for m in billed), *(m + 1 for m in billed)}
    if not minutes:
        return
    borders: dict[int, str] = {}
    begun_sum = ended_sum = billed_sum = nothing
    last_minute = max(minutes)
    for border in sorted(minutes):
        ended_sum = _sum(ended_sum, ended[border])
        billed_sum = _sum(billed_sum, billed.get(border - 1, nothing)) if border - 1 in billed else billed_sum
        if billed_sum == ended_sum:
            borders[border] = "ended"
        elif billed_sum == begun_sum:
            borders[border] = "begun"
        begun_sum = _sum(begun_sum, begun[border])
    marks = [min(minutes) - 1, *(border for border in sorted(borders)), last_minute + 1]
    left = list(kinds)
    for start, end in pairwise(marks):
        if borders.get(end) == "begun":
            inside = [kind for kind in left if kind.first < end]
        elif end == marks[-1]:
            inside = left
        else:
            inside = [kind for kind in left if kind.last < end]
        left = [kind for kind in left if kind not in inside]
        shown = {minute: amounts for minute, amounts in billed.items() if start <= minute < end and any(amounts)}
        if inside or shown:
            clipped = [
                Kind(
                    first=max(kind.first, start),
                    last=min(kind.last, end - 1),
                    amounts=kind.amounts,
                    calls=kind.calls,
                    ended=kind.ended,
                    position=kind.position,
                )
                for kind in inside
            ]
            yield clipped, shown


def _search(kinds: Sequence[Kind], billed: Mapping[int, Amounts], budget: _Budget) -> list[Put] | None:
    """Depth first over the minutes; every minute takes a set of active calls that adds up to its bucket.

    The placement found; None: there is none.
    """
    ordered = sorted(kinds)
    if any(kind.first > kind.last for kind in ordered):
        return None
    minutes = sorted({*billed, *(kind.last for kind in ordered)})
    wide = len(next((kind.amounts for kind in ordered), next(iter(billed.values()), ())))
    nothing = (0,) * wide
    left = [kind.calls for kind in ordered]
    dead: set[tuple[int, tuple[int, ...]]] = set()

    def choices(depth: int) -> Iterator[list[tuple[int, int]]]:
        minute = minutes[depth]
        able = [i for i, kind in enumerate(ordered) if left[i] and kind.first <= minute <= kind.last]
        if len(able) > KINDS_MAX:
            raise _OutOfBounds
        return _subsets(ordered, left, able, minute, billed.get(minute, nothing), budget)

    stack = [choices(0)] if minutes else []
    taken: list[list[tuple[int, int]]] = []
    while stack:
        chosen = next(stack[-1], None)
        if chosen is None:
            dead.add((len(stack), tuple(left)))
            stack.pop()
            if taken:
                for index, count in taken.pop():
                    left[index] += count
            continue
        for index, count in chosen:
            left[index] -= count
        depth = len(stack)
        if depth == len(minutes):
            return None if any(left) else _puts(ordered, minutes, [*taken, chosen])
        if (depth + 1, tuple(left)) in dead:
            for index, count in chosen:
                left[index] += count
            continue
        taken.append(chosen)
        stack.append(choices(depth))
    return [] if not minutes and not any(left) else None


def _puts(ordered: Sequence[Kind], minutes: Sequence[int], taken: Sequence[Sequence[tuple[int, int]]]) -> list[Put]:
    return [
        Put(kind=ordered[index].position, minute=minute, calls=count)
        for minute, chosen in zip(minutes, taken, strict=True)
        for index, count in chosen
    ]


def _subsets(
    ordered: Sequence[Kind],
    left: Sequence[int],
    able: Sequence[int],
    minute: int,
    target: Amounts,
    budget: _Budget,
) -> Iterator[list[tuple[int, int]]]:
    """Every choice of active calls that adds up to the bucket; calls in their last minute are all in it."""
    room = target
    fixed: list[tuple[int, int]] = []
    free: list[tuple[int, int]] = []
    for index in able:
        if ordered[index].last == minute:
            fixed.append((index, left[index]))
            room = tuple(have - amount * left[index] for have, amount in zip(room, ordered[index].amounts, strict=True))
        else:
            free.append((index, left[index]))
    if any(amount < 0 for amount in room):
        return
    after = [(0,) * len(target)]
    for index, count in reversed(free):
        after.append(_sum(after[-1], tuple(amount * count for amount in ordered[index].amounts)))
    after.reverse()
    chosen: list[tuple[int, int]] = []

    def descend(place: int, room: Amounts) -> Iterator[list[tuple[int, int]]]:
        budget.spend()
        if not any(room):
            yield [*fixed, *chosen]
            return
        if place == len(free) or any(need > have for need, have in zip(room, after[place], strict=True)):
            return
        index, count = free[place]
        amounts = ordered[index].amounts
        most = min([count, *(need // amount for need, amount in zip(room, amounts, strict=True) if amount)])
        for take in range(most, -1, -1):
            if take:
                chosen.append((index, take))
            yield from descend(place + 1, tuple(n - a * take for n, a in zip(room, amounts, strict=True)))
            if take:
                chosen.pop()

    yield from descend(0, room)


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return tuple(a + b for a, b in zip(one, other, strict=True))
