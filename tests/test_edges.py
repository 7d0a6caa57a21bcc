"""Every command against what can be wrong around it: an exit code and three lines, nothing written, never a traceback.

Commands run in this process. What the system refuses is refused by the system, or at its own doors (`os.open`,
`fcntl.flock`) where a test cannot make it: as root every folder can be written to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import duckdb
import orjson
import pytest
from click.testing import CliRunner, Result
from full_disk import file_bytes_max
from ledger_play import Play

from submeter.cli.main import cli
from submeter.data.call import Edge
from submeter.data.paths import journal_folder, lock_path

READERS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "--pending"),
    ("steps", "chatdev/r-1"),
    ("audit", "chatdev/r-1"),
    ("audit", "--pending"),
    ("explain", "chatdev/r-1"),
    ("sql", "SELECT count(*) AS n FROM calls"),
    ("sql", "last_calls", "--json"),
    ("metrics", "update", "experiment"),
    ("ledger", "ingest"),
    ("ledger", "check"),
    ("ledger", "rebuild"),
    ("ledger", "rebuild", "--keep-rows"),
    ("ledger", "snapshot", "copy.duckdb"),
    ("ledger", "export", "exported"),
    ("report", "chatdev/r-1"),
    ("compare",),
)
"""All that need a ledger."""

WRITERS: tuple[tuple[str, ...], ...] = (
    ("step", "begin", "1", "--run", "chatdev/r-1"),
    ("step", "end", "1", "--run", "chatdev/r-1"),
    ("runs", "begin", "chatdev/r-1"),
    ("runs", "end", "chatdev/r-1"),
    ("metrics", "import", "experiment"),
    ("proxy", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9"),
    ("run", "--framework", "chatdev", "--upstream", "http://127.0.0.1:9", "--", "true"),
)
"""All that make a journal, and so a ledger where there is none."""

OF_A_FILE: tuple[tuple[str, ...], ...] = (("verify", "r-1.certificate.json"), ("metrics", "judge", "experiment"))
"""All that need a file alone."""

OF_A_PROXY: tuple[tuple[str, ...], ...] = (("env",),)
"""All that need a proxy that runs."""

ASKING_KEYS = (
    WRITERS[0],
    *WRITERS[-2:],
    ("audit", "chatdev/r-1"),
    ("doctor", "--upstream", "http://127.0.0.1:9"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger of one run, and an experiment of one run that is not in it."""
    folder = tmp_path_factory.mktemp("made")
    play = Play(folder)
    play.mark(Edge.BEGIN)
    play.call()
    play.mark(Edge.END)
    play.journal.close()
    play.ledger.ingest()
    metrics = folder / "experiment" / "baes" / "r-9" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    steps = [{"step": 1, "start_timestamp": 1_795_000_000, "end_timestamp": 1_795_000_060}]
    metrics.write_bytes(orjson.dumps({"run_id": "r-9", "steps": steps}))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, keys in the environment, and nobody to ask at the Usage API."""
    for name in list(os.environ):
        if name.startswith(("OPENAI", "SUBMETER", "RECONCILIATION")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-edge")
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV", "sk-chatdev-edge")
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV_ID", "key_chatdev")
    monkeypatch.setenv("SUBMETER_USAGE_API_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ledger(here: Path, made: Path) -> Path:
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here / "submeter.duckdb"


def submeter(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def contents(folder: Path) -> dict[str, bytes | str]:
    """All that is in a folder, but for the lock beside a ledger, which holds nothing."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "no file"
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(".duckdb.lock")
    }


def assert_refused(result: Result, exit_code: int, words: tuple[str, ...]) -> None:
    """Three lines on stderr, behind what was noted, and nothing on stdout."""
    assert isinstance(result.exception, SystemExit), (words, result.exception)
    said = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
    assert (result.exit_code, len(said), result.stdout) == (exit_code, 3, ""), (words, result.output)


def assert_told(result: Result, words: tuple[str, ...]) -> None:
    """An answer or three lines, whichever; never a traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in (0, 1, 2, 3), (words, result.output)


@contextmanager
def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder as it is on a mount that is read alone, for all that Python opens or makes there."""
    open_before, mkdir_before = os.open, os.mkdir

    def is_inside(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(os.path.abspath(path)).is_relative_to(folder)

    def open_there(path: Any, flags: int, *given: Any, **named: Any) -> int:
        if is_inside(path) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return open_before(path, flags, *given, **named)

    def mkdir_there(path: Any, *given: Any, **named: Any) -> None:
        if is_inside(path) and not os.path.isdir(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir_before(path, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_there)
        patched.setattr(os, "mkdir", mkdir_there)
        yield


def test_every_command_is_walked_through_the_edges() -> None:
    """A new command goes into one of the lists above, by what it needs; the demo makes a folder and all in it."""

    def named(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            yield from named(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]

    walked = (*READERS, *WRITERS, *OF_A_FILE, *OF_A_PROXY, *ASKING_KEYS)
    left = [path for path in named(cli) if not any(words[: len(path)] == path for words in walked)]
    assert left == [("demo",)]


@pytest.mark.parametrize("words", OF_A_PROXY)
def test_without_a_proxy_what_needs_one_says_so_and_makes_nothing(ledger: Path, words: tuple[str, ...]) -> None:
    before = contents(ledger.parent)
    assert_refused(submeter(*words), 3, words)
    assert contents(ledger.parent) == before


def test_without_a_ledger_every_command_that_needs_one_says_so_and_makes_none(here: Path) -> None:
    for words in READERS:
        assert_refused(submeter(*words), 2, words)
    assert contents(here) == {}


@pytest.mark.parametrize("kind", ["text", "empty", "duckdb"])
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(here: Path, made: Path, kind: str) -> None:
    ledger = here / "submeter.duckdb"
    shutil.copytree(made / "experiment", here / "experiment")
    if kind == "duckdb":
        with duckdb.connect(str(ledger)) as other:
            other.execute("CREATE TABLE thesis AS SELECT 42 AS a")
    else:
        ledger.write_bytes(b"my notes\n" if kind == "text" else b"")
    before = contents(here)
    for words in (*READERS, *WRITERS[-2:]):
        assert_refused(submeter(*words), 2, words)
        assert {name: data for name, data in contents(here).items() if ".journal" not in name} == before, words


def test_what_is_no_file_can_be_no_ledger(here: Path) -> None:
    os.mkfifo(here / "pipe")
    os.symlink("loop", here / "loop")
    for place in ("/dev/zero", "pipe", "loop", "."):
        for words in (*READERS, *WRITERS[:-2]):
            assert_refused(submeter("--ledger", place, *words), 2, words)


def test_a_held_ledger_is_waited_for_a_while_and_then_told(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: late[0])
    monkeypatch.setattr("time.sleep", lambda seconds: late.__setitem__(0, late[0] + seconds))
    before = contents(ledger.parent)
    with lock_path(ledger).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in READERS:
            result = submeter(*words)
            if words == ("ledger", "ingest"):
                assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)
            else:
                assert_refused(result, 3, words)
    assert contents(ledger.parent) == before


def test_without_locks_nothing_is_written_and_the_place_is_named(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_lock(_descriptor: int, _mode: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    before = contents(ledger.parent)
    for words in (*READERS, *WRITERS):
        result = submeter(*words)
        assert_refused(result, 2, words)
        assert "locks" in result.stderr, words
    assert contents(ledger.parent) == before
    empty = tmp_path / "empty"
    empty.mkdir()
    for words in (WRITERS[0], *WRITERS[-2:]):
        assert_refused(submeter("--ledger", str(empty / "l.duckdb"), *words), 2, words)
    assert list(empty.iterdir()) == []


def test_a_ledger_that_is_read_alone_is_read_and_what_must_write_says_so(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(ledger.parent)
    with read_only(ledger.parent, monkeypatch):
        for locked in (True, False):
            for words in (READERS[0], READERS[2], READERS[6], ("ledger", "export", "../exported", "--force")):
                result = submeter(*words)
                assert result.exit_code == 0, (words, result.output)
                assert result.stderr.startswith("Note: "), words
            if locked:
                lock_path(ledger).unlink(missing_ok=True)
        for words in (*WRITERS, ("ledger", "rebuild"), ("audit", "chatdev/r-1"), ("runs", "--pending")):
            result = submeter(*words)
            assert_refused(result, 3, words)
            assert "Read-only file system" in result.stderr, words
    assert contents(ledger.parent) == before


def test_a_full_disk_is_three_lines_or_the_ledger_as_it_is(ledger: Path) -> None:
    play = Play(ledger.parent)
    for _ in range(40):
        play.call()
    before = contents(ledger.parent)
    for words in READERS:
        with file_bytes_max(4096):
            result = submeter(*words)
        assert_told(result, words)
        if result.exit_code and not result.stdout:
            assert_refused(result, result.exit_code, words)
    after = contents(ledger.parent)
    assert {name: after.get(name) for name in before} == before


def test_an_id_that_looks_like_a_secret_is_refused_before_anything_is_written_and_is_not_repeated(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV_ID", "sk-proj-in-the-wrong-place")
    for words in ASKING_KEYS:
        result = submeter(*words)
        assert "sk-proj" not in result.output, words
        if words[:2] == ("step", "begin"):  # The mark says nothing of a key, and is kept.
            journals = [path.read_bytes() for path in journal_folder(here / "submeter.duckdb").glob("*.jsonl")]
            assert b"sk-proj" not in b"".join(journals)
            shutil.rmtree(journal_folder(here / "submeter.duckdb"))
            continue
        assert_refused(result, 2, words)
    assert contents(here) == {}


def test_an_environment_file_that_is_not_utf8_is_told_by_its_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_bytes("# keys\n# clé de André\nOPENAI_API_KEY_CHATDEV=sk-x\n".encode("latin-1"))
    before = contents(here)
    for words in ASKING_KEYS:
        result = submeter(*words)
        if words[:2] == ("step", "begin"):
            # A step that really began is a fact; that keys cannot be told is a note.
            assert result.exit_code == 0
            assert "not UTF-8" in result.stderr
            shutil.rmtree(journal_folder(here / "submeter.duckdb"))
            continue
        if words[0] != "audit":
            assert "Line 2" in result.stderr, (words, result.output)
        assert_refused(result, 2, words)
        assert "sk-x" not in result.output
    assert contents(here) == before


def test_what_is_no_journal_is_located_and_stops_nothing(ledger: Path) -> None:
    folder = journal_folder(ledger)
    os.symlink("loop.jsonl", folder / "loop.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    (folder / "newer.jsonl").write_bytes(b'{"v":2,"kind":"process","seq":0,"who":"a newer submeter"}\n')
    for words in READERS:
        if words[0] != "audit" and "--keep-rows" not in words:  # An audit would ask, and wait for an answer.
            assert_told(submeter(*words), words)
    answer = submeter("sql", "SELECT count(*) AS n FROM calls", "--json")
    assert orjson.loads(answer.stdout) == [{"n": 1}]
    check = submeter("ledger", "check")
    assert check.exit_code == 1
    reasons = {
        "loop.jsonl": "a symbolic link that leads back to itself",
        "pipe.jsonl": "it is a pipe, not a file",
        "folder.jsonl": "it is a folder, not a file",
        "newer.jsonl": "written by a newer submeter (format 2)",
    }
    for name, reason in reasons.items():
        assert f"{name}, byte 0: " in check.stdout
        assert reason in check.stdout
    assert submeter(*WRITERS[0]).exit_code == 0


def test_doctor_names_what_is_wrong_and_changes_nothing(
    here: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    late = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: late[0])
    monkeypatch.setattr("time.sleep", lambda seconds: late.__setitem__(0, late[0] + seconds))

    def doctor() -> str:
        before = contents(here)
        result = submeter("doctor", "--upstream", "http://127.0.0.1:9")
        assert_told(result, ("doctor",))
        assert contents(here) == before
        return " ".join(result.stdout.split())

    assert "wrong journal" not in doctor()
    ledger = here / "submeter.duckdb"
    ledger.write_bytes(b"my notes\n")
    assert "wrong ingest: The ledger cannot be opened" in doctor()
    ledger.unlink()
    shutil.copytree(made, here, dirs_exist_ok=True)
    with lock_path(ledger).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "wrong lock: submeter.duckdb is held by" in doctor()
    with read_only(here, monkeypatch):
        assert "Read-only file system" in doctor()
    os.mkfifo(journal_folder(ledger) / "pipe.jsonl")
    assert "wrong ingest: The ledger was 0 bytes of journal behind; 1 places" in doctor()

    def no_lock(_descriptor: int, _mode: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    assert f"wrong lock: Nothing can be kept in {here}. The file system gives no locks" in doctor()


def test_a_certificate_takes_the_place_of_a_certificate_alone(ledger: Path) -> None:
    notes = ledger.parent / "notes.txt"
    notes.write_text("my notes")
    words = ("audit", "chatdev/r-1", "--certificate", "notes.txt")
    assert_refused(submeter(*words), 2, words)
    assert notes.read_text() == "my notes"


def test_a_certificate_that_is_no_file_is_not_read(here: Path) -> None:
    os.mkfifo(here / "pipe")
    for place in ("/dev/zero", "pipe", ".", "nothing"):
        assert_refused(submeter("verify", place), 2, ("verify", place))
