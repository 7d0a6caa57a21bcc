"""Cuts: where a span of several runs falls into parts that can be judged one by one.

A span is cut at a minute border that no call is open across, no unknown call is active across, and before which book
and bill are equal on every unit: what lies before it is closed, whatever comes after. Only borders next to a run's
begin or end are used, none inside a run, since a part is of use to a run; and only where counted calls lie on both
sides: a bill that follows the last call of a run, with no other call to answer for it, stays with that run.

Pure, on minute sums. The bill is known through some minute; later borders are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..data.call import Standing
from .span import MARGIN_MIN, Window
from .unit import BillRow, BookRow, Field, bill_amount, book_amount, compare
from .unknown import Gap


@dataclass(slots=True)
class _Sides:
    """One unit's two sums before a border."""

    book: int = 0
    bill: int = 0
    book_silent: int = 0
    bill_silent: int = 0

    @property
    def equal(self) -> bool:
        difference = self.bill - self.book
        return difference == 0 or (difference > 0 and self.book_silent > 0) or (difference < 0 and self.bill_silent > 0)


def cut(
    window: Window,
    *,
    book: Sequence[BookRow],
    gaps: Sequence[Gap],
    bill: Sequence[BillRow],
    known_until: int,
    runs: Iterable[tuple[int, int]],
    shift_min: int,
) -> tuple[Window, ...]:
    """The parts of a span, ascending; the span itself where nothing can be cut.

    `bill`: the latest rows in the span; `known_until`: the minute before which they are known. `runs`: first and last
    minute of each run episode in the span, without margins.
    """
    runs = list(runs)
    if len(runs) == 1 and all(
        runs[0][0] <= row.first_minute + MARGIN_MIN and _open_last(row, shift_min) <= runs[0][1] for row in book
    ):
        return (window,)
    inside = {border for first, last in runs for border in range(first + 1, last + 1)}
    found = _borders(window, book=book, gaps=gaps, bill=bill, known_until=known_until, shift_min=shift_min)
    borders = [border for border in found if border not in inside]
    wanted: set[int] = set()
    for first, last in runs:
        wanted.update([b for b in borders if b <= first][-1:])
        wanted.update([b for b in borders if b > last][:1])
    ends = [border for border in sorted(wanted) if window.start < border < window.end]
    parts: list[Window] = []
    start = window.start
    for border in ends:
        if _tokens(book, start, border, shift_min) and (
            known_until < window.end or _tokens(book, border, window.end, shift_min)
        ):
            parts.append(Window(start=start, end=border))
            start = border
    parts.append(Window(start=start, end=window.end))
    return tuple(parts)


def _borders(
    window: Window,
    *,
    book: Sequence[BookRow],
    gaps: Sequence[Gap],
    bill: Sequence[BillRow],
    known_until: int,
    shift_min: int,
) -> list[int]:
    """Every minute border that the span may be cut at."""
    blocked = _blocked(window, book, gaps, shift_min)
    events: dict[int, list[tuple[int, _Sides]]] = defaultdict(list)
    comparison = compare(book, bill)
    sums = {index: _Sides() for index in range(len(comparison.units))}
    for index, unit in enumerate(comparison.units):
        for row in book:
            if (
                row.standing is Standing.COUNTED
                and row.usage_endpoint == unit.pair.usage_endpoint
                and row.model in unit.pair.book_models
            ):
                silent = row.cached_silent if unit.field is Field.CACHED else 0
                added = _Sides(book=book_amount(row, unit.field), book_silent=silent)
                events[_open_last(row, shift_min) + 1].append((index, added))
        for billed in bill:
            if (
                not billed.batch
                and billed.usage_endpoint is unit.pair.usage_endpoint
                and billed.model in unit.pair.bill_models
            ):
                silent = int(unit.field is Field.CACHED and billed.cached_input_tokens is None)
                added = _Sides(bill=bill_amount(billed, unit.field), bill_silent=silent)
                events[billed.minute + 1].append((index, added))
    found: list[int] = []
    unequal: set[int] = set()
    for border in range(min([window.start, *events]), min(known_until, window.end - 1) + 1):
        for index, added in events.get(border, ()):
            sides = sums[index]
            sides.book += added.book
            sides.bill += added.bill
            sides.book_silent += added.book_silent
            sides.bill_silent += added.bill_silent
            (unequal.discard if sides.equal else unequal.add)(index)
        if border > window.start and not unequal and border not in blocked:
            found.append(border)
    return found


def _blocked(window: Window, book: Iterable[BookRow], gaps: Iterable[Gap], shift_min: int) -> set[int]:
    """Borders in a window that a call is open across, or that an unknown one is active across."""
    stretches = {
        (row.first_minute, row.last_minute)
        if row.standing is Standing.UNKNOWN or row.open
        else (row.first_minute + MARGIN_MIN, _open_last(row, shift_min))
        for row in book
    }
    stretches |= {(gap.first_minute, gap.last_minute) for gap in gaps}
    return {
        border for first, last in stretches for border in range(max(first + 1, window.start), min(last + 1, window.end))
    }


def _open_last(row: BookRow, shift_min: int) -> int:
    """The last minute in which these calls were open."""
    return row.last_minute - MARGIN_MIN - shift_min


def _tokens(book: Iterable[BookRow], start: int, end: int, shift_min: int) -> bool:
    """Whether any counted call with something to compare ended in `[start, end)`."""
    return any(
        row.standing is Standing.COUNTED
        and start <= _open_last(row, shift_min) < end
        and any((row.input_tokens, row.output_tokens, row.images))
        for row in book
    )
