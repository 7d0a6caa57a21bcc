"""Unclaimed minutes: a bill that reaches no run and no call of a key, printed minute by minute and never dropped.

Outside every chain of the key, from the first window that was audited to an hour past the last: work that no call and
no run of this ledger was near. And inside a chain, an excess that no least solution can put into any run's window. Each
minute is taken from the latest good read that holds it; minutes whose latest read failed are said to be unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import questions
from .bucket import UsageEndpoint
from .finding import ChainFinding
from .judge import Judge
from .look import Look
from .questions import Asking, StoredRead
from .report import UnclaimedMinute
from .unit import BillRow
from .window import UNCLAIMED_MIN, Window, without


def find_unclaimed(
    asked: Asking, look: Look, judge: Judge, windows: Mapping[str, Sequence[Window]]
) -> tuple[tuple[UnclaimedMinute, ...], tuple[tuple[str, Window], ...]]:
    """What is unclaimed around the given windows of each key, and the minutes whose last read was not good."""
    found: list[UnclaimedMinute] = []
    unread: list[tuple[str, Window]] = []
    for key, wanted in windows.items():
        around = Window(
            start=min(window.start for window in wanted), end=max(window.end for window in wanted) + UNCLAIMED_MIN
        )
        outside = without([around], look.keys[key].chains)
        reads = questions.reads(asked, [(key, window) for window in outside])
        for endpoint in UsageEndpoint:
            own = [read for read in reads if read.usage_endpoint is endpoint]
            found.extend(_billed(asked, key, endpoint, outside, [read for read in reversed(own) if read.good]))
            if own and not own[-1].good:
                unread.extend((key, window) for window in outside if own[-1].window.overlaps(window))
        for chain in look.keys[key].chains:
            if chain.overlaps(around) and judge.was_read(key, chain) and any(chain.overlaps(each) for each in wanted):
                found.extend(in_chain(judge.chain(key, chain)))
    return tuple(sorted(found, key=_order)), tuple(dict.fromkeys(unread))


def in_chain(found: ChainFinding) -> list[UnclaimedMinute]:
    """The minutes in which an excess lies that reaches no run, with all that was billed of its model there."""
    rows = [
        row
        for unplaced in found.unplaced
        for solved in found.solved
        if solved.pair == unplaced.pair
        for row in solved.bill
        if row.minute in unplaced.minutes
    ]
    return [
        each
        for endpoint in UsageEndpoint
        for each in unclaimed_minutes(
            found.chain.api_key_id, endpoint, [row for row in rows if row.usage_endpoint is endpoint]
        )
    ]


def _billed(
    asked: Asking, key: str, endpoint: UsageEndpoint, outside: Sequence[Window], reads: Sequence[StoredRead]
) -> list[UnclaimedMinute]:
    left = list(outside)
    found: list[UnclaimedMinute] = []
    for read in reads:
        if not left:
            break
        told = [
            Window(start=max(window.start, read.window.start), end=min(window.end, read.window.end))
            for window in left
            if read.window.overlaps(window)
        ]
        if told:
            rows = questions.bill(asked, [(key, window) for window in told], [read.read_id])[read.read_id]
            found.extend(unclaimed_minutes(key, endpoint, rows))
        left = without(left, [read.window])
    return found


def unclaimed_minutes(key: str, endpoint: UsageEndpoint, rows: Iterable[BillRow]) -> list[UnclaimedMinute]:
    """Bill rows that nobody claims, summed by minute and model; batch is no part of it."""
    sums: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        if row.batch or row.empty:
            continue
        counts = (row.input_tokens, row.cached_input_tokens, row.output_tokens, row.images)
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
