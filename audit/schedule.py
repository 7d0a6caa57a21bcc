"""When a run is to be read again.

First where its last minute is settled and the interval since the last good read is over; then, as long as nothing
changes and the verdict is not final, after 1, 2, 4, 8 and 24 hours, then daily, until it is closed. A bill that changed
has to be confirmed anew, so the interval counts again. A run whose verdict hangs on a neighbour waits for the chain.

Pure. Times are microseconds UTC.
"""

from __future__ import annotations

from .chain import Chain, Share
from .finding import Finding
from .history import differs_since, spaced
from .verdict import Reason
from .window import Window

HOUR_US = 3600 * 1_000_000
BACKOFF_US = tuple(hours * HOUR_US for hours in (1, 2, 4, 8, 24))

WAITS_FOR_ITSELF = frozenset({Reason.RUN_OPEN, Reason.CALL_OPEN})
"""Nothing that is read changes these; only an end does."""
REACH_MIN = 2
"""Beside k: so many minutes after a run's window, what a neighbour shows decides most doubts (docs/design/audit.md
"Least amount")."""
WAITS_FOR_CHAIN = frozenset({Reason.NEIGHBOUR, Reason.OPEN_CALL})
"""The run's own minutes are known; what is read of later ones may decide."""


def next_read_us(chain: Chain, share: Share, finding: Finding) -> int | None:
    """When another read could bring this run further; None: it is final, or something of its own must end first."""
    if finding.final or finding.reason in WAITS_FOR_ITSELF:
        return None
    window = share.window
    if finding.reason is Reason.NEIGHBOUR:
        window = Window(start=window.start, end=min(chain.window.end, window.end + chain.shift_min + REACH_MIN))
    elif finding.reason is Reason.OPEN_CALL:
        window = Window(start=window.start, end=chain.window.end)
    waiting = chain.waiting
    histories = [history for history in chain.histories.values() if history.latest(window) is not None]
    if len(histories) < len(chain.histories):
        return window.end_us
    failed = [read.asked_us for history in histories if (read := history.latest(window)) and not read.good]
    if failed:
        return max(window.end_us, max(failed) + waiting.interval_us)
    settled_us = window.end_us + waiting.settle_us
    steady = _since_change(chain, window)
    counted = spaced(steady, waiting.interval_us)
    if not counted:
        return window.end_us
    if len(counted) < waiting.stable_reads or max(steady) < settled_us:
        before = waiting.stable_reads - 1
        if len(counted) < before:
            return max(counted[-1] + waiting.interval_us, window.end_us)
        # One more read confirms it; a neighbour's read that came in between puts it off no further.
        return max(counted[before - 1] + waiting.interval_us if before else 0, settled_us)
    late = min(len(counted) - waiting.stable_reads, len(BACKOFF_US) - 1)
    return counted[-1] + (BACKOFF_US[late] if waiting.interval_us else 0)


def _since_change(chain: Chain, window: Window) -> list[int]:
    """When the good reads of a window's last minute were asked for that show of the window what is shown now, at the
    usage endpoint that has the fewest. A read made before the window had ended is none of them."""
    histories = chain.histories.values()
    found = [
        sorted(
            read.asked_us
            for read in history.reads
            if read.good
            and window.end - 1 in read.window
            and not any(differs_since(each, window, read.asked_us) for each in histories)
        )
        for history in histories
    ]
    return min(found, key=lambda times: len(spaced(times, chain.waiting.interval_us)), default=[])
