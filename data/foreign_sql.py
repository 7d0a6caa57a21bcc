"""SQL that a user wrote: what of it may run on a ledger, and how it is kept from every other file.

A ledger opened for reading alone still lets COPY write to any path, the ledger's own and its journals' among them. So
the connection is shut off from the file system, which DuckDB does but for the files that it has open itself; hence
only statements that ask are let through. Here is no import of DuckDB: a connection is whatever answers `Connection`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .staging import Connection, StatementRefusedError

ASKING = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "SET", "CREATE", "MULTI"})
"""Kinds of statement that cannot write once a connection is shut off. CREATE makes what lasts for the question (DuckDB
1.5 takes PIVOT for one); MULTI is what DuckDB 2.0 takes PIVOT for."""

_WRITING = re.compile(r"\b(?:copy|export)\b", re.IGNORECASE)


def check_asks(sql: str, kinds: Sequence[str]) -> None:
    """Let SQL pass whose statements, of these `kinds`, only ask. Raises `StatementRefusedError`."""
    if not kinds:
        raise StatementRefusedError("There is no statement in it.")
    for kind in kinds:
        if kind not in ASKING:
            raise StatementRefusedError(f"The ledger is read-only here, and {kind} does not ask.")
    if "SELECT" in kinds[:-1]:
        # DuckDB answers the last one alone, so the others would be dropped without a word.
        raise StatementRefusedError("It asks more than one question; ask them one by one.")
    # EXPLAIN ANALYZE runs what it explains, and a MULTI does not tell what it is made of.
    if any(kind != "SELECT" for kind in kinds) and _WRITING.search(sql):
        raise StatementRefusedError("The ledger is read-only here, and COPY and EXPORT write.")


def shut_off(connection: Connection, writable: Path | None) -> None:
    """Keep a connection from every file but its own, and those in the `writable` folder, until it is closed."""
    if writable is not None:
        connection.rows(f"SET allowed_directories = [{quoted(writable)}]")
    connection.rows("SET enable_external_access = false")
    connection.rows("SET lock_configuration = true")


def quoted(path: Path) -> str:
    """A path as a text of SQL, for statements that take no parameter there."""
    return "'" + str(path).replace("'", "''") + "'"
