"""`submeter audit` and `runs --pending`, from a call through the real proxy to a verdict, on one clock."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from metered_world import KEY_ID, NOW_US, World, ask, metered_world

from submeter.data.clock import US_PER_MINUTE


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with metered_world(tmp_path, monkeypatch) as made:
        yield made


def test_waiting_ends_with_both_books_equal_and_says_what_it_waits_for(world: World) -> None:
    result = world.run("audit", "chatdev/r-1", "--wait")
    assert result.exit_code == 0, result.output
    told = world.sim.books.total(api_key_id=KEY_ID)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("chatdev/r-1  verified")
    assert any(f"input_tokens: book = bill = {told.input_tokens:,}" in line for line in lines)
    assert lines[-1] == "Processed 1 run: verified 1, errors 0"
    assert "Waiting " in result.stderr
    assert "for chatdev/r-1" in result.stderr
    assert world.clock.now_us() >= NOW_US + 60 * US_PER_MINUTE, "no rule bends for --wait"


def test_a_call_past_the_meter_is_short_by_exactly_what_it_used(world: World) -> None:
    before = world.sim.books.total(api_key_id=KEY_ID)
    ask(world.sim.base_url)
    after = world.sim.books.total(api_key_id=KEY_ID)
    result = world.run("audit", "r-1", "--wait")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("chatdev/r-1  short")
    assert before.input_tokens is not None
    assert after.input_tokens is not None
    assert f"d +{after.input_tokens - before.input_tokens:,}" in result.stdout
    assert result.stderr.splitlines()[-1].endswith("submeter explain chatdev/r-1")


def test_without_waiting_an_early_audit_is_pending_and_says_when_to_come_back(world: World) -> None:
    world.past(15)
    result = world.run("audit", "chatdev/r-1")
    assert result.exit_code == 3
    assert "pending" in result.stdout
    assert "next read 20" in result.stdout


def test_json_is_one_document_with_both_books(world: World) -> None:
    result = world.run("audit", "--wait", "chatdev/r-1", "--json")
    document = json.loads(result.stdout)
    (run,) = document["runs"]
    assert (run["name"], run["verdict"], document["exit_code"]) == ("chatdev/r-1", "verified", 0)
    assert {unit["d"] for unit in run["parts"][0]["detail"]["units"]} == {0}


def test_the_gate_opens_only_when_every_run_has_a_final_verdict(world: World) -> None:
    young = world.run("runs", "--pending")
    assert (young.exit_code, young.stdout.splitlines()[-1]) == (
        3,
        "Nothing is due now; 1 of 1 runs have no final verdict",
    )
    assert "1 run ended less than --min-age ago: chatdev/r-1" in young.stdout.splitlines()
    journals = sorted(world.ledger.with_name("l.duckdb.journal").glob("*.jsonl"))
    audited = world.run("audit", "--pending")
    assert (audited.exit_code, audited.stdout.splitlines()[-1]) == (3, young.stdout.splitlines()[-1])
    assert sorted(world.ledger.with_name("l.duckdb.journal").glob("*.jsonl")) == journals, "nothing done, no new file"
    world.past(40)
    waiting = world.run("runs", "--pending")
    assert (waiting.exit_code, waiting.stdout.splitlines()[-1]) == (3, "1 of 1 runs need reconciliation")
    assert world.run("audit", "--pending", "--wait").exit_code == 0
    done = world.run("runs", "--pending", "--json")
    assert done.exit_code == 0
    assert [(run["name"], run["waiting"], run["verdict"]) for run in json.loads(done.stdout)] == [
        ("chatdev/r-1", "final", "verified")
    ]
    again = world.run("audit", "--pending", "--log")
    assert again.exit_code == 0
    assert [line.partition("  ")[2] for line in again.stdout.splitlines()] == [
        "1 run has a final verdict: 1 verified",
        "No runs need reconciliation",
    ]


def test_a_run_that_is_too_old_and_was_never_read_keeps_the_gate_shut_and_its_command_is_told(world: World) -> None:
    world.past(25 * 60)
    for words in (["runs", "--pending"], ["audit", "--pending"]):
        result = world.run(*words)
        assert result.exit_code == 3
        assert "No runs need reconciliation" not in result.stdout
        assert (
            "1 run ended more than --max-age ago and was never read: submeter audit chatdev/r-1"
            in result.stdout.splitlines()
        )


def test_a_framework_that_no_run_has_does_not_open_the_gate(world: World) -> None:
    result = world.run("runs", "--pending", "--framework", "chatdve")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 3


def test_an_admin_key_that_may_not_read_usage_is_exit_code_3_with_the_providers_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-somebody-else")
    world.past(70)
    result = world.run("audit", "chatdev/r-1", "--wait")
    assert result.exit_code == 3
    assert result.stdout.startswith("chatdev/r-1  not_permitted")
    assert "the Usage API said: " in result.stdout
    assert "submeter doctor" in result.stderr
    assert "sk-of-somebody-else" not in result.output


def test_without_an_admin_key_nothing_is_asked_and_nothing_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    result = world.run("audit", "chatdev/r-1")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 3
    assert json.loads(world.run("sql", "FROM audits", "--json").stdout) == []


def test_the_admin_key_may_stand_in_the_env_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    Path(".env").write_text(f"OPENAI_ADMIN_KEY={world.sim.admin_key}\n")
    assert world.run("audit", "chatdev/r-1", "--wait").exit_code == 0


def test_an_unknown_run_is_three_lines(world: World) -> None:
    result = world.run("audit", "chatdev/r-9")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--min-age", "soon"],
        ["--from", "yesterday"],
        ["--from", "2025-10-28T09:00Z"],
        ["--from", "2025-10-28T09:00Z", "--to", "2025-10-28T09:00Z"],
        ["--shift", "2d"],
    ],
)
def test_a_time_that_is_none_is_wrong_usage(world: World, words: list[str]) -> None:
    assert world.run("audit", *words).exit_code == 2


def test_a_period_is_audited_whole_and_names_what_no_run_claims(world: World) -> None:
    world.past(30)
    ask(world.sim.base_url)
    world.past(90)
    words = ["audit", "--from", "2026-11-18T00:00Z", "--to", "2026-11-19T00:00Z", "--wait"]
    result = world.run(*words)
    assert result.exit_code == 1, result.output
    assert re.search(r"^chatdev/r-1 +verified,", result.stdout, re.MULTILINE)
    assert re.search(rf"^{KEY_ID} +short,", result.stdout, re.MULTILINE), "the period is judged as a run of no name"
    assert re.search(r"more in the bill: .* may lie in 2026-11-18 11:3\d", result.stdout)
    assert world.clock.now_us() > 1_795_046_400_000_000, "the day was not over, so its bill was not read to the end"


@pytest.mark.parametrize(
    ("interval", "exit_code", "said"),
    [
        ("0", 3, "timing: test: 2 reads, 0 min apart, the last 0 min after the end; that proves nothing"),
        ("10", 0, "below the defaults: 2 reads, 10 min apart, the last 60 min after the end"),
    ],
)
def test_what_an_audit_waited_for_is_said_where_it_is_less_than_the_defaults(
    world: World, monkeypatch: pytest.MonkeyPatch, interval: str, exit_code: int, said: str
) -> None:
    monkeypatch.setenv("RECONCILIATION_VERIFICATION_INTERVAL_MIN", interval)
    result = world.run("audit", "chatdev/r-1", "--wait")
    assert result.stdout.startswith("chatdev/r-1  verified")
    assert said in result.stdout
    assert result.exit_code == exit_code


def test_steps_and_runs_show_what_was_metered_and_that_nothing_is_not_unknown(world: World) -> None:
    told = world.sim.books.total(api_key_id=KEY_ID)
    steps = json.loads(world.run("steps", "r-1", "--json").stdout)
    assert [(step["step"], step["calls"], step["input_tokens"]) for step in steps] == [
        ("1", 1, told.input_tokens),
        ("2", 0, 0),
    ]
    (run,) = json.loads(world.run("runs", "--json").stdout)
    assert (run["name"], run["calls"], run["unknown"], run["verdict"]) == ("chatdev/r-1", 1, 0, None)
    shown = world.run("steps", "chatdev/r-1")
    header, _rule, *rows = shown.stdout.splitlines()
    assert header.split() == ["step", "visits", "calls", "input", "cached", "output", "reasoning", "unknown"]
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert shown.stderr.splitlines()[-1].endswith("tokens, 0 unknown")
