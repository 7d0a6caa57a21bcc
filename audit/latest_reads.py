"""When each minute of a key was read last, for many windows asked one after the other.

Pure.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from .window import Window


class LatestReads:
    """The windows of a key's reads with when each was asked for, laid out so that a question costs what it spans."""

    def __init__(self, reads: Iterable[tuple[Window, int]]) -> None:
        waiting = sorted(((window.start, window.end, asked_us) for window, asked_us in reads), reverse=True)
        self._borders = sorted({border for start, end, _ in waiting for border in (start, end)})
        self._latest: list[int | None] = []
        """Between each border and the next; None: in no read."""
        going: list[tuple[int, int]] = []
        for border in self._borders:
            while waiting and waiting[-1][0] <= border:
                _, end, asked_us = waiting.pop()
                heapq.heappush(going, (-asked_us, end))
            while going and going[0][1] <= border:
                heapq.heappop(going)
            self._latest.append(-going[0][0] if going else None)

    def asked_us(self, window: Window) -> int | None:
        """When the last read that holds a minute of a window was asked for; None: none holds one."""
        first = max(0, bisect_right(self._borders, window.start) - 1)
        last = bisect_left(self._borders, window.end)
        return max((us for us in self._latest[first:last] if us is not None), default=None)
