"""How often a program that has other work carries its journal into the ledger: by what the last turn took.

    cadence = Cadence(ledger.ingest)
    while not stopping.wait(cadence.wait_s()):
        cadence.turn()

Opening and closing a ledger costs some 25 ms of CPU whether a turn carries one call or a hundred, so few large turns
are cheaper than many small ones; and a proxy's CPU belongs to its calls. No answer is late for it: every command
ingests before it reads. Never here: a thread, a ledger, or the time of day.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S_MIN = 1.0
WAIT_S_MAX = 10.0
WAITS_PER_CPU_S = 50.0
"""Seconds to wait for each second of CPU that the last turn took: about 2 % of one core, while turns stay under 0.2 s
of CPU. A larger turn (after a night of waiting lines) is followed within `WAIT_S_MAX` all the same."""


class Cadence:
    """Runs turns, and tells how long to wait for the next one. For one thread."""

    def __init__(self, act: Callable[[], object], *, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._act = act
        self._cpu_s = cpu_s
        self._took_s = 0.0

    def turn(self) -> None:
        """Run one turn, and note the CPU that it took; whatever it raises goes on to the caller."""
        began_s = self._cpu_s()
        try:
            self._act()
        finally:
            self._took_s = self._cpu_s() - began_s

    def wait_s(self) -> float:
        """Seconds until the next turn."""
        return min(max(WAIT_S_MIN, WAITS_PER_CPU_S * self._took_s), WAIT_S_MAX)
