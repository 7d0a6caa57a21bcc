"""Waiting for the Usage API, with a progress display that says for what and until when.

One line fit for a log, and under it on a terminal a bar with the time that is left, narrow enough for any; the bar goes
away at the end. All of it is talk: stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from ..data.clock import US_PER_S, Clock, utc
from .harmless_text import drawn
from .output import duration, say

STEPS = 400
"""Pieces that a wait is cut into: the grain of the bar, and how soon Ctrl-C is heard."""
PIECE_S_MAX = 5.0
NAMED_MAX = 5


def wait_until(until_us: int, *, what: str, summary: str, clock: Clock) -> None:
    """Let the clock reach `until_us`. `what`: who is waited for; `summary`: how it stands."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    now_us = clock.now_us()
    seconds = max(0.0, (until_us - now_us) / US_PER_S)
    said = f"{summary}. Waiting {duration(seconds)}, until {utc(until_us):%Y-%m-%d %H:%M:%S} UTC, for {what}"
    say(said)
    console = Console(file=drawn(sys.stderr))
    if not console.is_terminal:
        _pass(until_us, clock, lambda _share: None)
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task(f"{duration(seconds)} left", total=1.0)

        def show(share: float) -> None:
            progress.update(task, completed=share, description=f"{duration(seconds * (1 - share))} left")

        _pass(until_us, clock, show)


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are, so that a hundred runs are still one line."""
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _pass(until_us: int, clock: Clock, tell: Callable[[float], None]) -> None:
    """Sleep by pieces, telling the share that has passed."""
    begun_us = clock.now_us()
    whole_us = max(1, until_us - begun_us)
    piece_s = min(PIECE_S_MAX, whole_us / US_PER_S / STEPS)
    while (left_us := until_us - clock.now_us()) > 0:
        tell(1 - left_us / whole_us)
        clock.sleep(min(max(piece_s, 0.001), left_us / US_PER_S))
    tell(1.0)
