"""stdin, stdout and stderr that are full, closed or left: three lines where they can be read, never exit code 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUBMETER = [sys.executable, "-m", "submeter.cli.main"]
S_MAX = 60.0
ANSWERS = [
    "sql",
    "--help",
    "runs --help",
    "--version",
    "sql --json",
    "sql --format csv",
    "sql 'SELECT 1' --format parquet",
    "runs",
    "steps r-1",
    "ledger check",
    "audit --pending --log",
]


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment with a ledger of one marked run."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUBMETER_"))}
    mine |= {"SUBMETER_LEDGER": str(tmp_path / "l.duckdb"), "OPENAI_ADMIN_KEY": "sk-admin-0001"}
    shell("submeter step begin 1 --run chatdev/r-1", mine)
    return mine


def shell(line: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One line of the shell, in the ledger's folder."""
    folder = Path(environment["SUBMETER_LEDGER"]).parent
    script = line.replace("submeter ", " ".join(SUBMETER) + " ", 1)
    return subprocess.run(
        ["bash", "-c", script], env=environment, cwd=folder, capture_output=True, text=True, timeout=S_MAX
    )


@pytest.mark.parametrize("words", ANSWERS)
def test_an_answer_that_cannot_be_written_is_three_lines_and_exit_code_3(words: str, place: dict[str, str]) -> None:
    done = shell(f"submeter {words} > /dev/full", place)
    assert (done.returncode, done.stderr.splitlines()[-3:]) == (
        3,
        [
            "The answer cannot be written to stdout.",
            "The system says: No space left on device.",
            "Make room or name another file, then run the same command again.",
        ],
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", ["runs", "runs --json", "sql --format csv", "--help", "ledger check"])
def test_a_stdout_that_is_closed_is_said_too(words: str, place: dict[str, str]) -> None:
    done = shell(f"submeter {words} >&-", place)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 3)
    assert "It was closed when submeter began." in done.stderr


@pytest.mark.parametrize("streams", [">/dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-"])
def test_where_nobody_can_be_told_the_exit_code_says_it(streams: str, place: dict[str, str]) -> None:
    done = shell(f"submeter runs {streams}", place)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_talk_that_nobody_can_read_changes_nothing(place: dict[str, str]) -> None:
    for streams in ("2>/dev/full", "2>&-"):
        done = shell(f"submeter runs --json {streams}", place)
        assert done.returncode == 0
        assert [row["run_id"] for row in json.loads(done.stdout)] == ["r-1"]
        assert shell(f"submeter metre {streams}", place).returncode == 2


def test_a_command_without_an_answer_needs_no_stdout_and_writes_into_no_journal_instead(place: dict[str, str]) -> None:
    for words in ("step begin 2 --run chatdev/r-1", "step end 2 --run chatdev/r-1"):
        assert shell(f"submeter {words} <&- >&-", place).returncode == 0
    command = "run --framework chatdev --run r-2 -- sh -c 'exit 7'"
    assert shell(f"submeter {command} <&- >&- 2>&-", place).returncode == 7
    checked = shell("submeter ledger check", place)
    assert checked.returncode == 0, checked.stdout


def test_a_reader_who_leaves_is_no_difference_of_books_either(place: dict[str, str]) -> None:
    for words in ("--help", "runs --help"):
        done = shell(f"submeter {words} | true; echo ${{PIPESTATUS[0]}}", place)
        assert done.stdout.strip() in ("0", "141")
        assert done.stderr == ""
