"""The marks a starting proxy needs: those of runs that are open in the ledger, oldest first.

A proxy that is started again in the middle of a run goes on labelling its calls. Never here: deciding what is open
now; the `MarkBook` follows the marks and lets idle runs go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ..data.call import Edge, MarkedBy
from ..data.error import SubmeterError
from ..data.ledger import Ledger
from ..data.marks import Mark

QUERY = "open_marks"
HELD_EXIT_CODE = 3

logger = logging.getLogger("submeter.proxy")


def read_open_runs(ledger: Ledger) -> Iterator[Mark]:
    """The marks of the last day that were not imported, in the order they were made.

    None where another program holds the ledger: metering without them is better than not metering.
    """
    try:
        table = ledger.query(QUERY)
    except SubmeterError as error:
        if error.exit_code != HELD_EXIT_CODE:
            raise
        logger.warning("the ledger is held; runs that are open in it will not label calls")
        return
    for kind, framework, run_id, step, edge, status, marked_by, marked_at_us in table.rows:
        yield Mark(
            kind="step" if kind == "step" else "run",
            framework=framework,
            run_id=run_id,
            step=step,
            edge=Edge(edge),
            by=MarkedBy(marked_by),
            marked_at=marked_at_us,
            status=status,
        )
