"""A rebuild and a snapshot destroy no only record: what no journal tells of any more is refused, or carried over."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import Play
from test_data_upkeep import a_bit_of_everything, add_usage_read, contents

from submeter.cli.main import cli
from submeter.data.call import Operation, Outcome, Usage
from submeter.data.error import SubmeterError
from submeter.data.ledger import open_file
from submeter.data.paths import journal_folder, reads_folder
from submeter.data.sidecar import Patience


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def everything_in_two_journals(play: Play) -> Path:
    """A bit of all there is in one journal, which is answered, and a call in another."""
    a_bit_of_everything(play)
    add_usage_read(play)
    play.start()
    play.ledger.ingest()
    first = play.journal
    play.journal = play.open_journal()
    play.call()
    play.ledger.ingest()
    first.close()
    play.ledger.ingest()
    return first.path


def without_when_it_came_in(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    return {table: found for table, found in rows.items() if table != "ingest_log"}


def test_a_rebuild_without_all_its_journals_changes_nothing_and_names_them(play: Play) -> None:
    gone = everything_in_two_journals(play)
    gone.unlink()
    before, data = contents(play.ledger), play.path.read_bytes()
    with pytest.raises(SubmeterError) as refused:
        play.ledger.rebuild()
    assert f"process {os.getpid()} on " in refused.value.why
    assert "--keep-rows" in refused.value.next_step
    assert play.path.read_bytes() == data
    assert contents(play.ledger) == before


def test_kept_rows_are_the_same_rows_in_every_table(play: Play) -> None:
    gone = everything_in_two_journals(play)
    before = contents(play.ledger)
    gone.unlink()
    assert play.ledger.rebuild(keep_rows=True).kept > 0
    assert contents(play.ledger) == before
    assert_sums_agree(play.ledger)
    assert_calls_are_whole(play.ledger)
    play.call()
    assert play.ledger.ingest().rows == 1


def test_kept_rows_are_kept_by_every_further_rebuild_and_their_journal_may_come_back(play: Play) -> None:
    gone = everything_in_two_journals(play)
    before, data = contents(play.ledger), gone.read_bytes()
    gone.unlink()
    play.ledger.rebuild(keep_rows=True)
    with pytest.raises(SubmeterError, match="only record"):
        play.ledger.rebuild()
    gone.write_bytes(data)
    assert play.ledger.ingest().rows == 0
    assert play.ledger.rebuild().kept == 0
    assert contents(play.ledger) == before
    assert play.ledger.check().differences == ()


def test_a_journal_cut_short_or_damaged_inside_is_as_good_as_gone(play: Play) -> None:
    play.call()
    play.call()
    play.ledger.ingest()
    before = without_when_it_came_in(contents(play.ledger))
    whole = play.journal.path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for broken in (whole[: last + 10], whole[: last - 20], whole.replace(b'"settle"', b'"s3ttle"')):
        play.journal.path.write_bytes(broken)
        with pytest.raises(SubmeterError, match="only record"):
            play.ledger.rebuild()
        assert play.ledger.rebuild(keep_rows=True).kept > 0
        assert without_when_it_came_in(contents(play.ledger)) == before


def test_a_good_read_whose_pages_are_gone_stays_good_where_its_rows_are_kept(play: Play) -> None:
    digest = add_usage_read(play)
    play.ledger.ingest()
    before = contents(play.ledger)
    (reads_folder(play.path) / f"{digest}.json.gz").unlink()
    with pytest.raises(SubmeterError, match="only record"):
        play.ledger.rebuild()
    assert play.ledger.rebuild(keep_rows=True).kept == 1
    assert contents(play.ledger) == before


def test_a_read_that_is_not_good_by_its_pages_does_not_stay_good_because_it_once_was(play: Play) -> None:
    add_usage_read(play, body=b"{}")
    play.ledger.ingest()
    with open_file(play.path, Patience(0), read_only=False) as connection:
        connection.rows("UPDATE usage_reads SET good = true, problem = NULL")
    assert play.ledger.rebuild(keep_rows=True).kept == 0
    assert play.ledger.query("SELECT good FROM usage_reads").rows == [(False,)]


def test_a_kept_create_is_told_by_a_read_in_a_journal_that_came_later(play: Play) -> None:
    play.call(response_id="completions", counts=Usage(), outcome=Outcome.NO_USAGE)
    play.ledger.ingest()
    gone = play.journal
    play.journal = play.open_journal()
    gone.close()
    play.ledger.ingest()
    gone.path.unlink()
    play.call(response_id="completions", operation=Operation.READ)  # The id is in its path, as a read's is.
    play.ledger.rebuild(keep_rows=True)
    assert play.ledger.query("SELECT count(*) FROM additions").rows == [(1,)]


def test_a_check_says_that_the_ledger_is_the_only_record_and_names_the_journal(play: Play) -> None:
    gone = everything_in_two_journals(play)
    assert play.ledger.check().only_record is False
    gone.unlink()
    report = play.ledger.check()
    assert report.only_record
    assert any("its file is gone (the journal of " in text for text in report.differences)


def test_a_rebuild_leaves_a_file_alone_that_is_no_ledger(play: Play, tmp_path: Path) -> None:
    play.call()
    notes = b"my notes\n"
    play.path.write_bytes(notes)
    with pytest.raises(SubmeterError):
        play.ledger.rebuild()
    assert play.path.read_bytes() == notes
    play.path.unlink()
    with duckdb.connect(str(play.path)) as other:
        other.execute("CREATE TABLE thesis AS SELECT 42 AS a")
    for keep in (False, True):
        with pytest.raises(SubmeterError, match="no ledger"):
            play.ledger.rebuild(keep_rows=keep)
    with duckdb.connect(str(play.path), read_only=True) as other:
        assert other.execute("SELECT a FROM thesis").fetchall() == [(42,)]


def test_a_snapshot_replaces_an_earlier_snapshot_alone(play: Play, tmp_path: Path) -> None:
    play.call()
    play.ledger.ingest()
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes")
    other = Play(tmp_path / "other")
    other.call()
    other.ledger.ingest()
    link = tmp_path / "link.duckdb"
    link.symlink_to(play.path)
    gone = Play(tmp_path / "gone")
    gone.call()
    log = play.path.with_name(f"{play.path.name}.wal")
    kept = {path: path.read_bytes() for path in (notes, other.path, play.path)}
    for to in (notes, other.path, play.path, link, log, gone.path):
        for force in (False, True):
            with pytest.raises(SubmeterError, match="Nothing was written"):
                play.ledger.snapshot(to, force=force)
    assert {path: path.read_bytes() for path in kept} == kept
    assert not log.exists()
    assert not gone.path.exists(), "its journals would be carried into the copy"
    assert journal_folder(play.path).is_dir()
    play.ledger.snapshot(tmp_path / "free.duckdb")


def test_the_commands_advise_what_loses_nothing(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    play.journal.close()
    play.ledger.ingest()
    play.journal.path.unlink()

    def submeter(*words: str) -> Result:
        return CliRunner().invoke(cli, ["--ledger", str(play.path), "ledger", *words])

    check = submeter("check")
    assert (check.exit_code, check.stderr.startswith("Do not delete this ledger")) == (1, True)
    refused = submeter("rebuild")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 3)
    assert refused.stderr.splitlines()[-1].endswith("submeter ledger rebuild --keep-rows")
    assert submeter("rebuild", "--keep-rows").exit_code == 0
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(1,)]
