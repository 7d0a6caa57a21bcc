"""`submeter explain`: the arithmetic of the last audit, from stored reads, with or without an admin key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from metered_world import KEY_ID, World, ask, metered_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with metered_world(tmp_path, monkeypatch) as made:
        yield made


def test_a_call_past_the_meter_is_explained_with_its_tokens_its_minutes_and_how_to_look(world: World) -> None:
    before = world.sim.books.total(api_key_id=KEY_ID)
    ask(world.sim.base_url)
    after = world.sim.books.total(api_key_id=KEY_ID)
    assert before.input_tokens is not None
    assert after.input_tokens is not None
    more = after.input_tokens - before.input_tokens
    assert world.run("audit", "r-1", "--wait").exit_code == 1
    result = world.run("explain", "r-1")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0].startswith("chatdev/r-1  short, attempt ")
    assert any(line.startswith("left: completions gpt-4o-mini") and f"input_tokens +{more:,}" in line for line in lines)
    assert any(line.startswith(("lies in 2026-11-18 11:", "can lie in 2026-11-18 11:")) for line in lines)
    assert "bypass: a call with this key that went past the meter" in lines
    window = next(line for line in lines if line.startswith("in the dashboard: 2026-11-18 11:"))
    assert window.endswith(f"UTC, key {KEY_ID}")
    reads = [line for line in lines if line.startswith("curl ")]
    assert len(reads) == 3
    assert all("$OPENAI_ADMIN_KEY" in line and f"{world.sim.base_url}/organization/usage/" in line for line in reads)


def test_json_is_one_document_with_the_same_arithmetic(world: World) -> None:
    ask(world.sim.base_url)
    world.run("audit", "r-1", "--wait")
    document = json.loads(world.run("explain", "chatdev/r-1", "--json").stdout)
    (part,) = document["parts"]
    (residual,) = part["residuals"]
    assert (document["name"], document["last_audit"]["verdict"], part["verdict"]) == ("chatdev/r-1", "short", "short")
    assert {unit["field"]: unit["d"] for unit in part["units"] if unit["d"]} == residual["differences"]
    assert residual["minutes"]
    assert "bypass" in [candidate["kind"] for candidate in residual["candidates"]]


def test_books_that_agree_leave_nothing_and_no_key_is_needed_or_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run("audit", "r-1", "--wait")
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    result = world.run("explain", "r-1")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("chatdev/r-1  verified")
    assert "nothing is left to explain" in result.stdout
    assert world.sim.admin_key not in result.output


@pytest.mark.parametrize("command", ["explain", "report"])
def test_a_verdict_that_waited_for_less_than_the_defaults_says_so_wherever_its_arithmetic_is_shown(
    world: World, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMETER_SETTLE_MIN", "20")
    world.run("audit", "r-1", "--wait")
    monkeypatch.delenv("SUBMETER_SETTLE_MIN")
    said = "below the defaults: 2 reads, 30 min apart, the last 20 min after the end"
    shown = world.run(command, "r-1").stdout
    assert "verified" in shown
    assert said in shown
    world.run("audit", "r-1", "--wait", "--force")
    assert "below the defaults" not in world.run(command, "r-1").stdout


def test_it_is_explained_with_the_shift_of_its_audit(world: World) -> None:
    world.run("audit", "r-1", "--wait", "--shift", "20")
    (audited,) = json.loads(world.run("sql", "SELECT window_end FROM run_audit", "--json").stdout)
    (part,) = json.loads(world.run("explain", "r-1", "--json").stdout)["parts"]
    assert part["window_end"] == audited["window_end"]
    assert part["verdict"] == "verified"


def test_an_audit_that_had_no_good_read_shows_no_bill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-somebody-else")
    world.past(70)
    world.run("audit", "r-1")
    result = world.run("explain", "r-1")
    assert result.stdout.startswith("chatdev/r-1  not_permitted")
    assert "the bill is not known" in result.stdout
    assert "book = bill" not in result.stdout


def test_without_an_audit_there_is_nothing_to_explain_yet(world: World) -> None:
    result = world.run("explain", "r-1")
    assert (result.exit_code, result.stdout) == (3, "")
    assert len(result.stderr.splitlines()) == 3
    assert "submeter audit chatdev/r-1" in result.stderr


def test_an_unknown_run_is_three_lines(world: World) -> None:
    result = world.run("explain", "chatdev/r-9")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3
