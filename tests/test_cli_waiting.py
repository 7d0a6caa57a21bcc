"""Waiting by the clock that is given: one line in a pipe, until the very instant, however many wait."""

from __future__ import annotations

import pytest

from submeter.cli.waiting import some_of, wait_until
from submeter.data.clock import FixedClock

NOW_US = 1_795_000_000_000_000


def test_in_a_pipe_it_is_one_line_with_what_until_when_and_how_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FixedClock(NOW_US)
    wait_until(NOW_US + 1_800_000_000, what="chatdev/r-1", summary="Processed 1 run: pending 1, errors 0", clock=clock)
    assert clock.now_us() >= NOW_US + 1_800_000_000
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "",
        "Processed 1 run: pending 1, errors 0. Waiting 30 min 00 s, until 2026-11-18 11:36:40 UTC, for chatdev/r-1\n",
    )


def test_what_is_over_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FixedClock(NOW_US)
    wait_until(NOW_US - 1, what="x", summary="y", clock=clock)
    assert clock.now_us() == NOW_US
    assert "Waiting 0 s" in capsys.readouterr().err


def test_a_hundred_runs_are_still_one_short_line() -> None:
    assert some_of(["a"]) == "a"
    assert some_of([f"r-{number}" for number in range(100)]) == "r-0, r-1, r-2, r-3, r-4 and 95 more"
