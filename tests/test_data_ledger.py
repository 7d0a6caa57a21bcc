"""The ledger file: carried in once, held briefly, private, and said to be held by whom."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import NOON_US, Play

from submeter.data.clock import FixedClock, SystemClock
from submeter.data.error import SubmeterError
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder, lock_path

COUNT = "SELECT count(*), count(DISTINCT call_id) FROM calls"

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
connection.execute("SELECT 1").fetchall()
print("held", flush=True)
sys.stdin.readline()
"""

CARRY_AND_DIE = """
import os, signal, sys
from pathlib import Path
from submeter.data.clock import FixedClock
from submeter.data.ledger import Ledger
from submeter.data import ledger
os.umask(0)
carry = ledger.carry_turn
def carry_and_die(*given, **named):
    carry(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
ledger.carry_turn = carry_and_die
Ledger(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2]))).ingest()
"""

INGEST_WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from submeter.data.clock import FixedClock
from submeter.data.error import SubmeterError
from submeter.data.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    Ledger(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2]))).ingest()
except SubmeterError as error:
    print(error)
"""

INGEST_FOR_EVER = """
import sys
from pathlib import Path
from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
print("begun", flush=True)
while True:
    Ledger(Path(sys.argv[1]), clock=SystemClock()).ingest()
"""


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def hold(path: Path, how: str) -> subprocess.Popen[str]:
    """Another program that knows nothing of our lock, with the file open."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "held\n"
    return program


def let_go(program: subprocess.Popen[str]) -> None:
    program.communicate("\n", timeout=120)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_ingest_makes_the_ledger_and_an_empty_one_answers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.duckdb", clock=FixedClock(NOON_US))
    assert ledger.ingest().rows == 0
    table = ledger.query(COUNT)
    assert (table.columns, table.types, table.rows) == (
        ("count_star()", "count(DISTINCT call_id)"),
        ("BIGINT", "BIGINT"),
        [(0, 0)],
    )
    assert ledger.check().clean


def test_every_file_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        play = Play(tmp_path)
        play.call()
        play.ledger.ingest()
        play.ledger.snapshot(tmp_path / "copy.duckdb")
        play.ledger.rebuild()
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert {path.name: oct(mode(path)) for path in files if mode(path) != 0o600} == {}
        assert mode(journal_folder(play.path)) == 0o700
    finally:
        os.umask(before)


def test_a_write_ahead_log_left_by_a_killed_ingest_is_ours_alone_and_replayed(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    play.call()
    program = subprocess.run(
        [sys.executable, "-c", CARRY_AND_DIE, str(play.path), str(play.clock.now_us())], check=False, timeout=60
    )
    assert program.returncode == -signal.SIGKILL
    log = play.path.with_name(play.path.name + ".wal")
    assert mode(log) == 0o600
    assert play.ledger.query(COUNT).rows == [(2, 2)]
    play.ledger.ingest()
    assert play.ledger.query(COUNT).rows == [(2, 2)]
    assert not log.exists()


def test_nothing_is_opened_where_no_journal_grew(play: Play) -> None:
    play.call()
    assert play.ledger.ingest().rows == 1
    before = play.path.stat()
    assert play.ledger.ingest().lines == 0
    after = play.path.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_second_ledger_object_does_not_carry_a_line_twice(play: Play) -> None:
    for _ in range(3):
        play.call()
        Ledger(play.path, clock=play.clock).ingest()
        play.ledger.ingest()
    assert play.told(COUNT) == [(3, 3)]


def test_only_whole_lines_are_carried_and_the_rest_follows(play: Play) -> None:
    play.call()
    text = play.journal.path.read_bytes()
    copy = play.path.with_name("other.duckdb")
    other = Ledger(copy, clock=play.clock)
    folder = journal_folder(copy)
    folder.mkdir()
    seen = []
    for cut in range(0, len(text) + 1, 97):
        (folder / "cut.jsonl").write_bytes(text[:cut])
        assert other.ingest().problems == ()
        seen.append(other.query(COUNT).rows[0][0])
    (folder / "cut.jsonl").write_bytes(text)
    other.ingest()
    assert sorted(seen) == seen
    assert other.query(COUNT).rows == [(1, 1)]
    assert other.check().clean


BAD_LINES = {
    b"not json": "not JSON: torn, or not written by submeter",
    b"[1]": "not a JSON object",
    b'{"v":2,"kind":"start","seq":0,"at":0}': "written by a newer submeter (format 2): pipx upgrade submeter",
    b'{"v":1,"kind":"dream","seq":0,"at":0}': "kind 'dream' is not known to this version",
    b'{"v":1,"kind":"stop","seq":-1,"at":0}': "seq is not a count",
    b'{"v":1,"kind":"stop","seq":0,"at":"now"}': "at is not a time",
    b'{"v":1,"kind":"key","seq":0,"at":0}': "key: key_fingerprint is missing",
    b'{"v":1,"kind":"key","seq":0,"at":0,"key_fingerprint":7}': "key: key_fingerprint is not text",
    b'{"v":1,"kind":"stop","seq":0,"at":0,"journal_offset":1}': "journal_offset is not a field of a line",
    b'{"v":1,"kind":"key","seq":0,"at":0,"key_fingerprint":"a","key_fingerprint":"b"}': "key: DuckDB cannot read it",
    b'{"v":1,"kind":"process","seq":0,"at":0,"file_id":"f","host":"h","pid":1,"mode":"m"}': "a second process line",
}


def test_a_line_that_cannot_be_read_is_located_and_stops_no_other(play: Play) -> None:
    expected = []
    with play.journal.path.open("ab") as file:
        for text, reason in BAD_LINES.items():
            play.call()
            expected.append((play.journal.path.stat().st_size, reason))
            file.write(text + b"\n")
            file.flush()
    play.call()
    turn = play.ledger.ingest()
    assert turn.rows == len(BAD_LINES) + 1
    assert sorted((problem.offset, problem.reason) for problem in turn.problems) == expected
    report = play.ledger.check()
    assert sorted((problem.offset, problem.reason) for problem in report.problems) == expected
    assert not report.clean
    assert report.differences == ()


def test_a_line_of_megabytes_is_passed_by_and_located(play: Play) -> None:
    play.call()
    offset = play.journal.path.stat().st_size
    with play.journal.path.open("ab") as file:
        file.write(b"x" * (9 * 1024 * 1024) + b"\n")
    play.call()
    turn = play.ledger.ingest()
    assert [(problem.offset, problem.reason) for problem in turn.problems] == [
        (offset, f"a line of {9 * 1024 * 1024} bytes")
    ]
    assert play.ledger.query(COUNT).rows == [(2, 2)]


def test_unknown_fields_of_a_known_kind_are_passed_over(play: Play) -> None:
    play.journal.append("key", {"key_fingerprint": "a", "colour": "blue"})
    assert play.told("SELECT key_fingerprint FROM keys") == [("a",)]


def test_a_file_of_nobody_is_located(play: Play) -> None:
    (journal_folder(play.path) / "stray.jsonl").write_bytes(b'{"v":1,"kind":"stop","seq":0,"at":0}\n')
    (journal_folder(play.path) / "empty.jsonl").write_bytes(b"")
    turn = play.ledger.ingest()
    assert [(problem.path.name, problem.reason.split(":")[0]) for problem in turn.problems] == [
        ("stray.jsonl", "no process line")
    ]


def test_a_second_settle_line_of_a_call_is_located_and_makes_no_row(play: Play) -> None:
    start = play.call()
    play.settle(start, input_tokens=99)
    play.ledger.ingest()
    play.settle(start, input_tokens=98)
    turn = play.ledger.ingest()
    assert [problem.reason for problem in turn.problems] == [f"a second settle line of call {start.call_id}"]
    assert play.ledger.query("SELECT input_tokens FROM calls").rows == [(10,)]
    assert len(play.ledger.check().problems) == 2


def test_a_settle_line_alone_makes_the_row_and_a_later_start_line_does_not(play: Play) -> None:
    scratch = play.open_journal("scratch")
    start = play.start(journal=scratch)
    play.settle(start)
    play.ledger.ingest()
    assert play.told("SELECT outcome FROM calls") == [("metered",)]
    assert play.told("SELECT count(*) FROM open_calls") == [(0,)]


def test_a_copied_or_renamed_journal_is_the_same_journal(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    copy = journal_folder(play.path) / "copy-of-it.jsonl"
    shutil.copy(play.journal.path, copy)
    play.call()
    assert play.told(COUNT) == [(2, 2)]
    play.journal.close()
    play.journal.path.rename(journal_folder(play.path) / "renamed.jsonl")
    assert play.told(COUNT) == [(2, 2)]
    assert play.ledger.check().clean


def test_a_file_that_claims_another_journals_identity_is_located(play: Play) -> None:
    play.call()
    fake = journal_folder(play.path) / "fake.jsonl"
    fake.write_bytes(play.journal.path.read_bytes().splitlines(keepends=True)[0] + b"something else\n")
    turn = play.ledger.ingest()
    assert [(problem.path, problem.reason) for problem in turn.problems] == [
        (fake, f"same file_id as {play.journal.path.name}, but not its beginning")
    ]
    assert play.ledger.query(COUNT).rows == [(1, 1)]


def test_two_hosts_journals_copied_together_twice_are_one_ledger(play: Play, tmp_path: Path) -> None:
    other = Play(tmp_path / "other")
    for stage in (play, other):
        stage.call(f"run-of-{stage.path.parent.name}")
        stage.journal.close()
        stage.ledger.ingest()
    for name in ("once.jsonl", "again.jsonl"):
        shutil.copy(other.journal.path, journal_folder(play.path) / name)
    assert play.told(COUNT) == [(2, 2)]
    play.ledger.rebuild()
    assert play.ledger.query(COUNT).rows == [(2, 2)]
    assert play.ledger.check().clean


OUTCOMES = "SELECT outcome, standing, ended_at IS NULL FROM calls ORDER BY started_at, call_id"


def test_a_call_is_open_while_its_process_holds_its_journal_and_lost_once_it_does_not(play: Play) -> None:
    play.start()
    assert play.told(OUTCOMES) == [("open", "unknown", True)]
    shutil.copy(play.journal.path, journal_folder(play.path) / "copy.jsonl")
    play.wait(2)
    assert play.told(OUTCOMES) == [("open", "unknown", True)]
    play.journal.close(stop=False)
    play.wait(2)
    assert play.told(OUTCOMES) == [("lost", "unknown", False)]
    assert play.told("SELECT stopped_at IS NULL, epoch_us(gone_at) FROM processes") == [(True, NOON_US + 4_000_000)]
    assert play.told("SELECT unknown, input_tokens FROM run_usage") == [(1, None)]


def test_a_call_is_lost_where_its_process_stopped_without_settling_it(play: Play) -> None:
    play.start()
    play.journal.close()
    assert play.told(OUTCOMES) == [("lost", "unknown", False)]
    assert play.told("open_now")[0][7] == "lost"


def test_a_copy_of_a_living_process_journal_alone_does_not_make_it_look_dead(play: Play, tmp_path: Path) -> None:
    play.start()
    elsewhere = Ledger(tmp_path / "elsewhere.duckdb", clock=play.clock)
    journal_folder(elsewhere.path).mkdir()
    shutil.copy(play.journal.path, journal_folder(elsewhere.path) / "copy.jsonl")
    elsewhere.ingest()
    assert elsewhere.query(OUTCOMES).rows == [("open", "unknown", True)]
    play.journal.close(stop=False)
    elsewhere.ingest()
    assert elsewhere.query(OUTCOMES).rows == [("lost", "unknown", False)]


def test_a_process_of_another_host_is_gone_after_a_day_of_silence(play: Play, tmp_path: Path) -> None:
    play.start()
    text = play.journal.path.read_bytes().replace(b'"boot_id"', b'"foot_id"').replace(b'"host":"', b'"host":"far-')
    elsewhere = Ledger(tmp_path / "elsewhere.duckdb", clock=play.clock)
    journal_folder(elsewhere.path).mkdir()
    (journal_folder(elsewhere.path) / "far.jsonl").write_bytes(text)
    elsewhere.ingest()
    play.wait(24 * 3600 - 1)
    elsewhere.ingest()
    assert elsewhere.query(OUTCOMES).rows == [("open", "unknown", True)]
    play.wait(1)
    elsewhere.ingest()
    assert elsewhere.query(OUTCOMES).rows == [("lost", "unknown", False)]


def test_looking_whether_a_process_lives_does_not_take_its_lock(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    descriptor = os.open(play.journal.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_foreign_reader_delays_an_ingest_and_loses_nothing(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    program = hold(play.path, "read")
    play.call()
    turn = play.ledger.ingest(wait_s=0.05)
    assert (turn.held, turn.held_by, turn.rows) == (True, program.pid, 0)
    assert play.ledger.query(COUNT).rows == [(1, 1)]
    let_go(program)
    assert play.ledger.ingest().rows == 1


def test_a_foreign_writer_is_named_to_whoever_asks(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    program = hold(play.path, "write")
    with pytest.raises(SubmeterError, match=f"process {program.pid}") as told, play.ledger.reading(wait_s=0.05):
        pass
    assert told.value.exit_code == 3
    let_go(program)
    assert play.ledger.query(COUNT).rows == [(1, 1)]


def test_whoever_holds_the_lock_beside_the_ledger_is_named(play: Play) -> None:
    play.ledger.ingest()
    play.call()
    descriptor = os.open(lock_path(play.path), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    turn = play.ledger.ingest(wait_s=0.02)
    os.close(descriptor)
    assert (turn.held, turn.held_by) == (True, os.getpid())


def test_readers_and_ingests_of_one_process_follow_each_other(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(10):
                Ledger(play.path, clock=play.clock).query(COUNT)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        play.call()
        play.ledger.ingest(wait_s=30)
    for thread in threads:
        thread.join()
    assert failures == []
    assert play.told(COUNT) == [(11, 11)]


def test_every_line_is_carried_once_by_two_ingesters_that_are_killed_again_and_again(tmp_path: Path) -> None:
    play = Play(tmp_path)
    calls = 0
    for _ in range(4):
        programs = [
            subprocess.Popen([sys.executable, "-c", INGEST_FOR_EVER, str(play.path)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for program in programs:
            assert program.stdout is not None
            program.stdout.readline()
        for _ in range(200):
            play.call()
            calls += 1
        play.ledger.ingest(wait_s=5)
        for program in programs:
            program.kill()
            program.communicate()
    play.ledger.ingest(wait_s=5)
    assert play.ledger.query(COUNT).rows == [(calls, calls)]
    assert_sums_agree(play.ledger)
    assert_calls_are_whole(play.ledger)
    assert play.ledger.check().clean


def test_the_time_in_views_is_the_ledgers_clock(play: Play) -> None:
    assert play.told("SELECT getvariable('submeter_now_us')") == [(NOON_US,)]


def test_a_missing_ledger_is_three_lines(tmp_path: Path) -> None:
    with pytest.raises(SubmeterError) as told:
        Ledger(tmp_path / "none.duckdb", clock=SystemClock()).query("SELECT 1")
    assert str(told.value).count("\n") == 2


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    with pytest.raises(SubmeterError, match="cannot be opened"):
        Ledger(path, clock=SystemClock()).ingest()
    assert path.read_text() == "dear diary"


def test_a_folder_that_is_not_there_is_three_lines(tmp_path: Path) -> None:
    with pytest.raises(SubmeterError, match="cannot be written"):
        Ledger(tmp_path / "no" / "such" / "l.duckdb", clock=SystemClock()).ingest()


def test_sql_that_is_refused_is_three_lines_and_reading_cannot_write(play: Play) -> None:
    play.ledger.ingest()
    for sql in ("SELECT nothing FROM nowhere", "DELETE FROM readings"):
        with pytest.raises(SubmeterError, match="would not answer"):
            play.ledger.query(sql)


def test_a_journal_that_has_not_begun_is_nobodys_business(play: Play) -> None:
    silent = Journal.open(play.path, mode="proxy", clock=play.clock)
    assert play.ledger.ingest().problems == ()
    silent.close(stop=False)


def test_a_disk_without_room_for_the_ledger_is_three_lines_and_loses_nothing(play: Play) -> None:
    play.call()
    play.ledger.ingest()
    for _ in range(400):
        play.call()
    program = subprocess.run(
        [sys.executable, "-c", INGEST_WITHOUT_ROOM, str(play.path), str(play.clock.now_us()), "4096"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert program.stdout.startswith(f"The ledger could not be written: {play.path}\n")
    assert program.stdout.count("\n") == 3
    assert play.ledger.query(COUNT).rows == [(1, 1)]
    assert play.told(COUNT) == [(401, 401)]
    assert play.ledger.check().clean


FORK_BETWEEN_TURNS = """
import os, sys
from pathlib import Path
from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), clock=SystemClock())
ledger.ingest()
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    Path(sys.argv[2]).touch()
    ledger.ingest()
    assert ledger.query("SELECT count(*) FROM calls").rows == [(1,)]
"""


def test_a_program_that_forks_between_turns_ends_in_both_processes(play: Play) -> None:
    play.call()
    ended = play.path.with_name("ended")
    subprocess.run([sys.executable, "-c", FORK_BETWEEN_TURNS, str(play.path), str(ended)], check=True, timeout=60)
    assert ended.exists()


def test_a_foreign_program_opens_the_ledger_for_writing_between_turns_and_nothing_is_lost(play: Play) -> None:
    for count in range(1, 4):
        play.call()
        play.ledger.ingest()
        let_go(hold(play.path, "write"))
        assert play.told(COUNT) == [(count, count)]


def test_a_turn_that_fails_leaves_the_next_one_whole(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play.call()
    play.ledger.ingest()
    play.call()
    with monkeypatch.context() as patched:
        patched.setattr("submeter.data.ingest.read_sql", lambda name: "SELECT nothing FROM nowhere")
        with pytest.raises(SubmeterError, match="could not be written"):
            play.ledger.ingest()
    assert not play.path.with_name(play.path.name + ".wal").exists()
    assert play.ledger.query(COUNT).rows == [(1, 1)]
    assert play.told(COUNT) == [(2, 2)]
    assert play.ledger.check().clean
