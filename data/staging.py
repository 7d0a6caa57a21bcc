"""Lines into temporary tables: the bulk road from journal bytes to DuckDB, and back to a place for what it refuses.

A line is handed over as it was written, with its journal and its offset put in front: no re-serialising. DuckDB reads
it with explicit columns, from memory where the system can name a memory file, else from a private temporary file.
What our own decoder took and DuckDB's would not is found by halving, and located. Here is no import of DuckDB: a
connection is whatever answers `Connection`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import orjson

from .columns import Form
from .replay import Line

MEMORY_FILES = "/proc/self/fd"
RENAMED = {"by": "marked_by", "from": "from_at", "to": "to_at"}
"""Columns whose name on the line is a word of SQL."""


class StatementRefusedError(ValueError):
    """DuckDB would not run a statement on these lines."""


class Connection(Protocol):
    """What carrying needs of a DuckDB connection."""

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and fetch all it answers; `StatementRefusedError` where DuckDB refuses it."""
        ...


PlacedLine: TypeAlias = tuple[str, Line]
"""One line on its way, after the `file_id` of the journal it stands in."""


def located(lines: Sequence[PlacedLine]) -> list[bytes]:
    """The lines with their places in front, as NDJSON."""
    heads = {
        file_id: b'{"journal_file_id":%b,"journal_offset":' % orjson.dumps(file_id)
        for file_id in {file_id for file_id, _ in lines}
    }
    # A line of ours is never an empty object: it has `v` at the least, so that a comma may follow its place.
    return [b"%b%d,%b" % (heads[file_id], line.offset, line.raw[1:]) for file_id, line in lines]


def stage_lines(
    connection: Connection, table: str, columns: Mapping[str, Form], lines: Sequence[PlacedLine]
) -> list[PlacedLine]:
    """Make the temporary table `table` of these lines; answers those that DuckDB would not read."""
    refused: list[PlacedLine] = []
    try:
        _create(connection, table, columns, located(lines), placed=True)
    except StatementRefusedError:
        good = list(_readable(connection, columns, lines, refused))
        _create(connection, table, columns, located(good), placed=True)
    return refused


def stage_rows(
    connection: Connection, table: str, columns: Mapping[str, Form], rows: Sequence[Mapping[str, object]]
) -> None:
    """Make the temporary table `table` of rows of our own; times are microseconds."""
    _create(connection, table, columns, [orjson.dumps(row) for row in rows], placed=False)


def _readable(
    connection: Connection, columns: Mapping[str, Form], lines: Sequence[PlacedLine], refused: list[PlacedLine]
) -> Iterator[PlacedLine]:
    """The lines that DuckDB reads, by halving; the others into `refused`."""
    if not lines:
        return
    try:
        _create(connection, "tried", columns, located(lines), placed=True)
        yield from lines
    except StatementRefusedError:
        if len(lines) == 1:
            refused.extend(lines)
            return
        half = len(lines) // 2
        yield from _readable(connection, columns, lines[:half], refused)
        yield from _readable(connection, columns, lines[half:], refused)


def _create(
    connection: Connection, table: str, columns: Mapping[str, Form], texts: Sequence[bytes], *, placed: bool
) -> None:
    """Every name in this statement comes from `columns.py`; no value does."""
    types = dict(columns)
    chosen = [f'{_value(name, form)} AS "{RENAMED.get(name, name)}"' for name, form in columns.items()]
    if placed:
        if "file_id" not in columns:
            chosen.append("journal_file_id AS file_id")
        chosen += ["journal_offset AS line_offset", 'make_timestamp("at") AS "at"']
        types |= {"journal_file_id": Form.TEXT, "journal_offset": Form.INTEGER, "at": Form.INTEGER}
    listed = ", ".join(f"'{name}': '{form.value}'" for name, form in types.items())
    with _readable_path(b"\n".join(texts)) as path:
        connection.rows(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {', '.join(chosen)} FROM read_json("
            f"$path, format = 'newline_delimited', auto_detect = false, columns = {{{listed}}})",
            {"path": path},
        )


def _value(name: str, form: Form) -> str:
    return f'make_timestamp(CAST("{name}" AS BIGINT))' if form is Form.TIME else f'"{name}"'


@contextmanager
def _readable_path(data: bytes) -> Iterator[str]:
    """A path under which DuckDB can read these bytes, for as long as the block lasts."""
    if hasattr(os, "memfd_create") and os.path.isdir(MEMORY_FILES):
        descriptor = os.memfd_create("submeter-lines", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            yield f"{MEMORY_FILES}/{descriptor}"
        return
    with tempfile.NamedTemporaryFile(prefix="submeter-", suffix=".jsonl") as file:
        file.write(data)
        file.flush()
        yield file.name
