"""Time: when a run is read again, what a late or falling bill is until it is steady, and when asking ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from audit_world import World, counts, said, world

from submeter.audit.report import Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.sim.counts import Counts

CLEAN = (Verdict.VERIFIED, None)
HOUR_MIN = 60


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def asked(here: World) -> int:
    """How many questions the provider was asked."""
    return len(here.sim.received)


def rows(here: World) -> tuple[int, int]:
    """How many verdicts and reads the ledger holds."""
    found = here.ledger.query("SELECT (SELECT count(*) FROM audits), (SELECT count(*) FROM usage_reads)").rows
    return found[0][0], found[0][1]


def proven(here: World) -> None:
    """A run long before, by which the key is known to show its bill."""
    here.a_run("before")
    here.judged("before")
    here.wait(90)


# A bill that comes late, or goes


def test_a_bill_that_a_read_showed_and_the_next_ones_do_not_is_a_warning_until_a_day_has_agreed(here: World) -> None:
    proven(here)
    here.mark("r-1", "begin")
    entry = here.post("baes", counts((9999, 0, 500)), ended=here.second)
    here.wait(10)
    here.mark("r-1", "end")
    here.wait(40)
    here.audit("r-1")
    here.sim.books.correct(entry, Counts() - here.sim.books.entries[entry].counts, visible_from=0)
    for minutes in (35, 31, 31, 20 * HOUR_MIN):
        here.wait(minutes)
        report = here.audit("r-1")
        line = report.runs[0]
        assert (line.verdict, line.reason, line.final) == (Verdict.WARNING, Reason.FELL, False)
        assert report.exit_code == 1
    here.wait(4 * HOUR_MIN)
    line = here.audit("r-1").runs[0]
    assert (line.verdict, line.reason, line.final) == (Verdict.NO_ACTIVITY, None, True)


def test_a_bill_that_comes_hours_late_is_over_and_not_final_and_then_verified(here: World) -> None:
    proven(here)
    here.sim.lag = 200 * 60.0
    here.a_run("r-1")
    line = here.judged("r-1").runs[0]
    assert (line.verdict, line.reason, line.final) == (Verdict.OVER, Reason.KEY_NOT_VISIBLE, False)
    assert {each.run[1]: each.waiting for each in here.pending()}["r-1"] is Waiting.NOT_DUE
    here.wait(130)
    here.audit(pending=True)
    here.wait(60)
    report = here.audit(pending=True)
    assert said(report)["r-1"] == CLEAN
    assert report.runs[0].final


def test_an_empty_bill_beside_calls_is_final_after_a_day(here: World) -> None:
    proven(here)
    here.mark("r-1", "begin")
    here.call(run="r-1", billed=False)
    here.mark("r-1", "end")
    assert not here.judged("r-1").runs[0].final
    here.wait(23 * HOUR_MIN)
    line = here.audit("r-1").runs[0]
    assert (line.verdict, line.reason, line.final) == (Verdict.OVER, Reason.KEY_NOT_VISIBLE, True)
    assert not line.parts[0].closed, "it is final because it was asked for long enough after its window"


# When it is read again


def test_a_run_that_is_not_final_is_read_after_1_2_4_8_and_24_hours_then_daily_and_closed_after_a_week(
    here: World,
) -> None:
    here.mark("r-1", "begin")
    here.know_key("baes")
    here.to(1)
    here.mark("r-1", "end")
    end = here.minute
    read_at: list[float] = []
    # Each time when it is due, and some between which must be quiet, the hour before it among them.
    first_hours = (1.2, 1.7, 2.75, 3.75, 4.75, 6.75, 7.75, 8.75, 12.75, 15.75, 16.75, 28.75, 39.75, 40.75, 43.75)
    for hour in (*first_hours, *range(48, 24 * 9, 8)):
        here.to(end + hour * HOUR_MIN)
        before = asked(here)
        report = here.audit(pending=True)
        if asked(here) > before:
            read_at.append(hour)
            assert said(report)["r-1"][0] in (Verdict.PENDING, Verdict.DATA_NOT_AVAILABLE)
    first_day = [hour for hour in read_at if hour < 44]
    assert first_day == [1.2, 1.7, 2.75, 4.75, 8.75, 16.75, 40.75]
    later = [hour for hour in read_at if hour >= 44]
    assert all(24 <= after - before < 40 for before, after in pairwise(later))
    assert max(read_at) < 7 * 24 + 32
    (standing,) = here.pending()
    assert (standing.waiting, standing.verdict) == (Waiting.CLOSED, Verdict.DATA_NOT_AVAILABLE)
    line = here.audit("r-1").runs[0]
    assert (line.final, line.reason) == (True, Reason.KEY_UNPROVEN)


def test_tokens_in_minutes_where_they_cannot_be_are_a_warning_and_closed_after_a_week_without_further_reads(
    here: World,
) -> None:
    here.mark("r-1", "begin")
    for _ in range(3):
        here.call(run="r-1", tokens=(100, 0, 10), billed=False)
    for minute in range(2):
        here.post("baes", counts((150, 0, 15)), ended=here.second + 60 * minute)
    here.mark("r-1", "end")
    line = here.judged("r-1").runs[0]
    assert (line.verdict, line.reason, line.final) == (Verdict.WARNING, Reason.TIMING, False)
    here.wait(6 * 24 * HOUR_MIN)
    assert not here.audit(pending=True).runs[0].final
    here.wait(25 * HOUR_MIN)
    line = here.audit(pending=True).runs[0]
    assert (line.verdict, line.reason, line.final, line.parts[0].closed) == (
        Verdict.WARNING,
        Reason.TIMING,
        True,
        True,
    )
    here.wait(25 * HOUR_MIN)
    before = (asked(here), rows(here))
    report = here.audit(pending=True)
    assert (report.runs, asked(here), rows(here)) == ((), *before)


@pytest.mark.parametrize("stuck", ["unproven", "open_call", "not_visible"])
def test_a_look_that_finds_nothing_due_asks_nothing_and_writes_nothing_however_often_it_is_made(
    here: World, stuck: str
) -> None:
    if stuck == "not_visible":
        proven(here)
    here.mark("r-1", "begin")
    here.know_key("baes")
    if stuck == "not_visible":
        here.call(run="r-1", billed=False)
    here.wait(1)
    if stuck == "open_call":
        here.open_call(run="r-1")
    here.mark("r-1", "end")
    here.wait(80)
    here.audit(pending=True)
    here.wait(31)
    here.audit(pending=True)
    before = (asked(here), rows(here))
    for _ in range(5):
        here.wait(6)
        report = here.audit(pending=True)
        assert report.exit_code == (1 if report.runs and stuck == "not_visible" else 3)
    assert (asked(here), rows(here)) == before


def test_the_reads_and_rows_of_a_stuck_run_grow_with_its_schedule_and_not_with_its_looks(here: World) -> None:
    def after(looks: int, apart: float) -> tuple[int, tuple[int, int]]:
        for _ in range(looks):
            here.wait(apart)
            here.audit(pending=True)
        return asked(here), rows(here)

    here.mark("r-1", "begin")
    here.know_key("baes")
    here.to(1)
    here.mark("r-1", "end")
    here.to(70)
    many = after(20, 12)
    assert many[1][0] <= 2 * 5, "a row of the run and one of its part each time it was read"
    assert many[1][1] <= 3 * 5
    assert many[0] == many[1][1]


@pytest.mark.parametrize(("interval_min", "stable_reads"), [(0, 2), (30, 1), (0, 1)])
def test_with_no_interval_or_one_read_alone_a_verdict_is_a_test_and_exits_3(
    here: World, interval_min: int, stable_reads: int
) -> None:
    quick = replace(here.settings, interval_min=interval_min, stable_reads=stable_reads)
    here.a_run()
    here.wait(75)
    for _ in range(2):
        report = here.audit("r-1", settings=quick)
    assert (said(report)["r-1"], report.timing, report.exit_code) == (CLEAN, "test", 3)
    assert here.audit("r-1").runs[0].verdict is Verdict.PENDING, "nothing of it counts for a real one"


def test_a_verdict_of_an_audit_that_waited_less_does_not_stand_in_one_that_waits_longer(here: World) -> None:
    """Nor is it read later than the longer wait wants it; one that waited longer stands in one that waits less."""
    hasty = replace(here.settings, interval_min=1, settle_min=5)
    here.a_run()
    here.wait(40)
    for _ in range(2):
        here.wait(2)
        report = here.audit("r-1", settings=hasty)
    assert (said(report)["r-1"], report.runs[0].final) == (CLEAN, True)
    assert here.pending(settings=hasty)[0].waiting is Waiting.FINAL
    assert here.pending()[0].waiting is Waiting.NOT_FINAL
    here.wait(40)
    assert here.audit(pending=True).runs[0].verdict is Verdict.PENDING
    here.wait(31)
    assert (said(here.audit(pending=True))["r-1"], here.pending()[0].waiting) == (CLEAN, Waiting.FINAL)
    assert here.pending(settings=hasty)[0].waiting is Waiting.FINAL


def test_a_force_reads_and_judges_what_is_final_and_no_other_look_does(here: World) -> None:
    here.a_run()
    here.judged("r-1")
    before = (asked(here), rows(here))
    for names, pending in (("r-1",), False), ((), True):
        here.wait(40)
        here.audit(*names, pending=pending)
        assert (asked(here), rows(here)) == before
    report = here.audit("r-1", force=True)
    assert (said(report)["r-1"], report.reads, asked(here)) == (CLEAN, 3, before[0] + 3)
