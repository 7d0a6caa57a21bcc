"""A ledger built anew must hold every row of the old one: what the journals no longer tell is found, and carried over.

A journal may be gone, cut short or damaged, and pages of the Usage API may be. Then the old ledger is the only record
of what they told. Both files are open on one connection, the old one as `before`, for reading alone. Nothing here
opens, locks or replaces a file, and nothing imports DuckDB.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import replay
from .clock import utc
from .error import SubmeterError
from .questions import read_sql
from .staging import Connection
from .usage_pages import Problem

IDENTITY = {
    "readings": ("call_id",),
    "open_calls": ("call_id",),
    "additions": ("call_id", "file_id", "line_offset"),
    "keys": ("file_id", "line_offset"),
    "marks": ("file_id", "line_offset"),
    "usage_reads": ("read_id",),
    "audits": ("file_id", "line_offset"),
    "inferred": ("file_id", "line_offset"),
    "gaps": ("file_id", "line_offset"),
    "processes": ("file_id",),
}
"""Which columns say that two rows of a table are the same row. What is derived from these tables is derived again."""

NAMED_MAX = 5
"""So many journals are named in an error; `submeter ledger check` names all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a ledger was built anew from."""

    lines: int
    """Lines decoded, of every kind."""
    rows: int
    """Readings in it."""
    problems: tuple[replay.Problem, ...] = ()
    """Lines that could not be carried; `check` finds them all again."""
    kept: int = 0
    """Rows of all tables that were carried over from the old ledger, as no journal tells of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What one journal once told and does not tell any more, as far as the old ledger knows."""

    file_id: str
    writer: str
    """Whose journal it is, in words."""
    calls: int
    other_rows: int

    def __str__(self) -> str:
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        rows = f"{self.other_rows:,} other row{'' if self.other_rows == 1 else 's'}"
        return f"{self.writer} ({calls}, {rows})"


def left_out(connection: Connection) -> list[LeftOut]:
    """Journals of which `before` holds rows that this ledger, built from the journals as they are, does not."""
    calls: dict[str, int] = {}
    others: dict[str, int] = {}
    for table in IDENTITY:
        counts = calls if table == "readings" else others
        for file_id, count in connection.rows(
            f"SELECT b.file_id, count(*) FROM before.{table} AS b WHERE {_is_missing(table)} GROUP BY b.file_id"
        ):
            counts[file_id] = counts.get(file_id, 0) + count
    shorter = connection.rows(
        "SELECT b.file_id FROM before.ingest_log AS b GROUP BY b.file_id HAVING max(b.end_offset) >"
        " (SELECT coalesce(max(f.end_offset), 0) FROM ingest_log AS f WHERE f.file_id = b.file_id)"
    )
    found = {*calls, *others, *(file_id for (file_id,) in shorter)}
    writers = writers_of(connection, "before.processes")
    return [
        LeftOut(
            file_id=file_id,
            writer=writers.get(file_id, f"journal {file_id}"),
            calls=calls.get(file_id, 0),
            other_rows=others.get(file_id, 0),
        )
        for file_id in sorted(found)
    ]


def writers_of(connection: Connection, table: str = "processes") -> dict[str, str]:
    """Whose each journal is, in words that lead to its file (`<host>-<pid>-<seconds>-<6 hex>.jsonl`), by file_id."""
    rows = connection.rows(f"SELECT file_id, mode, host, pid, epoch_us(started_at) FROM {table} ORDER BY file_id")
    return {
        file_id: f"the journal of {mode} process {pid} on {host}, begun {utc(begun):%Y-%m-%d %H:%M:%S} UTC"
        for file_id, mode, host, pid, begun in rows
    }


def refuse(found: list[LeftOut]) -> SubmeterError:
    """What a user is told where a rebuild would destroy the only record of some rows."""
    calls = sum(one.calls for one in found)
    named = "; ".join(str(one) for one in found[:NAMED_MAX])
    more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return SubmeterError(
        f"The ledger was not built anew: it is the only record of {calls:,} call{'' if calls == 1 else 's'} and more.",
        f"Gone, cut short or damaged: {named}{more}.",
        "Put those journals and pages back; or carry their rows over with: submeter ledger rebuild --keep-rows",
    )


def carry_left_out(connection: Connection) -> int:
    """Carry the rows that are missing over from `before`, and derive again what rests on them; answers how many."""
    connection.rows("BEGIN TRANSACTION")
    connection.rows(
        "CREATE OR REPLACE TEMP TABLE staged_calls AS SELECT 'settle' AS kind, b.* FROM before.readings AS b"
        f" WHERE {_is_missing('readings')}"
        " QUALIFY row_number() OVER (PARTITION BY b.call_id ORDER BY b.file_id, b.line_offset) = 1"
    )
    kept, first, last = connection.rows(
        "SELECT count(*), epoch_us(min(started_at)), epoch_us(max(started_at)) FROM staged_calls"
    )[0]
    connection.rows("INSERT INTO readings BY NAME SELECT * EXCLUDE (kind) FROM staged_calls")
    connection.rows("DELETE FROM open_calls WHERE call_id IN (SELECT s.call_id FROM staged_calls AS s)")
    connection.rows(
        "INSERT INTO ingest_log BY NAME SELECT b.file_id, max(b.end_offset) AS end_offset,"
        " (SELECT count(*) FROM staged_calls AS s WHERE s.file_id = b.file_id) AS rows,"
        ' max(b."at") AS "at" FROM before.ingest_log AS b GROUP BY b.file_id'
        " HAVING b.file_id IN (SELECT s.file_id FROM staged_calls AS s) OR max(b.end_offset) >"
        " (SELECT coalesce(max(f.end_offset), 0) FROM ingest_log AS f WHERE f.file_id = b.file_id)"
    )
    if kept:
        connection.rows(read_sql("ingest_twins"), {"first": first, "last": last})
        connection.rows(read_sql("ingest_told"))
        connection.rows(read_sql("ingest_skews"))
    kept += _carry_reads(connection)
    for table in IDENTITY:
        if table in ("readings", "usage_reads"):
            continue
        (count,) = connection.rows(
            f"INSERT INTO {table} BY NAME SELECT b.* FROM before.{table} AS b WHERE {_is_missing(table)}"
        )[0]
        kept += count
    # A journal that was cut short may have lost its last lines alone.
    connection.rows(
        "UPDATE processes SET last_line_at = greatest(processes.last_line_at, b.last_line_at),"
        " stopped_at = coalesce(processes.stopped_at, b.stopped_at)"
        " FROM before.processes AS b WHERE b.file_id = processes.file_id"
    )
    connection.rows(read_sql("ingest_time_labels"))
    connection.rows("COMMIT")
    return int(kept)


def _carry_reads(connection: Connection) -> int:
    """Reads of the Usage API with their buckets; a good one in the place of what its missing pages made of it."""
    connection.rows(
        "CREATE OR REPLACE TEMP TABLE kept_reads AS SELECT b.* FROM before.usage_reads AS b"
        f" WHERE {_is_missing('usage_reads')}"
    )
    for table in ("usage_reads", "usage_buckets"):
        connection.rows(f"DELETE FROM {table} WHERE read_id IN (SELECT k.read_id FROM kept_reads AS k)")
    connection.rows("INSERT INTO usage_reads BY NAME SELECT * FROM kept_reads")
    connection.rows(
        "INSERT INTO usage_buckets BY NAME SELECT b.* FROM before.usage_buckets AS b"
        " WHERE b.read_id IN (SELECT k.read_id FROM kept_reads AS k)"
    )
    return int(connection.rows("SELECT count(*) FROM kept_reads")[0][0])


def take_over_presence(connection: Connection) -> None:
    """When processes were last seen alive, or first known gone: no journal tells, so the old ledger's word is taken."""
    connection.rows(
        "UPDATE processes SET observed_at = b.observed_at, gone_at = coalesce(b.gone_at, processes.gone_at)"
        " FROM before.processes AS b WHERE b.file_id = processes.file_id AND processes.observed_at IS NULL"
        " AND (b.observed_at IS NOT NULL OR b.gone_at IS NOT NULL)"
    )


def _is_missing(table: str) -> str:
    """The condition under which the row `b` of `before` is not in this ledger; names of columns and tables are ours."""
    same = " AND ".join(f"f.{name} = b.{name}" for name in IDENTITY[table])
    if table == "usage_reads":
        # A read with a page that is gone (`page_body` says so) comes in as one that is not good, without its buckets. A
        # read that is not good by what its pages say stays so, whatever was believed before.
        gone = f"f.problem = '{Problem.NOT_KEPT}' AND starts_with(f.message, 'page ')"
        same += f" AND (f.good OR NOT b.good OR ({gone}) IS NOT TRUE)"
    missing = f"NOT EXISTS (SELECT 1 FROM {table} AS f WHERE {same})"
    if table == "open_calls":
        missing += " AND NOT EXISTS (SELECT 1 FROM readings AS r WHERE r.call_id = b.call_id)"
    return missing
