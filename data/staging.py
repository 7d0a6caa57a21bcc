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
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from .columns import Form

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedLine:
    """One line on its way, and where it came from."""

    file_id: str
    offset: int
    raw: bytes
    """A JSON object, `{` first."""
    call_id: str | None = None
    """Of a start line."""


def located(line: StagedLine) -> bytes:
    """The line with its place in front, as NDJSON."""
    head = b'{"journal_file_id":%b,"journal_offset":%d' % (orjson.dumps(line.file_id), line.offset)
    body = line.raw[1:].lstrip()
    return head + (b"" if body.startswith(b"}") else b",") + body


def stage_lines(
    connection: Connection, table: str, columns: Mapping[str, Form], lines: Sequence[StagedLine]
) -> list[StagedLine]:
    """Make the temporary table `table` of these lines; answers those that DuckDB would not read."""
    refused: list[StagedLine] = []
    try:
        _create(connection, table, columns, [located(line) for line in lines], placed=True)
    except StatementRefusedError:
        good = list(_readable(connection, columns, lines, refused))
        _create(connection, table, columns, [located(line) for line in good], placed=True)
    return refused


def stage_rows(
    connection: Connection, table: str, columns: Mapping[str, Form], rows: Sequence[Mapping[str, object]]
) -> None:
    """Make the temporary table `table` of rows of our own; times are microseconds."""
    _create(connection, table, columns, [orjson.dumps(row) for row in rows], placed=False)


def _readable(
    connection: Connection, columns: Mapping[str, Form], lines: Sequence[StagedLine], refused: list[StagedLine]
) -> Iterator[StagedLine]:
    """The lines that DuckDB reads, by halving; the others into `refused`."""
    if not lines:
        return
    try:
        _create(connection, "tried", columns, [located(line) for line in lines], placed=True)
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
