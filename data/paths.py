"""Where the files of a ledger are, and where none can be. Nothing here opens or makes one.

`submeter.duckdb` is the ledger, `submeter.duckdb.journal/` holds one JSONL file per writing process and `reads/` with
raw Usage API pages, `submeter.duckdb.lock` is the flock that every opening of the ledger takes.
"""

from __future__ import annotations

import os
from pathlib import Path

from .error import SubmeterError
from .system import NoFileError, check_file, words

DEFAULT_LEDGER = "submeter.duckdb"


def ledger_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The ledger asked for: the given path, else `SUBMETER_LEDGER`, else `./submeter.duckdb`."""
    return Path(given or os.environ.get("SUBMETER_LEDGER") or DEFAULT_LEDGER)


def check_ledger_path(ledger: Path) -> None:
    """Raise a `SubmeterError` for what no ledger can be: a folder, a device, a name that cannot be one."""
    try:
        check_file(ledger)
    except (FileNotFoundError, NotADirectoryError):
        return
    except NoFileError as error:
        why = f"{words(error)[0].upper()}{words(error)[1:]}."
    except (OSError, ValueError) as error:
        why = f"The system says: {words(error) if isinstance(error, OSError) else error}."
    else:
        return
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
