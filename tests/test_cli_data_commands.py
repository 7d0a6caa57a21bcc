"""`submeter sql`, `ledger`, `metrics import`, `runs` and `steps` on a ledger made of journals alone."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submeter.cli.audit import in_older_words
from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.cli.sql import parameters_of
from submeter.data.call import Labels, Operation, Outcome, Start, Usage, settle_line, start_line
from submeter.data.call import Result as CallResult
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder

NOW_US = 1_795_000_000_000_000


def run(ledger: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, words, obj=Invocation(ledger=ledger, clock=FixedClock(NOW_US)))


def settle(journal: Journal, *, run_id: str | None, step: str | None, framework: str, tokens: int | None) -> None:
    """One create that used `tokens` in and out each; None: nobody said."""
    labels = Labels(framework=framework, run_id=run_id, step=step)
    start = Start(
        call_id=new_call_id(NOW_US),
        started_at=NOW_US - US_PER_S,
        framework=labels.framework,
        key_fingerprint=None,
        api_key_id=None,
        run_id=labels.run_id,
        step=labels.step,
        label_source=None,
        method="POST",
        path="/v1/chat/completions",
        endpoint="chat/completions",
        usage_endpoint="completions",
        operation=Operation.CREATE,
        retry_count=None,
        organization=None,
        project=None,
        upstream="https://api.openai.com",
    )
    usage = Usage() if tokens is None else Usage(input_tokens=tokens, output_tokens=tokens)
    outcome = Outcome.ABORTED if tokens is None else Outcome.METERED
    journal.append("start", start_line(start))
    journal.append("settle", settle_line(start, CallResult(outcome=outcome, ended_at=NOW_US, usage_counts=usage)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger and its journal, whose process has ended."""
    path = tmp_path_factory.mktemp("made") / "l.duckdb"
    with Journal.open(path, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        settle(journal, run_id="r-1", step="1", framework="chatdev", tokens=1000)
        settle(journal, run_id="r-1", step=None, framework="chatdev", tokens=None)
        settle(journal, run_id="r-1", step="1", framework="baes", tokens=7)
    assert Ledger(path, clock=FixedClock(NOW_US)).ingest().rows == 3
    return path.parent


@pytest.fixture
def ledger(made: Path, tmp_path: Path) -> Path:
    """A copy of it: where a journal lies is not what it is."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "l.duckdb"


def test_runs_print_the_sum_and_how_many_calls_it_does_not_hold(ledger: Path) -> None:
    result = run(ledger, "runs")
    assert result.stderr == "2 runs: 2,014 tokens, 1 unknown\n"
    assert "chatdev/r-1" in result.stdout
    only = run(ledger, "runs", "--framework", "BAES", "--json")
    assert [(row["name"], row["input_tokens"], row["unknown"]) for row in json.loads(only.stdout)] == [
        ("baes/r-1", 7, 0)
    ]


def test_calls_without_a_run_are_the_last_lines_with_how_to_label_or_audit_them(ledger: Path) -> None:
    with Journal.open(ledger, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        settle(journal, run_id=None, step=None, framework="chatdev", tokens=50)
        settle(journal, run_id=None, step="3", framework="chatdev", tokens=None)
    result = run(ledger, "runs")
    assert result.stdout.splitlines()[-1].split() == ["chatdev/(no", "run)", "-", "2", "50", "-", "50", "1", "-"]
    total, what_to_do = result.stderr.splitlines()
    assert total == "2 runs and 2 calls without one: 2,114 tokens, 2 unknown"
    assert what_to_do.endswith("submeter audit --from 2026-11-18T11:06Z --to 2026-11-18T11:07Z")
    *runs, astray = json.loads(run(ledger, "runs", "--json").stdout)
    assert [row["name"] for row in runs] == ["baes/r-1", "chatdev/r-1"]
    assert (astray["run_id"], astray["framework"], astray["calls"], astray["input_tokens"]) == (None, "chatdev", 2, 50)
    assert set(astray) == set(runs[0])
    assert len(json.loads(run(ledger, "runs", "--framework", "baes", "--json").stdout)) == 1


def test_calls_that_could_be_of_two_runs_are_shown_with_each_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    with Journal.open(path, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        settle(journal, run_id=None, step=None, framework="baes", tokens=5)
    for run_id in ("a", "b"):
        times = {"start_timestamp": "2026-11-18T11:00:00Z", "end_timestamp": "2026-11-18T11:30:00Z"}
        metrics_file(tmp_path / "runs", "baes", run_id, json.dumps(times))
    run(path, "metrics", "import", str(tmp_path / "runs"))
    result = run(path, "runs")
    header, _rule, *lines = [line.split() for line in result.stdout.splitlines()]
    assert header[-3:] == ["unknown", "ambiguous", "verdict"]
    assert [line[-6:] for line in lines[:2]] == [["-", "-", "-", "-", "1", "-"]] * 2
    assert result.stderr.startswith("2 runs and 1 call without one: 10 tokens, 0 unknown, 1 ambiguous\n")
    told = run(path, "steps", "baes/a")
    assert told.stderr == "baes/a: unknown tokens, 0 unknown, 1 ambiguous\n"
    (step,) = json.loads(run(path, "steps", "baes/a", "--json").stdout)
    assert (step["calls"], step["input_tokens"], step["ambiguous"]) == (None, None, 1)
    before = [file.read_text() for file in sorted((tmp_path / "runs").rglob("metrics.json"))]
    updated = run(path, "metrics", "update", str(tmp_path / "runs"), "--json")
    assert [row["ambiguous"] for row in json.loads(updated.stdout)] == [1, 1]
    for text, file in zip(before, sorted((tmp_path / "runs").rglob("metrics.json")), strict=True):
        told_back = json.loads(file.read_text())
        assert told_back["aggregate_metrics"] == {}
        assert told_back.items() >= json.loads(text).items()
        assert "1 call could be of this run" in told_back["usage_api_verification"]["error"]


def test_a_call_without_usage_is_unknown_and_not_zero(ledger: Path) -> None:
    result = run(ledger, "steps", "chatdev/r-1")
    _header, _rule, first, last = result.stdout.splitlines()
    assert first.split() == ["1", "1", "1", "1,000", "-", "1,000", "-", "0"]
    assert last.split() == ["(no", "step)", "-", "1", "-", "-", "-", "-", "1"]
    assert result.stderr == "chatdev/r-1: 2,000 tokens, 1 unknown\n"


def test_a_bare_run_id_will_do_where_it_is_unique(ledger: Path) -> None:
    result = run(ledger, "steps", "r-1")
    assert result.exit_code == 2
    assert "baes/r-1, chatdev/r-1" in result.stderr
    assert run(ledger, "steps", "r-2").stderr.splitlines()[0] == "There is no run 'r-2' in this ledger."


def test_an_answer_comes_as_a_table_csv_json_or_parquet(ledger: Path) -> None:
    query = "SELECT framework, unknown, input_tokens FROM run_usage ORDER BY framework"
    table = run(ledger, "sql", query).stdout.splitlines()
    assert [line.split() for line in (table[0], *table[2:])] == [
        ["framework", "unknown", "input_tokens"],
        ["baes", "0", "7"],
        ["chatdev", "1", "1000"],
    ]
    rows = list(csv.DictReader(io.StringIO(run(ledger, "sql", query, "--format", "csv").stdout)))
    assert rows[0] == {"framework": "baes", "unknown": "0", "input_tokens": "7"}
    for words in (["--json"], ["--format", "json"]):
        assert json.loads(run(ledger, "sql", query, *words).stdout)[1]["input_tokens"] == 1000
    answer = ledger.with_name("answer.parquet")
    answer.write_bytes(run(ledger, "sql", query + "; -- the end", "--format", "parquet").stdout_bytes)
    back = Ledger(ledger, clock=FixedClock(NOW_US)).query(f"SELECT * FROM '{answer}' ORDER BY framework")
    assert back.rows == [("baes", 0, 7), ("chatdev", 1, 1000)]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT 'a -- b' AS x; -- the end", "a -- b"),
        ("SELECT $$a -- $b; /* c$$ AS x ;", "a -- $b; /* c"),
        ("SELECT $t$a $$ -- b;$t$ AS x -- $t$", "a $$ -- b;"),
        ("SELECT E'it\\'s -- b' AS x;", "it's -- b"),
        ("SELECT 'a' /* ; /* -- */ ' */ || '--b' AS x;; -- ;", "a--b"),
        ('SELECT "a--b;" AS x FROM (SELECT 7 AS "a--b;");\n--', 7),
    ],
)
def test_what_looks_like_a_comment_in_a_text_is_no_comment_in_any_form(
    ledger: Path, query: str, answer: object
) -> None:
    path = ledger.with_name("answer.parquet")
    path.write_bytes(run(ledger, "sql", query, "--format", "parquet").stdout_bytes)
    assert Ledger(ledger, clock=FixedClock(NOW_US)).query(f"SELECT x FROM '{path}'").rows == [(answer,)]
    assert json.loads(run(ledger, "sql", query, "--json").stdout) == [{"x": answer}]


def test_a_text_between_dollars_holds_no_parameter_and_beside_it_one_is_found() -> None:
    assert parameters_of("SELECT $$costs $5 of $many$$, $tag$ $other $tag$, $name", {"name": "x"}) == {"name": "x"}
    assert parameters_of("SELECT $one /* /* $two */ $three */, E'\\'$four'", {}) == {"one": None}


def test_a_framework_or_run_that_is_not_there_is_an_error_that_names_what_may_be_meant(ledger: Path) -> None:
    told = run(ledger, "runs", "--framework", "chatdv")
    assert (told.exit_code, told.stdout, len(told.stderr.splitlines())) == (2, "", 3)
    assert "Did you mean chatdev?" in told.stderr
    assert "Frameworks in this ledger: baes, chatdev." in told.stderr
    assert "Did you mean" not in run(ledger, "runs", "--framework", "zzz").stderr
    assert "Did you mean chatdev/r-1?" in run(ledger, "steps", "chatdv/r-1").stderr
    assert "Did you mean by_model?" in run(ledger, "sql", "by_modle").stderr
    assert run(ledger, "runs", "--framework", "ChatDev").exit_code == 0


def test_framework_and_run_as_two_words_are_one_run_where_there_is_one(ledger: Path) -> None:
    opened = Ledger(ledger, clock=FixedClock(NOW_US))
    opened.ingest()
    assert in_older_words(opened, ("ChatDev", "r-1")) == ("chatdev/r-1",)
    for kept in [("chatdev", "r-9"), ("chatdev/r-1", "baes/r-1"), ("chatdev/r-1",), ("r-1", "r-1"), ()]:
        assert in_older_words(opened, kept) == kept


def test_without_a_question_those_that_people_ask_are_listed_and_with_all_the_others_too(ledger: Path) -> None:
    named = {row["name"]: row["question"] for row in json.loads(run(ledger, "sql", "--json").stdout)}
    assert named["by_model"].startswith("What each model used")
    assert all(question.strip() for question in named.values())
    assert [name for name in named if name.startswith(("audit_", "live_", "list_"))] == []
    every = {row["name"] for row in json.loads(run(ledger, "sql", "--all", "--json").stdout)}
    assert {*named, "list_runs", "audit_book"} <= every
    assert "by_model" in run(ledger, "sql").stdout


def test_every_named_question_can_be_asked_by_its_name_alone(ledger: Path) -> None:
    for row in json.loads(run(ledger, "sql", "--all", "--json").stdout):
        result = run(ledger, "sql", row["name"], "--json")
        if not row["name"].startswith("audit_"):
            assert result.exit_code == 0, (row["name"], result.stderr)


def test_a_query_may_begin_with_a_comment_and_an_option_after_it_is_one(ledger: Path) -> None:
    for query in ("-- How many?\nSELECT 1 AS n", "--How many = one?\nSELECT 1 AS n", "--\nSELECT 1 AS n"):
        told = run(ledger, "sql", query, "--format=json")
        assert (told.exit_code, json.loads(told.stdout)) == (0, [{"n": 1}])
    assert "No such option" in run(ledger, "sql", "FROM calls", "--fromat").stderr


def test_the_name_of_a_view_is_no_question_and_is_told_how_to_be_asked(ledger: Path) -> None:
    refused = run(ledger, "sql", "calls")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)
    assert refused.stderr.splitlines()[2] == 'Look into it with: submeter sql "FROM calls LIMIT 10"'
    assert run(ledger, "sql", "FROM calls LIMIT 10").exit_code == 0


def test_a_parameter_is_given_by_name_and_is_null_if_it_is_not(ledger: Path) -> None:
    words = ("sql", "list_runs", "--json")
    assert len(json.loads(run(ledger, *words).stdout)) == 2
    assert [row["name"] for row in json.loads(run(ledger, *words, "-p", "framework", "baes").stdout)] == ["baes/r-1"]
    assert run(ledger, *words, "-p", "frame", "baes").stderr.splitlines()[0] == "The query has no parameter $frame."
    assert json.loads(run(ledger, "sql", "SELECT '$no' AS text -- nor $this", "--json").stdout) == [{"text": "$no"}]


@pytest.mark.parametrize("given", [("-p", "framework=baes"), ("--param", "framework", "baes"), ("-pframework=baes",)])
def test_a_parameter_is_written_with_an_equals_sign_or_as_older_scripts_have_it(
    ledger: Path, given: tuple[str, ...]
) -> None:
    told = run(ledger, "sql", *given, "by_model", "--json")
    assert [row["framework"] for row in json.loads(told.stdout)] == ["baes"]


def test_what_is_no_parameter_is_three_lines_and_a_value_may_hold_an_equals_sign(ledger: Path) -> None:
    refused = run(ledger, "sql", "SELECT $x", "-p", "=5")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)
    told = run(ledger, "sql", "SELECT $x AS x", "-p", "x=a=b", "--json")
    assert json.loads(told.stdout) == [{"x": "a=b"}]


def test_a_table_shows_forty_rows_and_says_how_many_there_are(ledger: Path) -> None:
    told = run(ledger, "sql", "SELECT range AS n FROM range(100000)")
    assert told.stdout.split() == ["n", "\u2500" * 2, *map(str, range(40))]
    assert told.stderr == "100,000 rows, 40 shown (--limit 0 shows all)\n"
    assert run(ledger, "sql", "SELECT range AS n FROM range(40)").stderr == ""
    assert len(run(ledger, "sql", "SELECT range AS n FROM range(50)", "--limit", "0").stdout.splitlines()) == 52


def test_other_formats_have_all_rows_unless_fewer_are_asked_for(ledger: Path) -> None:
    question = "SELECT range AS n FROM range(50)"
    assert len(json.loads(run(ledger, "sql", question, "--json").stdout)) == 50
    assert len(run(ledger, "sql", question, "--format", "csv", "--limit", "3").stdout.splitlines()) == 4
    refused = run(ledger, "sql", question, "--format", "parquet", "--limit", "3")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)


def test_the_caret_of_an_error_stands_below_what_it_points_at(ledger: Path) -> None:
    lines = run(ledger, "sql", "SELECT call_id,\n       framwork FROM calls").stderr.splitlines()
    assert lines[2] == "LINE 2:        framwork FROM calls"
    assert lines[3].index("^") == lines[2].index("framwork")
    assert len(lines) == 5


def test_asking_cannot_change_the_ledger(ledger: Path) -> None:
    result = run(ledger, "sql", "DELETE FROM readings")
    assert result.exit_code == 2
    assert "read-only" in result.stderr


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{ledger}'",
        "COPY (SELECT 1) TO '{ledger}' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO '{ledger}.wal' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO '{journal}'",
        "SELECT 1; COPY (SELECT 1) TO '{journal}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{ledger}' (USE_TMP_FILE false)",
        "COPY (PIVOT processes ON mode USING count(*)) TO '{ledger}' (USE_TMP_FILE false)",
        "PREPARE p AS COPY (SELECT 1) TO '{ledger}' (USE_TMP_FILE false); EXECUTE p",
        "SELECT 1) TO '{ledger}' (USE_TMP_FILE false); COPY (SELECT 1",
        "EXPORT DATABASE '{folder}'",
        "ATTACH '{folder}/other.duckdb'",
        "INSTALL httpfs",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{journal}')",
        "SET enable_external_access = true",
        "CREATE PERSISTENT SECRET s (TYPE http)",
        "",
        " ",
        "/* nothing */",
    ],
)
@pytest.mark.parametrize("form", ["table", "parquet"])
def test_asking_reaches_no_file_but_the_ledger_and_writes_to_none(ledger: Path, query: str, form: str) -> None:
    run(ledger, "runs")
    run(ledger, "runs")
    (journal,) = journal_folder(ledger).glob("*.jsonl")
    before = {path: path.read_bytes() for path in ledger.parent.rglob("*") if path.is_file()}
    asked = query.format(ledger=ledger, journal=journal, folder=ledger.parent)
    result = run(ledger, "sql", asked, "--format", form)
    # Beside the three lines there may be one of the SQL, with a caret below it.
    words = [line for line in result.stderr.splitlines() if not line.startswith("LINE ") and line.strip() != "^"]
    assert (result.exit_code, len(words)) == (2, 3), result.output
    assert {path: path.read_bytes() for path in ledger.parent.rglob("*") if path.is_file()} == before


def test_of_two_questions_none_is_dropped_without_a_word(ledger: Path) -> None:
    refused = run(ledger, "sql", "SELECT 1 AS a; SELECT 2 AS b")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[1] == "It asks more than one question; ask them one by one."
    told = run(ledger, "sql", "SET VARIABLE x = 3; SELECT getvariable('x') AS x;", "--json")
    assert json.loads(told.stdout) == [{"x": 3}]


def test_a_question_may_pivot_and_explain(ledger: Path) -> None:
    pivoted = json.loads(run(ledger, "sql", "PIVOT calls ON framework USING count(*) GROUP BY run_id", "--json").stdout)
    assert pivoted == [{"run_id": "r-1", "baes": 1, "chatdev": 2}]
    assert run(ledger, "sql", "EXPLAIN FROM calls").exit_code == 0


def test_a_number_beyond_64_bits_keeps_its_digits(ledger: Path) -> None:
    query = "SELECT 9223372036854775807::HUGEINT * 4 AS big, [big] AS bigs, 1 AS one"
    assert json.loads(run(ledger, "sql", query, "--json").stdout) == [{"big": 2**65 - 4, "bigs": [2**65 - 4], "one": 1}]
    assert run(ledger, "sql", query, "--format", "csv").stdout.splitlines()[1] == f"{2**65 - 4},[{2**65 - 4}],1"


def test_columns_of_one_name_are_told_apart_in_json(ledger: Path) -> None:
    assert json.loads(run(ledger, "sql", "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a", "--json").stdout) == [
        {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}
    ]


WITHOUT_ROOM = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # A torn compiled file would break every later import.
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from submeter.cli.main import main
main()
"""


def run_without_room(ledger: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", WITHOUT_ROOM, *words, "--ledger", str(ledger)]
    return subprocess.run(program, cwd=ledger.parent, capture_output=True, text=True, timeout=60)


def test_a_full_disk_leaves_the_ledger_readable_as_it_is_and_refuses_what_must_be_whole(ledger: Path) -> None:
    with Journal.open(ledger, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        for _ in range(400):
            settle(journal, run_id="r-1", step="1", framework="baes", tokens=7)
    for words in (["runs", "--json"], ["steps", "baes/r-1", "--json"], ["sql", "FROM step_usage", "--json"]):
        read = run_without_room(ledger, *words)
        assert read.returncode == 0, read.stderr
        assert 7 in [row["input_tokens"] for row in json.loads(read.stdout)]
        assert read.stderr.startswith("Note: The ledger could not be written: ")
    for words in (["audit", "baes/r-1"], ["runs", "--pending"], ["ledger", "ingest"], ["ledger", "rebuild"]):
        refused = run_without_room(ledger, *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 3), (words, refused.stderr)
    assert run(ledger, "ledger", "check").exit_code == 0


def test_a_full_disk_without_a_ledger_is_three_lines(ledger: Path) -> None:
    ledger.unlink()
    refused = run_without_room(ledger, "runs")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 3), refused.stderr


def test_a_file_that_is_no_ledger_is_an_error_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a ledger")
    result = run(other, "runs")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
    assert other.read_text() == "not a ledger"


def test_a_ledger_is_checked_against_its_journals_and_built_anew_from_them(ledger: Path) -> None:
    clean = run(ledger, "ledger", "check")
    assert clean.exit_code == 0, clean.output
    before = run(ledger, "sql", "FROM calls ORDER BY call_id", "--json").stdout
    ledger.unlink()
    assert run(ledger, "ledger", "rebuild").exit_code == 0
    assert run(ledger, "sql", "FROM calls ORDER BY call_id", "--json").stdout == before
    assert json.loads(run(ledger, "ledger", "ingest", "--json").stdout)["lines"] == 0


def test_a_line_that_cannot_be_read_is_located_and_is_exit_code_1(ledger: Path) -> None:
    (journal,) = journal_folder(ledger).glob("*.jsonl")
    size = journal.stat().st_size
    with journal.open("ab") as file:
        file.write(b"{torn\n")
    result = run(ledger, "ledger", "check")
    assert result.exit_code == 1
    assert f"{journal}, byte {size}: " in result.stdout
    told = json.loads(run(ledger, "ledger", "check", "--json").stdout)
    assert (told["clean"], told["problems"][0]["offset"]) == (False, size)


def test_a_snapshot_is_a_ledger_and_an_export_is_a_file_for_each_view(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    assert run(ledger, "ledger", "snapshot", str(copy)).exit_code == 0
    assert run(copy, "runs", "--json").stdout == run(ledger, "runs", "--json").stdout
    for form in ("parquet", "csv", "json"):
        assert run(ledger, "ledger", "export", str(tmp_path / form), "--format", form).exit_code == 0
        assert (tmp_path / form / f"calls.{form}").stat().st_size > 0
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / form).iterdir()} == {0o600}
    rows = list(csv.DictReader((tmp_path / "csv" / "run_usage.csv").read_text().splitlines()))
    assert sorted((row["framework"], row["input_tokens"]) for row in rows) == [("baes", "7"), ("chatdev", "1000")]


def test_an_export_that_cannot_be_written_is_three_lines(ledger: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.touch()
    result = run(ledger, "ledger", "export", str(blocked))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)


def metrics_file(folder: Path, framework: str, run_id: str, text: str) -> Path:
    path = folder / framework / run_id / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_metrics_give_runs_and_steps_to_calls_without_a_label(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    with Journal.open(path, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        settle(journal, run_id=None, step=None, framework="ghspec", tokens=5)
    second = NOW_US // US_PER_S
    told = {
        "run_id": "g-1",
        "start_timestamp": "2026-11-18T11:06:00+00:00",
        "steps": [{"step": 3, "start_timestamp": second - 60, "end_timestamp": second + 60, "success": True}],
    }
    metrics_file(tmp_path / "runs", "GHSpec", "g-1", json.dumps(told))
    metrics_file(tmp_path / "runs", "GHSpec", "g-2", "{")
    result = run(path, "metrics", "import", str(tmp_path / "runs"))
    assert result.exit_code == 2
    assert "ghspec/g-1: 1 step\n" in result.stderr
    assert str(Path("g-2") / "metrics.json") in result.stderr
    run(path, "metrics", "import", str(tmp_path / "runs" / "GHSpec" / "g-1"))
    (step,) = json.loads(run(path, "steps", "ghspec/g-1", "--json").stdout)
    assert (step["step"], step["visits"], step["calls"], step["input_tokens"]) == ("3", 1, 1, 5)


def test_a_part_of_a_run_is_passed_over_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    times = {"start_timestamp": "2026-11-18T11:00:00Z", "end_timestamp": "2026-11-18T11:30:00Z"}
    metrics_file(tmp_path / "runs", "baes", "r-1", json.dumps(times))
    parts = [
        metrics_file(tmp_path / "runs" / "baes", "r-1", "sprint_001", json.dumps(times)),
        metrics_file(tmp_path / "runs" / "baes", "r-1", "second", json.dumps(times)),
        metrics_file(tmp_path / "runs" / "baes", "r-2", "sprint_001", json.dumps(times)),
    ]
    for command in ("import", "judge"):
        result = run(path, "metrics", command, str(tmp_path / "runs"))
        assert result.exit_code == 0
        assert [line for line in result.stderr.splitlines() if line.startswith("Passed over")] == [
            f"Passed over, since it is of a part of a run: {part}" for part in sorted(parts)
        ]
    run(path, "runs")
    assert [row["name"] for row in json.loads(run(path, "runs", "--json").stdout)] == ["baes/r-1"]


def test_a_run_without_times_of_its_own_has_those_of_its_steps_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    with Journal.open(path, mode="proxy", clock=FixedClock(NOW_US)) as journal:
        journal.begin(upstream="https://api.openai.com")
        settle(journal, run_id=None, step=None, framework="baes", tokens=5)
    second = NOW_US // US_PER_S
    steps = [{"step_number": 1, "start_timestamp": second - 60, "end_timestamp": second + 60}]
    metrics_file(tmp_path / "runs", "baes", "r-1", json.dumps({"steps": steps}))
    assert (
        "baes/r-1: 1 step; its file tells no times of the run" in run(path, "metrics", "import", str(tmp_path)).stderr
    )
    (told,) = json.loads(run(path, "runs", "--json").stdout)
    assert (told["end_source"], told["input_tokens"]) == ("metrics", 5)
    judged = run(path, "metrics", "judge", str(tmp_path), "--json")
    assert "its time is that of its steps" in judged.stderr
    assert json.loads(judged.stdout)[0]["times_from_steps"] is True


def test_a_folder_without_metrics_is_three_lines(tmp_path: Path) -> None:
    for word in ("import", "judge", "update"):
        result = run(tmp_path / "l.duckdb", "metrics", word, str(tmp_path))
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)
        assert "metrics import" not in result.stderr, "of what was asked, not of one of the commands"
    assert os.listdir(tmp_path) == []
