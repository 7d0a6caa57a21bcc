"""The corridor: for every minute m, ended(m) <= billed(m) <= begun(m).

ended(m) is the book of calls no longer active after m, begun(m) the book of calls active by m, billed(m) the bill
through m. A bill that leaves the corridor was billed in minutes in which no call of its unit was active. Linear in the
number of distinct minutes. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """An amount of the book, billed somewhere from its first to its last active minute, both included."""

    first_minute: int
    last_minute: int
    amount: int


def first_break(
    booked: Iterable[Booked], billed: Mapping[int, int], *, below: bool = True, above: bool = True
) -> int | None:
    """The first minute in which the bill leaves the corridor; None: it holds throughout.

    `below=False` does not mind a bill that is late or too small (the bill is silent in places), `above=False` one that
    is early or too large (the book is).
    """
    begun: dict[int, int] = defaultdict(int)
    ended: dict[int, int] = defaultdict(int)
    for entry in booked:
        begun[entry.first_minute] += entry.amount
        ended[entry.last_minute] += entry.amount
    begun_sum = ended_sum = billed_sum = 0
    for minute in sorted({*begun, *ended, *billed}):
        begun_sum += begun.get(minute, 0)
        ended_sum += ended.get(minute, 0)
        billed_sum += billed.get(minute, 0)
        if (below and billed_sum < ended_sum) or (above and billed_sum > begun_sum):
            return minute
    return None
