"""The organization's lag curve: learned from reads at different times, said in doctor, and never a reason to hurry."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from audit_world import World, world
from hypothesis import given, settings
from hypothesis import strategies as st

import submeter.audit.lag
from submeter.audit.lag import LagCurve, lag_curve
from submeter.audit.verdict import Verdict
from submeter.cli.checks import State, check_lag
from submeter.data.clock import FixedClock

MINUTE = 60.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, lag=600.0) as made:
        yield made


def ages(here: World) -> list[tuple[int, int, int]]:
    return [(age, looks, tokens) for age, looks, tokens in here.ledger.query("usage_lag").rows]


def read_at(here: World, *minutes: float) -> None:
    """Reads of the last run so many minutes after its end, each a whole forced audit."""
    end = here.second
    for each in minutes:
        here.at(end + each * MINUTE)
        here.audit("r-1", force=True)


def test_a_token_is_as_late_as_the_first_read_that_showed_it(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", tokens=(900, 0, 100))
    here.mark("r-1", "end")
    read_at(here, 8, 9, 12, 40, 75)
    curve = lag_curve(ages(here))
    assert curve == LagCurve(tokens=1_000, looks=5, first_look_min=8, visible_by_min={50: 12, 90: 12, 99: 12, 100: 12})


def test_what_rises_later_is_late_by_as_much_and_what_is_taken_back_is_not_counted(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", tokens=(900, 0, 100))
    here.mark("r-1", "end")
    entry = here.sim.books.entries[-1]
    begin = entry.completed_at or 0.0
    more = entry.counts.part(0.1)
    here.sim.books.correct(entry.number, more, visible_from=begin + 45 * MINUTE)
    read_at(here, 20, 50, 90)
    assert [(age, tokens) for age, _, tokens in ages(here)] == [(20, 1_000), (50, 100), (90, 0)]
    here.sim.books.correct(entry.number, more.__class__() - more, visible_from=begin + 100 * MINUTE)
    read_at(here, 40)
    assert [(age, tokens) for age, _, tokens in ages(here) if tokens] == [(20, 1_000)]


def test_one_read_or_one_that_is_too_young_to_be_the_last_word_tells_nothing(here: World) -> None:
    here.a_run()
    read_at(here, 20)
    assert ages(here) == []
    read_at(here, 20)
    assert ages(here) == []
    read_at(here, 40)
    assert sum(tokens for _, _, tokens in ages(here)) == 336


def test_a_failed_read_is_no_look(here: World) -> None:
    here.a_run()
    end = here.second
    here.at(end + 20 * MINUTE)
    here.audit("r-1", settings=replace(here.settings, admin_key="sk-admin-wrong"))
    here.at(end + 70 * MINUTE)
    here.audit("r-1")
    assert ages(here) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9), st.integers(0, 10**6)), max_size=30))
def test_more_tokens_are_never_seen_sooner_and_the_last_age_that_showed_any_shows_all(
    rows: list[tuple[int, int, int]],
) -> None:
    curve = lag_curve(rows)
    if curve is None:
        assert sum(tokens for _, _, tokens in rows) == 0
        return
    found = [curve.visible_by_min[share] for share in (50, 90, 99, 100)]
    assert found == sorted(found)
    assert found[-1] == max(age for age, _, tokens in rows if tokens)
    assert curve.first_look_min == min(age for age, _, _ in rows)


def test_doctor_says_the_curve_and_how_long_a_verdict_still_waits(here: World) -> None:
    empty = check_lag(here.path, {}, here.clock)
    assert (empty.state, empty.numbers) == (State.FINE, None)
    here.a_run()
    read_at(here, 9, 30, 75)
    finding = check_lag(here.path, {}, here.clock)
    assert finding.state is State.FINE
    assert "50 % after 31 min, 90 % after 31 min" in finding.said
    assert "a verdict still waits 60" in finding.said
    assert finding.numbers is not None
    assert json.loads(json.dumps(finding.numbers))["settle_min"] == 60


def test_a_lag_beyond_settle_is_to_be_mended_by_waiting_longer(tmp_path: Path) -> None:
    with world(tmp_path, lag=100 * MINUTE) as here:
        here.a_run()
        read_at(here, 75, 110, 140)
        finding = check_lag(here.path, {}, here.clock)
        assert (finding.state, finding.next_step) == (State.WRONG, "Wait longer: export SUBMETER_SETTLE_MIN=120")


def test_no_ledger_yet_is_fine(tmp_path: Path) -> None:
    assert check_lag(tmp_path / "none.duckdb", {}, FixedClock(0)).state is State.FINE


def test_a_bill_that_was_always_early_shortens_no_wait(here: World) -> None:
    here.sim.lag = 0.0
    here.a_run()
    read_at(here, 8, 10, 40, 75)
    curve = lag_curve(ages(here))
    assert curve is not None
    assert curve.visible_by_min[100] <= 10
    here.a_run("r-2")
    end = here.second
    for minutes in (10, 40, 59):
        here.at(end + minutes * MINUTE)
        line = here.audit("r-2").runs[0]
        assert (line.verdict, line.parts[0].detail["settings"]["settle_min"]) == (Verdict.PENDING, 60)
    here.at(end + 75 * MINUTE)
    assert here.audit("r-2").runs[0].verdict is Verdict.VERIFIED


def test_nothing_that_judges_knows_the_curve() -> None:
    folder = Path(submeter.audit.lag.__file__).parent
    for path in folder.glob("*.py"):
        names = [
            node.module or alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        assert "lag" not in names, path.name
        assert path.name == "lag.py" or "usage_lag" not in path.read_text()
