"""Carrying the journals into the ledger while a proxy runs: the thread for it, and the two ends of its life.

Here, and in what this imports, is DuckDB; a worker, whose journal others carry, does without. Never here: calls.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ..data.cadence import Cadence
from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.ledger import Ledger
from ..data.marks import MarkBook
from .open_runs import take_up_open_runs
from .repeat import repeating

logger = logging.getLogger("submeter.proxy")


class Carrying:
    """The ledger of a proxy."""

    def __init__(self, ledger: Path, clock: Clock) -> None:
        self.ledger = Ledger(ledger, clock=clock)

    def begin(self) -> MarkBook:
        """Bring the ledger up to date; the runs that are open in it. Raises `SubmeterError` where it cannot be used."""
        self.ledger.ingest()
        marks = MarkBook()
        take_up_open_runs(marks, self.ledger)
        return marks

    def go_on(self, stopping: threading.Event) -> threading.Thread:
        """The thread that carries, until the proxy stops."""
        cadence = Cadence(self.ledger.ingest)
        return repeating("submeter-ingest", cadence.turn, wait_s=cadence.wait_s, stopping=stopping)

    def end(self) -> None:
        """Bring the ledger up to date once more."""
        try:
            self.ledger.ingest()
        except SubmeterError as error:
            # What was metered is in the journal; the next command carries it in.
            logger.error("the ledger was not brought up to date at the end: %s", str(error).replace("\n", " "))
