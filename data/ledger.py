"""The ledger: one DuckDB file, opened for moments at a time, built from the journals beside it and nothing else.

    ledger = Ledger(path, clock=clock)
    ledger.ingest()                                  # every new whole line of every journal, each exactly once
    table = ledger.query("list_runs", {"framework": None})

Every opening is inside the sidecar lock, one connection at a time per process; nothing opens, copies or changes the
file while a connection is open (that would drop DuckDB's own lock). Another
program's reader delays an ingest and never loses a row: the lines wait in the journals.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .clock import Clock
from .error import SubmeterError
from .foreign_sql import check_asks, quoted, shut_off
from .ingest import IngestTurn, carry_turn
from .opened import Carrier, DuckConnection, DuckError, Table, new_ledger, open_file, spill_folder, wal_path
from .paths import journal_folder, reads_folder
from .presence import Watched, somebody_ended
from .questions import NAME, named, query_names
from .read_lines import judge_waiting
from .rebuild import Rebuilt, carry_left_out, left_out, refuse, take_over_presence
from .refusals import held_error, not_answered, not_replaced, unusable, written
from .replay import Problem, Reader
from .schema import is_current, migrate
from .sidecar import LockHeldError, Patience, sidecar
from .staging import StatementRefusedError
from .upkeep import CheckReport, carry_all, check_report, copy_file, read_contents, scan, sync_file, up_to

INGEST_WAIT_S = 1.0
READ_WAIT_S = 10.0
MANY_LINES = 4000
"""After so many lines DuckDB is let go of, as it keeps some 50 MiB and more of what they took; to start it again costs
a thirtieth of what carrying them did."""
REBUILD_WAIT_S = 60.0


class Ledger:
    """One ledger file. Opens nothing until asked, and nothing for longer than the question. Safe from any thread."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._reader = Reader(journal_folder(path))
        self._carried: tuple[tuple[str, int, int, int], ...] | None = None
        self._watched: tuple[Watched, ...] = ()
        self._views_of: int | None = None
        """The file (inode) whose views were looked at."""
        self._lines_carried = 0
        """Since DuckDB was last let go of."""
        self._carrier = Carrier(spill_folder(path))

    def ingest(self, *, wait_s: float = INGEST_WAIT_S, turn_wait_s: float | None = None) -> IngestTurn:
        """Carry every new whole line of every journal in, turn by turn; makes the ledger where there is none.

        Opens nothing where no journal grew and no process ended since the last time. Waits `wait_s` for others, and for
        other turns `turn_wait_s` where that is given, then answers who holds the ledger. Raises `SubmeterError` for a
        place that cannot be written to, a file that is no ledger, or a ledger of a newer submeter.
        """
        lines = rows = 0
        problems: list[Problem] = []
        while True:
            survey = self._reader.survey()
            nothing_new = self.path.exists() and survey.footprint == self._carried
            if nothing_new and not somebody_ended(self._watched, survey, self._clock.now_us()):
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems))
            try:
                turns = None if turn_wait_s is None else Patience(turn_wait_s)
                with written(self.path, DuckError), self._writing(Patience(wait_s), turns) as connection:
                    turn = carry_turn(connection, survey, reads=reads_folder(self.path), clock=self._clock)
            except LockHeldError as held:
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems), held=True, held_by=held.pid)
            self._watched = turn.watched
            lines += turn.lines
            rows += turn.rows
            problems.extend(turn.problems)
            if not turn.more:
                self._carried = survey.footprint
                self._lines_carried += lines
                if self._lines_carried >= MANY_LINES:
                    self._lines_carried = 0
                    self._carrier.let_go()
                problems.extend(survey.problems)
                return IngestTurn(lines=lines, rows=rows, problems=tuple(problems))

    def query(self, name_or_sql: str, parameters: Mapping[str, object] | None = None) -> Table:
        """Answer a named question (`list_runs`) or a statement of SQL, reading only.

        Raises `SubmeterError` where there is no such ledger or name, where the SQL is refused, and, with exit code 3,
        where another program holds the file for writing.
        """
        sql = named(name_or_sql) if NAME.fullmatch(name_or_sql.strip()) else name_or_sql
        try:
            with self.reading() as connection:
                return connection.table(sql, parameters)
        except StatementRefusedError as refused:
            raise not_answered(refused) from refused

    def ask(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        into: Path | None = None,
        form: str = "",
        rows_max: int | None = None,
    ) -> Table:
        """Answer SQL that a user wrote, which reaches no file but the ledger; raises as `query` does.

        Beyond `rows_max` rows are counted and not kept. With `into` the answer becomes that file, in a `form` as COPY
        names it, in a folder that holds nothing else.
        """
        try:
            with self.reading() as connection:
                check_asks(sql, connection.kinds(sql))
                shut_off(connection, None if into is None else into.parent)
                if into is not None:
                    sql = f"COPY ({sql}\n) TO {quoted(into)} (FORMAT {form})"
                return connection.table(sql, parameters, rows_max=rows_max)
        except StatementRefusedError as refused:
            raise not_answered(refused) from refused

    def rebuild(self, *, keep_rows: bool = False) -> Rebuilt:
        """Build the ledger anew from its journals, and put it in the old one's place in one step.

        Rows of the old one that no journal tells of any more are its alone: with `keep_rows` they are carried over,
        else nothing is changed. When processes were last seen alive, or first known gone, is taken over. Nobody can
        read or write meanwhile. Raises `SubmeterError` for such rows, a file that is no ledger or cannot be read, and
        where another program holds it.
        """
        patience = Patience(REBUILD_WAIT_S)
        try:
            with written(self.path, DuckError):
                if self.path.exists():
                    with self._writing(patience):
                        pass  # It is a ledger, of this version, and its write-ahead log is folded in.
                with sidecar(self.path, exclusive=True, patience=patience):
                    return self._rebuild(keep_rows)
        except LockHeldError as held:
            raise held_error(self.path, held) from held

    def _rebuild(self, keep_rows: bool) -> Rebuilt:
        survey = self._reader.survey()
        with new_ledger(self.path, self._clock) as fresh:
            with open_file(fresh, Patience(0), read_only=False, private=True) as connection:
                problems = carry_all(connection, survey, reads=reads_folder(self.path), clock=self._clock)
                lines = sum(scan(journal)[0] for journal in survey.journals)
                kept = self._take_over(connection, keep_rows) if self.path.exists() else 0
                rows = connection.rows("SELECT count(*) FROM readings")[0][0]
            with open_file(fresh, Patience(0), read_only=True, private=True) as connection:
                whole = connection.rows("SELECT count(*) FROM readings")[0][0] == rows
            if not whole:
                raise OSError(errno.EIO, "What was written is not what is read")
            sync_file(fresh)
            wal_path(self.path).unlink(missing_ok=True)
            os.replace(fresh, self.path)
        self._carried = None
        return Rebuilt(lines=lines, rows=rows, problems=tuple(problems), kept=kept)

    def _take_over(self, connection: DuckConnection, keep_rows: bool) -> int:
        """What the old ledger alone knows, into the new one; answers how many rows no journal tells of."""
        with open_file(self.path, Patience(READ_WAIT_S), read_only=True):
            pass  # Nobody writes to it.
        connection.rows(f"ATTACH {quoted(self.path)} AS before (TYPE duckdb, READ_ONLY)")
        try:
            found = left_out(connection)
            if found and not keep_rows:
                raise refuse(found)
            kept = carry_left_out(connection) if found else 0
            take_over_presence(connection)
        except StatementRefusedError as refused:
            raise unusable(self.path, str(refused)) from refused
        finally:
            connection.rows("DETACH before")
        return kept

    def check(self) -> CheckReport:
        """Set the ledger against its journals, read again from their first byte. Changes nothing.

        Proxies go on writing meanwhile: only what the ledger has carried is compared, the rest is `bytes_waiting`.
        Raises `SubmeterError` for a ledger of another version: its tables cannot be compared with this one's.
        """
        with self.reading() as connection:
            if not is_current(connection, views_too=False):
                raise SubmeterError(
                    "This ledger is not of this submeter's version, so it cannot be checked.",
                    "An older one is brought forward by the next ingest; the journals keep every call.",
                    "Bring it forward first: submeter ledger ingest",
                )
            found = read_contents(connection)
        survey = self._reader.survey()
        known = up_to(survey, found.offsets)
        with (
            written(self.path, DuckError),
            new_ledger(self.path, self._clock) as fresh,
            open_file(fresh, Patience(0), read_only=False, private=True) as connection,
        ):
            problems = carry_all(connection, known, reads=reads_folder(self.path), clock=self._clock)
            told = read_contents(connection)
        return check_report(found, told, survey, problems)

    def snapshot(self, to: Path, *, force: bool = False) -> None:
        """Copy the ledger to `to`, whole and closed, in one step; 0600. With `force` it may replace an earlier one.

        Raises `SubmeterError` where there is no ledger, another program writes to it, `to` cannot be written, or holds
        what a snapshot must not replace: a ledger with journals of its own, this one too, or a file that is none.
        """
        with self.reading():
            pass
        self._check_snapshot(to, force)
        patience = Patience(READ_WAIT_S)
        try:
            with sidecar(self.path, exclusive=True, patience=patience):
                if wal_path(self.path).exists():
                    with open_file(self.path, patience, read_only=False) as connection:
                        connection.rows("CHECKPOINT")
                copy_file(self.path, to)
        except LockHeldError as held:
            raise held_error(self.path, held) from held

    def _check_snapshot(self, to: Path, force: bool) -> None:
        """Raise a `SubmeterError` where something is at `to` that would be lost."""
        ours = {os.path.realpath(path) for path in (self.path, wal_path(self.path))}
        if os.path.realpath(to) in ours or journal_folder(to).exists():
            # Also where no file is: the next command would carry journals into the copy of another ledger.
            raise not_replaced(to, "It belongs to a ledger with journals of its own, in which calls are metered.")
        if not os.path.lexists(to):
            return
        if not self._is_snapshot(to):
            raise not_replaced(to, "What is there is no ledger, so it is left alone.")
        if not force:
            raise not_replaced(to, "A ledger is there; --force replaces it.")

    def _is_snapshot(self, to: Path) -> bool:
        if not to.is_file():
            return False
        try:
            with open_file(to, Patience(0), read_only=True, private=True) as connection:
                connection.rows("SELECT max(version) FROM schema_version")
        except (SubmeterError, LockHeldError, StatementRefusedError):
            return False
        return True

    @contextmanager
    def reading(self, *, wait_s: float = READ_WAIT_S) -> Iterator[DuckConnection]:
        """A read-only connection for the length of a block: several questions on one state of the ledger."""
        with self._read_lock(wait_s) as patience, self._open(patience, read_only=True) as opened:
            yield opened

    @contextmanager
    def looking(self) -> Iterator[DuckConnection]:
        """As `reading`, for questions of ours alone, with the DuckDB that ingests: to start another costs more.

        One thread, unless the block sets more.
        """
        with self._read_lock(READ_WAIT_S) as patience:
            if self._is_half_written():
                opened = self._open(patience, read_only=True)
            else:
                opened = self._carrier.holding(self.path, patience, read_only=True)
            with opened as connection:
                connection.set_now(self._clock)
                yield connection

    def _is_half_written(self) -> bool:
        """Whether a killed ingest, maybe a killed migration, left a log: the plainest opening there is folds it in."""
        wal = wal_path(self.path)
        return wal.exists() and wal.stat().st_size > 0

    @contextmanager
    def _read_lock(self, wait_s: float) -> Iterator[Patience]:
        """The shared lock on a ledger that is there, for the length of a block."""
        if not self.path.exists():
            raise SubmeterError(
                f"There is no ledger at {self.path}",
                "The file is not there: nothing has been metered into it yet.",
                "Name another one with --ledger PATH or SUBMETER_LEDGER, or start metering: submeter proxy",
            )
        patience = Patience(wait_s)
        try:
            with sidecar(self.path, exclusive=False, patience=patience):
                yield patience
        except LockHeldError as held:
            raise held_error(self.path, held) from held

    @contextmanager
    def _writing(self, patience: Patience, turns: Patience | None = None) -> Iterator[DuckConnection]:
        """The ledger under the exclusive lock, made or brought up to this version's schema first."""
        with sidecar(self.path, exclusive=True, patience=turns or patience):
            patience = patience if turns is None else patience.anew()
            if not self.path.exists():
                with new_ledger(self.path, self._clock) as fresh:
                    os.rename(fresh, self.path)
            elif self._is_half_written():
                with self._open(patience, read_only=False):
                    pass
            with self._carrier.holding(self.path, patience) as connection:
                # A rebuild brings another file; nobody who could make its views older may write to this one.
                inode = self.path.stat().st_ino
                if is_current(connection, views_too=inode != self._views_of):
                    self._views_of = inode
                    connection.set_now(self._clock)
                    yield connection
                    return
            with self._open(patience, read_only=False) as connection:
                migrate(connection, self._clock)
                judge_waiting(connection, reads_folder(self.path))
            with self._carrier.holding(self.path, patience) as connection:
                connection.set_now(self._clock)
                yield connection

    @contextmanager
    def _open(self, patience: Patience, *, read_only: bool) -> Iterator[DuckConnection]:
        """One connection, after a bounded wait for programs that do not know the sidecar lock."""
        with open_file(self.path, patience, read_only=read_only) as connection:
            connection.set_now(self._clock)
            yield connection


__all__ = [
    "CheckReport",
    "DuckConnection",
    "IngestTurn",
    "Ledger",
    "Table",
    "named",
    "new_ledger",
    "open_file",
    "query_names",
]
