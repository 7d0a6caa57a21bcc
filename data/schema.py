"""The schema of a ledger and its versions: made at once, or brought forward one version a step, never back.

A migration is a file `migrate_<version>.sql`, run with the views and the note of the version in one transaction. What
cannot be done by adding is done by a rebuild from the journals. Views that an older submeter made are made anew, by a
digest of their SQL that the ledger keeps, whatever the version of the schema. Nothing here opens a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache

from .clock import Clock
from .error import SubmeterError
from .journal import submeter_version
from .questions import read_sql
from .staging import Connection, StatementRefusedError

SCHEMA_VERSION = 2

MACROS = ("is_unbilled", "is_distrusted", "standing_of", "cost_part", "cost_sum")
"""Rules that more than one view states by name."""

VIEWS = (
    "known_keys",
    "told",
    "declared_runs",
    "known_marks",
    "imported_times",
    "labelled",
    "calls",
    "standings",
    "ambiguous_calls",
    "run_events",
    "runs",
    "proxy_times",
    "watched_times",
    "visits",
    "steps",
    "step_usage",
    "run_usage",
    "minute_usage",
    "unknown_calls",
    "run_audit",
    "process_skews",
    "audited_calls",
    "audit_creates",
    "mark_skews",
)
"""In the order in which they stand on each other."""

TABLE_MACROS = ("call_costs",)
"""What stands on the views and needs to be told something."""

_NOTED = (
    "SELECT max(comment) FROM duckdb_tables()"
    " WHERE database_name = current_database() AND table_name = 'schema_version'"
)
_NOTE = re.compile(r"views of submeter (\S+), [0-9a-f]+")


def make_schema(connection: Connection, clock: Clock) -> None:
    """All tables and views of this version, in an empty file."""
    connection.rows("BEGIN TRANSACTION")
    connection.rows(read_sql("schema"))
    _finish(connection, clock, SCHEMA_VERSION)


def note_version(connection: Connection, clock: Clock) -> None:
    """In a copy of an empty ledger: it has been at this version since now."""
    connection.rows('UPDATE schema_version SET "at" = make_timestamp($now_us)', {"now_us": clock.now_us()})


def is_current(connection: Connection, *, views_too: bool) -> bool:
    """Whether nothing is to be brought forward: the ledger's version and, where asked for, the views in it."""
    try:
        found = connection.rows("SELECT max(version) FROM schema_version")[0][0]
    except StatementRefusedError:
        return False
    return found == SCHEMA_VERSION and not (views_too and _views_are_older(connection.rows(_NOTED)[0][0]))


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
    if found == wanted and _views_are_older(connection.rows(_NOTED)[0][0]):
        connection.rows("BEGIN TRANSACTION")
        _make_views(connection)
        connection.rows("COMMIT")


def _finish(connection: Connection, clock: Clock, version: int) -> None:
    """The views as they are now, the note of the version, and the end of the transaction."""
    _make_views(connection)
    connection.rows(
        "INSERT INTO schema_version VALUES ($version, make_timestamp($now_us))",
        {"version": version, "now_us": clock.now_us()},
    )
    connection.rows("COMMIT")


def _make_views(connection: Connection) -> None:
    """The views as they are now, what a table keeps of them, and whose they are."""
    for text in _texts():
        connection.rows(text)
    connection.rows(read_sql("ingest_time_labels"))
    connection.rows(f"COMMENT ON TABLE schema_version IS '{views_note()}'")


@cache
def views_note() -> str:
    """Whose views a ledger has and which, as its `schema_version` table says in its comment."""
    texts = "\n".join(_texts())
    return f"views of submeter {submeter_version()}, {hashlib.sha256(texts.encode()).hexdigest()[:16]}"


def _texts() -> list[str]:
    """The SQL of all macros and views, in the order in which they stand on each other."""
    views = [f"view_{view}" for view in VIEWS]
    return [read_sql(name) for name in [*map("macro_{}".format, MACROS), *views, *map("macro_{}".format, TABLE_MACROS)]]


def _views_are_older(note: str | None) -> bool:
    """Whether a ledger's views are not ours; those of a newer submeter are left alone."""
    if note == views_note():
        return False
    found = _NOTE.fullmatch(note or "")
    return found is None or _numbers(found[1]) <= _numbers(submeter_version())


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
