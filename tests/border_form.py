"""The referee's second opinion: the least-amount rule in its border form, written apart from the audit's gates.

Where no call straddles a minute border, only calls that ended before it can have been billed after it. At such a border
the sums of those calls are listed (the *carries*); between two borders lies a segment. A solution chooses one carry at
each border; its amount is the sum, over segments and fields, of what bill and book then differ by. A segment is dirty
if some least solution has an error in it. A border with more sums than a limit is not used, which makes segments longer
and the answer weaker, never wrong.

It judges closed chains of one model and shares no code with what it judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add, ge, sub

Vector = tuple[int, ...]
SUMS_MAX = 64


@dataclass(frozen=True, slots=True)
class Billed:
    """One counted call: its active minutes, the minute it ended in, and its tokens by field."""

    first: int
    end: int
    last: int
    tokens: Vector
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Minutes `[start, end)` between two borders, and the signs of error that some least solution has in them."""

    start: int
    end: int
    more: bool
    less: bool


def segments(start: int, end: int, calls: Sequence[Billed], bill: Mapping[int, Vector], width: int) -> list[Segment]:
    """The segments of a closed chain `[start, end)`."""
    nothing: Vector = (0,) * width
    borders: list[int] = [start]
    sums: list[list[Vector]] = [[nothing]]
    for border in range(start + 1, end):
        carried = _carries(border, calls, bill, nothing)
        if carried is not None:
            borders.append(border)
            sums.append(carried)
    borders.append(end)
    sums.append([nothing])
    differences: list[Vector] = []
    for left, right in itertools.pairwise(borders):
        inside = [bill.get(minute, nothing) for minute in range(left, right)]
        booked = [call.tokens for call in calls if left <= call.end < right]
        differences.append(
            tuple(sum(each[i] for each in inside) - sum(each[i] for each in booked) for i in range(width))
        )
    return _solve(borders, sums, differences)


def _carries(border: int, calls: Sequence[Billed], bill: Mapping[int, Vector], nothing: Vector) -> list[Vector] | None:
    """Every sum of calls that ended before a border and may be billed after it; None: it is no border to use."""
    found: set[Vector] = {nothing}
    for call in calls:
        if call.first < border <= call.end or (call.loose and call.first < border <= call.last):
            return None
        if not call.end < border <= call.last:
            continue
        if not any(_holds(bill.get(minute, nothing), call.tokens) for minute in range(border, call.last + 1)):
            continue
        found |= {tuple(a + b for a, b in zip(each, call.tokens, strict=True)) for each in found}
        if len(found) > SUMS_MAX:
            return None
    return sorted(found)


def _holds(bill: Vector, tokens: Vector) -> bool:
    return all(map(ge, bill, tokens))


def _error(difference: Vector, carried_in: Vector, carried_out: Vector) -> Vector:
    """What the segment's bill has beyond its book, given what came in from before and what goes out to later."""
    return tuple(map(add, map(sub, difference, carried_in), carried_out))


def _solve(borders: Sequence[int], sums: Sequence[Sequence[Vector]], differences: Sequence[Vector]) -> list[Segment]:
    least: list[dict[Vector, int]] = [{sums[0][0]: 0}]
    for place, difference in enumerate(differences):
        before = least[-1]
        least.append(
            {
                out: min(amount + sum(map(abs, _error(difference, into, out))) for into, amount in before.items())
                for out in sums[place + 1]
            }
        )
    end = sums[-1][0]
    whole = least[-1][end]
    rest: dict[Vector, int] = {end: 0}
    found: list[Segment] = []
    for place in range(len(differences) - 1, -1, -1):
        more = less = False
        earlier: dict[Vector, int] = {}
        for out, after in rest.items():
            for into, amount in least[place].items():
                error = _error(differences[place], into, out)
                size = sum(map(abs, error))
                if amount + size + after == whole:
                    more |= max(error) > 0
                    less |= min(error) < 0
                    earlier[into] = size + after
        rest = earlier
        found.append(Segment(borders[place], borders[place + 1], more, less))
    return found[::-1]


def clears(found: Sequence[Segment], first: int, last: int, ends: Sequence[int]) -> bool:
    """Whether a run with this window and these end minutes of its own calls is clear of every error."""
    for each in found:
        if each.more and each.start <= last and first < each.end:
            return False
        if each.less and any(each.start <= end < each.end for end in ends):
            return False
    return True
