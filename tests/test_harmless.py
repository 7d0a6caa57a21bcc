"""What a terminal, a spreadsheet or a browser would run in a stranger's text is shown, and not obeyed."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest
from ledger_play import Play

from submeter.cli.harmless_text import HarmlessText, drawn
from submeter.cli.main import cli
from submeter.cli.output import print_csv, print_json, print_table
from submeter.data.call import Outcome
from submeter.data.harmless import harmless, no_formula
from submeter.data.opened import Table

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x90q\u202ecod.exe\x00\x7f\r"
OBEYED = ("\x1b", "\x07", "\x9b", "\x90", "\u202e", "\x00", "\x7f")


@contextmanager
def printed() -> Iterator[io.BytesIO]:
    """What reaches stdout and stderr as the command line sets them up."""
    out = io.BytesIO()
    text = HarmlessText(out, "utf-8", newline="\n", write_through=True)
    with redirect_stdout(text), redirect_stderr(text):
        yield out
    text.detach()


def test_control_characters_are_written_as_json_writes_them_and_the_rest_is_as_it_was() -> None:
    assert harmless("a\x1b[0m\x9b\u202e\U000e0041") == r"a\u001b[0m\u009b\u202e\udb40\udc41"
    for text in ("plain", "tab\tand\nline\r\nends", "Ünïcödé 漢字 🎉 nbsp\u00a0", ""):
        assert harmless(text) == text
    assert harmless("progress\rover it") == r"progress\rover it"


def test_json_made_harmless_says_the_same() -> None:
    told = {HOSTILE: [HOSTILE, "\U000e0041"]}
    text = json.dumps(told, ensure_ascii=False, indent=2)
    assert json.loads(harmless(text)) == told


def test_whoever_prints_nothing_is_obeyed() -> None:
    with printed() as out:
        print(HOSTILE)
        click.echo(HOSTILE)
        click.echo(HOSTILE, err=True)
        sys.stdout.writelines([HOSTILE])
        print_json({"model": HOSTILE})
        table = Table(columns=("model", HOSTILE), types=("VARCHAR", "VARCHAR"), rows=[(HOSTILE, "x")])
        print_csv(table)
        print_table(table.columns, table.rows)
        text = out.getvalue().decode()
        assert text.count("owned") >= 9
        assert [character for character in OBEYED if character in text] == []


def test_what_is_drawn_keeps_its_own_control_characters_and_a_table_s_cells_lose_theirs() -> None:
    with printed() as out:
        stream = drawn(sys.stdout)
        stream.write("\x1b[1mbold")
        assert out.getvalue() == b"\x1b[1mbold"
        assert (stream.encoding, stream.isatty()) == ("utf-8", False)


def test_a_csv_read_again_has_its_cells_and_line_ends() -> None:
    with printed() as out:
        print_csv(Table(columns=("a", "b"), types=("VARCHAR", "BIGINT"), rows=[("two\nlines", 1), ('"quoted"', None)]))
        assert out.getvalue() == b'a,b\r\n"two\nlines",1\r\n"""quoted""",\r\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_text_that_a_spreadsheet_would_run_is_marked_where_that_is_asked_for(text: str) -> None:
    assert no_formula(text) == f"'{text}"
    table = Table(columns=("model", "n"), types=("VARCHAR", "BIGINT"), rows=[(text, -1)])
    for asked in (False, True):
        out = io.StringIO()
        print_csv(table, out, spreadsheet=asked)
        (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
        assert row["n"] == "-1", "a number is a number"
        assert row["model"].startswith("'") is asked


def test_no_command_hands_a_stranger_s_control_characters_to_a_terminal(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call(f"r-{HOSTILE}", f"1{HOSTILE}", request_model=HOSTILE, response_model=HOSTILE, request_id=HOSTILE)
    play.call(None, None, outcome=Outcome.FAILED, status_code=500, error=HOSTILE, request_model=HOSTILE)
    play.journal.close()
    (tmp_path / "submeter.duckdb.journal" / "\x1b]0;owned\x07.jsonl").write_bytes(b"torn\n")
    text = ""
    for words in (
        ["runs"],
        ["runs", "--json"],
        ["steps", f"chatdev/r-{HOSTILE}"],
        ["steps", f"no/{HOSTILE}"],
        ["sql", "FROM calls"],
        ["sql", "FROM calls", "--format", "csv"],
        ["sql", f"FROM no{HOSTILE}"],
        ["sql", "unknown", "--json"],
        ["ledger", "check"],
    ):
        with printed() as out, pytest.raises(SystemExit):
            cli(["--ledger", str(play.path), *words])
        text += out.getvalue().decode()
    assert "owned" in text
    assert [character for character in OBEYED if character in text] == []
