"""The schema of a ledger and its versions: made at once, or brought forward one version a step, never back.

A migration is a file `migrate_<version>.sql`, run with the views and the note of the version in one transaction. What
cannot be done by adding is done by a rebuild from the journals. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock
from .error import SubmeterError
from .questions import read_sql
from .staging import Connection, StatementRefusedError

SCHEMA_VERSION = 1

VIEWS = (
    "known_keys",
    "told",
    "known_marks",
    "imported_times",
    "attempts",
    "labelled",
    "calls",
    "run_events",
    "runs",
    "watched_times",
    "visits",
    "steps",
    "step_usage",
    "run_usage",
    "minute_usage",
    "unknown_calls",
    "run_audit",
)
"""In the order in which they stand on each other."""


def make_schema(connection: Connection, clock: Clock) -> None:
    """All tables and views of this version, in an empty file."""
    connection.rows("BEGIN TRANSACTION")
    connection.rows(read_sql("schema"))
    _finish(connection, clock, SCHEMA_VERSION)


def migrate(
    connection: Connection, clock: Clock, *, wanted: int = SCHEMA_VERSION, script: Callable[[str], str] = read_sql
) -> None:
    """Bring a ledger forward to version `wanted`. Raises `SubmeterError` for a newer ledger, or a file that is none."""
    try:
        found = connection.rows("SELECT max(version) FROM schema_version")[0][0]
    except StatementRefusedError as error:
        raise SubmeterError(
            "This is a DuckDB file, but no ledger.",
            "It has no schema_version table, so submeter leaves it alone.",
            "Name another file with --ledger PATH or SUBMETER_LEDGER.",
        ) from error
    if found > wanted:
        raise SubmeterError(
            f"This ledger is of a newer submeter (schema {found}; this one knows {wanted}).",
            "Writing to it could lose what the newer one keeps, so nothing was written; the journals keep every call.",
            "Update with: pipx upgrade submeter",
        )
    for version in range(found + 1, wanted + 1):
        connection.rows("BEGIN TRANSACTION")
        connection.rows(script(f"migrate_{version}"))
        _finish(connection, clock, version)


def _finish(connection: Connection, clock: Clock, version: int) -> None:
    """The views as they are now, the note of the version, and the end of the transaction."""
    for view in VIEWS:
        connection.rows(read_sql(f"view_{view}"))
    connection.rows(
        "INSERT INTO schema_version VALUES ($version, make_timestamp($now_us))",
        {"version": version, "now_us": clock.now_us()},
    )
    connection.rows("COMMIT")
