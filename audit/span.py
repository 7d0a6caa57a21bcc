"""Active minutes, spans and windows: which minutes of one key's bill belong to which calls and runs.

A minute is a whole number of minutes since 1970-01-01 UTC. A call is active from one minute before its start to
1 + k minutes after its end: its tokens are billed somewhere in there, and nothing more is assumed (DESIGN.md
section 6). Calls and run episodes of one key whose active minutes overlap or touch are one span; the span's window is
what is asked of the Usage API. Close the key, not the run.

Pure. Calls come as pairs of first and last active minute, already grouped by SQL; never one object a call.
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
"""Minutes past the last window in which a bill is still looked for."""
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


def spans(activities: Iterable[tuple[int, int]]) -> tuple[Window, ...]:
    """The windows of all spans of one key, ascending: activities that overlap or touch are one."""
    found: list[Window] = []
    for first, last in sorted(activities):
        if found and first <= found[-1].end:
            found[-1] = Window(start=found[-1].start, end=max(found[-1].end, last + 1))
        else:
            found.append(Window(start=first, end=last + 1))
    return tuple(found)


def gaps_between(windows: Iterable[Window], *, until: int) -> tuple[Window, ...]:
    """The minutes outside all windows, from the first window to `until`: where a bill would be unclaimed."""
    found: list[Window] = []
    reached: int | None = None
    for window in sorted(windows):
        if reached is not None and window.start > reached:
            found.append(Window(start=reached, end=min(window.start, until)) if reached < until else window)
        reached = window.end if reached is None else max(reached, window.end)
    if reached is not None and reached < until:
        found.append(Window(start=reached, end=until))
    return tuple(gap for gap in found if gap.end <= until)


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
