"""Windows of whole UTC minutes, and the few minutes that every rule of the audit counts with.

A minute is a whole number of minutes since 1970-01-01 UTC. A call is active from one minute before its start to 1 + k
minutes after its end: its tokens are billed somewhere in there, and nothing more is assumed (docs/design/audit.md
"Time").

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..data.clock import US_PER_MINUTE

SHIFT_MIN = 5
"""k: minutes after its end in which a call's tokens may still be billed (`--shift`)."""
MARGIN_MIN = 1
"""Minutes before and after, for clocks that differ by up to 60 s."""
UNCLAIMED_MIN = 60
"""Minutes past the last chain in which a bill is still looked for."""
READ_MIN_MAX = 7 * 24 * 60
"""Longest read put together from several windows: one page a day and one path."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Window:
    """Whole UTC minutes `[start, end)`."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"a window from minute {self.start} to {self.end} is empty")

    def __contains__(self, minute: int) -> bool:
        return self.start <= minute < self.end

    def covers(self, other: Window) -> bool:
        return self.start <= other.start and other.end <= self.end

    def meets(self, first: int, last: int) -> bool:
        """Whether any minute from `first` to `last`, both included, lies in the window."""
        return first < self.end and self.start <= last

    def overlaps(self, other: Window) -> bool:
        return self.start < other.end and other.start < self.end

    @property
    def start_us(self) -> int:
        return self.start * US_PER_MINUTE

    @property
    def end_us(self) -> int:
        return self.end * US_PER_MINUTE


def minute_of(us: int) -> int:
    """The minute that an instant in microseconds lies in."""
    return us // US_PER_MINUTE


def active_minutes(begin_us: int, end_us: int, *, shift_min: int) -> tuple[int, int]:
    """First and last active minute of something that ran from `begin_us` to `end_us` (now, if it still runs)."""
    return minute_of(begin_us) - MARGIN_MIN, minute_of(max(begin_us, end_us)) + MARGIN_MIN + shift_min


def touching(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The windows joined where they overlap or touch, ascending."""
    return joined((window.start, window.end) for window in windows)


def joined(stretches: Iterable[tuple[int, int]]) -> tuple[Window, ...]:
    """The same of stretches of minutes, first and the one after the last: of years there are very many."""
    found: list[tuple[int, int]] = []
    low = high = 0
    for start, end in sorted(stretches):
        if found and start <= high:
            if end > high:
                high = end
                found[-1] = (low, high)
        else:
            low, high = start, end
            found.append((start, end))
    return tuple(Window(start=start, end=end) for start, end in found)


def without(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """The minutes of `windows` that are in none of `taken`, ascending."""
    left = sorted(windows)
    for hole in taken:
        pieces: list[Window] = []
        for window in left:
            if not window.overlaps(hole):
                pieces.append(window)
                continue
            if window.start < hole.start:
                pieces.append(Window(start=window.start, end=hole.start))
            if hole.end < window.end:
                pieces.append(Window(start=hole.end, end=window.end))
        left = pieces
    return left


def read_windows(wanted: Iterable[Window], *, until: int) -> tuple[Window, ...]:
    """What to ask for so that each wanted window lies whole in one read, and all minutes between them in some read.

    Reads tile the time from the first wanted window to `until` (at least the end of the last). No read is longer than
    `READ_MIN_MAX` unless one window is.
    """
    windows = sorted(wanted)
    if not windows:
        return ()
    tiles: list[Window] = []
    start, end = windows[0].start, windows[0].end
    for window in windows[1:]:
        if window.end - start > READ_MIN_MAX and window.start >= end:
            tiles.extend(_pieces(start, end, window.start))
            start = window.start
        end = max(end, window.end)
    tiles.extend(_pieces(start, end, max(end, until)))
    return tuple(tiles)


def _pieces(start: int, whole_until: int, end: int) -> Iterable[Window]:
    """`[start, end)` in reads of bounded length, the first of which is not broken before `whole_until`."""
    reached = start
    while reached < end:
        stop = min(end, max(reached + READ_MIN_MAX, whole_until))
        yield Window(start=reached, end=stop)
        reached = stop
