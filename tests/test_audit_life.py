"""The life of an audit on one clock: who is read when, what is written, and what is never dropped or counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, World, world
from metered_world import World as MeteredWorld
from metered_world import metered_world

from submeter.audit.report import Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger

MINUTE = 60.0
HOUR = 3600.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def metered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeteredWorld]:
    with metered_world(tmp_path, monkeypatch) as made:
        yield made


def rows(here: World, scope: str = "run") -> list[tuple[Any, ...]]:
    """The verdicts written, oldest first: verdict, reason, attempt."""
    query = f"SELECT verdict, reason, attempt FROM audits WHERE scope = '{scope}' ORDER BY audited_at, attempt"
    return here.ledger.query(query).rows


def test_an_open_run_that_is_looked_at_again_and_again_is_one_row(here: World) -> None:
    here.mark("r-1", "begin")
    for _ in range(6):
        here.call(run="r-1")
        here.at(here.second + 5 * MINUTE)
        line = here.audit("r-1").runs[0]
        assert (line.verdict, line.attempt) == (Verdict.PENDING, 1)
    assert rows(here) == [("pending", "run_open", 1)]
    assert rows(here, "part") == [("pending", "run_open", 1)]
    here.mark("r-1", "end")
    here.at(here.second + MINUTE)
    assert here.audit("r-1").runs[0].attempt == 2
    assert rows(here)[1:] == [("pending", "not_read", 2)]


def test_waiting_for_an_open_run_writes_a_row_only_when_something_changed(metered: MeteredWorld) -> None:
    metered.clock.sleep(1)
    again = {"framework": "chatdev", "run_id": "r-1", "edge": "begin", "by": "cli", "marked_at": metered.clock.now_us()}
    with Journal.open(metered.ledger, mode="mark", clock=metered.clock) as journal:
        journal.begin()
        journal.append("run", again)
    result = metered.run("audit", "chatdev/r-1", "--wait")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("Waiting 5 min 00 s") >= 10, "it looks every five minutes until the run is idle"
    query = "SELECT attempt, verdict, reason FROM audits WHERE scope = 'run' ORDER BY audited_at, attempt"
    lines = [line.split(",") for line in metered.run("sql", query, "--format", "csv").stdout.splitlines()[1:]]
    assert [int(attempt) for attempt, _, _ in lines] == list(range(1, len(lines) + 1))
    said = [(verdict, reason) for _, verdict, reason in lines]
    assert said[0] == ("pending", "run_open")
    assert said.count(("pending", "run_open")) == 1
    assert said[-1] == ("verified", "")
    assert len(said) <= 5


def test_every_read_is_an_attempt_and_a_row_also_where_it_says_the_same(here: World) -> None:
    here.a_run()
    end = here.second
    for number, minutes in enumerate((20, 25, 35), 1):
        here.at(end + minutes * MINUTE)
        report = here.audit("r-1")
        assert (report.runs[0].verdict, report.runs[0].attempt, report.reads > 0) == (Verdict.PENDING, number, True)
    assert [attempt for _, _, attempt in rows(here)] == [1, 2, 3]


@pytest.mark.parametrize("minutes", [5, 26 * 60])
def test_a_run_that_is_named_is_read_whatever_its_age(here: World, minutes: float) -> None:
    here.a_run()
    here.at(here.second + minutes * MINUTE + 7 * MINUTE)
    assert here.audit("r-1", min_age_min=10_000, max_age_min=0).reads > 0


def test_min_age_and_max_age_are_the_ages_at_which_a_first_read_is_made(here: World) -> None:
    here.a_run()
    end = here.second
    for minutes, waiting in (
        (29, Waiting.TOO_YOUNG),
        (30, Waiting.NEVER_READ),
        (24 * 60, Waiting.NEVER_READ),
        (24 * 60 + 1, Waiting.TOO_OLD),
    ):
        here.at(end + minutes * MINUTE)
        assert here.pending()[0].waiting is waiting
        assert here.audit(pending=True, min_age_min=10_000).reads == 0
    assert here.pending(max_age_min=48 * 60)[0].waiting is Waiting.NEVER_READ


def test_a_run_whose_only_read_failed_has_begun_and_is_never_dropped_for_its_age(here: World) -> None:
    here.a_run()
    here.at(here.second + 31 * MINUTE)
    wrong = replace(here.settings, admin_key="sk-admin-wrong")
    assert here.audit(pending=True, settings=wrong).runs[0].verdict is Verdict.NOT_PERMITTED
    here.at(here.second + 100 * HOUR)
    assert here.pending()[0].waiting is Waiting.NOT_FINAL
    assert here.audit(pending=True).runs[0].verdict is Verdict.PENDING
    here.at(here.second + 30 * MINUTE)
    assert here.audit(pending=True).runs[0].verdict is Verdict.VERIFIED


def test_force_reads_a_final_verdict_again_and_writes_another_row_beside_it(here: World) -> None:
    here.a_run()
    here.at(here.second + 70 * MINUTE)
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1").runs[0].attempt == 2
    assert here.audit("r-1").reads == 0
    here.at(here.second + MINUTE)
    forced = here.audit("r-1", force=True)
    assert (forced.runs[0].verdict, forced.runs[0].attempt, forced.reads > 0) == (Verdict.VERIFIED, 3, True)
    assert [verdict for verdict, _, _ in rows(here)] == ["pending", "verified", "verified"]


def test_reads_of_two_audits_at_once_confirm_nothing_together(here: World) -> None:
    here.a_run()
    here.at(here.second + 70 * MINUTE)
    for _ in range(4):
        here.at(here.second + 1)
        line = here.audit("r-1").runs[0]
        assert (line.verdict, line.reason) == (Verdict.PENDING, Reason.NOT_CONFIRMED)
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED


def test_minutes_that_no_run_has_a_share_in_count_their_attempts_from_one(here: World) -> None:
    here.call("chatdev")
    here.at(here.second + 70 * MINUTE)
    period: dict[str, Any] = {"from_us": BEGIN_S * 1_000_000, "to_us": (BEGIN_S + 3600) * 1_000_000}
    assert here.audit(**period).runs[0].attempt == 1
    here.at(here.second + 60 * MINUTE)
    line = here.audit(**period).runs[0]
    assert (line.name, line.verdict, line.attempt) == ("key_chatdev", Verdict.VERIFIED, 2)
    assert here.audit(**period).runs[0].attempt == 2


def test_the_summary_counts_every_run_once_and_failed_attempts_as_errors(here: World) -> None:
    here.a_run("r-1")
    here.at(here.second + 70 * MINUTE)
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    here.audit("r-1")
    here.a_run("r-2")
    here.at(here.second + 31 * MINUTE)
    here.a_run("r-3", key="chatdev")
    wrong = replace(here.settings, admin_key="sk-admin-wrong")
    report = here.audit("r-1", "r-2", "r-3", settings=wrong)
    assert report.summary == "Processed 3 runs: verified 1, errors 2"
    assert [line.attempt for line in report.runs] == [2, 1, 1]


@pytest.mark.parametrize("torn", [False, True])
def test_an_audit_that_died_between_the_verdict_of_its_part_and_that_of_its_run_is_completed(
    here: World, torn: bool
) -> None:
    here.a_run()
    here.at(here.second + 70 * MINUTE)
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED
    folder = here.path.with_name(here.path.name + ".journal")
    journal = max(folder.glob("*.jsonl"), key=lambda path: path.read_bytes().count(b'"verdict":"verified"'))
    whole = journal.read_bytes()
    run_row = whole.index(b'"scope":"run"')
    begin = whole.rindex(b"\n", 0, run_row) + 1
    journal.write_bytes(whole[: begin + 40 if torn else begin])
    here.path.unlink()
    here.ledger = Ledger(here.path, clock=here.clock)
    here.ledger.ingest()
    assert [verdict for verdict, _, _ in rows(here)] == ["pending"]
    assert here.pending()[0].waiting is Waiting.NOT_FINAL
    report = here.audit(pending=True)
    assert (report.runs[0].verdict, report.runs[0].attempt, report.reads) == (Verdict.VERIFIED, 2, 0)
    assert [verdict for verdict, _, _ in rows(here)] == ["pending", "verified"]
    assert here.pending()[0].waiting is Waiting.FINAL
