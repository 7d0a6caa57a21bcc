"""Runs of one key that share minutes: whose an error is, what stands beside it, and what marks by a wrong clock do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, World, counts, said, world

from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Edge, MarkedBy
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.journal import Journal
from submeter.data.marks import Mark

BEGIN_MINUTE = BEGIN_S // 60
CLEAN = (Verdict.VERIFIED, None)
SHORT = (Verdict.SHORT, None)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def back_to_back(
    here: World, runs: int, *, hidden_in: int | None = None, long_min: float = 30, gap_min: float = 2
) -> None:
    """Runs of three calls each, one after the other; one may have a call in its middle that goes past the meter."""
    for number in range(runs):
        begin = here.minute
        here.mark(f"r{number}", "begin")
        for call in range(3):
            here.to(begin + 0.2 + call * (long_min - 2) / 3)
            here.call(run=f"r{number}", tokens=(100 + number, 0, 10 + call))
            if number == hidden_in and call == 1:
                here.call(metered=False, tokens=(5555, 0, 66))
        here.to(begin + long_min)
        here.mark(f"r{number}", "end")
        here.to(begin + long_min + gap_min)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_call_past_the_meter_is_not_hidden_behind_an_equal_call_that_is_billed_later(
    here: World, hidden: bool
) -> None:
    here.mark("a", "begin")
    here.to(1.2)
    here.call(run="a", tokens=(500, 0, 1), billed_at=4 * 60)
    if hidden:
        here.post("baes", counts((500, 0, 1)), ended=90)
    here.to(1.9)
    here.mark("a", "end")
    here.to(2)
    here.mark("b", "begin")
    here.to(2.5)
    here.call(run="b", tokens=(700, 0, 20))
    here.to(20)
    here.call(run="b", tokens=(300, 0, 7))
    here.to(30)
    here.mark("b", "end")
    found = said(here.judged("a", "b"))
    assert found["a"] == (SHORT if hidden else CLEAN)
    if not hidden:
        assert found["b"] == CLEAN


def test_a_call_past_the_meter_is_not_hidden_behind_several_that_are_billed_later_and_make_its_sum(here: World) -> None:
    here.mark("a", "begin")
    here.to(1.1)
    here.call(run="a", tokens=(200, 0, 4), lasts=2, billed_at=4 * 60)
    here.call(run="a", tokens=(300, 0, 5), lasts=2, billed_at=4 * 60 + 1)
    here.post("baes", counts((500, 0, 9)), ended=90)
    here.to(1.9)
    here.mark("a", "end")
    here.to(2)
    here.mark("b", "begin")
    here.to(20)
    here.call(run="b", tokens=(300, 0, 7))
    here.to(30)
    here.mark("b", "end")
    found = said(here.judged("a", "b"))
    assert found["a"][0] is Verdict.SHORT


def test_a_call_past_the_meter_in_the_last_minutes_of_a_run_leaves_that_run_no_verified(here: World) -> None:
    """The books cannot tell whose it was where the next run has begun: then both are named."""
    here.mark("a", "begin")
    here.to(0.5)
    here.call(run="a", tokens=(400, 0, 9))
    here.to(2.1)
    here.call(run="a", tokens=(411, 0, 9))
    here.to(3.97)
    here.mark("a", "end")
    here.post("baes", counts((777, 0, 33)), ended=241)
    here.to(4.2)
    here.mark("b", "begin")
    for minute, tokens in ((6, (700, 0, 20)), (20, (300, 0, 7))):
        here.to(minute)
        here.call(run="b", tokens=tokens)
    here.to(40)
    here.mark("b", "end")
    report = here.judged("a", "b")
    assert said(report)["a"][0] is Verdict.SHORT
    assert report.runs[0].parts[0].runs == (("baes", "a"), ("baes", "b")), "each may hold it, and both are named"


def test_one_hidden_call_leaves_the_other_runs_of_a_long_chain_verified(here: World) -> None:
    back_to_back(here, 6, hidden_in=0)
    report = here.judged(*(f"r{number}" for number in range(6)))
    assert {line.parts[0].detail["chain"]["runs"] for line in report.runs} == {6}, "it is one chain"
    assert said(report) == {"r0": SHORT, **{f"r{number}": CLEAN for number in range(1, 6)}}
    assert not report.runs[0].parts[0].joint
    assert (report.exit_code, report.unclaimed) == (1, ())


def test_a_hidden_call_in_the_middle_of_a_chain_leaves_those_before_and_after_verified(here: World) -> None:
    back_to_back(here, 5, hidden_in=2)
    found = said(here.judged(*(f"r{number}" for number in range(5))))
    assert found == {f"r{number}": SHORT if number == 2 else CLEAN for number in range(5)}


def test_a_chain_in_which_nothing_is_wrong_is_verified_whole(here: World) -> None:
    back_to_back(here, 4)
    report = here.judged("r0", "r1", "r2", "r3")
    assert set(said(report).values()) == {CLEAN}
    assert report.exit_code == 0


def test_the_first_run_of_a_chain_that_goes_on_has_its_verdict_while_the_others_run(here: World) -> None:
    back_to_back(here, 2)
    here.mark("r2", "begin")
    for look in range(12):
        here.call(run="r2", tokens=(300, 0, 30))
        here.wait(10)
        if look == 7:
            here.audit("r0", "r2")
    report = here.audit("r0", "r2")
    assert said(report) == {"r0": CLEAN, "r2": (Verdict.PENDING, Reason.RUN_OPEN)}


def test_an_error_that_the_next_run_may_still_decide_is_pending_and_names_that_run(here: World) -> None:
    """An own call may be billed late, so that the books are equal again once the next run is known."""
    here.mark("a", "begin")
    here.call(run="a", tokens=(400, 0, 9))
    here.to(4)
    here.post("baes", counts((777, 0, 33)), ended=here.second)
    here.mark("a", "end")
    here.mark("b", "begin")
    for look in range(25):
        here.call(run="b", tokens=(777, 0, 33))
        here.wait(5)
        if look == 16:
            here.audit("a")
    report = here.audit("a")
    (line,) = report.runs
    assert (line.verdict, line.reason, line.final) == (Verdict.PENDING, Reason.NEIGHBOUR, False)
    assert line.parts[0].detail["named"] == ["baes/b"]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_bill_of_a_chain_that_lies_in_no_runs_minutes_is_unclaimed_and_exits_1(here: World, hidden: bool) -> None:
    """Calls without a run keep the chain together where no run is; what is billed beside them is nobody's."""
    here.a_run("r-1")
    for number in range(10):
        here.call(tokens=(900 + 7 * number, 0, 1))
        if hidden and number == 4:
            here.post("baes", counts((70, 0, 7)), ended=here.second + 180)
        here.wait(6)
    here.a_run("r-2")
    report = here.judged("r-1", "r-2")
    assert said(report) == {"r-1": CLEAN, "r-2": CLEAN}
    assert report.runs[0].parts[0].detail["chain"]["runs"] == 2
    assert [each.input_tokens for each in report.unclaimed] == ([70] if hidden else [])
    assert report.exit_code == (1 if hidden else 0)


@pytest.mark.parametrize("in_one_minute", [True, False])
def test_of_an_unclaimed_minute_no_more_is_shown_than_the_bill_has_over_the_book(
    here: World, in_one_minute: bool
) -> None:
    """Beside a call without a run, in the minute of its bill: what was hidden is shown, and not both."""
    here.a_run("r-1")
    for number in range(10):
        here.call(tokens=(900 + 7 * number, 0, 1))
        if number == 4:
            here.post("baes", counts((70, 0, 7)), ended=here.second + (0 if in_one_minute else 180))
        here.wait(6)
    here.a_run("r-2")
    report = here.judged("r-1", "r-2")
    assert said(report) == {"r-1": CLEAN, "r-2": CLEAN}
    assert {(each.input_tokens, each.output_tokens) for each in report.unclaimed} == {(70, 7)}


# How long it takes


def waits(here: World, *, hidden_in: int | None, look_min: int) -> dict[str, float]:
    """Minutes from the end of each of ten runs back to back to its final verdict, looked at every so many.

    A run is 18 minutes of calls, and the next one begins two minutes later.
    """
    ended: dict[str, float] = {}
    found: dict[str, float] = {}
    for tick in range(32):
        run = f"r{tick // 2}"
        if tick < 20 and tick % 2 == 0:
            here.mark(run, "begin")
        for call in range(3 if tick < 20 else 0):
            here.to(10 * tick + 0.5 + 2.5 * call)
            here.call(run=run, tokens=(200 + 7 * tick, 0, 10 + call))
            if tick // 2 == hidden_in and tick % 2 == call == 1:
                here.call(metered=False, tokens=(5555, 0, 66))
        if tick < 20 and tick % 2 == 1:
            here.to(10 * tick + 8)
            here.mark(run, "end")
            ended[run] = here.minute
        here.to(10 * tick + 10)
        if here.minute % look_min:
            continue
        here.audit(pending=True)
        query = "SELECT DISTINCT run_id FROM audits WHERE scope = 'run' AND final"
        for (run_id,) in here.ledger.query(query).rows:
            found.setdefault(run_id, here.minute - ended[run_id])
    return found


SHIFT_MIN, SETTLE_MIN = 5, 60
WIDER_MIN = 1
"""Nothing is known of the clock that the marks of these worlds were made by."""


@pytest.mark.parametrize(("hidden_in", "look_min"), [(None, 10), (4, 20)])
def test_each_of_ten_runs_back_to_back_is_final_as_soon_as_its_own_minutes_are_settled(
    here: World, hidden_in: int | None, look_min: int
) -> None:
    found = waits(here, hidden_in=hidden_in, look_min=look_min)
    print("minutes to a final verdict, hidden in", hidden_in, {run: round(each) for run, each in found.items()})
    assert len(found) == 10
    waited = {run: each for run, each in found.items() if run != f"r{hidden_in}"}
    window_min = SHIFT_MIN + 2 + WIDER_MIN
    assert max(waited.values()) <= window_min + (SHIFT_MIN + 2) + SETTLE_MIN + look_min
    assert waited["r9"] <= window_min + SETTLE_MIN + look_min, "nothing comes after the last one"
    verdicts = dict(here.ledger.query("SELECT run_id, verdict FROM run_audit").rows)
    assert verdicts == {run: "short" if run == f"r{hidden_in}" else "verified" for run in found}


# Clocks


class Elsewhere:
    """The orchestrator and the proxy of a machine whose clock is off, beside a world that tells the true time."""

    def __init__(self, here: World, off_s: int) -> None:
        self.here, self.off_us = here, off_s * US_PER_S
        self.clock = FixedClock(here.clock.now_us() + self.off_us)
        self.proxy = Journal.open(here.path, mode="proxy", clock=self.clock)
        self.proxy.begin(upstream="https://api.openai.com")
        self.marks = Journal.open(here.path, mode="mark", clock=self.clock)
        self.marks.begin()

    def mark(self, run: str, edge: Edge) -> None:
        self.clock.set_us(self.here.clock.now_us() + self.off_us)
        mark = Mark(
            kind="run",
            framework="baes",
            run_id=run,
            step=None,
            edge=edge,
            by=MarkedBy.CLI,
            marked_at=self.clock.now_us(),
        )
        self.marks.append("run", mark.line())

    def call(self, run: str, tokens: tuple[int, int, int] = (100, 0, 10), *, date: bool = True) -> None:
        """A metered and billed call, written down by the clock that is off; the provider's `Date` tells the truth."""
        begin_us = self.here.clock.now_us()
        self.here.call(metered=False, tokens=tokens)
        ours, theirs = self.here.journal, self.here.clock
        self.here.journal, self.here.clock = self.proxy, self.clock
        try:
            self.clock.set_us(begin_us + self.off_us)
            told: dict[str, Any] = {"first_byte_at": self.clock.now_us(), "server_date": begin_us} if date else {}
            self.here.call(run=run, tokens=tokens, billed=False, **told)
        finally:
            self.here.journal, self.here.clock = ours, theirs

    def close(self) -> None:
        self.marks.close()
        self.proxy.close()


@pytest.mark.parametrize("off_min", [-7, 0, 12])
@pytest.mark.parametrize("hidden", [False, True])
def test_run_marks_by_a_clock_that_is_minutes_off_are_set_right_by_the_providers_date(
    here: World, off_min: int, hidden: bool
) -> None:
    """A call past the meter stands right after the begin mark, where no call of the run is."""
    here.to(60)
    away = Elsewhere(here, off_min * 60)
    away.mark("r-1", Edge.BEGIN)
    here.to(62)
    if hidden:
        here.call(metered=False, tokens=(777, 0, 7))
    here.to(75)
    away.call("r-1")
    here.to(90)
    away.mark("r-1", Edge.END)
    away.close()
    report = here.judged("r-1")
    assert (said(report)["r-1"], report.unclaimed) == (SHORT if hidden else CLEAN, ())
    assert report.runs[0].parts[0].window.start == BEGIN_MINUTE + 59


def test_marks_by_a_clock_of_which_nothing_is_known_make_the_window_wider_and_nothing_else(here: World) -> None:
    here.to(60)
    away = Elsewhere(here, 0)
    away.mark("r-1", Edge.BEGIN)
    here.to(62)
    away.call("r-1", date=False)
    here.to(90)
    away.mark("r-1", Edge.END)
    away.close()
    report = here.judged("r-1")
    assert said(report)["r-1"] == CLEAN
    assert report.runs[0].parts[0].window.start == BEGIN_MINUTE + 60 - 2
    assert report.runs[0].parts[0].window.end == BEGIN_MINUTE + 90 + 1 + 5 + 1 + 1
