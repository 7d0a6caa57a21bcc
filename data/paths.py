"""Where the files of a ledger are, and where none can be. Nothing here opens or makes one.

`submeter.duckdb` is the ledger, `submeter.duckdb.journal/` holds one JSONL file per writing process and `reads/` with
raw Usage API pages, `submeter.duckdb.lock` is the flock that every opening of the ledger takes.
"""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR

from .error import SubmeterError

DEFAULT_LEDGER = "submeter.duckdb"


def ledger_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The ledger asked for: the given path, else `SUBMETER_LEDGER`, else `./submeter.duckdb`."""
    return Path(given or os.environ.get("SUBMETER_LEDGER") or DEFAULT_LEDGER)


def check_ledger_path(ledger: Path) -> None:
    """Raise a `SubmeterError` for what no ledger can be: a folder, or a name that the system does not take."""
    try:
        why = "It is a folder, and a ledger is a file." if S_ISDIR(ledger.stat().st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = f"The system says: {getattr(error, 'strerror', None) or error}."
    if why is not None:
        raise SubmeterError(
            f"There can be no ledger at {ledger}",
            why,
            f"Name a file with --ledger PATH or SUBMETER_LEDGER, such as: --ledger {DEFAULT_LEDGER}",
        )


def journal_folder(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".journal")


def reads_folder(ledger: Path) -> Path:
    """Raw Usage API pages, `<sha256>.json.gz`, each named by the digest of its uncompressed bytes."""
    return journal_folder(ledger) / "reads"


def lock_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".lock")
