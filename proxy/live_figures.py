"""What the live page shows of the ledger: asked on a thread of its own, one question at a time, and remembered.

    figures.latest()          # at once, for the lane's loop: the last answer as JSON; asks for a newer one
    figures.run()             # the thread: answers when asked, until `end`

Nothing is asked while nobody looks. A look begins no sooner than a second after the last, and where looks take long (a
ledger of a million calls) not before four times as long has passed, so that they take a fifth of a core at most; where
the ledger did not change it is asked again each half minute, as runs end by time. Like every command it carries the
journals in first. Never here: the lane's own counters.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from ..data.clock import Clock, utc
from ..data.error import SubmeterError
from ..data.marks import run_name
from ..data.questions import read_sql

if TYPE_CHECKING:
    from ..data.ledger import DuckConnection, Ledger

REST_S_MIN = 1.0
RESTS_PER_LOOK = 4.0
SAME_S_MAX = 30.0
RUNS_MAX = 50
RUNS_WITH_STEPS_MAX = 12
NOT_NOW = "the ledger was not asked yet"


class LiveFigures:
    """The ledger's figures for one proxy's page."""

    def __init__(
        self, ledger: Callable[[], Ledger], clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`ledger`: opens it, at the first look."""
        self._open = ledger
        self._ledger: Ledger | None = None
        self._clock = clock
        self._monotonic = monotonic
        self._asked = threading.Event()
        self._ended = threading.Event()
        self._told: bytes | None = None
        self.figures: Mapping[str, Any] | None = None
        """Those of the last look; None: there was none."""
        self._problem: str | None = NOT_NOW
        self.rested_at = 0.0
        """When the next look may begin."""
        self._of: tuple[int, ...] | None = None
        """The file that the last look saw."""
        self._looked_at = 0.0

    def latest(self) -> dict[str, Any]:
        """The figures of the last look (None: there was none), and what kept the latest one from working, if anything.

        Waits for nothing.
        """
        self.ask()
        return {"ledger": None if self._told is None else orjson.Fragment(self._told), "problem": self._problem}

    def ask(self) -> None:
        """Have the ledger looked at soon."""
        self._asked.set()

    def run(self) -> None:
        """Look whenever somebody asked, until the end."""
        while True:
            self._asked.wait()
            self._ended.wait(max(0.0, self.rested_at - self._monotonic()))
            if self._ended.is_set():
                return
            self._asked.clear()
            self.look()

    def end(self) -> None:
        """Have `run` return, after the question that it is at."""
        self._ended.set()
        self._asked.set()

    def look(self) -> None:
        """Ask the ledger, unless it is as the last look saw it."""
        began = self._monotonic()
        try:
            ledger = self._ledger = self._ledger or self._open()
            held = ledger.ingest().held
            status = os.stat(ledger.path)
            of = (status.st_ino, status.st_size, status.st_mtime_ns)
            if of != self._of or began - self._looked_at >= SAME_S_MAX:
                self.figures = figures = self._ask(ledger)
                self._told = orjson.dumps(figures, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)
                self._of, self._looked_at = of, began
            self._problem = "another program holds the ledger" if held else None
        except (SubmeterError, OSError) as error:
            self._problem = error.what if isinstance(error, SubmeterError) else "the ledger cannot be read"
        ended = self._monotonic()
        self.rested_at = ended + max(REST_S_MIN, RESTS_PER_LOOK * (ended - began))

    def _ask(self, ledger: Ledger) -> dict[str, Any]:
        with ledger.looking() as connection:
            now = utc(self._clock.now_us())
            runs = _rows(connection, "list_runs", framework=None)
            newest = runs[: -RUNS_MAX - 1 : -1]
            ids = [row["run_id"] for row in newest[:RUNS_WITH_STEPS_MAX]]
            steps = _rows(connection, "live_steps", run_ids=ids) if ids else []
            return {
                "as_of": now,
                "frameworks": _rows(connection, "live_frameworks"),
                "runs_in_all": len(runs),
                "verdicts": _counted([row["verdict"] for row in runs]),
                "runs": [_with_steps(row, steps if row["run_id"] in ids else None) for row in newest],
                "astray": [
                    {"name": run_name(row["framework"], "(no run)")} | row
                    for row in _rows(connection, "calls_without_run", framework=None)
                ],
                "unknown": _rows(connection, "live_unknown"),
                "refused": _rows(connection, "live_refused"),
            }


def _rows(connection: DuckConnection, question: str, **parameters: object) -> list[dict[str, Any]]:
    table = connection.table(read_sql(question), parameters)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _with_steps(run: dict[str, Any], steps: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The run with its steps; None: they were not asked for."""
    if steps is None:
        return run | {"steps": None}
    own = [row for row in steps if (row["framework"], row["run_id"]) == (run["framework"], run["run_id"])]
    return run | {"steps": own}


def _counted(verdicts: list[str | None]) -> dict[str, int]:
    """How many runs have each verdict; those without one as `none`."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict or "none"] = counts.get(verdict or "none", 0) + 1
    return counts
