"""What a starting proxy needs of the past: the marks of runs that are open in the ledger, and their last calls.

A proxy that is started again in the middle of a run goes on labelling its calls. Never here: deciding what is open
now; the `MarkBook` follows the marks and lets idle runs go.
"""

from __future__ import annotations

import logging

from ..data.call import Edge, MarkedBy
from ..data.error import SubmeterError
from ..data.ledger import Ledger
from ..data.marks import Mark, MarkBook

HELD_EXIT_CODE = 3
MAKING_S_MAX = 20.0
"""How long a start waits for another program that makes the ledger: a moment's work, which a busy machine draws out."""

logger = logging.getLogger("submeter.proxy")


def take_up_open_runs(book: MarkBook, ledger: Ledger) -> None:
    """Give the book the marks of the last day that were not imported, and each run's last call.

    A proxy that starts at the same time may just be making the file: it is waited for, and if it dies the file is made
    here. Nothing where another program holds the ledger longer: metering without marks is better than not metering.
    """
    if not ledger.path.exists():
        ledger.ingest(wait_s=MAKING_S_MAX)
    if not ledger.path.exists():
        logger.warning("another program is making the ledger; runs that are open will not label calls")
        return
    try:
        marks, calls = ledger.query("open_marks"), ledger.query("last_calls")
    except SubmeterError as error:
        if error.exit_code != HELD_EXIT_CODE:
            raise
        logger.warning("the ledger is held; runs that are open in it will not label calls")
        return
    for kind, framework, run_id, step, edge, status, marked_by, marked_at_us in marks.rows:
        book.apply(
            Mark(
                kind="step" if kind == "step" else "run",
                framework=framework,
                run_id=run_id,
                step=step,
                edge=Edge(edge),
                by=MarkedBy(marked_by),
                marked_at=marked_at_us,
                status=status,
            )
        )
    for framework, run_id, active_at_us in calls.rows:
        book.call_ended(framework, run_id, active_at_us)
