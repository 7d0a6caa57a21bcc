"""What the workers of one proxy know together: which runs and steps are open, and which client secrets were minted.

    shared.catch_up()               # before a call begins: what other workers were told meanwhile
    with shared.changing():         # a mark or a secret: the others have it when the block is left
        marks.apply(mark)
    shared.beat()                   # now and then: which runs have had calls here

Any worker may be told a mark, for they take connections from one listener. Nobody is asked and nobody answers: a call
looks at the board before it takes its labels, so one that begins after the mark was answered has it, in every worker,
and a worker that hangs or was killed holds up none of them. Never here: the journal; whoever was told a mark writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import orjson

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.marks import IDLE_US, MarkBook, OpenRunRow
from .board import Board
from .client_secret import Minted

BEAT_S = 15.0
"""How late a worker may learn that a run has had a call in another one; a run is idle after an hour."""


class Shared:
    """One worker's part in it. For one thread."""

    def __init__(self, board: Board, marks: MarkBook, minted: Minted, clock: Clock) -> None:
        self._board = board
        self._marks = marks
        self._minted = minted
        self._clock = clock
        self._told: dict[tuple[str | None, str], int] = {}
        """When each run was last active, as the board has it."""

    def catch_up(self) -> None:
        """Follow what stands on the board, if that is new."""
        text = self._board.read()
        if text is None:
            return
        said = orjson.loads(text)
        runs = [OpenRunRow(*row) for row in said["runs"]]
        self._marks.follow(runs, self._clock.now_us())
        self._minted.replace(said["minted"])
        self._told = {(run.framework, run.run_id): run.active_at for run in runs}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change marks or secrets; where the block raises nothing is told."""
        with self._board.held():
            self.catch_up()
            yield
            self._write()

    def call_began(self, framework: str | None, run_id: str, now_us: int) -> None:
        """A call of a run has begun here. One that has long had none would soon be idle, so the others are told now."""
        told = self._told.get((framework, run_id), self._told.get((None, run_id)))
        if told is not None and now_us - told > IDLE_US // 2:
            self.beat()

    def beat(self) -> None:
        """Tell the others of runs that have had calls here, or have some open, so that none takes them for idle."""
        self.catch_up()
        now_us = self._clock.now_us()
        if any(run.active_at > self._told.get((run.framework, run.run_id), 0) for run in self._marks.open_runs(now_us)):
            with self.changing():
                pass

    def _write(self) -> None:
        runs = self._marks.open_runs(self._clock.now_us())
        try:
            self._board.write(_text(runs, self._minted.owners))
        except ValueError as error:
            raise SubmeterError(
                f"There are {len(runs):,} open runs, more than the workers of a proxy can share.",
                "Each run stays open until its end is marked, or an hour after its last call.",
                "Mark the end of runs: submeter runs end RUN",
            ) from error
        self._told = {(run.framework, run.run_id): run.active_at for run in runs}


def first_text(marks: MarkBook, now_us: int) -> bytes:
    """What stands on the board before any worker has begun."""
    return _text(marks.open_runs(now_us), {})


def _text(runs: Iterable[OpenRunRow], minted: Mapping[str, str]) -> bytes:
    return orjson.dumps({"runs": [tuple(run) for run in runs], "minted": minted})
