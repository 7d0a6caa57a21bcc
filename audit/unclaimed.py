"""Unclaimed minutes: a bill that reaches no run and no call of a key, printed minute by minute and never dropped.

Outside every chain of the key, from the first window that was audited to an hour past the last: work that no call and
no run of this ledger was near. And inside a chain, an excess that no least solution can put into any run's window. Each
minute is taken from the latest good read that holds it; minutes whose latest read failed are said to be unread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from . import questions
from .bucket import UsageEndpoint
from .finding import ChainFinding, Unplaced
from .judge import Judge
from .look import Look
from .questions import Asking, StoredRead
from .report import UnclaimedMinute
from .unit import BillRow, Field
from .window import UNCLAIMED_MIN, Window, without


def find_unclaimed(
    asked: Asking, look: Look, judge: Judge, windows: Mapping[str, Sequence[Window]]
) -> tuple[tuple[UnclaimedMinute, ...], tuple[tuple[str, Window], ...]]:
    """What is unclaimed around the given windows of each key, and the minutes whose last read was not good."""
    around = {
        key: Window(
            start=min(window.start for window in wanted), end=max(window.end for window in wanted) + UNCLAIMED_MIN
        )
        for key, wanted in windows.items()
    }
    outside = {key: without([each], look.keys[key].chains) for key, each in around.items()}
    found = _billed_outside(asked, outside, reads := _reads_of(asked, outside))
    unread: list[tuple[str, Window]] = []
    for key, wanted in windows.items():
        for endpoint in UsageEndpoint:
            own = reads.get((key, endpoint), ())
            if own and not own[-1].good:
                unread.extend((key, window) for window in outside[key] if own[-1].window.overlaps(window))
        for chain in look.keys[key].chains:
            near = chain.overlaps(around[key]) and any(chain.overlaps(each) for each in wanted)
            if near and judge.was_read(key, chain):
                found.extend(in_chain(judge.chain(key, chain)))
    return tuple(sorted(found, key=_order)), tuple(dict.fromkeys(unread))


def in_chain(found: ChainFinding) -> list[UnclaimedMinute]:
    """The minutes in which an excess may lie that reaches no run: what was billed of its model there, at most as much
    as the bill of the whole chain has more than the book."""
    return [
        _capped(each, unplaced, at_most=len({spot.minute for spot in solved.dirty if spot.more}) > 1)
        for unplaced in found.unplaced
        for solved in found.solved
        if solved.pair == unplaced.pair
        for each in unclaimed_minutes(
            found.chain.api_key_id,
            unplaced.pair.usage_endpoint,
            [row for row in solved.bill if row.minute in unplaced.minutes],
        )
    ]


def _capped(each: UnclaimedMinute, unplaced: Unplaced, *, at_most: bool) -> UnclaimedMinute:
    """A field that is not compared stays as billed."""
    amount = unplaced.amount
    return replace(
        each,
        input_tokens=min(each.input_tokens, amount.get(Field.INPUT, each.input_tokens)),
        cached_input_tokens=min(each.cached_input_tokens, amount.get(Field.CACHED, each.cached_input_tokens)),
        output_tokens=min(each.output_tokens, amount.get(Field.OUTPUT, each.output_tokens)),
        images=min(each.images, amount.get(Field.IMAGES, each.images)),
        at_most=at_most,
    )


_Reads = Mapping[tuple[str, UsageEndpoint], Sequence[StoredRead]]


def _reads_of(asked: Asking, outside: Mapping[str, Sequence[Window]]) -> _Reads:
    """The reads of each key and usage endpoint that hold a minute of its stretches, oldest first."""
    found: dict[tuple[str, UsageEndpoint], list[StoredRead]] = defaultdict(list)
    stretches = [(key, window) for key, windows in outside.items() for window in windows]
    for read in questions.reads(asked, stretches) if stretches else ():
        found[read.api_key_id, read.usage_endpoint].append(read)
    return found


def _billed_outside(asked: Asking, outside: Mapping[str, Sequence[Window]], reads: _Reads) -> list[UnclaimedMinute]:
    """What is billed in these stretches, each minute by the latest good read that holds it; asked for all at once."""
    told: list[tuple[StoredRead, list[Window]]] = []
    for (key, _), own in reads.items():
        left = list(outside[key])
        for read in reversed([each for each in own if each.good]):
            holds = [
                Window(start=max(window.start, read.window.start), end=min(window.end, read.window.end))
                for window in left
                if read.window.overlaps(window)
            ]
            if holds:
                told.append((read, holds))
            left = without(left, [read.window])
    stretches = [(key, window) for key, windows in outside.items() for window in windows]
    bill = questions.bill(asked, stretches, [read.read_id for read, _ in told])
    return [
        each
        for read, holds in told
        for each in unclaimed_minutes(
            read.api_key_id,
            read.usage_endpoint,
            [row for row in bill[read.read_id] if any(row.minute in window for window in holds)],
        )
    ]


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
