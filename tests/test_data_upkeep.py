"""A ledger against its journals: built anew, checked, copied, brought forward."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import NOON_US, Play

from submeter.data.call import Edge, Flag, MarkedBy, Outcome, Usage
from submeter.data.clock import US_PER_S, FixedClock
from submeter.data.error import SubmeterError
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger, new_ledger, open_file
from submeter.data.paths import journal_folder, reads_folder
from submeter.data.questions import read_sql
from submeter.data.schema import SCHEMA_VERSION, migrate, views_note
from submeter.data.sidecar import Patience
from submeter.data.upkeep import COMPARED


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def contents(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    """Every table, row by row; of `ingest_log` what came in, not when."""
    tables = dict.fromkeys(COMPARED, "*") | {"ingest_log": "file_id, max(end_offset), sum(rows)"}
    rows = {}
    with ledger.reading() as connection:
        for table, columns in tables.items():
            group = " GROUP BY file_id" if table == "ingest_log" else ""
            rows[table] = sorted(connection.rows(f"SELECT {columns} FROM {table}{group}"), key=repr)
    return rows


def a_bit_of_everything(play: Play) -> None:
    play.begin()
    for step in ("1", "2", "1"):
        play.begin(step)
        play.call(step=step, request_id="req_same", first_byte_at=NOON_US, server_date=NOON_US + 31 * US_PER_S)
        play.ledger.ingest()
        play.end(step)
    background = play.call(counts=Usage(), outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,))
    play.journal.append(
        "read", {"call_id": background.call_id, "source": "read", "input_tokens": 3, "output_tokens": 1}
    )
    for edge, at in ((Edge.BEGIN, NOON_US), (Edge.END, NOON_US + 90 * US_PER_S)):
        play.mark(edge, framework="baes", run_id="imported", by=MarkedBy.METRICS, at=at)
    play.call(None, None, framework="baes")
    play.journal.append("key", {"key_fingerprint": "ab12", "framework": "chatdev", "api_key_id": "key_1"})
    play.journal.append("inferred", {"audit_id": "a", "call_id": background.call_id, "input_tokens": 3})
    play.journal.append("gap", {"from": NOON_US, "to": NOON_US + 1, "calls": 1, "lines": 1})
    play.journal.append(
        "audit",
        {
            "audit_id": "a",
            "audited_at": NOON_US,
            "scope": "run",
            "run_id": "r-1",
            "verdict": "short",
            "detail": {"k": 5},
        },
    )
    add_usage_read(play)
    dying = play.open_journal()
    play.start(journal=dying)
    play.ledger.ingest()
    dying.close(stop=False)
    play.start()
    play.wait(2).end()
    play.ledger.ingest()


def add_usage_read(play: Play, *, keep_page: bool = True, body: bytes | None = None, read_id: str | None = None) -> str:
    """One good read of one page with two result rows, its raw page beside the journal."""
    body = body or orjson.dumps(
        {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": NOON_US // US_PER_S,
                    "end_time": NOON_US // US_PER_S + 60,
                    "results": [
                        {
                            "object": "organization.usage.completions.result",
                            "input_tokens": 100,
                            "input_cached_tokens": 20,
                            "output_tokens": 7,
                            "num_model_requests": 2,
                            "model": "gpt-5-mini",
                            "api_key_id": "key_1",
                            "batch": False,
                            "service_tier": "default",
                            "new_field_of_next_year": {"a": 1},
                        },
                        {"input_tokens": 0, "output_tokens": 0, "model": "o3", "api_key_id": "key_1", "batch": None},
                    ],
                },
                {"start_time": NOON_US // US_PER_S + 60, "end_time": NOON_US // US_PER_S + 120, "results": []},
            ],
            "has_more": False,
        }
    )
    digest = hashlib.sha256(body).hexdigest()
    if keep_page:
        reads_folder(play.path).mkdir(exist_ok=True)
        (reads_folder(play.path) / f"{digest}.json.gz").write_bytes(gzip.compress(body))
    play.journal.append(
        "usage_read",
        {
            "read_id": read_id or f"read-{digest[:4]}",
            "usage_endpoint": "completions",
            "api_key_ids": ["key_1"],
            "window_start": NOON_US,
            "window_end": NOON_US + 120 * US_PER_S,
            "asked_at": NOON_US + 120 * US_PER_S,
            "answered_at": NOON_US + 120 * US_PER_S,
            "good": True,
            "status_code": 200,
            "pages": [digest],
            "holes": 0,
        },
    )
    return digest


def test_a_ledger_built_anew_has_the_same_rows_in_every_table(play: Play) -> None:
    a_bit_of_everything(play)
    before = contents(play.ledger)
    assert all(before.values())
    play.ledger.rebuild()
    assert contents(play.ledger) == before
    assert_sums_agree(play.ledger)
    assert_calls_are_whole(play.ledger)
    play.call()
    assert play.ledger.ingest().rows == 1


def test_a_ledger_can_be_built_from_journals_alone(play: Play) -> None:
    a_bit_of_everything(play)
    before = contents(play.ledger)
    play.path.unlink()
    Ledger(play.path, clock=play.clock).ingest()
    after = contents(play.ledger)
    assert {name: rows for name, rows in after.items() if name != "processes"} == {
        name: rows for name, rows in before.items() if name != "processes"
    }


def test_a_damaged_ledger_is_left_for_its_owner_to_move_away_and_then_built_from_its_journals(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    play.path.write_bytes(b"\0" * 4096)
    with pytest.raises(SubmeterError, match="move this one away"):
        play.ledger.rebuild()
    assert play.path.read_bytes() == b"\0" * 4096
    play.path.rename(play.path.with_suffix(".damaged"))
    assert play.ledger.rebuild().rows == 1
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(1,)]


def test_a_check_finds_rows_that_no_journal_tells_of(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    assert play.ledger.check().clean
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows("INSERT INTO readings SELECT * FROM readings")
        connection.rows("UPDATE keys SET api_key_id = 'key_forged'")
    report = play.ledger.check()
    assert report.differences[:2] == (
        "readings has 2 rows; the journals tell of 1",
        "readings has 2 rows; ingest_log tells of 1",
    )
    assert "more than once" in report.differences[2]
    assert not report.clean


def test_a_check_finds_a_row_that_was_changed(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows("UPDATE readings SET input_tokens = 11")
    assert play.ledger.check().differences == ("readings has the right number of rows, but not the right ones",)


def test_a_check_finds_a_journal_that_is_gone_or_was_cut(play: Play) -> None:
    play.call()
    second = play.open_journal()
    play.settle(play.start(journal=second), journal=second)
    play.ledger.ingest()
    second.close(stop=False)
    second.path.unlink()
    size = play.journal.path.stat().st_size
    with play.journal.path.open("r+b") as file:
        file.truncate(size - 10)
    differences = play.ledger.check().differences
    assert any("its file is gone" in text for text in differences)
    assert any(f"but {size} were carried in" in text for text in differences)


def test_a_check_names_what_waits_and_what_is_unfinished(play: Play) -> None:
    play.ledger.ingest()
    play.call()
    with play.journal.path.open("ab") as file:
        file.write(b'{"v":1,')
    size = play.journal.path.stat().st_size
    report = play.ledger.check()
    assert report.bytes_waiting > 0
    assert [(problem.offset, problem.reason) for problem in report.unfinished] == [(size - 7, "a line without its end")]
    play.ledger.ingest()
    assert play.ledger.check().clean


def test_missing_lines_are_found_by_their_numbers_and_told_apart_by_gaps(play: Play) -> None:
    play.call()
    lines = play.journal.path.read_bytes().splitlines(keepends=True)
    play.journal.path.write_bytes(lines[0] + lines[2])
    play.ledger.ingest()
    report = play.ledger.check()
    assert [(hole.first_seq, hole.lines, hole.announced) for hole in report.holes] == [(1, 1, False)]
    play.journal.append("gap", {"from": NOON_US, "to": NOON_US, "calls": 1, "lines": 1})
    play.ledger.ingest()
    report = play.ledger.check()
    assert [hole.announced for hole in report.holes] == [True]
    assert [(gap.calls, gap.lines) for gap in report.gaps] == [(1, 1)]


BUCKETS = (
    "SELECT minute = make_timestamp($noon), api_key_id, model, batch, service_tier, input_tokens, input_cached_tokens,"
    " output_tokens, num_model_requests FROM usage_buckets ORDER BY input_tokens DESC"
)


def test_the_buckets_of_a_good_read_are_kept_as_told(play: Play) -> None:
    add_usage_read(play)
    assert play.told(BUCKETS, {"noon": NOON_US}) == [
        (True, "key_1", "gpt-5-mini", False, "default", 100, 20, 7, 2),
        (True, "key_1", "o3", None, None, 0, None, 0, None),
    ]


READS = "SELECT good, problem, rows FROM usage_reads ORDER BY line_offset"


def test_a_read_whose_page_is_missing_is_not_good_until_a_rebuild_finds_it(play: Play) -> None:
    digest = add_usage_read(play, keep_page=False)
    play.call()
    turn = play.ledger.ingest()
    assert [problem.reason for problem in turn.problems] == [f"page {digest[:12]} is missing from reads/ (not_kept)"]
    assert play.ledger.query(READS).rows == [(False, "not_kept", 0)]
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(1,)]
    assert len(play.ledger.check().problems) == 1
    add_usage_read(play, read_id="read-again")
    play.ledger.ingest()
    assert play.ledger.query(READS).rows == [(False, "not_kept", 0), (True, None, 2)]
    report = play.ledger.check()
    assert (report.problems, report.clean) == ((), False)
    assert report.differences[0] == (
        "1 read of the Usage API came in before its pages, which are there now: submeter ledger rebuild takes them in"
    )
    play.ledger.rebuild()
    assert play.ledger.query(READS).rows == [(True, None, 2), (True, None, 2)]
    assert play.ledger.query("SELECT count(*) FROM usage_buckets").rows == [(4,)]
    assert play.ledger.check().clean


def test_a_check_says_that_the_pages_of_a_good_read_are_gone(play: Play) -> None:
    digest = add_usage_read(play)
    play.ledger.ingest()
    (reads_folder(play.path) / f"{digest}.json.gz").unlink()
    report = play.ledger.check()
    assert [problem.reason for problem in report.problems] == [f"page {digest[:12]} is missing from reads/ (not_kept)"]
    assert (
        report.differences[0] == "the pages of 1 read of the Usage API that is good in the ledger are gone or damaged"
    )


def test_a_second_line_of_one_read_makes_no_row(play: Play) -> None:
    add_usage_read(play, read_id="read-1")
    add_usage_read(play, read_id="read-1")
    assert [problem.reason for problem in play.ledger.ingest().problems] == ["a second usage_read line of read read-1"]
    add_usage_read(play, read_id="read-1")
    assert len(play.ledger.ingest().problems) == 1
    assert play.ledger.query(READS).rows == [(True, None, 2)]
    assert play.ledger.query("SELECT count(*) FROM usage_buckets").rows == [(2,)]


@pytest.mark.parametrize("body", [b"{}", b'{"data":[{"start_time":"x","results":[{}]}]}', b"[", b"null"])
def test_a_page_that_is_none_is_located(play: Play, body: bytes) -> None:
    add_usage_read(play, body=body)
    assert len(play.ledger.ingest().problems) == 1
    assert play.ledger.query(READS).rows[0][0] is False
    assert play.ledger.query("SELECT count(*) FROM usage_buckets").rows == [(0,)]


def test_a_page_whose_bytes_are_not_those_that_were_read_is_located(play: Play) -> None:
    digest = add_usage_read(play)
    (reads_folder(play.path) / f"{digest}.json.gz").write_bytes(gzip.compress(b'{"data":[]}'))
    assert "its digest differs" in play.ledger.ingest().problems[0].reason


def test_a_snapshot_is_a_whole_ledger_of_its_own(play: Play, tmp_path: Path) -> None:
    play.call()
    play.ledger.ingest()
    to = tmp_path / "for-notebooks.duckdb"
    play.ledger.snapshot(to)
    with pytest.raises(SubmeterError, match="--force"):
        play.ledger.snapshot(to)
    play.ledger.snapshot(to, force=True)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    play.call()
    play.ledger.ingest()
    assert Ledger(to, clock=play.clock).query("SELECT count(*) FROM calls").rows == [(1,)]
    with pytest.raises(SubmeterError, match="snapshot cannot be written"):
        play.ledger.snapshot(tmp_path / "no" / "such.duckdb")


def test_a_ledger_of_a_newer_program_is_not_written_to(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows(f"INSERT INTO schema_version VALUES ({SCHEMA_VERSION + 1}, now())")
    play.call()
    with pytest.raises(SubmeterError, match="newer submeter"):
        play.ledger.ingest()
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(1,)]


def test_a_ledger_of_version_1_has_its_reads_judged_anew_and_its_clocks_counted(play: Play) -> None:
    a_bit_of_everything(play)
    gone = add_usage_read(play, read_id="gone", keep_page=False)
    assert (reads_folder(play.path) / f"{gone}.json.gz").is_file()
    play.ledger.ingest()
    body = orjson.dumps({"data": [], "has_more": True, "next_page": None})
    add_usage_read(play, read_id="never good", body=body)
    play.ledger.ingest()
    whole = contents(play.ledger)
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows("ALTER TABLE usage_reads DROP COLUMN rows")
        connection.rows("UPDATE usage_reads SET good = true, problem = NULL, message = NULL, holes = 0")
        connection.rows("UPDATE usage_buckets SET input_tokens = 12345")
        connection.rows("DROP TABLE process_skew_steps")
        connection.rows(f"UPDATE schema_version SET version = 1 WHERE version = {SCHEMA_VERSION}")
        connection.rows("COMMENT ON TABLE schema_version IS NULL")
    with pytest.raises(SubmeterError, match="not of this submeter's version"):
        play.ledger.check()
    Ledger(play.path, clock=play.clock).ingest()
    assert contents(play.ledger) == whole
    assert play.ledger.query("SELECT max(version) FROM schema_version").rows == [(SCHEMA_VERSION,)]


def test_a_duckdb_file_that_is_no_ledger_is_not_written_to(tmp_path: Path) -> None:
    clock = FixedClock(NOON_US)
    path = tmp_path / "mine.duckdb"
    with new_ledger(path, clock) as fresh:
        fresh.rename(path)
    with open_file(path, Patience(0), read_only=False) as connection:
        connection.rows("DROP TABLE schema_version")
    with pytest.raises(SubmeterError, match="no ledger"):
        Ledger(path, clock=clock).ingest()


def test_a_migration_runs_each_step_once_and_in_order(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    scripts = {
        f"migrate_{SCHEMA_VERSION + 1}": "ALTER TABLE readings ADD COLUMN colour VARCHAR",
        f"migrate_{SCHEMA_VERSION + 2}": "UPDATE readings SET colour = 'blue'",
    }
    for _ in range(2):
        with open_file(play.path, Patience(0), read_only=False) as connection:
            migrate(
                connection,
                play.clock,
                wanted=SCHEMA_VERSION + 2,
                script=lambda name: scripts.get(name) or read_sql(name),
            )
    rows = play.ledger.query("SELECT version FROM schema_version ORDER BY version").rows
    assert rows == [(SCHEMA_VERSION,), (SCHEMA_VERSION + 1,), (SCHEMA_VERSION + 2,)]
    assert play.ledger.query("SELECT colour FROM readings").rows == [("blue",)]
    assert_sums_agree(play.ledger)


def test_a_ledger_of_the_first_schema_learns_which_calls_could_be_of_two_imported_runs(play: Play) -> None:
    play.call(None, None)
    for run_id in ("a", "b"):
        for edge, at in ((Edge.BEGIN, NOON_US), (Edge.END, NOON_US + US_PER_S)):
            play.mark(edge, run_id=run_id, by=MarkedBy.METRICS, at=at)
    play.ledger.ingest()
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows("DROP TABLE time_labels")
        connection.rows(
            "CREATE TABLE time_labels (framework VARCHAR NOT NULL, minute TIMESTAMP NOT NULL,"
            " from_at TIMESTAMP NOT NULL, to_at TIMESTAMP NOT NULL, run_id VARCHAR NOT NULL, step VARCHAR)"
        )
        connection.rows("UPDATE schema_version SET version = 1")
    play.wait(1)
    Ledger(play.path, clock=play.clock).ingest()
    assert play.ledger.query("SELECT version FROM schema_version ORDER BY version").rows[-1] == (SCHEMA_VERSION,)
    assert play.ledger.query("SELECT run_id, ambiguous FROM run_usage ORDER BY run_id").rows == [("a", 1), ("b", 1)]
    assert_sums_agree(play.ledger)
    assert play.ledger.check().clean


def test_when_a_process_was_known_to_be_gone_outlives_a_rebuild(play: Play) -> None:
    play.start()
    play.ledger.ingest()
    play.journal.close(stop=False)
    play.wait(5)
    play.ledger.ingest()
    seen = play.ledger.query("SELECT gone_at, observed_at FROM processes").rows
    play.wait(500)
    play.ledger.rebuild()
    assert play.ledger.query("SELECT gone_at, observed_at FROM processes").rows == seen


def test_a_rebuild_leaves_nothing_behind(play: Play, tmp_path: Path) -> None:
    play.call()
    play.ledger.rebuild()
    play.ledger.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "submeter.duckdb",
        "submeter.duckdb.journal",
        "submeter.duckdb.lock",
    ]
    assert {path.name for path in journal_folder(play.path).iterdir()} == {play.journal.path.name, "reserve"}


def write_torn(play: Play, keep: int, *, again: bool) -> int:
    """Leave the journal's last line as a full disk does: its first `keep` bytes, then maybe all of it; its place."""
    text = play.journal.path.read_bytes()
    offset = text.rstrip(b"\n").rfind(b"\n") + 1
    last = text[offset:]
    play.journal.path.write_bytes(text[:offset] + last[:keep] + b"\n" + (last if again else b""))
    return offset


@pytest.mark.parametrize("keep", [1, 7, 40, 300])
def test_a_torn_line_that_was_written_whole_later_is_repaired_and_no_loss(play: Play, keep: int) -> None:
    play.call()
    offset = write_torn(play, keep, again=True)
    play.call()
    play.ledger.ingest()
    report = play.ledger.check()
    assert [(problem.offset, problem.reason) for problem in report.repaired] == [
        (offset, f"torn, and written whole at byte {offset + keep + 1}")
    ]
    assert (report.problems, report.holes) == ((), ())
    assert report.clean
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(2,)]


@pytest.mark.parametrize("keep", [1, 7, 40, 300])
def test_a_torn_line_whose_number_never_comes_is_a_loss(play: Play, keep: int) -> None:
    play.call()
    offset = write_torn(play, keep, again=False)
    play.call()
    play.ledger.ingest()
    report = play.ledger.check()
    assert report.repaired == ()
    assert [problem.offset for problem in report.problems] == [offset]
    assert [(hole.lines, hole.announced) for hole in report.holes] == [(1, False)]
    assert not report.clean


def test_a_torn_line_whose_number_comes_with_another_text_is_not_repaired(play: Play) -> None:
    play.call()
    text = play.journal.path.read_bytes()
    offset = text.rstrip(b"\n").rfind(b"\n") + 1
    play.journal.path.write_bytes(text[:offset] + text[offset:-20] + b"?\n" + text[offset:])
    play.ledger.ingest()
    report = play.ledger.check()
    assert [problem.offset for problem in report.problems] == [offset]
    assert report.repaired == ()


def test_a_line_torn_twice_is_repaired_twice(play: Play) -> None:
    play.call()
    first = write_torn(play, 100, again=True)
    second = write_torn(play, 50, again=True)
    play.ledger.ingest()
    assert [problem.offset for problem in play.ledger.check().repaired] == [first, second]
    assert play.ledger.check().clean


def test_a_full_disk_that_took_every_line_in_the_end_leaves_a_clean_ledger(play: Play) -> None:
    room = [250]

    def write(descriptor: int, data: bytes) -> int:
        written = os.write(descriptor, data[: room[0]]) if room[0] else 0
        room[0] -= written
        return written

    journal = Journal.open(play.path, mode="proxy", clock=play.clock, write=write)
    room[0] = 400
    journal.begin(upstream="http://127.0.0.1:9")
    play.settle(play.start(journal=journal), journal=journal)
    assert journal.lines_waiting == 2
    room[0] = 10_000
    journal.close()
    play.ledger.ingest()
    report = play.ledger.check()
    assert len(report.repaired) == 1
    assert report.clean
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(1,)]


OLDER_VIEW = "CREATE OR REPLACE VIEW run_usage AS SELECT 'as it was' AS framework"
OUR_VIEW = "SELECT framework FROM run_usage"


def with_views_of(play: Play, note: str | None) -> None:
    """Make the ledger one whose views another submeter made, as its note says."""
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows(OLDER_VIEW)
        connection.rows(f"COMMENT ON TABLE schema_version IS {'NULL' if note is None else repr(note)}")


@pytest.mark.parametrize("note", [None, "views of submeter 0.0.1, 0123456789abcdef", "something else"])
def test_a_ledger_with_an_older_submeters_views_gets_ours_and_keeps_its_rows(play: Play, note: str | None) -> None:
    play.call()
    play.ledger.ingest()
    with_views_of(play, note)
    assert play.ledger.query(OUR_VIEW).rows == [("as it was",)]
    play.wait(1)
    Ledger(play.path, clock=play.clock).ingest()
    assert play.ledger.query(OUR_VIEW).rows == [("chatdev",)]
    assert play.ledger.query("SELECT version FROM schema_version").rows == [(SCHEMA_VERSION,)]
    assert_sums_agree(play.ledger)
    assert play.ledger.check().clean


def test_views_of_a_newer_submeter_are_left_alone(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    with_views_of(play, "views of submeter 999.0, 0123456789abcdef")
    play.call()
    assert Ledger(play.path, clock=play.clock).ingest().rows == 1
    assert play.ledger.query(OUR_VIEW).rows == [("as it was",)]


def test_a_new_ledger_and_a_rebuilt_one_say_whose_views_they_have(play: Play) -> None:
    noted = "SELECT comment FROM duckdb_tables() WHERE table_name = 'schema_version'"
    play.call()
    play.ledger.ingest()
    assert play.ledger.query(noted).rows == [(views_note(),)]
    play.ledger.rebuild()
    assert play.ledger.query(noted).rows == [(views_note(),)]


def test_the_second_ledger_of_a_process_is_the_first_but_for_its_date(tmp_path: Path) -> None:
    """It is a copy of what the first one was when it was empty."""
    described = "SELECT table_name, sql FROM duckdb_tables() UNION SELECT view_name, sql FROM duckdb_views() ORDER BY 1"
    made = []
    for number, now_us in enumerate((NOON_US, NOON_US + US_PER_S)):
        path = tmp_path / f"{number}.duckdb"
        ledger = Ledger(path, clock=FixedClock(now_us))
        ledger.ingest()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        dated = ledger.query('SELECT version, epoch_us("at") FROM schema_version').rows
        assert dated == [(SCHEMA_VERSION, now_us)]
        made.append(ledger.query(described).rows)
    assert made[0] == made[1]
    assert len(made[0]) > 30


RENEW_AND_DIE = """
import os, signal, sys
from pathlib import Path
from submeter.data.clock import FixedClock
from submeter.data.ledger import Ledger
from submeter.data import ledger
migrate = ledger.migrate
def migrate_and_die(*given, **named):
    migrate(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
ledger.migrate = migrate_and_die
Ledger(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2]))).ingest()
"""


def test_views_renewed_by_a_process_that_is_killed_before_it_closes_are_whole(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    with_views_of(play, None)
    play.call()
    program = subprocess.run(
        [sys.executable, "-c", RENEW_AND_DIE, str(play.path), str(play.clock.now_us())], check=False, timeout=60
    )
    assert program.returncode == -signal.SIGKILL
    assert play.ledger.ingest().rows == 1
    assert play.ledger.query("SELECT framework, calls FROM run_usage").rows == [("chatdev", 2)]
    assert play.ledger.check().clean
