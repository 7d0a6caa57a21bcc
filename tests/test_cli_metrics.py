"""`submeter metrics update` and `judge` from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"


def run(ledger: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["metrics", *words], obj=Invocation(ledger=ledger))


def file(folder: Path, run_id: str, text: str, framework: str = "chatdev") -> Path:
    path = folder / framework / run_id / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


PLAIN = {
    "start_timestamp": "2025-10-28T10:00:00Z",
    "end_timestamp": "2025-10-28T10:10:00Z",
    "usage_api_reconciliation": {
        "verification_status": "verified",
        "attempts": [
            {
                "timestamp": "2025-10-28T12:00:00+00:00",
                "total_tokens_in": 5,
                "query_window": {"start": 1761645300, "end": 1761646500},
            }
        ],
    },
}


def test_a_folder_without_a_flaw_exits_with_zero_and_needs_no_ledger(tmp_path: Path) -> None:
    file(tmp_path, "a", json.dumps(PLAIN))
    result = run(tmp_path / "none.duckdb", "judge", str(tmp_path))
    assert result.exit_code == 0
    assert "Judged 1 runs: contaminated 0, overlapping 0, zero read 0, early read 0." in result.stderr
    assert not (tmp_path / "none.duckdb").exists()


def test_a_contaminated_run_exits_with_one_and_json_says_what_nobody_can_know(tmp_path: Path) -> None:
    file(tmp_path, "a", json.dumps(PLAIN))
    file(tmp_path, "b", json.dumps(PLAIN))
    result = run(tmp_path / "none.duckdb", "judge", str(tmp_path), "--json")
    assert result.exit_code == 1
    first = json.loads(result.stdout)[0]
    assert (first["run"], first["found"]) == ("chatdev/a", ["contaminated"])
    assert first["neighbours"] == [{"run": "chatdev/b", "windows_share_s": 1200, "its_run_inside_s": 600.0}]
    assert "those of chatdev/b" in first["no_longer_known"][0]


def test_a_file_that_cannot_be_judged_is_named_and_exits_with_two(tmp_path: Path) -> None:
    file(tmp_path, "a", json.dumps(PLAIN))
    broken = file(tmp_path, "b", "{")
    result = run(tmp_path / "none.duckdb", "judge", str(tmp_path))
    assert result.exit_code == 2
    assert str(broken) in result.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
def test_the_published_runs_are_judged_in_a_table() -> None:
    result = run(Path("none.duckdb"), "judge", str(SHARED))
    assert result.exit_code == 1
    assert "Judged 23 runs: contaminated 5, overlapping 0, zero read 4, early read 0." in result.stderr
    assert "ghspec/347086b1-5437-471d-9987-f858d46cb7eb" in result.stdout
