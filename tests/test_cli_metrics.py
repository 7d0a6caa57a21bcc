"""`submeter metrics update` and `judge` from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from audit_world import World, world
from click.testing import CliRunner, Result
from ledger_play import Play

from submeter.cli.invocation import Invocation
from submeter.cli.judged import short_names
from submeter.cli.main import cli
from submeter.data.call import Usage

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
    assert "ghspec/347086b1 " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "chatdev: 8 runs, 5 without a flaw; contaminated 2, zero read 2" in result.stderr
    assert "Left without the flawed ones: 16 of 23 runs." in result.stderr
    flawed = run(Path("none.duckdb"), "judge", str(SHARED), "--only", "flawed", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(flawed.stdout)))
    assert len(rows) == 7
    assert all(row["found"] for row in rows)
    assert "ghspec/347086b1-5437-471d-9987-f858d46cb7eb" in {row["run"] for row in rows}
    assert len(json.loads(run(Path("none.duckdb"), "judge", str(SHARED), "--only", "sound", "--json").stdout)) == 16


def test_a_run_s_id_is_cut_only_where_it_is_long_and_never_so_that_two_are_one() -> None:
    long = "347086b1-5437-471d-9987-f858d46cb7eb"
    alike = long[:-1] + "0"
    assert short_names({f"a/{long}", "a/test_run_123"}) == {
        f"a/{long}": "a/347086b1",
        "a/test_run_123": "a/test_run_123",
    }
    both = short_names({f"a/{long}", f"a/{alike}"})
    assert len(set(both.values())) == 2


def test_a_folder_of_a_sprint_alone_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "chatdev" / "r-1" / "sprint_001"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(PLAIN))
    result = run(tmp_path / "none.duckdb", "import", str(folder))
    assert result.exit_code == 2
    assert "sprint_001" in result.stderr
    assert not (tmp_path / "none.duckdb").exists()


def filled_world(tmp_path: Path) -> tuple[Play, Path]:
    """A ledger with one run of two calls, one of them silent, and its file."""
    play = Play(tmp_path / "ledger")
    play.begin()
    play.begin("1")
    play.call(counts=Usage(input_tokens=100, output_tokens=20, cached_input_tokens=10))
    play.call(counts=Usage())
    play.end("1")
    play.end()
    old = PLAIN | {"aggregate_metrics": {"AUTR": 1.0, "TOK_IN": 0}, "steps": [{"step": 1, "tokens_in": 0}]}
    return play, file(tmp_path / "runs", "r-1", json.dumps(old, indent=2))


def update(play: Play, folder: Path, *words: str) -> Result:
    obj = Invocation(ledger=play.path, clock=play.clock)
    return CliRunner().invoke(cli, ["metrics", "update", str(folder), *words], obj=obj)


def test_update_writes_the_ledgers_totals_keeps_the_mode_and_is_idempotent(tmp_path: Path) -> None:
    play, path = filled_world(tmp_path)
    path.chmod(0o640)
    result = update(play, tmp_path / "runs", "--json")
    assert result.exit_code == 0, result.output
    (line,) = json.loads(result.stdout)
    assert (line["run"], line["file"], line["status"], line["unknown"]) == ("chatdev/r-1", "changed", "pending", 1)
    told = json.loads(path.read_text())
    assert (told["aggregate_metrics"]["TOK_IN"], told["aggregate_metrics"]["API_CALLS"]) == (100, 1)
    assert told["steps"] == [{"step": 1}]
    steps = told["usage_api_reconciliation"]["submeter"]["steps"]
    assert [(step["step"], step["input_tokens"], step["unknown"]) for step in steps] == [("1", 100, 1)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["metrics.json"]
    before = path.stat()
    assert json.loads(update(play, tmp_path / "runs", "--json").stdout)[0]["file"] == "same"
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_update_writes_the_verdict_when_there_is_one(tmp_path: Path) -> None:
    play, path = filled_world(tmp_path)
    at = play.clock.now_us()
    play.journal.append(
        "audit",
        {
            "audit_id": "a-1",
            "audited_at": at,
            "scope": "run",
            "framework": "chatdev",
            "run_id": "r-1",
            "api_key_id": "key_a",
            "window_start": at - 60_000_000,
            "window_end": at,
            "verdict": "short",
            "final": True,
            "attempt": 1,
            "detail": {"parts": [], "parts_count": 0},
        },
    )
    assert "warning" in update(play, tmp_path / "runs").stdout
    told = json.loads(path.read_text())
    assert told["verification_status"] == told["usage_api_reconciliation"]["verification_status"] == "warning"
    assert len(told["usage_api_reconciliation"]["attempts"]) == 1
    assert told["usage_api_reconciliation"]["submeter"]["verdict"] == "short"


def test_update_leaves_files_of_which_the_ledger_knows_nothing(tmp_path: Path) -> None:
    play, _ = filled_world(tmp_path)
    stranger = file(tmp_path / "runs", "r-2", json.dumps(PLAIN))
    imported = file(tmp_path / "runs", "r-3", json.dumps(PLAIN))
    broken = file(tmp_path / "runs", "r-4", "[]")
    run(play.path, "import", str(imported))
    kept = [path.read_bytes() for path in (stranger, imported, broken)]
    result = update(play, tmp_path / "runs")
    assert result.exit_code == 2
    assert "changed 1, same 0, not in the ledger 1, nothing metered 1; 1 could not be filled." in result.stderr
    assert [path.read_bytes() for path in (stranger, imported, broken)] == kept


def filled_after(here: World, folder: Path, run_id: str) -> dict[str, Any]:
    """The file of one run of `baes` after an update."""
    path = folder / "runs" / "baes" / run_id / "metrics.json"
    if not path.exists():
        file(folder / "runs", run_id, json.dumps({"aggregate_metrics": {"AUTR": 1}}, indent=2), framework="baes")
    obj = Invocation(ledger=here.path, clock=here.clock)
    result = CliRunner().invoke(cli, ["metrics", "update", str(path)], obj=obj)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def test_a_real_audit_brings_a_file_from_pending_to_verified_with_what_was_billed(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run()
        end = here.second
        assert filled_after(here, tmp_path, "r-1")["verification_status"] == "pending"
        here.at(end + 1800)
        here.audit("baes/r-1")
        early = filled_after(here, tmp_path, "r-1")
        here.at(end + 4200)
        here.audit("baes/r-1")
        late = filled_after(here, tmp_path, "r-1")
    assert (early["verification_status"], late["verification_status"]) == ("pending", "verified")
    attempts = late["usage_api_reconciliation"]["attempts"]
    assert len(attempts) == 2
    assert (attempts[1]["total_tokens_in"], attempts[1]["total_tokens_out"]) == (303, 33)
    assert (attempts[1]["total_cached_tokens"], attempts[1]["total_api_calls"]) == (123, 3)
    assert late["aggregate_metrics"]["TOK_IN"] == 303
    assert late["usage_api_reconciliation"]["submeter"]["replaced"] == {"aggregate_metrics": {}}


def test_runs_that_share_minutes_are_verified_each_and_no_bucket_is_shared_out(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.a_run("r-2")
        for wait_s in (4200, 1800):
            here.at(here.second + wait_s)
            here.audit("r-1", "r-2")
        told = filled_after(here, tmp_path, "r-1")
    said = told["usage_api_reconciliation"]
    assert (told["verification_status"], told["aggregate_metrics"]["TOK_IN"]) == ("verified", 303)
    assert "total_tokens_in" not in said["attempts"][-1]
    assert said["verification_message"].endswith("agree to the token: 303 in, 33 out")


def test_runs_of_which_one_hides_a_call_are_named_together_where_it_cannot_be_told_whose_it_is(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.call(metered=False, tokens=(50, 5, 5))
        here.a_run("r-2")
        for wait_s in (4200, 1800):
            here.at(here.second + wait_s)
            here.audit("r-1", "r-2")
        told = filled_after(here, tmp_path, "r-1")
    said = told["usage_api_reconciliation"]
    assert (told["verification_status"], told["usage_api_verification"]["verified"]) == ("warning", False)
    assert "cannot be told which: baes/r-1, baes/r-2" in said["verification_message"]
