"""Clocks: standing, running fast, and what a microsecond count means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from submeter.data.clock import FixedClock, ScaledClock, SystemClock, minute_floor, utc

NOON_US = 1_795_348_800_000_000


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(NOON_US)
    assert clock.now_us() == clock.now_us() == NOON_US
    clock.sleep(1.5)
    assert clock.now_us() == NOON_US + 1_500_000
    clock.set_us(7)
    assert clock.now_us() == 7


def test_a_scaled_clock_runs_forward_by_its_factor() -> None:
    clock = ScaledClock(1e6, start_us=NOON_US)
    first = clock.now_us()
    clock.sleep(3600)
    assert clock.now_us() - first >= 3600 * 1_000_000
    assert first >= NOON_US


def test_a_clock_does_not_stand_or_run_back() -> None:
    with pytest.raises(ValueError, match="runs forward"):
        ScaledClock(0)


def test_the_system_clock_is_the_machines() -> None:
    before = datetime.now(UTC)
    clock = SystemClock()
    clock.sleep(0)
    assert before <= utc(clock.now_us()) <= datetime.now(UTC)


def test_times_are_whole_microseconds_utc() -> None:
    assert utc(NOON_US + 1) == datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
    assert minute_floor(NOON_US + 59_999_999) == NOON_US
    assert minute_floor(NOON_US) == NOON_US
