"""How long is waited for another submeter's turn at the ledger, and for another program's connection."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_play import Play

from submeter.audit.audits import take_in
from submeter.data.error import SubmeterError
from submeter.data.ledger import INGEST_WAIT_S
from submeter.data.paths import lock_path
from submeter.data.sidecar import TURN_WAIT_S


class Wall:
    """The time that a wait is measured by, which passes in sleeps alone, and what happens at a second of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.second = 0.0
        self.at: tuple[float, Callable[[], None]] | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self.second)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.second += seconds
        if self.at is not None and self.second >= self.at[0]:
            (_, act), self.at = self.at, None
            act()


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A ledger with one call in it, and one that waits."""
    play = Play(tmp_path)
    play.call()
    play.ledger.ingest()
    play.call()
    return play


@pytest.fixture
def wall(play: Play, monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.fixture
def turn(play: Play) -> Iterator[Callable[[], None]]:
    """Another submeter is in its turn; called, this ends it."""
    with lock_path(play.path).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)


def test_an_audit_waits_for_a_turn_that_a_busy_machine_draws_out(
    play: Play, wall: Wall, turn: Callable[[], None]
) -> None:
    wall.at = (TURN_WAIT_S - 5, turn)
    take_in(play.ledger)
    assert play.ledger.query("SELECT count(*) FROM calls").rows == [(2,)]


def test_a_turn_without_end_is_not_waited_for_for_ever(play: Play, wall: Wall, turn: Callable[[], None]) -> None:
    with pytest.raises(SubmeterError, match="The ledger is held by") as error:
        take_in(play.ledger)
    assert error.value.exit_code == 3
    assert TURN_WAIT_S <= wall.second < TURN_WAIT_S + 1


def test_a_proxy_tries_again_later_instead(play: Play, wall: Wall, turn: Callable[[], None]) -> None:
    assert play.ledger.ingest().held
    assert INGEST_WAIT_S <= wall.second < INGEST_WAIT_S + 1


CONNECTED = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


def test_another_program_s_connection_is_not_waited_for_as_long_even_after_a_turn(
    play: Play, turn: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", CONNECTED, str(play.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "connected\n"
        with monkeypatch.context() as patched:
            wall = Wall(patched)
            wall.at = (10.0, turn)
            found = play.ledger.ingest(turn_wait_s=TURN_WAIT_S)
        other.communicate("")
    assert (found.held, found.held_by) == (True, other.pid)
    assert 10.0 + INGEST_WAIT_S <= wall.second < 10.0 + INGEST_WAIT_S + 1
