"""The gate before an analysis, in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_world import world
from click.testing import CliRunner

from submeter.audit.report import RunStanding, Waiting
from submeter.audit.verdict import Verdict
from submeter.cli.gate import NOTHING_TO_DO, Astray, gate_lines, gate_summary, is_open
from submeter.cli.invocation import Invocation
from submeter.cli.main import cli

NONE_ASTRAY = Astray()


def standing(name: str, waiting: Waiting, verdict: Verdict | None = None, age_min: int = 90) -> RunStanding:
    return RunStanding(
        run=("baes", name),
        waiting=waiting,
        ended_us=None if waiting is Waiting.NOT_ENDED else 0,
        age_min=None if waiting is Waiting.NOT_ENDED else age_min,
        verdict=verdict,
        attempts=0,
        next_read_us=1_761_649_680_000_000 if waiting is Waiting.NOT_DUE else None,
    )


FINAL = standing("done", Waiting.FINAL, Verdict.VERIFIED)


@pytest.mark.parametrize("waiting", list(Waiting))
def test_one_run_without_a_final_verdict_keeps_it_shut(waiting: Waiting) -> None:
    standings = [FINAL, standing("r-1", waiting, Verdict.SHORT)]
    done = waiting in (Waiting.FINAL, Waiting.CLOSED)
    assert is_open(standings, NONE_ASTRAY) is done
    assert (gate_summary(standings, NONE_ASTRAY) == NOTHING_TO_DO) is done


def test_verdicts_without_the_waiting_times_keep_it_shut() -> None:
    assert not is_open([FINAL], NONE_ASTRAY, "test")
    assert gate_summary([FINAL], NONE_ASTRAY, "test") == (
        "Every run has a verdict, but of timing: test, which proves nothing"
    )


def test_every_kind_of_run_is_counted_and_told_what_to_do_about_it() -> None:
    standings = [
        FINAL,
        standing("short", Waiting.FINAL, Verdict.SHORT),
        standing("closed", Waiting.CLOSED, Verdict.WARNING),
        standing("open", Waiting.NOT_ENDED),
        standing("young", Waiting.TOO_YOUNG),
        standing("later", Waiting.NOT_DUE, Verdict.PENDING),
        standing("old 1", Waiting.TOO_OLD),
    ]
    assert gate_lines(standings, NONE_ASTRAY) == [
        "1 run has not ended: baes/open. A run ends by its mark, with the proxy or program that began it, or 60 "
        "minutes after its last call.",
        "1 run ended less than --min-age ago: baes/young",
        "1 run has no final verdict and is not due yet, next at 2025-10-28 11:08 UTC",
        "1 run ended more than --max-age ago and was never read: submeter audit 'baes/old 1'",
        "3 runs have a final verdict: 1 verified, 1 short, 1 closed as warning",
    ]
    assert gate_summary(standings, NONE_ASTRAY) == "Nothing is due now; 4 of 7 runs have no final verdict"


def test_many_old_runs_are_named_by_the_age_of_the_oldest() -> None:
    standings = [standing(f"r-{n}", Waiting.TOO_OLD, age_min=60 * (30 + n)) for n in range(6)]
    (line,) = gate_lines(standings, NONE_ASTRAY, "baes")
    assert line.endswith("submeter audit --pending --framework baes --max-age 36h")


def test_waiting_for_what_is_due_forgets_no_run_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as here:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", here.sim.admin_key)
        monkeypatch.setenv("SUBMETER_USAGE_API_URL", here.sim.base_url)
        here.a_run("old")
        here.at(26 * 3600)
        here.a_run("new")
        here.at(here.second + 4000)
        words = ["audit", "--pending", "--wait"]
        result = CliRunner().invoke(cli, words, obj=Invocation(ledger=here.path, clock=here.clock))
    lines = result.stdout.splitlines()
    assert any(line.startswith("baes/new  verified") for line in lines), result.output
    assert "1 run ended more than --max-age ago and was never read: submeter audit baes/old" in lines
    assert any("how far off the meter's clock is: the window is a minute wider" in line for line in lines)
    assert result.exit_code == 3


def test_calls_without_a_run_are_told_with_their_period_and_alone_they_keep_it_shut(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.at(30)
        here.call()
        here.at(200)
        here.call()
        result = CliRunner().invoke(cli, ["runs", "--pending"], obj=Invocation(ledger=here.path, clock=here.clock))
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-2:] == [
        "2 calls belong to no run: submeter audit --from 2025-10-28T10:00Z --to 2025-10-28T10:04Z",
        "There is no run, so nothing can be reconciled by run",
    ]
    assert is_open([FINAL], Astray(calls=2)), "beside runs they are told and do not shut it: no audit ends them"
