"""`submeter demo` as a new user runs it: its story comes out as it says, and what it leaves can be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from laws import assert_sums_agree

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger

COMMAND = Path(sys.executable).with_name("submeter")
DEMO_S_MAX = 120


def test_the_demo_verifies_its_experiment_and_catches_the_bypass_to_the_token(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=DEMO_S_MAX)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" verified ") == 6
    assert done.stdout.count(" short ") == 1
    assert "600 times as fast" in done.stderr

    path = tmp_path / "submeter-demo" / "submeter.duckdb"
    ledger = Ledger(path, clock=SystemClock())
    assert_sums_agree(ledger)
    steps = ledger.query("SELECT framework, run_id, count(step) FROM step_usage GROUP BY ALL ORDER BY ALL").rows
    assert steps == [
        *[(framework, f"demo_run_{n}", 6) for framework in ("baes",) for n in (1, 2)],
        ("chatdev", "demo_run_1", 6),
        ("chatdev", "demo_run_2", 6),
        ("chatdev", "demo_run_3", 2),
        ("ghspec", "demo_run_1", 6),
        ("ghspec", "demo_run_2", 6),
    ]
    quiet = ledger.query("SELECT count(*) FROM step_usage WHERE calls = 0 AND input_tokens = 0 AND covered").rows
    assert quiet[0][0] >= 6
    sources = ledger.query("SELECT DISTINCT framework, label_source FROM calls ORDER BY ALL").rows
    assert set(sources) == {("baes", "mark"), ("chatdev", "url"), ("ghspec", "time")}
    retried = ledger.query("SELECT outcome, standing FROM calls WHERE status_code = 429").rows
    assert retried == [("refused", "unbilled")]

    for line in done.stderr.splitlines():
        if line.startswith("  submeter --ledger"):
            query = line.split(' sql "')[1].removesuffix('"')
            asked = [str(COMMAND), "--ledger", str(path), "sql", query, "--format", "json"]
            answer = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert answer.returncode == 0, answer.stderr
            assert json.loads(answer.stdout)


def test_the_demo_leaves_a_folder_of_somebody_else_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = subprocess.run(
        [COMMAND, "demo", "--folder", "mine"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
