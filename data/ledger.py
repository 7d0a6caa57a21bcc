"""The ledger: one DuckDB file, opened for moments at a time, built from the journals beside it and nothing else.

    ledger = Ledger(path, clock=clock)
    ledger.ingest()                                  # every new whole line of every journal, each exactly once
    table = ledger.query("list_runs", {"framework": None})

The only module that imports DuckDB. Every opening is inside the sidecar lock, one connection at a time per process;
nothing opens, copies or changes the file while a connection is open (that would drop DuckDB's own lock). Another
program's reader delays an ingest and never loses a row: the lines wait in the journals.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from .clock import Clock
from .error import SubmeterError
from .ingest import Turn, Watched, carry_turn, ended_at, is_present
from .paths import journal_folder, reads_folder
from .replay import Problem, Reader, Survey
from .sidecar import LockHeldError, Patience, sidecar
from .staging import StatementRefusedError

SCHEMA_VERSION = 1
STORAGE_VERSION = "v1.2.0"
"""Files of this storage version open in DuckDB 1.2 to 2.0, in both directions (facts measured on 1.4.5 to 2.0.0)."""

INGEST_WAIT_S = 1.0
READ_WAIT_S = 10.0
REBUILD_WAIT_S = 60.0

VIEWS = (
    "known_keys",
    "told",
    "attempts",
    "known_marks",
    "time_labels",
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

_SQL = Path(__file__).parent
_NAME = re.compile(r"[a-z][a-z0-9_]*")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestTurn:
    """What one ingest carried into the ledger."""

    lines: int = 0
    """Lines decoded, of every kind."""
    rows: int = 0
    """Readings made."""
    problems: tuple[Problem, ...] = ()
    """Lines that could not be carried; `check` finds them all again."""
    held: bool = False
    """Whether somebody else held the ledger, so that lines still wait in the journals."""
    held_by: int | None = None
    """Their process; None where nobody held it, or the system does not tell who."""


class Ledger:
    """One ledger file. Opens nothing until asked, and nothing for longer than the question. Safe from any thread."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._reader = Reader(journal_folder(path))
        self._carried: tuple[tuple[str, int, int, int], ...] | None = None
        self._watched: tuple[Watched, ...] = ()

    def ingest(self, *, wait_s: float = INGEST_WAIT_S) -> IngestTurn:
        """Carry every new whole line of every journal in, turn by turn; makes the ledger where there is none.

        Opens nothing where no journal grew and no process ended since the last time. Waits `wait_s` for others, then
        answers who holds the ledger. Raises `SubmeterError` for a place that cannot be written to, a file that is no
        ledger, or a ledger of a newer submeter.
        """
        lines = rows = 0
        problems: list[Problem] = []
        while True:
            survey = self._reader.survey()
            if self.path.exists() and survey.footprint == self._carried and not self._somebody_ended(survey):
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems))
            try:
                with self._writing(Patience(wait_s)) as connection:
                    turn = carry_turn(connection, survey, reads=reads_folder(self.path), clock=self._clock)
            except LockHeldError as held:
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems), held=True, held_by=held.pid)
            self._watched = turn.watched
            lines += turn.lines
            rows += turn.rows
            problems.extend(turn.problems)
            if not turn.more:
                self._carried = survey.footprint
                problems.extend(survey.problems)
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems))

    def query(self, name_or_sql: str, parameters: Mapping[str, object] | None = None) -> Table:
        """Answer a named question (`list_runs`) or a statement of SQL, reading only.

        Raises `SubmeterError` where there is no such ledger or name, where the SQL is refused, and, with exit code 3,
        where another program holds the file for writing.
        """
        sql = named(name_or_sql) if _NAME.fullmatch(name_or_sql.strip()) else name_or_sql
        try:
            with self.reading() as connection:
                return connection.table(sql, parameters)
        except StatementRefusedError as refused:
            raise SubmeterError(
                "The ledger would not answer this.",
                str(refused),
                'Look at what there is with: submeter sql "SELECT view_name FROM duckdb_views() WHERE NOT internal"',
            ) from refused

    @contextmanager
    def reading(self, *, wait_s: float = READ_WAIT_S) -> Iterator[DuckConnection]:
        """A read-only connection for the length of a block: several questions on one state of the ledger."""
        if not self.path.exists():
            raise SubmeterError(
                f"There is no ledger at {self.path}",
                "The file is not there: nothing has been metered into it yet.",
                "Name another one with --ledger PATH or SUBMETER_LEDGER, or start metering: submeter proxy",
            )
        patience = Patience(wait_s)
        try:
            with sidecar(self.path, exclusive=False, patience=patience), self._open(patience, read_only=True) as opened:
                yield opened
        except LockHeldError as held:
            raise held_error(self.path, held) from held

    @contextmanager
    def _writing(self, patience: Patience) -> Iterator[DuckConnection]:
        """The ledger under the exclusive lock, made or brought up to this version's schema first."""
        with sidecar(self.path, exclusive=True, patience=patience):
            if not self.path.exists():
                with new_ledger(self.path, self._clock) as fresh:
                    os.rename(fresh, self.path)
            with self._open(patience, read_only=False) as connection:
                migrate(connection, self._clock)
                yield connection

    @contextmanager
    def _open(self, patience: Patience, *, read_only: bool) -> Iterator[DuckConnection]:
        """One connection, after a bounded wait for programs that do not know the sidecar lock."""
        with open_file(self.path, patience, read_only=read_only) as connection:
            connection.set_now(self._clock)
            yield connection

    def _somebody_ended(self, survey: Survey) -> bool:
        """Whether a process that was alive at the last ingest is gone now, so that its open calls are lost."""
        journals = {journal.file_id: journal for journal in survey.journals}
        now_us = self._clock.now_us()
        return any(
            ended_at(process, is_present(process, journals.get(process.file_id)), now_us) is not None
            for process in self._watched
        )


class DuckConnection:
    """A DuckDB connection, as far as submeter uses one: run a statement, fetch all of it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and fetch all it answers; `StatementRefusedError` where DuckDB refuses it."""
        return self.table(sql, parameters).rows

    def table(self, sql: str, parameters: Mapping[str, object] | None = None) -> Table:
        """The same, with the names and types of the columns."""
        try:
            answer = self._connection.execute(sql, dict(parameters)) if parameters else self._connection.execute(sql)
            described = answer.description or []
            rows = answer.fetchall() if described else []
        except (duckdb.Error, RuntimeError) as error:
            raise StatementRefusedError(str(error)) from error
        return Table(
            columns=tuple(str(column[0]) for column in described),
            types=tuple(str(column[1]) for column in described),
            rows=rows,
        )

    def script(self, sql: str) -> None:
        """Run several statements, none of which answers anything."""
        self._connection.execute(sql)

    def set_now(self, clock: Clock) -> None:
        """Tell the views what time it is (they fall back to the system's where nobody does)."""
        self._connection.execute(f"SET VARIABLE submeter_now_us = CAST({clock.now_us():d} AS BIGINT)")


@contextmanager
def open_file(path: Path, patience: Patience, *, read_only: bool) -> Iterator[DuckConnection]:
    """One connection to a ledger file that is there. The caller holds its lock."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "temp_directory": str(journal_folder(path) / "spill"),
    }
    while True:
        try:
            connection = duckdb.connect(str(path), read_only=read_only, config=config)
            break
        except duckdb.Error as error:
            text = str(error)
            if _LOCKED not in text:
                raise _unusable(path, text) from error
            if not patience.pause():
                found = _PID.search(text)
                raise LockHeldError(int(found.group(1)) if found else None) from error
    try:
        if not read_only:
            _make_private(path.with_name(path.name + ".wal"))
        yield DuckConnection(connection)
    finally:
        connection.close()


def _make_private(wal: Path) -> None:
    """Make the write-ahead log ours alone before DuckDB does it under the process's umask (it takes an empty one)."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(wal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


@contextmanager
def new_ledger(path: Path, clock: Clock) -> Iterator[Path]:
    """An empty ledger, 0600 from birth, in a private folder beside `path`; gone after the block unless moved away."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise SubmeterError(
            f"The ledger cannot be made: {path}",
            f"Its folder cannot be written to: {error.strerror or error}.",
            "Choose a place you can write to, with --ledger PATH or SUBMETER_LEDGER.",
        ) from error
    try:
        fresh = folder / path.name
        connection = duckdb.connect(str(fresh), config={"storage_compatibility_version": STORAGE_VERSION})
        try:
            os.chmod(fresh, 0o600)
            opened = DuckConnection(connection)
            opened.script("BEGIN TRANSACTION")
            opened.script(read_sql("schema"))
            _make_views(opened)
            _note_version(opened, clock)
            opened.script("COMMIT")
        finally:
            connection.close()
        yield fresh
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def migrate(connection: DuckConnection, clock: Clock) -> None:
    """Bring a ledger forward to this schema, one version a step. Raises `SubmeterError` for a newer ledger."""
    try:
        found = connection.rows("SELECT max(version) FROM schema_version")[0][0]
    except StatementRefusedError as error:
        raise SubmeterError(
            "This is a DuckDB file, but no ledger.",
            "It has no schema_version table, so submeter leaves it alone.",
            "Name another file with --ledger PATH or SUBMETER_LEDGER.",
        ) from error
    if found == SCHEMA_VERSION:
        return
    if found > SCHEMA_VERSION:
        raise SubmeterError(
            f"This ledger is of a newer submeter (schema {found}; this one knows {SCHEMA_VERSION}).",
            "Writing to it could lose what the newer one keeps, so nothing was written; the journals keep every call.",
            "Update with: pipx upgrade submeter",
        )
    connection.script("BEGIN TRANSACTION")
    for version in range(found + 1, SCHEMA_VERSION + 1):
        connection.script(read_sql(f"migrate_{version}"))
    _make_views(connection)
    _note_version(connection, clock)
    connection.script("COMMIT")


def _make_views(connection: DuckConnection) -> None:
    for view in VIEWS:
        connection.script(read_sql(f"view_{view}"))


def _note_version(connection: DuckConnection, clock: Clock) -> None:
    connection.rows(
        "INSERT INTO schema_version VALUES ($version, make_timestamp($now_us))",
        {"version": SCHEMA_VERSION, "now_us": clock.now_us()},
    )


@cache
def read_sql(name: str) -> str:
    """The text of one `.sql` file of this folder."""
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")


def query_names() -> tuple[str, ...]:
    """The names of all questions that can be asked by name."""
    names = {path.stem for path in _SQL.glob("*.sql")}
    return tuple(
        sorted(name for name in names if name != "schema" and not name.startswith(("view_", "ingest_", "migrate_")))
    )


def named(name: str) -> str:
    """The SQL of a named question. Raises `SubmeterError` for a name that there is not."""
    name = name.strip()
    if name not in query_names():
        raise SubmeterError(
            f"There is no question named {name!r}.",
            f"There are: {', '.join(query_names())}.",
            "List them with: submeter sql",
        )
    return read_sql(name)


def held_error(path: Path, held: LockHeldError) -> SubmeterError:
    """What a reader is told where another program holds the ledger for writing."""
    holder = f"process {held.pid}" if held.pid else "another program"
    return SubmeterError(
        f"The ledger is held by {holder}: {path}",
        "It has it open for writing, and DuckDB lets nobody else in. No call is lost: they wait in the journals.",
        "Close it there (for a look use `duckdb -readonly`, or `submeter ledger snapshot`), then run this again.",
        exit_code=3,
    )


def _unusable(path: Path, text: str) -> SubmeterError:
    return SubmeterError(
        f"The ledger cannot be opened: {path}",
        text.splitlines()[0].removeprefix("IO Error: "),
        "Name another file with --ledger PATH; or move this one away, and it is built again from its journals.",
    )


__all__ = ["IngestTurn", "Ledger", "Table", "Turn", "named", "query_names"]
