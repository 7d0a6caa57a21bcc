"""Who could explain a difference: hosted work and neighbours are named, and each side of the books is told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import World, world
from click.testing import CliRunner

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.sim.counts import Counts


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def explained(here: World, run: str = "r-1") -> tuple[dict[str, Any], str]:
    """The one part of a run, audited until it has settled: as JSON, and as people see it."""
    for wait_s in (4200, 1800):
        here.clock.sleep(wait_s)
        here.audit(run)
    invocation = Invocation(ledger=here.path, clock=here.clock)
    shown = CliRunner().invoke(cli, ["explain", run], obj=invocation, catch_exceptions=False)
    told = CliRunner().invoke(cli, ["explain", run, "--json"], obj=invocation, catch_exceptions=False)
    (part,) = json.loads(told.stdout)["parts"]
    return part, shown.stdout


def candidates(residual: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {candidate["kind"]: candidate for candidate in residual["candidates"]}


def test_content_that_a_hosted_tool_may_have_read_is_named_with_its_call(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    searched = here.call(run="r-1", flags=("hosted_tool",))
    here.post("baes", Counts(input_text=8_000), ended=here.second)
    here.mark("r-1", "end")
    part, shown = explained(here)
    assert (part["verdict"], part["reason"]) == ("incomplete", "hosted")
    (residual,) = part["residuals"]
    assert candidates(residual)["hosted"]["calls"] == [searched]
    assert "why: a hosted tool may be billed for what it read or drew, beside what its call reports" in shown
    assert f"(search content blocks) or drew may be billed beside what its call reports (call {searched})" in shown


def test_a_bill_too_high_in_one_minute_and_too_low_in_another_is_two_residuals(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(metered=False, tokens=(50, 5, 5))
    here.at(here.second + 1_800)
    here.call(run="r-1", billed=False, tokens=(31, 3, 2))
    here.mark("r-1", "end")
    part, shown = explained(here)
    assert (part["verdict"], part["reason"]) == ("short", "also_over")
    more, less = part["residuals"]
    assert "bypass" in candidates(more)
    assert "key_id" in candidates(less)
    assert set(more["minutes"]).isdisjoint(less["minutes"])
    assert "nothing is left to explain" not in shown


def test_all_runs_that_a_call_past_the_meter_may_be_of_are_named(here: World) -> None:
    here.a_run("r-1")
    here.call(metered=False, tokens=(50, 5, 5))
    here.a_run("r-2")
    part, shown = explained(here)
    assert part["verdict"] == "short"
    assert part["joint"] == ["baes/r-1", "baes/r-2"]
    assert candidates(part["residuals"][0])["neighbour"]["runs"] == ["baes/r-2"]
    assert "joint: it is one of these runs, and cannot be told which: baes/r-1, baes/r-2" in shown


def test_a_run_that_waits_for_its_neighbour_names_it(here: World) -> None:
    here.a_run("r-1")
    here.call(metered=False, tokens=(50, 5, 5))
    here.mark("r-2", "begin")
    for _ in range(30):
        here.call(run="r-2")
        here.at(here.second + 175)
    here.audit("r-1")
    here.clock.sleep(30)
    here.call(run="r-2")
    for _ in range(20):
        here.call(run="r-2")
        here.at(here.second + 85)
    report = here.audit("r-1")
    (part,) = report.runs[0].parts
    assert (str(part.verdict), part.reason) == ("pending", "neighbour")
    assert part.detail["named"] == ["baes/r-2"]
