"""The clock that is passed in. Nothing else in submeter asks the time.

Times are integer microseconds since 1970-01-01 UTC (`us`), the grain of the journal and of DuckDB's TIMESTAMP.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

US_PER_S = 1_000_000
US_PER_MINUTE = 60 * US_PER_S


class Clock(Protocol):
    """What the rest of the program may ask of time."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block until `seconds` of this clock's time have passed."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ScaledClock:
    """A clock that starts now and runs `factor` times as fast as the machine's.

    A rule that waits an hour still waits an hour of this clock; only the wall is faster. Read from any thread.
    """

    def __init__(self, factor: float, *, start_us: int | None = None) -> None:
        if factor <= 0:
            raise ValueError(f"a clock runs forward: factor {factor} is not above 0")
        self.factor = factor
        self._started_ns = time.monotonic_ns()
        self._start_us = time.time_ns() // 1000 if start_us is None else start_us

    def now_us(self) -> int:
        return self._start_us + int((time.monotonic_ns() - self._started_ns) * self.factor) // 1000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.factor)


class FixedClock:
    """A clock that stands still until told otherwise; `sleep` moves it at once. For tests and replays."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def sleep(self, seconds: float) -> None:
        self._now_us += int(seconds * US_PER_S)

    def set_us(self, now_us: int) -> None:
        self._now_us = now_us


def utc(us: int) -> datetime:
    """The aware UTC datetime of a count of microseconds."""
    return datetime.fromtimestamp(us // US_PER_S, UTC).replace(microsecond=us % US_PER_S)


def minute_floor(us: int) -> int:
    """The start of the whole UTC minute that `us` lies in, in microseconds."""
    return us - us % US_PER_MINUTE
