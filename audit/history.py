"""What the reads of one key prove, minute by minute: the bill now, where it is confirmed, where it fell.

A minute is confirmed when the last `stable_reads` good reads that hold it agree on its rows, each at least the interval
after the one counted before it, none differing between, the last at least the settling time after the minute. A read
that was not good is no number and proves nothing, but the latest attempt is remembered with its problem.

Pure. Reads are ascending by `asked_us`, microseconds UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..data.clock import US_PER_MINUTE
from .bucket import UsageEndpoint
from .unit import FIELDS, BillRow, Field
from .window import Window

FALL_US = 24 * 3600 * 1_000_000
"""A bill that fell is believed once good reads over this time since the fall agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One read of one usage endpoint of one key, good or not."""

    read_id: str
    asked_us: int
    window: Window
    good: bool
    problem: str | None = None
    status_code: int | None = None
    message: str | None = None
    """The provider's own words, or what broke."""
    request_id: str | None = None
    holes: int = 0
    """Minutes that no bucket came for."""


Rows = Mapping[int, tuple[BillRow, ...]]
"""The rows of one read by minute, in one order for equal rows; a minute without rows is not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How strictly minutes are confirmed."""

    stable_reads: int = 2
    interval_us: int = 30 * US_PER_MINUTE
    settle_us: int = 60 * US_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The reads of one usage endpoint that hold minutes of one chain."""

    usage_endpoint: UsageEndpoint
    reads: tuple[Read, ...] = ()
    rows: Mapping[str, Rows] = field(default_factory=dict)
    """By read_id; good reads alone have rows."""

    def latest(self, window: Window) -> Read | None:
        """The last read, good or not, that holds a minute of this window."""
        return next((read for read in reversed(self.reads) if read.window.overlaps(window)), None)


def rows_by_minute(rows: Iterable[BillRow]) -> dict[int, tuple[BillRow, ...]]:
    """The rows of one read, so that equal minutes compare as equal."""
    found: dict[int, list[BillRow]] = defaultdict(list)
    for row in rows:
        found[row.minute].append(row)
    return {minute: tuple(sorted(each, key=_order)) for minute, each in found.items()}


def _order(row: BillRow) -> tuple[object, ...]:
    counts = (
        row.input_tokens,
        row.cached_input_tokens,
        row.cache_write_tokens,
        row.output_tokens,
        row.images,
        row.num_model_requests,
    )
    return (row.model, row.batch, row.service_tier or "", tuple(-1 if count is None else count for count in counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """What is known of one endpoint's minutes in one window."""

    bill: tuple[BillRow, ...]
    """By the latest good read of each minute."""
    confirmed: frozenset[int]
    unread: frozenset[int]
    """Minutes that no good read holds."""
    fell: frozenset[int]
    """Minutes in which a unit was higher in an earlier good read, and too little time has agreed since. None of them is
    confirmed: what they held may be back, and no run of the chain is judged past them."""
    fell_us: int | None
    """When the read was asked for that first showed the earliest of these falls; None: there is none."""
    counted: tuple[str, ...]
    """The reads that confirm some minute, oldest first."""
    asked_us: int | None
    """When the latest good read of the least recently read minute was asked for; None: some minute was never read."""


def minutes_of(history: History, window: Window, waiting: Waiting) -> Minutes:
    """Fold the reads of a window, minute by minute; minutes in which the same reads tell nothing are one stretch."""
    good = [read for read in history.reads if read.good and read.window.overlaps(window)]
    bill: list[BillRow] = []
    confirmed: set[int] = set()
    unread: set[int] = set()
    fallen: dict[int, int] = {}
    counted: dict[str, None] = {}
    asked: list[int] = []
    nothing: tuple[BillRow, ...] = ()
    held = [(read, read.window.start, read.window.end, history.rows.get(read.read_id, {})) for read in good]
    for start, end in _stretches(window, held):
        told = [(read, rows.get(start, nothing)) for read, first, past, rows in held if first <= start < past]
        if not told:
            unread.update(range(start, end))
            continue
        latest, now = told[-1]
        bill.extend(now)
        asked.append(latest.asked_us)
        since_us = _fell_us(told)
        if since_us is not None:
            fallen.update(dict.fromkeys(range(start, end), since_us))
            continue
        settled = min(end, _settled_before(latest, waiting))
        proof = _confirming(told, waiting) if start < settled else ()
        if proof:
            confirmed.update(range(start, settled))
            counted.update(dict.fromkeys(proof))
    order = {read.read_id: place for place, read in enumerate(good)}
    return Minutes(
        bill=tuple(bill),
        confirmed=frozenset(confirmed),
        unread=frozenset(unread),
        fell=frozenset(fallen),
        fell_us=min(fallen.values(), default=None),
        counted=tuple(sorted(counted, key=order.__getitem__)),
        asked_us=min(asked) if asked and not unread else None,
    )


_Held = Sequence[tuple[Read, int, int, Rows]]
"""Good reads, the minutes `[start, end)` that each holds, and its rows."""


def _stretches(window: Window, held: _Held) -> Iterable[tuple[int, int]]:
    """Parts of a window `[start, end)`, ascending, each in the same reads: a minute with rows, or minutes without."""
    edges, minutes = {window.start, window.end}, range(window.start, window.end)
    for _, first, past, rows in held:
        edges.add(first)
        edges.add(past)
        told = rows.keys() & minutes if rows else ()
        edges.update(told)
        edges.update([minute + 1 for minute in told])
    return pairwise(sorted([edge for edge in edges if window.start <= edge <= window.end]))


_Told = Sequence[tuple[Read, tuple[BillRow, ...]]]
"""Each good read of one minute and its rows, oldest first."""


def _settled_before(read: Read, waiting: Waiting) -> int:
    """The first minute for which a read was asked too soon."""
    return (read.asked_us - waiting.settle_us) // US_PER_MINUTE


def _confirming(told: _Told, waiting: Waiting) -> tuple[str, ...]:
    """The reads that confirm a minute, latest first, if the latest was asked late enough; none if too few agree."""
    found: list[Read] = []
    now = told[-1][1]
    for read, rows in reversed(told):
        if rows is not now and rows != now:
            break
        if found and found[-1].asked_us - read.asked_us < waiting.interval_us:
            continue
        found.append(read)
        if len(found) == waiting.stable_reads:
            return tuple(read.read_id for read in found)
    return ()


def _fell_us(told: _Told) -> int | None:
    """When a unit was first seen lower than once before, if good reads over a day since do not yet agree; else None."""
    shown = told[-1][1]
    for _, rows in told:
        if rows is not shown and rows != shown:
            break
    else:
        return None
    now = amounts(shown)
    higher = [
        place
        for place, (_, rows) in enumerate(told)
        if any(now.get(unit, 0) < amount for unit, amount in amounts(rows).items())
    ]
    if not higher:
        return None
    since = told[higher[-1] + 1 :]
    agreed = all(rows == shown for _, rows in since)
    fell_us = since[0][0].asked_us
    return None if agreed and since[-1][0].asked_us - fell_us >= FALL_US else fell_us


def amounts(rows: Iterable[BillRow]) -> dict[tuple[str, Field], int]:
    """What rows of one minute bill, by model and field, batch left out."""
    sums: dict[tuple[str, Field], int] = defaultdict(int)
    for row in rows:
        if not row.batch:
            for each in FIELDS[row.usage_endpoint]:
                sums[row.model, each] += row.amount(each)
    return sums


def differs_since(history: History, window: Window, us: int) -> bool:
    """Whether a minute of a window shows other rows now than in its latest good read of then or before."""
    good = [read for read in history.reads if read.good and read.window.overlaps(window)]
    nothing: tuple[BillRow, ...] = ()
    if not good or good[-1].asked_us <= us:
        return False
    for minute in range(window.start, window.end):
        told = [
            (read, history.rows.get(read.read_id, {}).get(minute, nothing)) for read in good if minute in read.window
        ]
        then = [rows for read, rows in told if read.asked_us <= us]
        if then and then[-1] != told[-1][1]:
            return True
    return False


def spaced(times: Iterable[int], interval_us: int) -> list[int]:
    """Those times that count: each at least the interval after the one before."""
    counted: list[int] = []
    for time_us in times:
        if not counted or time_us - counted[-1] >= interval_us:
            counted.append(time_us)
    return counted
