"""A ledger file, opened: the only module that imports DuckDB.

A connection is for one question or one turn, and is closed before the lock beside the ledger is given back. Whoever
opens a file here holds that lock, or has the file in a folder of its own. Never here: what is asked or carried.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from .clock import Clock
from .foreign_sql import quoted
from .paths import journal_folder
from .refusals import no_folder, unusable
from .schema import make_schema, note_version, views_note
from .sidecar import LockHeldError, Patience
from .staging import StatementRefusedError

DuckError = duckdb.Error

STORAGE_VERSION = "v1.2.0"
"""Files of this storage version open in DuckDB 1.2 to 2.0, in both directions (facts measured on 1.4.5 to 2.0.0)."""

VACUUM_TURNS = 60
VACUUM_TASKS = 100
"""Every 60th turn of a `Ledger`, its first included, lets the checkpoint join small row groups (DuckDB's default of 100
tasks). In every turn a row would be written out anew a dozen times while its row group grows."""

_ROWS_AT_ONCE = 10_000
"""Rows that are only counted."""
_LOCKED = "Could not set lock on file"
_PID = re.compile(r"\(PID (\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer to one question."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    """DuckDB's names of the columns' types."""
    rows: list[tuple[Any, ...]]
    """Times are naive datetimes, UTC."""
    left_out: int = 0
    """Rows beyond those that were asked for."""


class DuckConnection:
    """A DuckDB connection, as far as submeter uses one: run a statement, fetch all of it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and fetch all it answers; `StatementRefusedError` where DuckDB refuses it."""
        return self.table(sql, parameters).rows

    def table(self, sql: str, parameters: Mapping[str, object] | None = None, *, rows_max: int | None = None) -> Table:
        """The same, with the names and types of the columns; beyond `rows_max` rows are counted and not kept."""
        try:
            answer: duckdb.DuckDBPyConnection | None = (
                self._connection.execute(sql, dict(parameters)) if parameters else self._connection.execute(sql)
            )
            described = (answer.description or []) if answer else []
            rows, left_out = _fetched(answer, rows_max) if answer and described else ([], 0)
        except (duckdb.Error, RuntimeError) as error:
            raise StatementRefusedError(str(error)) from error
        return Table(
            columns=tuple(str(column[0]) for column in described),
            types=tuple(str(column[1]) for column in described),
            rows=rows,
            left_out=left_out,
        )

    def kinds(self, sql: str) -> list[str]:
        """The kinds of the statements in this SQL, as DuckDB names them; raises as `rows` does."""
        try:
            return [statement.type.name for statement in self._connection.extract_statements(sql)]
        except (duckdb.Error, RuntimeError) as error:
            raise StatementRefusedError(str(error)) from error

    def set_now(self, clock: Clock) -> None:
        """Tell the views what time it is (they fall back to the system's where nobody does)."""
        self._connection.execute(f"SET VARIABLE submeter_now_us = CAST({clock.now_us():d} AS BIGINT)")


def _fetched(answer: duckdb.DuckDBPyConnection, rows_max: int | None) -> tuple[list[tuple[Any, ...]], int]:
    """The first rows of an answer, and how many more there are."""
    if rows_max is None:
        return answer.fetchall(), 0
    rows = answer.fetchmany(rows_max) if rows_max else []
    left_out = 0
    while more := len(answer.fetchmany(_ROWS_AT_ONCE)):
        left_out += more
    return rows, left_out


class Carrier:
    """DuckDB without a file of its own, kept between turns: a ledger is attached for one turn, and let go of again.

    To start DuckDB takes more CPU than most turns do (15 ms). One thread: a turn has no work for two, and the host
    program wants them.
    """

    def __init__(self, spill: Path) -> None:
        self._spill = spill
        self._idle: duckdb.DuckDBPyConnection | None = None
        self._turns = 0
        _carriers.add(self)

    @contextmanager
    def holding(self, path: Path, patience: Patience, *, read_only: bool = False) -> Iterator[DuckConnection]:
        """A ledger, for the length of a block; the caller holds its lock. `SET threads` holds for that block."""
        # In use it is ours alone: a child forked meanwhile finds none here, and makes its own.
        engine, self._idle = self._idle, None
        if engine is None:
            engine = duckdb.connect(config={**_config(self._spill), "threads": 1})
        try:
            if not read_only:
                engine.execute(f"SET max_vacuum_tasks = {0 if self._turns % VACUUM_TURNS else VACUUM_TASKS}")
            mode = "READ_ONLY" if read_only else "READ_WRITE"
            _patiently(path, patience, lambda: engine.execute(f"ATTACH {quoted(path)} AS ledger (TYPE duckdb, {mode})"))
            if not read_only:
                _make_private(wal_path(path))
            try:
                with contextlib.closing(engine.cursor()) as cursor:
                    cursor.execute("USE ledger")
                    yield DuckConnection(cursor)
            finally:
                if not read_only:
                    _take_away_unused(wal_path(path))
            engine.execute("DETACH ledger")
            if read_only:
                engine.execute("SET threads = 1")
        except BaseException:
            engine.close()
            raise
        self._turns += not read_only
        self._idle = engine

    def let_go(self) -> None:
        """Close what is kept; the next turn starts anew."""
        engine, self._idle = self._idle, None
        if engine is not None:
            engine.close()


_carriers: weakref.WeakSet[Carrier] = weakref.WeakSet()


def _let_go_before_fork() -> None:
    """DuckDB's threads do not live on in a forked child, which would wait for them for ever at its end."""
    for carrier in list(_carriers):
        carrier.let_go()


os.register_at_fork(before=_let_go_before_fork)


@contextmanager
def open_file(path: Path, patience: Patience, *, read_only: bool, private: bool = False) -> Iterator[DuckConnection]:
    """One connection to a ledger file that is there. The caller holds its lock, or it lies in a `private` folder."""
    config = _config(path.parent / "spill" if private else spill_folder(path))
    connection = _patiently(path, patience, lambda: duckdb.connect(str(path), read_only=read_only, config=config))
    try:
        if not read_only:
            _make_private(wal_path(path))
        yield DuckConnection(connection)
    finally:
        connection.close()
        if not read_only:
            _take_away_unused(wal_path(path))


def _config(spill: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": str(spill),
    }


def spill_folder(path: Path) -> Path:
    """Where DuckDB puts what does not fit into memory."""
    return journal_folder(path) / "spill"


def wal_path(path: Path) -> Path:
    """DuckDB's write-ahead log of a ledger."""
    return path.with_name(path.name + ".wal")


def _patiently(
    path: Path, patience: Patience, open_it: Callable[[], duckdb.DuckDBPyConnection]
) -> duckdb.DuckDBPyConnection:
    """Open a ledger, after a bounded wait for programs that have it and do not know the sidecar lock."""
    while True:
        try:
            return open_it()
        except duckdb.Error as error:
            text = str(error)
            if _LOCKED not in text:
                raise unusable(path, text) from error
            if not patience.pause():
                found = _PID.search(text)
                raise LockHeldError(int(found.group(1)) if found else None) from error


def _make_private(wal: Path) -> None:
    """Make the write-ahead log ours alone before DuckDB does it under the process's umask (it takes an empty one)."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(wal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _take_away_unused(wal: Path) -> None:
    """Take a write-ahead log away that nothing was written to: DuckDB leaves it, and has not opened it yet."""
    with contextlib.suppress(FileNotFoundError):
        if not wal.stat().st_size:
            wal.unlink()


_empty: dict[str, bytes] = {}
"""The file of an empty ledger, once this process has made one, by the note on its views.

To bind all views takes DuckDB ten times what the rest of a new ledger does, and a check and a rebuild make another.
"""


@contextmanager
def new_ledger(path: Path, clock: Clock) -> Iterator[Path]:
    """An empty ledger, 0600 from birth, in a private folder beside `path`; gone after the block unless moved away."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise no_folder(path, error) from error
    try:
        fresh = folder / path.name
        made_before = _empty.get(views_note())
        if made_before is not None:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(made_before)
        connection = duckdb.connect(str(fresh), config={"storage_compatibility_version": STORAGE_VERSION})
        try:
            if made_before is None:
                os.chmod(fresh, 0o600)
                make_schema(DuckConnection(connection), clock)
            else:
                note_version(DuckConnection(connection), clock)
        finally:
            connection.close()
        if made_before is None:
            _empty[views_note()] = fresh.read_bytes()
        yield fresh
    finally:
        shutil.rmtree(folder, ignore_errors=True)
