"""The users' published runs, played again: metered, billed, imported, audited with the defaults, their files filled."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, world
from click.testing import CliRunner

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.call import Outcome
from submeter.data.metrics import find_metrics, read_metrics

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"
MINUTE = 60.0
SILENT = "10ed5741-c006-4023-ab2c-a5941b5e842c"
"""Of this run no call tells its usage."""
DOUBLED = "5504cc3e-cadd-498b-8b04-848d1aee7437"
"""Beside this run a second one of its framework is told, at the same time."""


def published(folder: Path) -> list[Path]:
    """A copy of the files, and one more run that goes on at the same time as another."""
    shutil.copytree(SHARED, folder)
    (doubled,) = folder.glob(f"*/{DOUBLED}/metrics.json")
    twin = doubled.parent.with_name("twin") / doubled.name
    twin.parent.mkdir()
    twin.write_text(doubled.read_text().replace(DOUBLED, "twin"))
    return find_metrics(folder)


def numbers_that_are_null(told: Any, name: str = "") -> list[str]:
    """Where a count in the file is null."""
    match told:
        case dict():
            return [place for key, each in told.items() for place in numbers_that_are_null(each, f"{name}.{key}")]
        case list():
            return [place for each in told for place in numbers_that_are_null(each, name)]
        case None if any(word in name.rpartition(".")[2].lower() for word in ("tok", "call", "bill", "book", "cost")):
            return [name]
        case _:
            return []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
def test_every_published_run_is_verified_to_the_token_and_what_is_not_known_is_in_no_file(tmp_path: Path) -> None:
    paths = published(tmp_path / "runs")
    assert len(paths) == 24
    told_in: Counter[str] = Counter()
    calls: list[tuple[float, str, str, int]] = []
    for path in paths:
        run_id = path.parent.name
        steps = json.loads(path.read_text())["steps"] if run_id != "twin" else []
        for number, step in enumerate(steps):
            given = 1_000 + 7 * len(calls) + number
            calls.append((step["start_timestamp"] + 2 - BEGIN_S, path.parent.parent.name, run_id, given))
    with world(tmp_path) as here:
        invocation = Invocation(ledger=here.path, clock=here.clock)
        for second, framework, run_id, given in sorted(calls):
            here.at(second)
            if run_id == SILENT:
                here.call(framework, lasts=1, tokens=None, billed=False, outcome=Outcome.ABORTED)
            else:
                here.call(framework, lasts=1, tokens=(given, 100, given // 10))
                told_in[run_id] += given
        last_us = max(mark.marked_at for path in paths for mark in read_metrics(path))
        here.clock.set_us(last_us)
        assert CliRunner().invoke(cli, ["metrics", "import", str(tmp_path / "runs")], obj=invocation).exit_code == 0
        here.clock.sleep(68 * MINUTE)
        here.audit(pending=True, max_age_min=7 * 24 * 60)
        here.clock.sleep(30 * MINUTE)
        report = here.audit(pending=True, max_age_min=7 * 24 * 60)
        filled = CliRunner().invoke(
            cli, ["metrics", "update", "--prices", "none", str(tmp_path / "runs")], obj=invocation
        )
        assert filled.exit_code == 0, filled.output
    doubtful = {DOUBLED, "twin"}
    said = {line.run[1]: (str(line.verdict), line.reason) for line in report.runs if line.run}
    assert said == {
        path.parent.name: ("warning", "unlabelled") if path.parent.name in doubtful else ("verified", None)
        for path in paths
    }
    for path in paths:
        run_id, told = path.parent.name, json.loads(path.read_text())
        aggregate, ours = told["aggregate_metrics"], told["usage_api_reconciliation"]["submeter"]
        assert told["verification_status"] == ("warning" if run_id in doubtful else "verified")
        assert "COST_USD" not in aggregate
        assert numbers_that_are_null(told["usage_api_reconciliation"] | {"replaced": {}} | aggregate) == []
        if run_id in doubtful | {SILENT}:
            assert {"TOK_IN", "TOK_OUT", "CACHED_TOKENS", "AEI"} & aggregate.keys() == set(), run_id
            assert "input_tokens" not in ours["totals"]
        else:
            assert (aggregate["TOK_IN"], aggregate["API_CALLS"]) == (told_in[run_id], 6)
            assert [step["input_tokens"] > 0 for step in ours["steps"]] == [True] * 6
    for framework in ("baes", "chatdev", "ghspec"):
        mine = [json.loads(path.read_text()) for path in paths if path.parent.parent.name == framework]
        known = sum(told["aggregate_metrics"].get("TOK_IN", 0) for told in mine)
        billed = here.sim.books.total(api_key_id=f"key_{framework}").input_tokens
        assert billed == known + (told_in[DOUBLED] if framework == "ghspec" else 0)
