"""What a starting proxy takes up of runs that are open, also where another program is just making the ledger."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from ledger_play import Play

from submeter.data.ledger import Ledger
from submeter.data.marks import MarkBook
from submeter.data.paths import lock_path
from submeter.proxy import open_runs
from submeter.proxy.open_runs import take_up_open_runs


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A run is open, and only the journal tells of it: there is no ledger yet."""
    play = Play(tmp_path)
    play.begin(run_id="r-1", framework="chatdev")
    assert not play.path.exists()
    return play


def open_run(book: MarkBook, play: Play) -> str | None:
    return book.framework_of("r-1", play.clock.now_us())


def test_a_ledger_that_another_program_is_making_is_waited_for(play: Play) -> None:
    book = MarkBook()
    start = threading.Thread(target=take_up_open_runs, args=(book, play.ledger))
    descriptor = os.open(lock_path(play.path), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    start.start()
    assert start.is_alive()
    os.close(descriptor)
    start.join()
    assert open_run(book, play) == "chatdev"


def test_a_ledger_whose_maker_died_is_made_by_the_next_to_start(play: Play) -> None:
    book = MarkBook()
    take_up_open_runs(book, Ledger(play.path, clock=play.clock))
    assert open_run(book, play) == "chatdev"


def test_a_proxy_starts_without_the_marks_where_the_ledger_is_held_too_long(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(open_runs, "MAKING_S_MAX", 0.0)
    descriptor = os.open(lock_path(play.path), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        book = MarkBook()
        take_up_open_runs(book, play.ledger)
    finally:
        os.close(descriptor)
    assert open_run(book, play) is None
    assert "is making the ledger" in caplog.text
    assert not play.path.exists()
