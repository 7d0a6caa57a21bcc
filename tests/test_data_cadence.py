"""How long a proxy waits between two turns of carrying."""

from __future__ import annotations

import pytest

from submeter.data.cadence import WAIT_S_MAX, WAIT_S_MIN, Cadence


class Turns:
    """Turns that take so many seconds of CPU each, and fail where they take less than none."""

    def __init__(self, *took_s: float) -> None:
        self.took_s = list(took_s)
        self.spent_s = 100.0

    def __call__(self) -> None:
        took_s = self.took_s.pop(0)
        self.spent_s += abs(took_s)
        if took_s < 0:
            raise OSError("no room")


def waits(*took_s: float) -> list[float]:
    """The waits before the first turn and after each one."""
    turns = Turns(*took_s)
    cadence = Cadence(turns, cpu_s=lambda: turns.spent_s)
    found = [cadence.wait_s()]
    while turns.took_s:
        cadence.turn()
        found.append(cadence.wait_s())
    return found


def test_a_cheap_turn_is_followed_after_a_second() -> None:
    assert waits(0, 0.001, 0.02) == [WAIT_S_MIN] * 3 + [pytest.approx(1.0)]


def test_a_turn_is_followed_after_twenty_times_the_cpu_it_took() -> None:
    assert waits(0.04, 0.12, 0.024) == [WAIT_S_MIN, pytest.approx(2.0), pytest.approx(6.0), pytest.approx(1.2)]


def test_no_turn_keeps_the_next_one_waiting_for_more_than_ten_seconds() -> None:
    assert waits(60.0, 0.0) == [WAIT_S_MIN, WAIT_S_MAX, WAIT_S_MIN]


def test_steady_turns_take_no_more_than_a_fiftieth_of_a_core() -> None:
    for took_s in (0.001, 0.02, 0.05, 0.1, 0.2):
        assert took_s / (waits(took_s)[-1] + took_s) <= 0.02


def test_a_turn_that_fails_counts_as_well_and_its_error_goes_on() -> None:
    turns = Turns(-0.08)
    cadence = Cadence(turns, cpu_s=lambda: turns.spent_s)
    with pytest.raises(OSError, match="no room"):
        cadence.turn()
    assert cadence.wait_s() == pytest.approx(4.0)
