"""What the workers of a proxy share, piece by piece: memory, marks, client secrets, and what each is told."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from submeter.audit.settings import ADMIN_KEYS
from submeter.cli.main import cli
from submeter.data.call import Edge, MarkedBy
from submeter.data.clock import FixedClock
from submeter.data.error import SubmeterError
from submeter.data.keys import FrameworkKey, KeyRing
from submeter.data.marks import IDLE_US, Mark, MarkBook
from submeter.proxy import board as boards
from submeter.proxy.board import Board
from submeter.proxy.client_secret import Minted
from submeter.proxy.guesses import WRONG_A_MINUTE_MAX, Guesses
from submeter.proxy.listen import Listen
from submeter.proxy.shared import Shared
from submeter.proxy.upstream_url import parse_upstream
from submeter.proxy.worker_process import error_line
from submeter.proxy.worker_settings import WorkerSettings, read_settings
from submeter.proxy.workers import PAUSE_S_MAX, Pauses, Workers

T0 = 1_790_000_000_000_000
RUN = ("chatdev", "r-1")


def two_boards(text_bytes_max: int = boards.TEXT_BYTES_MAX) -> tuple[Board, Board]:
    """One piece of memory, as two processes have it."""
    first = Board.make(text_bytes_max)
    return first, Board(os.dup(first.descriptor), text_bytes_max)


class Worker:
    """The marks and secrets of one."""

    def __init__(self, board: Board, clock: FixedClock) -> None:
        self.marks, self.minted = MarkBook(), Minted()
        self.shared = Shared(board, self.marks, self.minted, clock)
        self.clock = clock

    def mark(self, edge: Edge, step: str | None = None) -> None:
        with self.shared.changing():
            self.marks.apply(
                Mark(
                    kind="run" if step is None else "step",
                    framework=RUN[0],
                    run_id=RUN[1],
                    step=step,
                    edge=edge,
                    by=MarkedBy.HTTP,
                    marked_at=self.clock.now_us(),
                )
            )

    def sees(self) -> tuple[object, str | None]:
        """The open run and step of a call that begins now."""
        self.shared.catch_up()
        return self.marks.open_run(RUN[0], self.clock.now_us()), self.marks.open_step(*RUN)


@pytest.fixture
def workers() -> tuple[Worker, Worker]:
    clock = FixedClock(T0)
    first, second = two_boards()
    return Worker(first, clock), Worker(second, clock)


def test_a_text_that_one_process_writes_the_other_reads_once() -> None:
    first, second = two_boards()
    assert second.read() is None
    for text in (b"one", b"two, and longer", b""):
        with first.held():
            first.write(text)
        assert (first.read(), second.read(), second.read()) == (None, text, None)


def test_a_worker_killed_while_it_writes_leaves_the_text_before() -> None:
    first, second = two_boards()
    with first.held():
        first.write(b"whole")
    # All that a writer does before its text counts: half of it lies in the other half of the memory.
    first._map[boards.HEAD_BYTES : boards.HEAD_BYTES + 4] = b"torn"
    assert second.read() == b"whole"


def test_a_text_that_is_too_long_is_refused_and_the_one_before_stands() -> None:
    first, second = two_boards(text_bytes_max=8)
    with first.held():
        first.write(b"whole")
        with pytest.raises(ValueError, match="9 bytes"):
            first.write(b"123456789")
    assert second.read() == b"whole"


def test_a_row_of_counts_is_its_worker_s_alone() -> None:
    first, second = two_boards()
    first.row(0).settled += 5
    second.row(1).settled += 2
    second.row(1).calls_open = 1
    assert [(row.calls_open, row.settled) for row in first.rows()[:3]] == [(0, 5), (1, 2), (0, 0)]


def test_a_mark_that_one_worker_is_told_every_other_has(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    one.mark(Edge.BEGIN, "1")
    assert other.sees() == (RUN, "1")
    other.mark(Edge.END, "1")
    assert one.sees() == (RUN, None)
    one.mark(Edge.END)
    assert other.sees() == (None, None)


def test_a_change_that_is_refused_reaches_nobody(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    with pytest.raises(SubmeterError), one.shared.changing():
        raise SubmeterError("no", "no", "no")
    assert other.sees() == (RUN, None)


def test_a_run_whose_calls_are_at_one_worker_is_idle_at_none(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    one.marks.call_began(*RUN, T0)
    other.shared.catch_up()
    one.clock.set_us(T0 + IDLE_US - 1)
    one.shared.beat()
    one.clock.set_us(T0 + IDLE_US)
    assert other.sees() == (RUN, None)


def test_a_call_of_a_run_that_would_soon_be_idle_is_told_before_any_other_change(
    workers: tuple[Worker, Worker],
) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    other.shared.catch_up()
    one.clock.set_us(T0 + IDLE_US - 1)
    one.marks.call_began(*RUN, T0 + IDLE_US - 1)
    one.shared.call_began(*RUN, T0 + IDLE_US - 1)
    one.clock.set_us(T0 + IDLE_US)
    with other.shared.changing():
        pass  # It tells of the runs that it knows; to it this one would be idle.
    assert one.sees() == other.sees() == (RUN, None)


def test_a_run_without_a_call_anywhere_is_idle_at_all(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    one.clock.set_us(T0 + IDLE_US - 1)
    one.shared.beat()
    assert other.sees() == (RUN, None)
    one.clock.set_us(T0 + IDLE_US)
    assert (one.sees(), other.sees()) == ((None, None), (None, None))


def test_a_worker_that_follows_marks_keeps_count_of_its_own_open_calls(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.mark(Edge.BEGIN)
    other.shared.catch_up()
    other.marks.call_began(*RUN, T0)
    one.mark(Edge.BEGIN, "1")
    other.shared.catch_up()
    one.clock.set_us(T0 + 2 * IDLE_US)
    assert other.sees() == (RUN, "1")


def test_a_client_secret_that_one_worker_saw_minted_is_known_to_the_others(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    with one.shared.changing():
        one.minted.add("secret", minted_by="key")
    other.shared.catch_up()
    assert (other.minted.owner("secret"), other.minted.owner("another")) == ("key", "another")


def test_all_workers_together_hear_no_more_guesses_than_one_proxy() -> None:
    for workers, heard in ((1, WRONG_A_MINUTE_MAX), (4, WRONG_A_MINUTE_MAX // 4), (32, 1)):
        guesses = Guesses(FixedClock(T0), workers)
        tried = 0
        while not guesses.shut("192.0.2.1"):
            guesses.note("192.0.2.1")
            tried += 1
        assert tried == heard


def test_a_worker_that_dies_young_is_started_after_longer_and_longer() -> None:
    pauses = Pauses()
    assert [pauses.after(0.1) for _ in range(8)] == [0, 1, 2, 4, 8, 16, PAUSE_S_MAX, PAUSE_S_MAX]
    assert [pauses.after(3600), pauses.after(0.1), pauses.after(0.1)] == [0, 0, 1]


def settings(tmp_path: Path) -> WorkerSettings:
    key = FrameworkKey(framework="chatdev", fingerprint="0a", api_key_id=None, variable="OPENAI_API_KEY_CHATDEV")
    return WorkerSettings(
        number=0,
        count=2,
        ledger=str(tmp_path / "submeter.duckdb"),
        listen=Listen(port=0, token="t", intercept_port=0),
        upstream="http://127.0.0.1:9",
        keys=KeyRing(keys=(key,), token_ids={"baes": "key_b"}),
        grace_s=1.5,
        receipts=True,
        drain=False,
        logged="none",
        log_format="json",
        authority=str(tmp_path),
        board=3,
        notices=(7, 8),
        listening=(4, 5),
        intercepting=(6,),
        own_secret="s",
    )


def test_a_worker_reads_all_that_it_is_told(tmp_path: Path) -> None:
    told = settings(tmp_path).of(1)
    line = told.encode()
    assert line.count(b"\n") == 1
    assert read_settings(line) == told
    assert "s" not in repr(told).split("own_secret")[1:]


def group(tmp_path: Path, script: str, port: int = 0) -> Workers:
    """Two workers that are this script."""
    return Workers(
        ledger=tmp_path / "submeter.duckdb",
        listen=Listen(port=port),
        upstream=parse_upstream("http://127.0.0.1:9"),
        clock=FixedClock(T0),
        keys=KeyRing(),
        count=2,
        command=[sys.executable, "-S", "-c", script],
        grace_s=0,
    )


SAYS = "import sys; sys.stdin.buffer.readline(); sys.stdout.write({!r}); sys.stdout.flush()"


@pytest.mark.parametrize(
    ("said", "exit_code", "first_line"),
    [
        (error_line(SubmeterError("no room", "full", "make some", exit_code=3)).decode(), 3, "no room"),
        ("", 3, "A worker of the proxy did not start."),
    ],
)
def test_a_worker_that_cannot_start_is_three_lines_and_leaves_none(
    tmp_path: Path, said: str, exit_code: int, first_line: str
) -> None:
    workers = group(tmp_path, SAYS.format(said))
    with pytest.raises(SubmeterError) as raised:
        workers.start()
    assert (raised.value.exit_code, raised.value.what) == (exit_code, first_line)
    assert len(str(raised.value).splitlines()) == 3


def test_what_a_worker_could_not_write_down_is_told_at_the_stop(tmp_path: Path) -> None:
    url = orjson.dumps({"url": "http://127.0.0.1:1", "intercept": None}).decode() + "\n"
    lost = error_line(SubmeterError("kept elsewhere", "full", "look there", exit_code=3)).decode()
    workers = group(tmp_path, SAYS.format(url) + f"; sys.stdin.read(); sys.stdout.write({lost!r})")
    workers.start()
    assert workers.url == "http://127.0.0.1:1"
    workers.stop(0)
    assert workers.unwritten is not None
    assert (workers.unwritten.what, workers.unwritten.exit_code) == ("kept elsewhere", 3)


def test_workers_that_write_everything_down_have_nothing_to_tell(tmp_path: Path) -> None:
    url = orjson.dumps({"url": "http://127.0.0.1:1", "intercept": None}).decode() + "\n"
    workers = group(tmp_path, SAYS.format(url) + "; sys.stdin.read()")
    workers.start()
    workers.stop(0)
    assert workers.unwritten is None


def test_a_worker_is_given_no_key_no_admin_key_and_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ADMIN_KEYS, "OPENAI_API_KEY_CHATDEV", "SUBMETER_TOKEN", "OPENED"):
        monkeypatch.setenv(name, "a-secret")
    tells = "import os, sys, json; sys.stdin.buffer.readline(); print(json.dumps({'url': ' '.join(os.environ),"
    workers = group(tmp_path, f"{tells} 'intercept': None}}), flush=True); sys.stdin.read()")
    workers.start()
    workers.stop(0)
    names = workers.url.split()
    assert "OPENED" in names
    assert [name for name in names if name.startswith(("OPENAI", "OPEN_AI", "SUBMETER_T"))] == []


DIES_FIRST = """
import os, sys
sys.stdin.buffer.readline()
for turn in range(3):
    try:
        os.close(os.open(f"{folder}/{{turn}}", os.O_CREAT | os.O_EXCL))
        break
    except FileExistsError:
        pass
if turn == 2:
    open("{folder}/again", "w").close()
print({url!r}, flush=True)
if turn == 0:
    print({lost!r}, end="", flush=True)
    sys.exit({code})
else:
    sys.stdin.read()
"""
"""The worker that is started first dies with last words; the one in its place opens a named pipe."""


def test_what_a_worker_that_died_before_could_not_write_down_is_told_at_the_stop(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "again")
    url = orjson.dumps({"url": "http://127.0.0.1:1", "intercept": None}).decode()
    lost = error_line(SubmeterError("kept elsewhere", "full", "look there", exit_code=3)).decode()
    workers = group(tmp_path, DIES_FIRST.format(folder=tmp_path, url=url, lost=lost, code=3))
    workers.start()
    (tmp_path / "again").read_bytes()
    workers.stop(0)
    assert workers.unwritten is not None
    assert workers.unwritten.what == "kept elsewhere"


def test_no_worker_is_started_for_one_that_was_told_to_end_as_all_of_the_proxy_are(tmp_path: Path) -> None:
    url = orjson.dumps({"url": "http://127.0.0.1:1", "intercept": None}).decode()
    workers = group(tmp_path, DIES_FIRST.format(folder=tmp_path, url=url, lost="", code=0))
    workers.start()
    deadline_s = time.monotonic() + 30
    while len(workers._processes) == workers._count:
        assert time.monotonic() < deadline_s
    workers.stop(0)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["0", "1"]


def test_a_taken_port_is_three_lines_before_any_worker_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--ledger", str(tmp_path / "submeter.duckdb"), "proxy", "--listen", f"127.0.0.1:{port}"]
        said = CliRunner().invoke(cli, [*words, "--workers", "2"])
    assert (said.exit_code, len(said.output.splitlines())) == (2, 3), said.output
    assert said.output.startswith(f"The proxy cannot listen on 127.0.0.1:{port}.\n")
    assert list(tmp_path.iterdir()) == []
