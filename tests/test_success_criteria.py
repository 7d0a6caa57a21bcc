"""What the users asked for, end to end: calls in the journal, bills over HTTP, audits, their `metrics.json` after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, World, world
from click.testing import CliRunner

from submeter.audit.report import AuditReport, Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.sim.counts import Counts

MINUTE = 60.0
TOKEN_FIELDS = {"tokens_in", "tokens_out", "api_calls", "cached_tokens"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def verdicts(report: AuditReport) -> dict[str, Verdict]:
    return {line.name: line.verdict for line in report.runs}


def both_reads(here: World, *runs: str) -> AuditReport:
    """An audit that may be too early, and one when everything has settled."""
    here.at(here.second + 70 * MINUTE)
    here.audit(*runs)
    here.at(here.second + 30 * MINUTE)
    return here.audit(*runs)


def metrics(here: World, folder: Path, run_id: str, framework: str = "baes") -> dict[str, Any]:
    """The run's file after `submeter metrics update`: before, as the users' orchestrator had left it."""
    path = folder / framework / run_id / "metrics.json"
    if not path.exists():
        path.parent.mkdir(parents=True)
        steps = [{"step": number, "duration": 1.5, **dict.fromkeys(TOKEN_FIELDS, 0)} for number in (1, 2)]
        left = {"aggregate_metrics": {"AUTR": 1.0, "TOK_IN": 0}, "steps": steps, "verification_status": "pending"}
        path.write_text(json.dumps(left, indent=2))
    told = CliRunner().invoke(cli, ["metrics", "update", str(path)], obj=Invocation(ledger=here.path, clock=here.clock))
    assert told.exit_code == 0, told.output
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_totals_of_a_run_match_the_provider_to_the_token(here: World, tmp_path: Path) -> None:
    here.a_run(calls=7, apart=95)
    report = both_reads(here, "r-1")
    assert (verdicts(report), report.exit_code) == ({"baes/r-1": Verdict.VERIFIED}, 0)
    billed = here.sim.books.total(api_key_id="key_baes")
    told = metrics(here, tmp_path, "r-1")["aggregate_metrics"]
    assert (told["TOK_IN"], told["TOK_OUT"]) == (billed.input_tokens, billed.output_tokens) == (721, 91)
    assert (told["CACHED_TOKENS"], told["API_CALLS"]) == (billed.cached_tokens, 7)


@pytest.mark.parametrize("by", [1, -1])
def test_a_single_token_of_difference_is_no_match(here: World, by: int) -> None:
    here.a_run(calls=3)
    number = len(here.sim.books) - 1
    here.sim.books.correct(number, Counts(output_text=by), visible_from=0)
    expected = Verdict.SHORT if by > 0 else Verdict.OVER
    assert verdicts(both_reads(here, "r-1")) == {"baes/r-1": expected}


@pytest.mark.parametrize(
    ("age_min", "waiting"),
    [
        (29, Waiting.TOO_YOUNG),
        (30, Waiting.NEVER_READ),
        (720, Waiting.NEVER_READ),
        (1440, Waiting.NEVER_READ),
        (1441, Waiting.TOO_OLD),
    ],
)
def test_runs_that_ended_30_to_1440_minutes_ago_are_due_and_others_are_not(
    here: World, age_min: int, waiting: Waiting
) -> None:
    here.a_run()
    here.at(here.second + age_min * MINUTE)
    (standing,) = here.pending()
    assert (standing.age_min, standing.waiting) == (age_min, waiting)
    report = here.audit(pending=True)
    assert [line.name for line in report.runs] == (["baes/r-1"] if waiting is Waiting.NEVER_READ else [])
    assert bool(report.reads) is (waiting is Waiting.NEVER_READ)


def test_no_step_keeps_a_token_field_and_exact_counts_stand_beside_them(here: World, tmp_path: Path) -> None:
    here.a_run()
    told = metrics(here, tmp_path, "r-1")
    assert [step.keys() & TOKEN_FIELDS for step in told["steps"]] == [set(), set()]
    assert [(step["step"], step["duration"]) for step in told["steps"]] == [(1, 1.5), (2, 1.5)]
    exact = told["usage_api_reconciliation"]["submeter"]["steps"]
    assert [(step["step"], step["input_tokens"], step["output_tokens"]) for step in exact] == [("1", 303, 33)]
    assert sum(step["input_tokens"] for step in exact) == told["aggregate_metrics"]["TOK_IN"]


def test_a_run_first_read_at_30_minutes_is_verified_by_its_second_read_from_68_minutes_on(
    here: World, tmp_path: Path
) -> None:
    """Its last active minute is 1 + k = 6 after the minute of its end, and one more where nobody knows how far off the
    meter's clock is; settling is counted from the end of that one."""
    here.a_run()
    end = here.second
    here.at(end + 30 * MINUTE)
    first = here.audit("r-1").runs[0]
    assert (first.verdict, first.reason, first.attempt) == (Verdict.PENDING, Reason.NOT_SETTLED, 1)
    assert metrics(here, tmp_path, "r-1")["verification_status"] == "pending"
    window_end = (int(end // MINUTE) + 8) * MINUTE
    due = window_end + 60 * MINUTE
    assert first.next_read_us == int((BEGIN_S + due) * 1_000_000)
    assert 67 * MINUTE < due - end <= 68 * MINUTE
    here.at(due)
    second = here.audit("r-1").runs[0]
    assert (second.verdict, second.attempt) == (Verdict.VERIFIED, 2)
    told = metrics(here, tmp_path, "r-1")
    assert told["verification_status"] == "verified"
    assert len(told["usage_api_reconciliation"]["attempts"]) == 2


def test_a_second_read_a_second_before_that_is_pending_and_a_third_is_needed(here: World) -> None:
    here.a_run()
    end = here.second
    here.at(end + 30 * MINUTE)
    here.audit("r-1")
    here.at((int(end // MINUTE) + 68) * MINUTE - 1)
    assert here.audit("r-1").runs[0].verdict is Verdict.PENDING
    here.at(here.second + 1)
    third = here.audit("r-1").runs[0]
    assert (third.verdict, third.attempt) == (Verdict.VERIFIED, 3)


def test_nothing_leaks_between_back_to_back_runs_with_different_keys(here: World, tmp_path: Path) -> None:
    here.a_run("r-1", key="baes", calls=3, apart=7)
    here.a_run("r-1", key="chatdev", calls=5, apart=7)
    here.call("chatdev", metered=False, tokens=(50, 5, 5))
    report = both_reads(here, "baes/r-1", "chatdev/r-1")
    assert verdicts(report) == {"baes/r-1": Verdict.VERIFIED, "chatdev/r-1": Verdict.SHORT}
    assert [line.parts[0].joint for line in report.runs] == [False, False]
    for framework, calls in (("baes", 3), ("chatdev", 5)):
        told = metrics(here, tmp_path, "r-1", framework)["aggregate_metrics"]
        assert (told["TOK_IN"], told["API_CALLS"]) == (sum(100 + number for number in range(calls)), calls)


@pytest.mark.parametrize(("apart", "between"), [(2.0, 0.0), (30.0, 60.0)])
def test_back_to_back_runs_with_one_key_have_each_a_verdict_of_their_own(
    here: World, tmp_path: Path, apart: float, between: float
) -> None:
    here.a_run("r-1", calls=2, apart=apart)
    here.at(here.second + between)
    here.a_run("r-2", calls=3, apart=apart)
    report = both_reads(here, "r-1", "r-2")
    assert verdicts(report) == {"baes/r-1": Verdict.VERIFIED, "baes/r-2": Verdict.VERIFIED}
    (one,), (other,) = (line.parts for line in report.runs)
    assert not one.joint
    assert not other.joint
    assert one.window.overlaps(other.window)
    told = [metrics(here, tmp_path, run) for run in ("r-1", "r-2")]
    totals = [each["aggregate_metrics"]["TOK_IN"] for each in told]
    assert totals == [201, 303], "each run has its own calls, and no bucket is shared out"
    attempts = [each["usage_api_reconciliation"]["attempts"][-1] for each in told]
    assert [sorted(each) for each in attempts] == [["query_window", "timestamp"]] * 2, "a bill of both is no total"


def test_back_to_back_runs_with_one_key_and_a_call_past_the_meter_are_not_both_verified(here: World) -> None:
    here.a_run("r-1", calls=2, apart=2)
    here.call(metered=False, tokens=(50, 5, 5))
    here.a_run("r-2", calls=3, apart=2)
    report = both_reads(here, "r-1", "r-2")
    assert set(verdicts(report).values()) == {Verdict.SHORT}
    assert report.exit_code == 1
