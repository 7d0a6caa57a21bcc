"""Gates: at every minute border of a chain, how much of the error so far the border may show.

The error before minute m is E(m) = D(m) + f. D is bill minus book before m, the book taken at each call's end minute;
f = late - early. *Late* are tokens of calls that ended before m and may have been billed at or after m; *early* those
of calls that had not ended before m and may have been billed before it. Nothing is known of either but bounds, so a
gate is the box [D - early, D + late], or, where that helps and the chain is closed, the list of the sums that the
calls can make. Any superset of the truth keeps the audit sound, only weaker (docs/design/audit.md "Gates").

A minute fits a call if it is active then and the minute's bill holds the call on every field, or is not known. *Loose*
calls, whose tokens may be billed in parts, have no fitting test and stand in no list. An *open* call may have used any
amount, so it widens the early side by whatever was billed while it was active.

Pure. Vectors hold one whole number a field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add as plus
from operator import ge

Vector = tuple[int, ...]

SUMS_MAX = 300
"""Distinct sums of one gate's list; with more the gate stays a box."""
ITEMS_MAX = 400
"""Calls of one gate's list; with more the gate stays a box."""
ANY_AMOUNT = 1 << 62
"""More than any bill: what an open call may have used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Calls of one model alike in minutes and counts."""

    first: int
    """First active minute."""
    end: int
    """The minute they ended in."""
    last: int
    """Last active minute."""
    amounts: Vector
    """Of one call if `apart`, of all together if not."""
    calls: int = 1
    apart: bool = True
    """Whether `amounts` is that of each single call."""
    loose: bool = False
    open: bool = False
    """May have used any amount, none of which is in the book yet."""

    @property
    def total(self) -> Vector:
        """What all these calls used together."""
        if self.calls == 1 or not self.apart:
            return self.amounts
        return tuple([amount * self.calls for amount in self.amounts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What E may be at one border: a box, or the points of a list inside it."""

    low: Vector
    high: Vector
    points: tuple[Vector, ...] | None = None
    """None: every whole vector of the box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    item: Item
    first: int
    """First fitting minute, no later than the end."""
    last: int
    """Last fitting minute, no earlier than the end."""


Column = tuple[int, ...]
"""One field's number at every border."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Borders:
    """The gates of one model in one chain, from minute `start` to minute `until`, and what lists are made of.

    Boxes are kept field by field, as most rules ask for them; place j of a column stands before minute start + j.
    """

    start: int
    until: int
    differences: tuple[Vector, ...]
    """D at each border."""
    low: tuple[Column, ...]
    high: tuple[Column, ...]
    fitted: tuple[_Fitted, ...]

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The box at each border."""
        lows, highs = zip(*self.low, strict=True), zip(*self.high, strict=True)
        return tuple(Gate(low=low, high=high) for low, high in zip(lows, highs, strict=True))

    @property
    def lowest_end(self) -> Vector:
        """What E is at least in the last gate, field by field."""
        return tuple(column[-1] for column in self.low)

    @property
    def highest_end(self) -> Vector:
        return tuple(column[-1] for column in self.high)


def make_borders(*, start: int, until: int, width: int, billed: Mapping[int, Vector], items: Iterable[Item]) -> Borders:
    """The boxes at every border from `start` to `until`, before which the bill is known.

    No call is active before `start`. `width`: fields of a vector.
    """
    fitted = tuple(_fit(item, billed, until) for item in items if item.open or any(item.amounts))
    booked: dict[int, list[int]] = defaultdict(lambda: [0] * width)
    for each in fitted:
        if not each.item.open:
            _add(booked[each.item.end], each.item.total)
    late, early = _late(fitted, start, until, width), _early(fitted, start, until, width)
    columns: list[tuple[list[int], list[int], list[int]]] = []
    for place in range(width):
        so_far = [0]
        for minute in range(start, until):
            so_far.append(so_far[-1] + billed[minute][place] if minute in billed else so_far[-1])
        ended = 0
        difference: list[int] = []
        for border, shown in enumerate(so_far, start=start):
            if border - 1 in booked:
                ended += booked[border - 1][place]
            difference.append(shown - ended)
        low, high = difference[:], difference[:]
        if any(each.item.open or each.item.amounts[place] for each in fitted):
            for border, calls in early.items():
                low[border] -= _most(calls, place, so_far, border, until - start, late=False)
            for border, calls in late.items():
                high[border] += _most(calls, place, so_far, border, until - start, late=True)
        columns.append((difference, low, high))
    return Borders(
        start=start,
        until=until,
        differences=tuple(zip(*(difference for difference, _, _ in columns), strict=True)),
        low=tuple(tuple(low) for _, low, _ in columns),
        high=tuple(tuple(high) for _, _, high in columns),
        fitted=fitted,
    )


def cut_to(borders: Borders, end: Vector) -> tuple[Gate, ...]:
    """Every gate cut to what lies between nothing and the chain's total, and listed where few sums are in it.

    Sound only once a path of one sign is known to exist: then every least path stays between the two.
    """
    found: list[Gate] = []
    straddling = _straddling(borders)
    floors, ceilings = [min(0, total) for total in end], [max(0, total) for total in end]
    lows = zip(
        *([max(a, floor) for a in column] for column, floor in zip(borders.low, floors, strict=True)), strict=True
    )
    highs = zip(
        *([min(b, top) for b in column] for column, top in zip(borders.high, ceilings, strict=True)), strict=True
    )
    for step, (low, high) in enumerate(zip(lows, highs, strict=True)):
        points = None
        if low != high:
            points = _points(straddling.get(borders.start + step, ()), borders.differences[step], low, high)
        found.append(Gate(low=low, high=high, points=points))
    return tuple(found)


def _fit(item: Item, billed: Mapping[int, Vector], until: int) -> _Fitted:
    """The minutes that fit, widened to hold the end."""
    if item.loose or item.open or not item.apart:
        return _Fitted(item=item, first=item.first, last=item.last)

    def fits(minute: int) -> bool:
        have = billed.get(minute)
        return minute >= until or (have is not None and all(map(ge, have, item.amounts)))

    first, last = min(item.first, item.end), max(item.last, item.end)
    while first < item.end and not fits(first):
        first += 1
    while last > item.end and not fits(last):
        last -= 1
    return _Fitted(item=item, first=first, last=last)


_Reaching = dict[int, list[tuple[int, Sequence[int]]]]
"""By border, counted from the first: where calls reach to on its other side, and their tokens, the nearest first."""


def _late(fitted: Sequence[_Fitted], start: int, until: int, width: int) -> _Reaching:
    """For each border the calls that may be late there, by the border after their last fitting minute."""
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * width)
    for each in fitted:
        if not each.item.open:
            _add(sums[each.last, each.item.end], each.item.total)
    found: _Reaching = {}
    for (last, end), tokens in sorted(sums.items()):
        for border in range(max(start, end + 1), min(until, last) + 1):
            found.setdefault(border - start, []).append((last + 1 - start, tokens))
    return found


def _early(fitted: Sequence[_Fitted], start: int, until: int, width: int) -> _Reaching:
    """For each border the calls that may be early there, by the border before their first fitting minute."""
    sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * width)
    for each in fitted:
        _add(sums[each.first, each.item.end], (ANY_AMOUNT,) * width if each.item.open else each.item.total)
    found: _Reaching = {}
    for (first, end), tokens in sorted(sums.items(), reverse=True):
        for border in range(max(start, first + 1), min(until, end) + 1):
            found.setdefault(border - start, []).append((max(first, start) - start, tokens))
    return found


def _most(
    calls: Sequence[tuple[int, Sequence[int]]],
    place: int,
    so_far: Sequence[int],
    border: int,
    known: int,
    *,
    late: bool,
) -> int:
    """The most of these tokens that can lie past a border (`late`), or before it.

    For every border that some call reaches to: what is billed up to it, and the tokens of calls that reach past it.
    `so_far`: what was billed before each border up to `known`; borders are counted from the first.
    """
    here = so_far[border]
    left = best = sum([tokens[place] for _, tokens in calls])
    for other, tokens in calls:
        if other > known:
            break
        left -= tokens[place]
        billed = so_far[other] - here if late else here - so_far[other]
        if billed + left < best:
            best = billed + left
    return best


def _straddling(borders: Borders) -> dict[int, list[tuple[_Fitted, int]]]:
    """For each border the calls that may be late there (1) or early (-1)."""
    found: dict[int, list[tuple[_Fitted, int]]] = defaultdict(list)
    for each in borders.fitted:
        for border in range(max(borders.start, each.first + 1), min(borders.until, each.last) + 1):
            found[border].append((each, 1 if each.item.end < border else -1))
    return found


def _points(
    straddling: Sequence[tuple[_Fitted, int]], difference: Vector, low: Vector, high: Vector
) -> tuple[Vector, ...] | None:
    """Every distinct sum inside a box that the calls at a border can make; None: too many, or not whole calls."""
    items: list[Vector] = []
    for each, sign in straddling:
        if each.item.loose or each.item.open or not each.item.apart:
            return None
        items += [tuple(sign * amount for amount in each.item.amounts)] * each.item.calls
        if len(items) > ITEMS_MAX:
            return None
    items.sort(key=lambda amounts: -sum(map(abs, amounts)))
    width = len(low)
    add, take = [(0,) * width], [(0,) * width]
    for amounts in reversed(items):
        add.append(tuple([a + max(0, x) for a, x in zip(add[-1], amounts, strict=True)]))
        take.append(tuple([t + max(0, -x) for t, x in zip(take[-1], amounts, strict=True)]))
    add.reverse()
    take.reverse()
    sums = {difference} if _inside(difference, low, high, add[0], take[0]) else set()
    for number, amounts in enumerate(items, start=1):
        more = {tuple(map(plus, each, amounts)) for each in sums}
        sums = {each for each in sums | more if _inside(each, low, high, add[number], take[number])}
        if len(sums) > SUMS_MAX:
            return None
    return tuple(sorted(sums))


def _inside(each: Vector, low: Vector, high: Vector, add: Vector, take: Vector) -> bool:
    """Whether what is left to add or take can still bring this into the box."""
    return all(a - up <= s <= b + down for s, a, b, up, down in zip(each, low, high, add, take, strict=True))


def _add(sums: list[int], more: Sequence[int]) -> None:
    for place, amount in enumerate(more):
        sums[place] += amount
