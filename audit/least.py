"""Least amount: which minutes of a chain hold the error in some least solution, and which in every one.

A solution is a path through the gates from nothing to an end; its amount is the sum of all steps, over fields. For a
fixed end every path has at least the end's absolute value, and a path of one sign reaches it; so as long as a chain's
errors have one sign in each unit the truth is itself a least solution, and what no least solution changes is clean
(proof and figures: docs/design/audit.md "Least amount"). Each end is judged on its own, never the least over
ends, and amounts are tokens, never numbers of steps.

Boxes: field by field a path is a row of clamps, and a minute is dirty iff the clamp from the left and the clamp from
the right differ. Lists: the same with a few apexes instead of one. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import le, sub

from .gate import Borders, Column, Gate, Vector, cut_to

APEXES_MAX = 400
"""Apexes of one gate; a list that leaves more is taken as its box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """A minute in which some least solution changes the error of one field."""

    minute: int
    place: int
    """Which field."""
    more: bool
    """Excess, or (False) deficit."""


def dirty_of(borders: Borders, *, closed: bool) -> frozenset[Dirty]:
    """Every minute that some least solution changes, for some end.

    A closed chain has one end. While a chain goes on both extreme ends of the last gate stand for all.
    """
    start, low, high = borders.start, borders.low, borders.high
    end, other_end = borders.lowest_end, borders.highest_end
    if not closed:
        return frozenset(_dirty_boxes(start, low, high, end) | _dirty_boxes(start, low, high, other_end))
    if end != other_end:
        raise ValueError("a closed chain has one end")
    if least_amounts(borders) != tuple(map(abs, end)):
        # No path of one sign: the errors have two, and boxes say less than lists but nothing wrong.
        return frozenset(_dirty_boxes(start, low, high, end))
    if not any(end):
        return frozenset()
    gates = cut_to(borders, end)
    listed = _dirty_lists(start, gates, end)
    if listed is not None:
        return frozenset(listed)
    low = tuple(zip(*(gate.low for gate in gates), strict=True))
    high = tuple(zip(*(gate.high for gate in gates), strict=True))
    return frozenset(_dirty_boxes(start, low, high, end))


def least_amounts(borders: Borders) -> Vector:
    """The least amount of each field, for the end of a closed chain."""
    return tuple(map(_least, borders.low, borders.high, borders.lowest_end))


def one_error(borders: Borders, dirty: Iterable[Dirty], spot: Dirty, *, closed: bool) -> frozenset[Dirty]:
    """The dirty minutes that this one's error may lie in: those that no settled border parts from it.

    At a settled border every least solution, for every end, shows one value of the field; what lies before it and what
    lies after are errors of their own, and each is whole in its part in every least solution.
    """
    settled = _settled(borders, spot.place, closed=closed)
    first = max((border for border in settled if border <= spot.minute), default=borders.start)
    end = min((border for border in settled if border > spot.minute), default=borders.until)
    return frozenset(
        each for each in dirty if each.place == spot.place and each.more is spot.more and first <= each.minute < end
    )


def _settled(borders: Borders, place: int, *, closed: bool) -> frozenset[int]:
    """The borders at which the clamp from the left and the clamp from the right agree, whatever the end."""
    low, high = borders.low[place], borders.high[place]
    forward = _clamps(low, high)
    found = frozenset(range(borders.start, borders.until + 1))
    for value in {low[-1]} if closed else {low[-1], high[-1]}:
        agreed = set()
        for step in range(len(low) - 1, -1, -1):
            value = min(max(value, low[step]), high[step]) if step else value
            if value == forward[step]:
                agreed.add(borders.start + step)
        found &= agreed
    return found | {borders.start}


def _clamps(low: Column, high: Column) -> list[int]:
    """From nothing through every box of one field, each time as far as it must go."""
    found = [0]
    value = 0
    for a, b in islice(zip(low, high, strict=True), 1, None):
        value = a if value < a else min(value, b)
        found.append(value)
    return found


def in_every_least(borders: Borders, place: int, minutes: Collection[int], *, more: bool) -> bool:
    """Whether every least solution, for every end, has an excess (`more`) or deficit of a field in these minutes."""
    free = _reach(borders, place, (), more=more)
    barred = _reach(borders, place, minutes, more=more)
    if free is None:
        raise ValueError("gates without a path")
    if barred is None:
        return True
    ends = {free.low, free.high, *(end for end in (free.apex, barred.apex, barred.low, barred.high) if end in free)}
    return all(barred.at(end) is None or barred.at(end) != free.at(end) for end in ends)


def least_without(borders: Borders, place: int, minutes: Collection[int], *, more: bool) -> bool:
    """Whether some least solution, for some end, has no excess (`more`) or deficit of a field in these minutes."""
    free = _reach(borders, place, (), more=more)
    barred = _reach(borders, place, minutes, more=more)
    if free is None:
        raise ValueError("gates without a path")
    if barred is None:
        return False
    ends = {free.low, free.high, *(end for end in (free.apex, barred.apex, barred.low, barred.high) if end in free)}
    return any(barred.at(end) is not None and barred.at(end) == free.at(end) for end in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """The least amount of all paths to each value of the last gate: `amount + |value - apex|` on [low, high]."""

    amount: int
    apex: int
    low: int
    high: int

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high

    def at(self, value: int) -> int | None:
        """None: no path ends there."""
        return self.amount + abs(value - self.apex) if value in self else None


def _reach(borders: Borders, place: int, barred: Collection[int], *, more: bool) -> _Reach | None:
    """Forward through the boxes of one field, without an excess (`more`) or a deficit in the barred minutes."""
    amount = apex = lowest = highest = 0
    for minute, low, high in zip(
        range(borders.start, borders.until), borders.low[place][1:], borders.high[place][1:], strict=True
    ):
        if minute in barred:
            # The step may not go up (down): what was within reach before bounds what is now.
            low, high = (low, min(high, highest)) if more else (max(low, lowest), high)
        if low > high:
            return None
        if not low <= apex <= high:
            nearest = low if apex < low else high
            amount += abs(nearest - apex)
            apex = nearest
        lowest, highest = low, high
    return _Reach(amount=amount, apex=apex, low=lowest, high=highest)


def _least(low: Column, high: Column, end: int) -> int:
    """The least amount of all paths through the boxes of one field to an end."""
    if _lets_nothing_through(low, high, end):
        return 0
    at = [*_clamps(low, high), end]
    return sum(map(abs, map(sub, at[1:], at)))


def _lets_nothing_through(low: Column, high: Column, end: int) -> bool:
    """Whether no error at all leads through the boxes of one field to an end."""
    return not end and max(low) <= 0 <= min(high)


def _dirty_boxes(start: int, lows: Sequence[Column], highs: Sequence[Column], end: Vector) -> set[Dirty]:
    """By clamps from both sides, field by field."""
    found: set[Dirty] = set()
    for place, (low, high, value) in enumerate(zip(lows, highs, end, strict=True)):
        if _lets_nothing_through(low, high, value):
            continue
        forward = _clamps(low, high)
        for step in range(len(low) - 2, -1, -1):
            before = forward[step]
            if before != value:
                found.add(Dirty(minute=start + step, place=place, more=value > before))
            value = min(max(value, low[step]), high[step])
    return found


_Apex = tuple[int, Vector]
"""An amount and the vector it is least at."""


def _dirty_lists(start: int, gates: Sequence[Gate], end: Vector) -> set[Dirty] | None:
    """By apexes from both sides; None where the lists leave no path or too many apexes."""
    steps = len(gates) - 1
    forward: list[list[_Apex]] = [[(0, (0,) * len(end))]]
    for gate in gates[1:-1]:
        forward.append(_through(forward[-1], gate))
        if not 0 < len(forward[-1]) <= APEXES_MAX:
            return None
    least = min(amount + _distance(vector, end) for amount, vector in forward[-1])
    found: set[Dirty] = set()
    backward: list[_Apex] = [(0, end)]
    for step in range(steps - 1, -1, -1):
        for amount, vector in forward[step]:
            for more, other in backward:
                if vector != other and amount + more + _distance(vector, other) == least:
                    found.update(
                        Dirty(minute=start + step, place=place, more=b > a)
                        for place, (a, b) in enumerate(zip(vector, other, strict=True))
                        if a != b
                    )
        if step:
            backward = _through(backward, gates[step])
            if not 0 < len(backward) <= APEXES_MAX:
                return None
    return found


def _through(apexes: Sequence[_Apex], gate: Gate) -> list[_Apex]:
    """The apexes after a gate; one that another is never worse than changes nothing and is left out."""
    if gate.points is None:
        out = [_clamped(apex, gate) for apex in apexes]
        if len(out) == 1:
            return out
    elif len(apexes) == 1 and apexes[0][1] in gate.points:
        return list(apexes)
    else:
        out = [(min(amount + _distance(vector, point) for amount, vector in apexes), point) for point in gate.points]
    kept: list[_Apex] = []
    for amount, vector in sorted(out):
        if all(less + _distance(other, vector) > amount for less, other in kept):
            kept.append((amount, vector))
    return kept


def _clamped(apex: _Apex, gate: Gate) -> _Apex:
    amount, vector = apex
    if all(map(le, gate.low, vector)) and all(map(le, vector, gate.high)):
        return apex
    point = tuple(map(min, map(max, vector, gate.low), gate.high))
    return amount + _distance(vector, point), point


def _distance(one: Iterable[int], other: Iterable[int]) -> int:
    return sum(map(abs, map(sub, one, other)))
