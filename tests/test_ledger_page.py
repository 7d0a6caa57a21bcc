"""docs/ledger.md is what the ledger is: its columns, its questions, its examples."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from ledger_play import Play

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.ledger_page import with_made_part
from submeter.data.view_columns import COLUMNS, OF_ONE, VIEWS, comment_on

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ledger.md"
TEXT = PAGE.read_text(encoding="utf-8")
ALL_COLUMNS = (
    "SELECT table_name, column_name FROM duckdb_columns()"
    " WHERE database_name = current_database() AND list_contains($views, table_name)"
)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """A ledger with two runs, and a copy of it as the examples name it."""
    play = Play(tmp_path_factory.mktemp("page"))
    play.call(input_tokens=100, output_tokens=5)
    play.call("r-2", framework="baes", input_tokens=7, output_tokens=1)
    play.ledger.ingest()
    play.ledger.snapshot(play.path.with_name("copy.duckdb"))
    return play


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def test_the_page_is_up_to_date(play: Play) -> None:
    assert with_made_part(TEXT, play.ledger) == TEXT, "run: python -m submeter.data.ledger_page docs/ledger.md"


def test_every_column_of_every_public_view_is_explained_and_nothing_else_is(play: Play) -> None:
    columns = set(play.ledger.query(ALL_COLUMNS, {"views": list(VIEWS)}).rows)
    assert {view for view, _ in columns} == set(VIEWS)
    assert [column for column in columns if not comment_on(*column)] == []
    assert set(OF_ONE) <= columns
    assert set(COLUMNS) <= {name for _, name in columns}


@pytest.mark.parametrize("example", examples("python"), ids=["duckdb", "pandas", "polars"])
def test_an_example_for_python_runs_and_prints_the_ledger_s_numbers(play: Play, example: str) -> None:
    for library in ("pandas", "polars"):
        if f".{'df' if library == 'pandas' else 'pl'}()" in example and importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not in this environment")
    ended = subprocess.run(
        [sys.executable, "-c", example], cwd=play.path.parent, env=dict(os.environ), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "chatdev" in ended.stdout
    assert "baes" in ended.stdout


@pytest.mark.parametrize(
    "command",
    [line.partition("  #")[0].strip() for line in examples("sh")[0].splitlines() if line.startswith("submeter")],
)
def test_a_command_of_the_page_answers(play: Play, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(play.path.parent)
    told = CliRunner().invoke(cli, shlex.split(command)[1:], obj=Invocation(ledger=play.path, clock=play.clock))
    assert told.exit_code == 0, told.output
