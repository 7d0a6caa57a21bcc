"""Marks, pages and folders that cannot be right: a verdict that says so, never `verified`, never a crash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_world import World, said, world

from submeter.audit.verdict import Verdict
from submeter.data.error import SubmeterError
from submeter.data.paths import reads_folder
from submeter.sim.faults import Fault, FaultKind

CLEAN = (Verdict.VERIFIED, None)
HOUR_US = 3600 * 1_000_000


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def mark_at(here: World, run: str, edge: str, marked_at: int, *, framework: str | None = "baes") -> None:
    line = {"framework": framework, "run_id": run, "edge": edge, "by": "cli", "marked_at": marked_at}
    here.journal.append("run", {name: value for name, value in line.items() if value is not None})


# Pages


@pytest.mark.parametrize(
    "kind", [FaultKind.BUCKET_DOUBLED, FaultKind.BUCKETS_DESCENDING, FaultKind.FILTER_IGNORED, FaultKind.NOT_JSON]
)
def test_a_page_that_contradicts_itself_is_no_read_and_a_good_one_counts_again(here: World, kind: FaultKind) -> None:
    here.a_run()
    here.call("chatdev", metered=False)
    here.sim.plan.add(Fault(kind=kind, path="*/usage/completions"))
    report = here.judged("r-1")
    assert (said(report)["r-1"], report.exit_code) == ((Verdict.UNAVAILABLE, None), 3)
    assert not report.runs[0].final
    here.sim.plan.clear()
    assert said(here.judged("r-1"))["r-1"] == CLEAN


def test_an_answer_that_is_cut_off_is_asked_for_the_rest_and_what_lies_there_is_seen(here: World) -> None:
    here.sim.plan.add(Fault(kind=FaultKind.BUCKETS_CUT, path="*/usage/completions", after=60))
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.to(100)
    here.call(metered=False, tokens=(5000, 0, 77))
    here.to(180)
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.SHORT, None)
    here.mark("r-2", "begin")
    here.call(run="r-2")
    here.wait(100)
    here.call(run="r-2", tokens=(5000, 0, 77))
    here.mark("r-2", "end")
    assert said(here.judged("r-2"))["r-2"] == CLEAN


# The folder of reads


def test_without_its_reads_folder_what_is_final_stands_and_what_is_not_is_unavailable(here: World) -> None:
    here.a_run("done")
    here.judged("done")
    here.wait(20)
    here.a_run("r-1")
    here.wait(75)
    here.audit("r-1")
    shutil.rmtree(reads_folder(here.path))
    here.wait(1)
    here.sim.plan.add(Fault(kind=FaultKind.STATUS, status=500, path="*/usage/*"))
    found = said(here.audit("done", "r-1"))
    assert found == {"done": CLEAN, "r-1": (Verdict.UNAVAILABLE, None)}
    here.sim.plan.clear()
    here.wait(30)
    here.audit("r-1")
    here.wait(30)
    assert said(here.audit("r-1"))["r-1"] == CLEAN


def test_without_its_reads_folder_a_final_verdict_whose_ground_changed_is_not_verified_anew(here: World) -> None:
    here.a_run("r-1")
    here.judged("r-1")
    shutil.rmtree(reads_folder(here.path))
    here.journal.append(
        "gap", {"from": here.clock.now_us() - 2 * HOUR_US, "to": here.clock.now_us(), "calls": 1, "lines": 1}
    )
    here.wait(1)
    report = here.audit(pending=True)
    assert all(line.verdict is not Verdict.VERIFIED for line in report.runs)
    assert report.exit_code == 3


# Marks


def test_a_run_that_begins_in_the_future_is_not_ended_and_has_no_verdict_yet(here: World) -> None:
    here.call()
    mark_at(here, "r-1", "begin", here.clock.now_us() + 48 * HOUR_US)
    mark_at(here, "r-1", "end", here.clock.now_us() + 49 * HOUR_US)
    report = here.judged("r-1")
    assert (said(report)["r-1"][0], report.exit_code) == (Verdict.PENDING, 3)
    assert not report.runs[0].final
    here.audit(pending=True)


def test_a_run_that_ends_before_it_begins_is_judged_in_the_minutes_it_is_known_in(here: World) -> None:
    here.to(60)
    mark_at(here, "r-1", "begin", here.clock.now_us())
    mark_at(here, "r-1", "end", here.clock.now_us() - HOUR_US)
    here.call(run="r-1", tokens=(100, 0, 10))
    here.call(metered=False, tokens=(50, 0, 5))
    here.wait(70)
    report = here.judged("r-1")
    assert said(report)["r-1"][0] is Verdict.SHORT


def test_a_run_of_which_only_an_end_is_known_has_no_minutes_and_no_verdict(here: World) -> None:
    here.call()
    mark_at(here, "r-1", "end", here.clock.now_us())
    with pytest.raises(SubmeterError, match="no run called r-1") as caught:
        here.judged("r-1")
    assert caught.value.why == "No begin mark and no call of this ledger names it."


def test_a_run_of_which_no_end_is_known_has_ended_where_its_last_call_did_and_is_judged_an_hour_later(
    here: World,
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    report = here.judged("r-1")
    assert said(report)["r-1"] == CLEAN


def test_two_runs_of_one_id_are_two_runs_and_a_bare_id_is_asked_for_its_framework(here: World) -> None:
    here.a_run("r-1", key="baes")
    here.mark("r-1", "begin", framework="chatdev")
    here.call("chatdev", run="r-1")
    here.call("chatdev", metered=False, tokens=(50, 0, 5))
    here.mark("r-1", "end", framework="chatdev")
    with pytest.raises(SubmeterError, match="More than one run"):
        here.audit("r-1")
    report = here.judged("baes/r-1", "chatdev/r-1")
    assert [(line.name, line.verdict) for line in report.runs] == [
        ("baes/r-1", Verdict.VERIFIED),
        ("chatdev/r-1", Verdict.SHORT),
    ]
