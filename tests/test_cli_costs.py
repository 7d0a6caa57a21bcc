"""What things cost, where `runs`, `steps` and `metrics update` say it, by a file of prices or the public list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ledger_play import Play

import submeter.cli.costs
from submeter.cli.invocation import Invocation
from submeter.cli.listed_prices import listed_prices
from submeter.cli.main import cli
from submeter.data.call import Usage

FILE = '[[prices]]\nmodel = "gpt-4o-mini"\ninput = 0.15\ncached_input = 0.075\noutput = 0.60\n'
WHOLE = Usage(input_tokens=1_000, cached_input_tokens=200, output_tokens=50)
COST = 0.000165


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """One run: a step with a cost, one with a call that has none, one that nobody called in."""
    play = Play(tmp_path / "ledger")
    play.begin()
    play.call(counts=WHOLE, response_model="gpt-4o-mini-2024-07-18")
    play.call(step="2", counts=WHOLE, response_model="gpt-9")
    play.begin("3")
    play.wait(1)
    play.end("3")
    play.call(step="4", counts=Usage())
    play.end()
    (tmp_path / "prices.toml").write_text(FILE)
    return play


def run(play: Play, *words: str, env: dict[str, str] | None = None) -> Result:
    obj = Invocation(ledger=play.path, clock=play.clock)
    result = CliRunner().invoke(cli, list(words), obj=obj, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_steps_say_what_each_cost_and_leave_out_what_is_not_known(play: Play, tmp_path: Path) -> None:
    rows = json.loads(run(play, "steps", "r-1", "--prices", str(tmp_path / "prices.toml"), "--json").stdout)
    assert [(row["step"], row["cost_usd"], row["unpriced"]) for row in rows] == [
        ("1", COST, 0),
        ("2", None, 1),
        ("3", 0.0, 0),
        ("4", None, 0),
    ]
    shown = run(play, "steps", "r-1", "--prices", str(tmp_path / "prices.toml")).stdout.splitlines()
    assert shown[0].split()[-2:] == ["cost_usd", "unpriced"]
    assert shown[2].split()[-2:] == ["0.000165", "0"]
    assert shown[3].split()[-2:] == ["-", "1"]


def test_a_table_without_prices_has_no_column_for_costs(play: Play) -> None:
    assert "cost" not in run(play, "steps", "r-1").stdout
    assert "cost" not in run(play, "runs").stdout


def test_runs_and_calls_without_a_run_say_their_cost(play: Play, tmp_path: Path) -> None:
    play.call(None, None, counts=WHOLE, response_model="gpt-4o-mini")
    rows = json.loads(run(play, "runs", "--json", env={"SUBMETER_PRICES": str(tmp_path / "prices.toml")}).stdout)
    assert [(row["name"], row["cost_usd"], row["unpriced"]) for row in rows] == [
        ("chatdev/r-1", None, 1),
        ("chatdev/(no run)", COST, 0),
    ]


def test_json_has_costs_by_itself_only_where_the_public_list_is_installed(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cost_usd" in json.loads(run(play, "steps", "r-1", "--json").stdout)[0]
    assert "cost_usd" not in json.loads(run(play, "steps", "r-1", "--json", "--prices", "none").stdout)[0]
    monkeypatch.setattr(submeter.cli.costs, "find_spec", lambda _name: None)
    assert "cost_usd" not in json.loads(run(play, "steps", "r-1", "--json").stdout)[0]
    refused = run(play, "steps", "r-1", "--prices", "genai-prices")
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (
        2,
        "Install it with: pipx install --force 'submeter[report]'",
    )


def test_the_question_for_each_call_s_cost_takes_prices_as_the_commands_do(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sql", "call_costs", "--json")
    rows = json.loads(run(play, *words, "--prices", str(tmp_path / "prices.toml")).stdout)
    told = {row["step"]: (row["cost_usd"], row["why"]) for row in rows}
    assert (float(told["1"][0]), told["1"][1], told["2"]) == (COST, None, (None, "no_price"))
    public = json.loads(run(play, *words).stdout)
    assert float(public[0]["cost_usd"]) == COST, "the public list, where it is installed"
    monkeypatch.setattr(submeter.cli.costs, "find_spec", lambda _name: None)
    without = run(play, *words)
    assert {row["why"] for row in json.loads(without.stdout)} == {"no_price"}
    assert "no prices are named" in without.stderr


def test_metrics_update_fills_the_cost_and_what_it_is_made_of_and_does_so_once(play: Play, tmp_path: Path) -> None:
    play.call("r-2", counts=WHOLE, response_model="gpt-4o-mini-2024-07-18")
    old = {"aggregate_metrics": {"COST_USD": 0.0}, "cost_breakdown": {"output_cost": 0.0}, "last": 1}
    paths = [tmp_path / "runs" / "chatdev" / name / "metrics.json" for name in ("r-1", "r-2")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(old, indent=2))
    words = ["metrics", "update", str(tmp_path / "runs"), "--prices", str(tmp_path / "prices.toml"), "--json"]
    assert [row["file"] for row in json.loads(run(play, *words).stdout)] == ["changed", "changed"]
    unknown, known = (json.loads(path.read_text()) for path in paths)
    assert "COST_USD" not in unknown["aggregate_metrics"]
    assert "cost_breakdown" not in unknown
    assert known["aggregate_metrics"]["COST_USD"] == COST
    assert known["cost_breakdown"] == {
        "uncached_input_cost": 0.00012,
        "cached_input_cost": 0.000015,
        "output_cost": 0.00003,
        "cache_savings": 0.000015,
        "model": "gpt-4o-mini",
    }
    ours = known["usage_api_reconciliation"]["submeter"]
    assert ours["prices"] == "the prices of prices.toml"
    assert ours["replaced"]["cost_breakdown"] == {"output_cost": 0.0}
    assert list(known)[:3] == ["aggregate_metrics", "cost_breakdown", "last"]
    assert [row["file"] for row in json.loads(run(play, *words).stdout)] == ["same", "same"]


@pytest.mark.parametrize("model", ["gpt-4o-mini-2024-07-18", "o3", "gpt-5.5", "gpt-5.6-luna", "gpt-5.4"])
@pytest.mark.parametrize("day", ["2025-01-01", "2026-07-30", "2026-11-29"])
@pytest.mark.parametrize("tier", ["default", "flex", "priority", "batch"])
def test_our_prices_are_those_that_the_public_list_itself_counts_with(
    play: Play, model: str, day: str, tier: str
) -> None:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    counts = [(1_000, 200, 50), (300_000, 1_000, 7)]
    context = {} if tier == "default" else {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    ours: list[Any] = [_ours(model, at, tier, *each) for each in counts]
    if tier != "default" and at < datetime(2026, 10, 14, tzinfo=UTC):
        assert ours == [None, None], "what a tier cost before the list looked is not known"
    else:
        assert ours == [_theirs(model, at, context, *each) for each in counts]


def test_a_model_that_the_list_does_not_know_has_no_price() -> None:
    assert listed_prices(["gpt-4o-foo", "llama-3", "whisper-1", "gpt-live-1", ""]) == ()


def _ours(model: str, at: datetime, tier: str, tokens_in: int, cached: int, tokens_out: int) -> Decimal | None:
    """The cost by our list, reckoned here."""
    held = [
        price
        for price in listed_prices([model])
        if price.service_tier == tier
        and (price.begins is None or price.begins <= at.date())
        and (price.ends is None or at.date() < price.ends)
        and tokens_in > price.above_input_tokens
    ]
    if not held:
        return None
    price = max(held, key=lambda each: each.above_input_tokens)
    assert price.cached_input is not None
    assert price.output is not None
    return ((tokens_in - cached) * price.input + cached * price.cached_input + tokens_out * price.output) / 1_000_000


def _theirs(
    model: str, at: datetime, context: dict[str, str], tokens_in: int, cached: int, tokens_out: int
) -> Decimal | None:
    from genai_prices import Usage as Counts
    from genai_prices.data_snapshot import get_snapshot

    (provider,) = (each for each in get_snapshot().providers if each.id == "openai")
    info = provider.find_model(model)
    assert info is not None
    if context and not any(variant.when == context for variant in info.price_variants or ()):
        return None
    counts = Counts(input_tokens=tokens_in, cache_read_tokens=cached, output_tokens=tokens_out)
    told = info.calc_price(counts, provider, genai_request_timestamp=at, price_context=context or None)
    return told.total_price
