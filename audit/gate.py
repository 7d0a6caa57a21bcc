"""Gates: at every minute border of a chain, how much of the error so far the border may show.

The error before minute m is E(m) = D(m) + f. D is bill minus book before m, the book taken at each call's end minute;
f = late - early. *Late* are tokens of calls that ended before m and may have been billed at or after m; *early* those
of calls that had not ended before m and may have been billed before it. Nothing is known of either but bounds, so a
gate is the box [D - early, D + late], or, where that helps and the chain is closed, the list of the sums that the
calls can make. Any superset of the truth keeps the audit sound, only weaker (facts/least-amount.md).

A minute fits a call if it is active then and the minute's bill holds the call on every field, or is not known. *Loose*
calls, whose tokens may be billed in parts, have no fitting test and stand in no list. An *open* call may have used any
amount, so it widens the early side by whatever was billed while it was active.

Pure. Vectors hold one whole number a field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        return tuple(amount * self.calls for amount in self.amounts) if self.apart else self.amounts


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Borders:
    """The gates of one model in one chain, from minute `start` to minute `until`, and what lists are made of."""

    start: int
    until: int
    differences: tuple[Vector, ...]
    """D at each border."""
    gates: tuple[Gate, ...]
    """Boxes; `gates[j]` stands before minute start + j."""
    fitted: tuple[_Fitted, ...]

    def minute(self, step: int) -> int:
        """The minute between gate `step` and the next."""
        return self.start + step


def make_borders(
    *, start: int, until: int, width: int, billed: Mapping[int, Vector], items: Iterable[Item], known: int
) -> Borders:
    """The boxes at every border from `start` to `until`; the bill is known before minute `known`.

    No call is active before `start`. `width`: fields of a vector.
    """
    nothing = (0,) * width
    fitted = tuple(_fit(item, billed, nothing, known) for item in items if item.open or any(item.amounts))
    booked: dict[int, list[int]] = defaultdict(lambda: [0] * width)
    for each in fitted:
        if not each.item.open:
            _add(booked[each.item.end], each.item.total)
    late, early = _by_border(fitted, start, until, width)
    so_far = [nothing]
    for minute in range(start, max(until, known)):
        so_far.append(tuple(a + b for a, b in zip(so_far[-1], billed.get(minute, nothing), strict=True)))
    booked_so_far = list(nothing)
    differences: list[Vector] = []
    gates: list[Gate] = []
    for border in range(start, until + 1):
        if border - 1 in booked:
            _add(booked_so_far, booked[border - 1])
        difference = tuple(a - b for a, b in zip(so_far[border - start], booked_so_far, strict=True))
        differences.append(difference)
        after = _bounds(late.get(border), so_far, start, border, known, late=True)
        before = _bounds(early.get(border), so_far, start, border, known, late=False)
        gates.append(
            Gate(
                low=tuple(d - b for d, b in zip(difference, before, strict=True)),
                high=tuple(d + a for d, a in zip(difference, after, strict=True)),
            )
        )
    return Borders(start=start, until=until, differences=tuple(differences), gates=tuple(gates), fitted=fitted)


def cut_to(borders: Borders, end: Vector) -> tuple[Gate, ...]:
    """Every gate cut to what lies between nothing and the chain's total, and listed where few sums are in it.

    Sound only once a path of one sign is known to exist: then every least path stays between the two.
    """
    found: list[Gate] = []
    straddling = _straddling(borders)
    for step, gate in enumerate(borders.gates):
        low = tuple(max(a, min(0, t)) for a, t in zip(gate.low, end, strict=True))
        high = tuple(min(b, max(0, t)) for b, t in zip(gate.high, end, strict=True))
        points = None
        if low != high:
            points = _points(straddling.get(borders.start + step, ()), borders.differences[step], low, high)
        found.append(Gate(low=low, high=high, points=points))
    return tuple(found)


def _fit(item: Item, billed: Mapping[int, Vector], nothing: Vector, known: int) -> _Fitted:
    """The minutes that fit, widened to hold the end."""
    if item.loose or item.open or not item.apart:
        return _Fitted(item=item, first=item.first, last=item.last)

    def fits(minute: int) -> bool:
        return minute >= known or all(
            have >= need for have, need in zip(billed.get(minute, nothing), item.amounts, strict=True)
        )

    first = next((minute for minute in range(item.first, item.end) if fits(minute)), item.end)
    last = next((minute for minute in range(item.last, item.end, -1) if fits(minute)), item.end)
    return _Fitted(item=item, first=first, last=last)


_Sums = dict[int, list[int]]
"""Tokens by the last (early: first) fitting minute of their calls."""


def _by_border(
    fitted: Sequence[_Fitted], start: int, until: int, width: int
) -> tuple[dict[int, _Sums], dict[int, _Sums]]:
    """For each border the calls that may be late there, and those that may be early."""
    lates: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * width)
    earlies: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * width)
    for each in fitted:
        total = (ANY_AMOUNT,) * width if each.item.open else each.item.total
        if not each.item.open:
            _add(lates[each.item.end, each.last], total)
        _add(earlies[each.first, each.item.end], total)
    late: dict[int, _Sums] = {}
    early: dict[int, _Sums] = {}
    for (end, last), sums in lates.items():
        for border in range(max(start, end + 1), min(until, last) + 1):
            _add(late.setdefault(border, {}).setdefault(last, [0] * width), sums)
    for (first, end), sums in earlies.items():
        for border in range(max(start, first + 1), min(until, end) + 1):
            _add(early.setdefault(border, {}).setdefault(first, [0] * width), sums)
    return late, early


def _bounds(sums: _Sums | None, so_far: Sequence[Vector], start: int, border: int, known: int, *, late: bool) -> Vector:
    """The most of these tokens that can lie at or after a border (`late`), or before it.

    For every minute that is the last (early: the first) of some call: what is billed up to it, and the tokens of calls
    that reach past it. `so_far`: what was billed before each minute from `start` to `known`.
    """
    if not sums:
        return (0,) * len(so_far[0])
    minutes = sorted((minute for minute in sums if minute < known), reverse=not late)
    at_border = so_far[border - start]
    found: list[int] = []
    for place, here in enumerate(at_border):
        left = best = sum(total[place] for total in sums.values())
        for minute in minutes:
            left -= sums[minute][place]
            if late:
                billed = so_far[min(minute + 1, known) - start][place] - here
            else:
                billed = here - so_far[max(minute, start) - start][place]
            best = min(best, billed + left)
        found.append(best)
    return tuple(found)


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
        add.append(tuple(a + max(0, x) for a, x in zip(add[-1], amounts, strict=True)))
        take.append(tuple(t + max(0, -x) for t, x in zip(take[-1], amounts, strict=True)))
    add.reverse()
    take.reverse()
    sums = {difference} if _inside(difference, low, high, add[0], take[0]) else set()
    for number, amounts in enumerate(items, start=1):
        more = {tuple(s + x for s, x in zip(each, amounts, strict=True)) for each in sums}
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
