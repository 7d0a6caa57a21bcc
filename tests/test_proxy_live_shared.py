"""What the workers of one proxy let each other show of their calls: `submeter.proxy.live`. No process, no ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from submeter.data.clock import Clock, FixedClock
from submeter.data.journal import Journal
from submeter.data.keys import KeyRing
from submeter.data.ledger import Ledger
from submeter.data.marks import MarkBook
from submeter.proxy.board import Board
from submeter.proxy.live import NOTICE_BYTES_MAX, Live, Seen, read_seen
from submeter.proxy.place import Bound, WorkerPlace
from submeter.proxy.recorder import Recorder


class Crew:
    """Two workers' notices, and a recorder that stands in for each one's own."""

    def __init__(self, folder: Path, clock: Clock, stack: ExitStack) -> None:
        self.clock = clock
        self.boards = [stack.enter_context(closing(Board.make(NOTICE_BYTES_MAX))) for _ in range(3)]
        journal = stack.enter_context(Journal.open(folder / "submeter.duckdb", mode="reverse", clock=clock))
        self.recorder = Recorder(journal=journal, clock=clock, keys=KeyRing(), marks=MarkBook(), upstream="http://u")
        self.folder = folder

    def worker(self, number: int) -> Live:
        place = WorkerPlace(
            number=number,
            count=2,
            board=self.boards[2],
            notices=tuple(self.boards[:2]),
            bound=Bound(listening=()),
            authority=self.folder,
            own_secret="s",
        )
        return Live(lambda: Ledger(self.folder / "submeter.duckdb", clock=self.clock), self.clock, place)

    def call(self, live: Live, at: int, **said: Any) -> None:
        """A call ends at this worker, and it shares it."""
        line = {"call_id": f"c-{at}", "request_model": "m", "operation": "create", "outcome": "metered"}
        live.note(line | {"started_at": at, "ended_at": at + 1, "input_tokens": 10} | said)
        self.recorder.settled += 1
        live.share(self.recorder)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with ExitStack() as stack:
        yield Crew(tmp_path, FixedClock(1_795_000_000_000_000), stack)


METERED, INPUT = ("", "m", "create", "metered"), ("", "m", "input")


def test_each_worker_shows_the_calls_of_both_the_latest_first(crew: Crew) -> None:
    one, other = crew.worker(0), crew.worker(1)
    for at, live in enumerate((one, other, one)):
        crew.call(live, at)
    for live in (one, other):
        seen = live.seen(crew.recorder)
        assert [call["call_id"] for call in seen.last] == ["c-2", "c-1", "c-0"]
        assert (seen.calls, seen.tokens) == ({METERED: 3}, {INPUT: 30})


def test_a_worker_in_a_dead_one_s_place_counts_on_and_no_count_falls(crew: Crew) -> None:
    dead, other = crew.worker(0), crew.worker(1)
    crew.call(dead, 1)
    crew.call(other, 2)
    fresh = crew.worker(0)
    crew.call(fresh, 3)
    for live in (fresh, other):
        assert live.seen(crew.recorder).calls == {METERED: 3}
    assert [call["call_id"] for call in fresh.seen(crew.recorder).last] == ["c-3", "c-2", "c-1"]


def test_a_call_that_was_not_shared_yet_is_shown_by_its_own_worker_alone(crew: Crew) -> None:
    one, other = crew.worker(0), crew.worker(1)
    one.note({"call_id": "c", "operation": "create", "outcome": "metered", "started_at": 1, "ended_at": 2})
    assert (len(one.seen(crew.recorder).last), other.seen(crew.recorder).last) == (1, [])


def test_what_is_too_long_to_be_shared_leaves_what_stands_there(crew: Crew) -> None:
    one, other = crew.worker(0), crew.worker(1)
    crew.call(one, 1)
    crew.call(one, 2, run_id="r" * NOTICE_BYTES_MAX)
    assert other.seen(crew.recorder).calls == {METERED: 1}


def test_what_is_shared_is_read_as_it_was_written() -> None:
    seen = Seen(open=[{"call_id": "a", "started_at": 1}], last=[], calls={METERED: 2}, tokens={INPUT: 3})
    assert read_seen(seen.encode()) == seen
