"""What a user is told where the ledger cannot be opened, written to or asked: three lines each.

Nothing here opens a file, and nothing imports DuckDB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .error import SubmeterError
from .sidecar import LockHeldError
from .staging import StatementRefusedError
from .system import CANNOT_TELL, NO_ROOM, exit_code_of, words


@contextmanager
def written(path: Path, failure: type[Exception]) -> Iterator[None]:
    """Turn what a full disk raises in a block that writes a ledger (`failure`: DuckDB's error) into three lines."""
    try:
        yield
    except (StatementRefusedError, OSError, failure) as error:
        why = words(error) if isinstance(error, OSError) else str(error).splitlines()[0].rstrip(".")
        raise SubmeterError(
            f"The ledger could not be written: {path}",
            f"{why}. No call is lost: they wait in the journals.",
            "If the disk is full, make room; if it goes on: submeter ledger rebuild",
            exit_code=CANNOT_TELL,
        ) from error


def no_folder(path: Path, error: OSError) -> SubmeterError:
    """Where a new ledger's folder does not let it be made."""
    return SubmeterError(
        f"The ledger cannot be made: {path}",
        f"Its folder cannot be written to: {words(error)}.",
        "Choose a place you can write to, with --ledger PATH or SUBMETER_LEDGER.",
        exit_code=exit_code_of(error),
    )


def held_error(path: Path, held: LockHeldError) -> SubmeterError:
    """What a reader is told where another program holds the ledger for writing."""
    holder = f"process {held.pid}" if held.pid else "another program"
    return SubmeterError(
        f"The ledger is held by {holder}: {path}",
        "It has it open for writing, and DuckDB lets nobody else in. No call is lost: they wait in the journals.",
        "Close it there (for a look use `duckdb -readonly`, or `submeter ledger snapshot`), then run this again.",
        exit_code=CANNOT_TELL,
    )


def not_answered(refused: StatementRefusedError) -> SubmeterError:
    return SubmeterError(
        "The ledger would not answer this.",
        str(refused),
        'Look at what there is with: submeter sql "SELECT view_name FROM duckdb_views() WHERE NOT internal"',
    )


def unusable(path: Path, text: str) -> SubmeterError:
    return SubmeterError(
        f"The ledger cannot be opened: {path}",
        text.splitlines()[0].removeprefix("IO Error: "),
        "Name another file with --ledger PATH; or move this one away, and it is built again from its journals.",
        exit_code=CANNOT_TELL if any(os.strerror(number) in text for number in NO_ROOM) else 2,
    )


def not_replaced(path: Path, why: str) -> SubmeterError:
    """Where a copy would take the place of what is there."""
    return SubmeterError(
        f"Nothing was written to {path}",
        why,
        "Name another file: submeter ledger snapshot PATH",
    )
