"""Unclaimed minutes: a bill of a key outside every span of it, from the first window to an hour past the last.

Work that no call and no run of this ledger was near. It is printed minute by minute and never dropped. Each minute is
taken from the latest good read that covers it; minutes whose latest read failed are said to be unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import questions
from .bucket import UsageEndpoint
from .judge import Judge
from .keybook import Books
from .questions import Asking, StoredRead
from .report import UnclaimedMinute
from .span import UNCLAIMED_MIN, Window
from .unit import BillRow


def find_unclaimed(
    asked: Asking, books: Books, judge: Judge, parts: Mapping[str, Sequence[Window]]
) -> tuple[tuple[UnclaimedMinute, ...], tuple[tuple[str, Window], ...]]:
    """What is unclaimed around the given windows of each key, and the minutes whose last read was not good."""
    found: list[UnclaimedMinute] = []
    unread: list[tuple[str, Window]] = []
    for key, windows in parts.items():
        first = min(window.start for window in windows)
        last = max(window.end for window in windows) + UNCLAIMED_MIN
        outside = without([Window(start=first, end=last)], books.keys[key].windows)
        for endpoint in UsageEndpoint:
            found.extend(_billed(asked, key, endpoint, outside, judge.latest_good(key, endpoint)))
            for read in judge.latest(key, endpoint)[:1]:
                if not read.good:
                    unread.extend(
                        (key, window) for window in outside if read.window.meets(window.start, window.end - 1)
                    )
    return tuple(sorted(found, key=_order)), tuple(dict.fromkeys(unread))


def without(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """The minutes of `windows` that are in none of `taken`, ascending."""
    left = sorted(windows)
    for hole in taken:
        pieces: list[Window] = []
        for window in left:
            if not window.meets(hole.start, hole.end - 1):
                pieces.append(window)
                continue
            if window.start < hole.start:
                pieces.append(Window(start=window.start, end=hole.start))
            if hole.end < window.end:
                pieces.append(Window(start=hole.end, end=window.end))
        left = pieces
    return left


def _billed(
    asked: Asking, key: str, endpoint: UsageEndpoint, outside: Sequence[Window], reads: Sequence[StoredRead]
) -> list[UnclaimedMinute]:
    left = list(outside)
    found: list[UnclaimedMinute] = []
    for read in reads:
        if not left:
            break
        told = [_shared(window, read.window) for window in left if read.window.meets(window.start, window.end - 1)]
        for window in told:
            rows = questions.bill(asked, [read.read_id], window)[read.read_id]
            found.extend(_unclaimed(key, endpoint, rows))
        left = without(left, [read.window])
    return found


def _shared(one: Window, other: Window) -> Window:
    return Window(start=max(one.start, other.start), end=min(one.end, other.end))


def _unclaimed(key: str, endpoint: UsageEndpoint, rows: Iterable[BillRow]) -> list[UnclaimedMinute]:
    sums: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        counts = (row.input_tokens, row.cached_input_tokens, row.output_tokens, row.images)
        if row.batch or not any(counts):
            continue
        sum_of = sums.setdefault((row.minute, row.model), [0, 0, 0, 0])
        for place, count in enumerate(counts):
            sum_of[place] += count or 0
    return [
        UnclaimedMinute(
            api_key_id=key,
            minute=minute,
            usage_endpoint=endpoint,
            model=model,
            input_tokens=input_tokens,
            cached_input_tokens=cached,
            output_tokens=output_tokens,
            images=images,
        )
        for (minute, model), (input_tokens, cached, output_tokens, images) in sums.items()
    ]


def _order(each: UnclaimedMinute) -> tuple[str, int, str, str]:
    return each.api_key_id, each.minute, each.usage_endpoint, each.model
