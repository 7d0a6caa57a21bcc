"""The SQL that ships: every file answers on an empty ledger, keeps the house's rules, and makes no zero of nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ledger_play import NOON_US, Play

import submeter.data.questions
from submeter.data.clock import FixedClock
from submeter.data.columns import BUCKET_COLUMNS, LINES, Form, Kind
from submeter.data.error import SubmeterError
from submeter.data.ledger import Ledger
from submeter.data.questions import named, query_names, read_sql
from submeter.data.schema import VIEWS
from submeter.data.staging import RENAMED

FOLDER = Path(submeter.data.questions.__file__).parent
ALL = sorted(path.stem for path in FOLDER.glob("*.sql"))
COMMENT = re.compile(r"--[^\n]*")
FILLING = re.compile(r"\b(?:coalesce|ifnull|nvl|zeroifnull)\s*\(", re.IGNORECASE)
COUNT = re.compile(r"(?:_tokens|\bimages|\bcharacters|\bseconds)\b", re.IGNORECASE)
TABLES = {
    Kind.SETTLE: "readings",
    Kind.START: "open_calls",
    Kind.READ: "additions",
    Kind.KEY: "keys",
    Kind.STEP: "marks",
    Kind.RUN: "marks",
    Kind.USAGE_READ: "usage_reads",
    Kind.AUDIT: "audits",
    Kind.INFERRED: "inferred",
    Kind.PROCESS: "processes",
    Kind.GAP: "gaps",
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("empty") / "l.duckdb", clock=FixedClock(NOON_US))
    ledger.ingest()
    return ledger


def filled_in(sql: str) -> list[str]:
    """Every call that would put something else where a count is NULL."""
    found = []
    for match in FILLING.finditer(sql):
        depth, end = 1, match.end()
        while depth and end < len(sql):
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        if COUNT.search(sql[match.end() : end]):
            found.append(sql[match.start() : end])
    return found


def code(name: str) -> str:
    return COMMENT.sub("", read_sql(name))


@pytest.mark.parametrize("name", query_names())
def test_a_named_question_answers_on_an_empty_ledger(ledger: Ledger, name: str) -> None:
    wanted = set(re.findall(r"\$(\w+)", code(name)))
    table = ledger.query(name, dict.fromkeys(sorted(wanted)))
    assert len(set(table.columns)) == len(table.columns) == len(table.types) > 0


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_answers_on_an_empty_ledger(ledger: Ledger, view: str) -> None:
    assert ledger.query(f"SELECT count(*) FROM {view}").rows == [(0,)]


def test_every_view_file_is_made_and_every_view_has_a_file() -> None:
    assert sorted(f"view_{view}" for view in VIEWS) == [name for name in ALL if name.startswith("view_")]


@pytest.mark.parametrize("name", ALL)
def test_every_file_begins_by_saying_what_it_is(name: str) -> None:
    assert read_sql(name).startswith("-- ")


@pytest.mark.parametrize("name", query_names())
def test_a_question_names_its_columns_and_has_an_order(name: str) -> None:
    assert not re.search(r"SELECT\s+\*", code(name), re.IGNORECASE)
    of_one_row = not re.search(r"^FROM ", code(name), re.MULTILINE)
    assert of_one_row or "ORDER BY" in code(name)


@pytest.mark.parametrize("name", ALL)
def test_no_count_that_nobody_told_becomes_a_zero(name: str) -> None:
    assert filled_in(code(name)) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT coalesce(sum(input_tokens), 0)",
        "SELECT IFNULL(images,0)",
        "SELECT coalesce(a.output_tokens, b.output_tokens, 0.0)",
        "SELECT nvl ( sum(seconds) FILTER (x), 0 )",
    ],
)
def test_the_rule_against_zeros_finds_them(sql: str) -> None:
    assert filled_in(sql)


@pytest.mark.parametrize(("kind", "table"), sorted(TABLES.items()))
def test_a_table_has_a_column_of_the_right_type_for_each_field_of_its_line(
    ledger: Ledger, kind: Kind, table: str
) -> None:
    columns = {row[0]: row[1] for row in ledger.query(f"SELECT column_name, column_type FROM (DESCRIBE {table})").rows}
    for name, form in LINES[kind].columns.items():
        assert columns[RENAMED.get(name, name)] == ("TIMESTAMP" if form is Form.TIME else form.value)


def test_bucket_rows_have_a_column_for_each_field(ledger: Ledger) -> None:
    columns = ledger.query("SELECT column_name FROM (DESCRIBE usage_buckets)").rows
    assert [row[0] for row in columns] == list(BUCKET_COLUMNS)


def test_no_table_has_an_index(ledger: Ledger) -> None:
    assert ledger.query("SELECT count(*) FROM duckdb_indexes()").rows == [(0,)]
    assert ledger.query("SELECT DISTINCT constraint_type FROM duckdb_constraints()").rows == [("NOT NULL",)]


def test_a_filter_on_run_and_framework_reaches_the_stored_rows(tmp_path: Path) -> None:
    play = Play(tmp_path)
    for run_id, framework in (("r-1", "chatdev"), ("r-2", "baes"), (None, None)):
        play.call(run_id, None, framework=framework)
    question = "SELECT standing FROM calls WHERE run_id = 'r-1' AND framework = 'chatdev'"
    plan = "".join(str(row[1]) for row in play.told(f"EXPLAIN (FORMAT json) {question}")).replace(" ", "")
    scans = [scan for scan in re.split(r'"name":"', plan) if scan.startswith("SEQ_SCAN") and "readings" in scan]
    assert any("run_id='r-1'" in scan and "framework='chatdev'" in scan for scan in scans), plan


def test_a_name_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(SubmeterError, match="no question named") as told:
        named("by_moon")
    assert "by_model" in told.value.why
