"""The journal's writing end: whole lines, private files, and nothing lost unannounced on a disk that is full."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

import orjson
import pytest
from ledger_play import NOON_US

from submeter.data import journal as journal_module
from submeter.data import rescue as rescue_module
from submeter.data.clock import FixedClock
from submeter.data.error import SubmeterError
from submeter.data.journal import Journal, new_call_id
from submeter.data.journal_line import LINE_BYTES_MAX
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.data.reserve import RESERVE_BYTES, RESERVE_LAST_BYTES, RESERVE_NAME

START = {
    "started_at": NOON_US,
    "method": "POST",
    "path": "/v1/chat/completions",
    "operation": "create",
    "upstream": "http://127.0.0.1:9",
}


class Disk:
    """A write() that can be made to fail or to stop short, as a disk does."""

    def __init__(self) -> None:
        self.full = False
        self.takes: int | None = None
        """How many bytes the next write takes before the disk is full."""

    def write(self, descriptor: int, data: bytes) -> int:
        if self.takes is not None:
            taken, self.takes, self.full = self.takes, None, True
            return os.write(descriptor, data[:taken])
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON_US)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(tmp_path: Path, clock: FixedClock, disk: Disk) -> Journal:
    opened = Journal.open(tmp_path / "l.duckdb", mode="proxy", clock=clock, write=disk.write)
    opened.begin(upstream="http://127.0.0.1:9", listen=["http://127.0.0.1:8787"])
    return opened


def lines(journal: Journal) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in journal.path.read_bytes().splitlines()]


def decodable(journal: Journal) -> list[tuple[object, object]]:
    """(kind, seq) of each line that is JSON."""
    found = []
    for line in journal.path.read_bytes().splitlines():
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        found.append((told["kind"], told["seq"]))
    return found


def test_the_first_line_says_who_writes(journal: Journal) -> None:
    journal.begin()
    first = lines(journal)[0]
    assert {name: first[name] for name in ("v", "kind", "seq", "at", "file_id", "pid", "mode", "upstream")} == {
        "v": 1,
        "kind": "process",
        "seq": 0,
        "at": NOON_US,
        "file_id": journal.file_id,
        "pid": os.getpid(),
        "mode": "proxy",
        "upstream": "http://127.0.0.1:9",
    }
    assert len(lines(journal)) == 1


def test_lines_are_numbered_and_timed_and_end_with_a_stop(journal: Journal, clock: FixedClock) -> None:
    journal.append("key", {"key_fingerprint": "ab"})
    clock.sleep(1)
    journal.close()
    journal.close()
    assert [(line["kind"], line["seq"], line["at"]) for line in lines(journal)] == [
        ("process", 0, NOON_US),
        ("key", 1, NOON_US),
        ("stop", 2, NOON_US + 1_000_000),
    ]


def test_files_and_folder_are_ours_alone(journal: Journal) -> None:
    folder = journal.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        journal.path.name: "0o600",
        RESERVE_NAME: "0o600",
    }


def test_the_file_is_locked_for_the_life_of_the_journal(journal: Journal) -> None:
    descriptor = os.open(journal.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    journal.close()
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_line_of_a_closed_journal_is_our_mistake(journal: Journal) -> None:
    journal.close()
    with pytest.raises(ValueError, match="is closed"):
        journal.append("key", {})


def test_a_usage_too_long_for_a_line_is_left_out_and_its_digest_kept(journal: Journal) -> None:
    journal.append("settle", {"usage": {"x": "y" * LINE_BYTES_MAX}, "input_tokens": 5, "flags": ["background"]})
    line = lines(journal)[-1]
    assert "usage" not in line
    assert line["input_tokens"] == 5
    assert line["usage_bytes"] == LINE_BYTES_MAX + 8
    assert len(str(line["usage_sha256"])) == 64
    assert line["flags"] == ["background", "usage_too_large"]


def test_long_texts_are_cut_so_that_no_line_is_over_64_kib(journal: Journal) -> None:
    journal.append("settle", {"error": "é" * LINE_BYTES_MAX, "path": "/" * 100_000})
    assert max(len(line) for line in journal.path.read_bytes().splitlines()) < LINE_BYTES_MAX
    with pytest.raises(ValueError, match="is over"):
        journal.append("audit", {"detail": {"x": "y" * LINE_BYTES_MAX}})


def test_a_short_write_leaves_a_torn_line_alone_and_the_whole_line_follows(
    journal: Journal, disk: Disk, tmp_path: Path, clock: FixedClock
) -> None:
    os.unlink(journal.path.parent / RESERVE_NAME)
    disk.takes = 20
    journal.append("key", {"key_fingerprint": "ab"})
    assert journal.lines_waiting == 1
    disk.full = False
    journal.append("key", {"key_fingerprint": "cd"})
    assert journal.lines_waiting == 0
    assert decodable(journal) == [("process", 0), ("key", 1), ("key", 2)]
    ledger = Ledger(tmp_path / "l.duckdb", clock=clock)
    assert [problem.reason for problem in ledger.ingest().problems] == ["not JSON: torn, or not written by submeter"]
    assert ledger.query("SELECT key_fingerprint FROM keys ORDER BY line_offset").rows == [("ab",), ("cd",)]
    assert ledger.check().holes == ()


def test_a_full_disk_takes_the_reserve_first(journal: Journal, disk: Disk) -> None:
    reserve = journal.path.parent / RESERVE_NAME
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES

    def write(descriptor: int, data: bytes) -> int:
        if reserve.stat().st_size > RESERVE_LAST_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    journal._write = write
    journal.append("key", {"key_fingerprint": "ab"})
    assert reserve.stat().st_blocks * 512 == RESERVE_LAST_BYTES, "the last piece is for the gap of an end"
    assert journal.lines_waiting == 0
    assert decodable(journal)[-1] == ("key", 1)


def test_lines_wait_in_memory_in_order_until_the_disk_takes_them(journal: Journal, disk: Disk) -> None:
    disk.full = True
    for _ in range(5):
        journal.append("key", {"key_fingerprint": "ab"})
    assert journal.lines_waiting == 5
    assert decodable(journal) == [("process", 0)]
    disk.full = False
    journal.sync()
    assert journal.lines_waiting == 0
    assert [seq for _, seq in decodable(journal)] == list(range(6))


def test_what_memory_will_not_hold_is_announced_by_a_gap(
    journal: Journal, disk: Disk, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "WAITING_LINES_MAX", 3)
    disk.full = True
    for number in range(3):
        journal.append("key", {"key_fingerprint": str(number)})
    for kind in ("start", "settle", "key"):
        clock.sleep(1)
        journal.append(kind, {"call_id": "a call"} if kind != "key" else {})
    disk.full = False
    journal.append("key", {"key_fingerprint": "after"})
    told = lines(journal)
    assert [(line["kind"], line["seq"]) for line in told] == [
        ("process", 0),
        ("key", 1),
        ("key", 2),
        ("key", 3),
        ("gap", 8),
        ("key", 7),
    ]
    gap = told[4]
    assert (gap["calls"], gap["lines"], gap["from"], gap["to"]) == (1, 3, NOON_US + 1_000_000, NOON_US + 3_000_000)
    ledger = Ledger(tmp_path / "l.duckdb", clock=clock)
    ledger.ingest()
    report = ledger.check()
    assert [(hole.first_seq, hole.lines, hole.announced) for hole in report.holes] == [(4, 3, True)]
    assert [gap.calls for gap in report.gaps] == [1]
    assert report.problems == ()


def test_a_folder_that_cannot_be_written_is_three_lines(tmp_path: Path, clock: FixedClock) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SubmeterError, match="journal cannot be written") as told:
        Journal.open(blocked / "l.duckdb", mode="proxy", clock=clock)
    assert str(told.value).count("\n") == 2


def test_lines_of_many_threads_are_whole_and_numbered_without_a_hole(journal: Journal) -> None:
    def write() -> None:
        for _ in range(200):
            journal.append("key", {"key_fingerprint": "ab" * 100})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        journal.sync()
    for thread in threads:
        thread.join()
    assert [line["seq"] for line in lines(journal)] == list(range(801))


def test_two_journals_of_one_process_are_two_files(tmp_path: Path, clock: FixedClock, journal: Journal) -> None:
    second = Journal.open(tmp_path / "l.duckdb", mode="audit", clock=clock)
    assert second.path != journal.path
    assert second.file_id != journal.file_id
    assert len(list(journal_folder(tmp_path / "l.duckdb").glob("*.jsonl"))) == 2
    second.close()


def test_call_ids_sort_by_time_and_are_uuids_of_version_7() -> None:
    first, second = new_call_id(NOON_US), new_call_id(NOON_US + 1000)
    assert first < second
    assert len(first) == 36
    assert first[14] == "7"
    assert first[19] in "89ab"


def test_a_file_that_is_taken_away_is_put_back_whole_and_held(
    journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.append("key", {"key_fingerprint": "before"})
    before = journal.path.read_bytes()
    shutil.rmtree(journal_folder(tmp_path / "l.duckdb"))
    journal.append("key", {"key_fingerprint": "while it was away"})
    journal.sync()
    journal.append("key", {"key_fingerprint": "after"})
    assert journal.path.read_bytes().startswith(before)
    assert [seq for _, seq in decodable(journal)] == [0, 1, 2, 3]
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    with journal.path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert "is back, whole" in caplog.text


def test_a_value_that_json_cannot_say_costs_itself_and_not_the_line(journal: Journal) -> None:
    journal.append("settle", {"call_id": "a", "method": "P\udcffST", "status_code": 10**22, "input_tokens": 5})
    line = lines(journal)[-1]
    assert (line["call_id"], line["input_tokens"], line["status_code"]) == ("a", 5, None)
    assert line["method"] == "P?ST" or "\ufffd" in str(line["method"])


def test_a_forked_child_lets_go_of_the_lock_and_writes_nothing(journal: Journal) -> None:
    child = os.fork()
    if child == 0:
        try:
            journal.append("key", {"key_fingerprint": "child"})
        except ValueError:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with journal.path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    journal.append("key", {"key_fingerprint": "parent"})
    assert [kind for kind, _ in decodable(journal)] == ["process", "key"]


def stopped_on_a_full_disk(journal: Journal, disk: Disk, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    """A key, a call and a mark that wait when the process ends, and the key again, which memory does not hold."""
    monkeypatch.setattr(journal_module, "WAITING_LINES_MAX", 3)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    disk.full = True
    journal.append("key", {"key_fingerprint": "ab"})
    journal.append("run", {"run_id": "r-1", "edge": "begin", "by": "cli", "marked_at": NOON_US})
    journal.append("start", {**START, "call_id": "a call"})
    journal.append("key", {"key_fingerprint": "cd"})
    journal.close()


def test_lines_that_still_wait_at_the_end_are_a_journal_elsewhere_and_the_place_is_named(
    journal: Journal, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stopped_on_a_full_disk(journal, disk, monkeypatch, elsewhere)
    (kept,) = elsewhere.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    told = journal.unwritten
    assert told is not None
    assert (told.exit_code, told.what.startswith("5 lines"), told.next_step) == (
        3,
        True,
        f"Make room, then: mv {kept} {journal.path.parent}",
    )
    assert str(kept) in caplog.text
    kept.rename(journal.path.parent / kept.name)
    ledger = Ledger(tmp_path / "l.duckdb", clock=FixedClock(NOON_US))
    assert ledger.ingest().problems == ()
    assert ledger.query("SELECT key_fingerprint FROM keys").rows == [("ab",)]
    assert ledger.query("SELECT call_id FROM open_calls").rows == [("a call",)]
    assert ledger.query("SELECT run_id FROM marks").rows == [("r-1",)]
    assert ledger.query("SELECT calls, lines FROM gaps").rows == [(0, 2)]


def test_a_stop_on_a_full_disk_leaves_a_gap_and_no_stop_in_the_last_room_there_is(
    journal: Journal, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FixedClock
) -> None:
    reserve = journal.path.parent / RESERVE_NAME
    torn: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        if disk.full and not torn:
            torn.append(data)
            return os.write(descriptor, data[:20])
        if disk.full and (reserve.exists() or not journal.path.read_bytes().endswith(b"\n")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    journal._write = write
    stopped_on_a_full_disk(journal, disk, monkeypatch, tmp_path)
    assert decodable(journal) == [("process", 0), ("gap", 6)]
    ledger = Ledger(tmp_path / "l.duckdb", clock=clock)
    ledger.ingest()
    report = ledger.check()
    assert report.unended == (journal.path,)
    assert [(gap.calls, gap.lines) for gap in report.gaps] == [(1, 5)]
    assert [(hole.first_seq, hole.lines, hole.announced) for hole in report.holes] == [(1, 5, True)]
    assert not report.clean


def test_of_a_process_that_could_not_write_a_line_all_is_elsewhere_and_nothing_here(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FixedClock
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    journal = Journal.open(tmp_path / "l.duckdb", mode="mark", clock=clock, write=disk.write)
    disk.full = True
    journal.begin()
    journal.append("run", {"run_id": "r-1", "edge": "begin", "by": "cli", "marked_at": NOON_US})
    journal.close()
    assert not journal.path.exists()
    (kept,) = elsewhere.iterdir()
    kept.rename(journal.path)
    ledger = Ledger(tmp_path / "l.duckdb", clock=clock)
    assert ledger.ingest().problems == ()
    assert ledger.query("SELECT run_id FROM marks").rows == [("r-1",)]


def test_where_no_other_disk_takes_them_each_line_is_in_the_log(
    journal: Journal, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "no"))
    monkeypatch.setattr(rescue_module, "MEMORY_DISK", tmp_path / "no")
    stopped_on_a_full_disk(journal, disk, monkeypatch, tmp_path / "no")
    assert '"key_fingerprint":"ab"' in caplog.text
    assert '"call_id":"a call"' in caplog.text
    assert journal.unwritten is not None
    assert "stderr" in journal.unwritten.why


def test_a_block_that_ends_with_lines_unwritten_raises(
    journal: Journal, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    disk.full = True
    journal.append("start", {"call_id": "a"})
    with pytest.raises(SubmeterError, match="2 lines could not be written"), journal:
        pass
    with pytest.raises(ValueError, match="of the block"), journal:
        raise ValueError("of the block")


def test_a_journal_that_ends_as_it_should_is_not_unended(journal: Journal, tmp_path: Path, clock: FixedClock) -> None:
    ledger = Ledger(tmp_path / "l.duckdb", clock=clock)
    ledger.ingest()
    assert ledger.check().unended == (), "it is alive"
    journal.close()
    assert journal.unwritten is None
    ledger.ingest()
    assert ledger.check().unended == ()
