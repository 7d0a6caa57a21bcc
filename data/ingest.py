"""Carries journal lines into the tables: rows and byte offsets in one transaction, each line once, whatever happens.

A turn is a few megabytes of whole lines, so that the ledger is never held for long. What cannot be carried is located
and never stops the rest. Here is what each kind of line becomes; how the file is opened and locked is `ledger`'s
affair, and nothing here imports DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .clock import Clock
from .columns import BUCKET_COLUMNS, LINES, Form, Kind
from .pages import PageUnusableError, bucket_rows
from .presence import SILENCE_US, is_here
from .replay import JournalFile, Line, Problem, Stretch, Survey, read_stretch
from .staging import Connection, StagedLine, StatementRefusedError, stage_lines, stage_rows

TURN_BYTES = 8 * 1024 * 1024
"""Journal bytes carried in one transaction: about 12,000 lines, well under a second of holding the ledger."""

TABLES = {
    Kind.READ: "additions",
    Kind.KEY: "keys",
    Kind.USAGE_READ: "usage_reads",
    Kind.AUDIT: "audits",
    Kind.INFERRED: "inferred",
    Kind.GAP: "gaps",
}
"""Kinds whose lines each become one row of one table, name by name."""

_SQL = Path(__file__).parent

_WATCHED: dict[str, Form] = {
    "file_id": Form.TEXT,
    "last_line_at": Form.TIME,
    "observed_at": Form.TIME,
    "stopped_at": Form.TIME,
    "gone_at": Form.TIME,
    "heard": Form.TRUTH,
}
_CARRIED: dict[str, Form] = {"file_id": Form.TEXT, "end_offset": Form.INTEGER, "at": Form.TIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A process that had not ended when it was last looked at."""

    file_id: str
    host: str
    boot: str | None
    pid: int
    last_line_at: int
    """Microseconds UTC."""


@dataclass(slots=True)
class Turn:
    """What one transaction carried."""

    stretches: list[Stretch] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lines: int = 0
    rows: int = 0
    """Readings made."""
    more: bool = False
    """Whether whole lines are left for another turn."""
    watched: tuple[Watched, ...] = ()
    """Every process that is not known to have ended, after this turn."""


def carry_turn(
    connection: Connection, survey: Survey, *, reads: Path, clock: Clock, bytes_max: int = TURN_BYTES
) -> Turn:
    """Carry the next few megabytes of whole lines, and note which processes have ended, in one transaction."""
    turn = _read_turn(connection, survey, bytes_max)
    now_us = clock.now_us()
    heard = {
        stretch.journal.file_id: max(line.at for line in stretch.lines) for stretch in turn.stretches if stretch.lines
    }
    staged = _stage(connection, turn, reads)
    connection.rows("BEGIN TRANSACTION")
    try:
        _insert_processes(connection, Kind.PROCESS in staged)
        turn.watched = _note_presence(connection, survey, turn, heard, now_us)
        if Kind.SETTLE in staged:
            _insert_readings(connection, turn)
        if Kind.START in staged:
            _insert_starts(connection, turn)
        for kind in (Kind.RUN, Kind.STEP):
            if kind in staged:
                _insert_marks(connection, kind)
        if Kind.RUN in staged or Kind.STEP in staged:
            _keep_time_labels(connection)
        for kind, table in TABLES.items():
            if kind in staged:
                connection.rows(f"INSERT INTO {table} BY NAME SELECT * FROM staged_{kind}")
        if "buckets" in staged:
            connection.rows("INSERT INTO usage_buckets BY NAME SELECT * FROM staged_buckets")
        turn.rows = _log(connection, turn, Kind.SETTLE in staged, now_us)
        connection.rows("COMMIT")
    except BaseException:
        with suppress(StatementRefusedError):  # After a failed COMMIT there is nothing left to roll back.
            connection.rows("ROLLBACK")
        raise
    return turn


def _read_turn(connection: Connection, survey: Survey, bytes_max: int) -> Turn:
    """The whole lines that no turn has carried yet, up to `bytes_max`, journal after journal."""
    offsets = dict(connection.rows("SELECT file_id, max(end_offset) FROM ingest_log GROUP BY file_id"))
    turn = Turn()
    left = bytes_max
    for journal in survey.journals:
        start = offsets.get(journal.file_id, 0)
        if journal.size <= start:
            continue
        if left <= 0:
            turn.more = True
            break
        stretch = read_stretch(journal, start, max(left, bytes_max // 4))
        if stretch.end == start:
            continue
        left -= stretch.end - start
        turn.more = turn.more or stretch.more
        turn.stretches.append(stretch)
        turn.problems.extend(stretch.problems)
        turn.lines += len(stretch.lines)
    return turn


def _stage(connection: Connection, turn: Turn, reads: Path) -> set[str]:
    """Make temporary tables `staged_<kind>` of this turn's lines, and `staged_buckets`; answers which there are."""
    by_kind: dict[Kind, list[StagedLine]] = {}
    settled: set[str] = set()
    buckets: list[dict[str, Any]] = []
    for stretch in turn.stretches:
        for line in stretch.lines:
            if line.kind is Kind.STOP or (line.kind is Kind.PROCESS and _is_second_process_line(stretch, line, turn)):
                continue
            call_id = None
            if line.kind is Kind.SETTLE:
                settled.add(line.fields["call_id"])
            elif line.kind is Kind.START:
                call_id = line.fields["call_id"]
            elif line.kind is Kind.USAGE_READ and line.fields["good"]:
                try:
                    buckets.extend(bucket_rows(reads, line.fields))
                except PageUnusableError as error:
                    turn.problems.append(Problem(path=stretch.journal.path, offset=line.offset, reason=str(error)))
            by_kind.setdefault(line.kind, []).append(
                StagedLine(file_id=stretch.journal.file_id, offset=line.offset, raw=line.raw, call_id=call_id)
            )
    paths = {stretch.journal.file_id: stretch.journal.path for stretch in turn.stretches}
    for kind in sorted(by_kind, key=lambda kind: kind is not Kind.SETTLE):
        lines = by_kind[kind]
        if kind is Kind.START:
            lines = [line for line in lines if line.call_id not in settled]
        refused = stage_lines(connection, f"staged_{kind}", LINES[kind].columns, lines)
        for staged_line in refused:
            reason = f"{kind}: DuckDB cannot read it"
            turn.problems.append(Problem(path=paths[staged_line.file_id], offset=staged_line.offset, reason=reason))
        if kind is Kind.SETTLE and refused:
            settled = {row[0] for row in connection.rows("SELECT call_id FROM staged_settle")}
    staged: set[str] = {str(kind) for kind in by_kind}
    if buckets:
        stage_rows(connection, "staged_buckets", BUCKET_COLUMNS, buckets)
        staged.add("buckets")
    return staged


def _is_second_process_line(stretch: Stretch, line: Line, turn: Turn) -> bool:
    if not stretch.start and line is next(other for other in stretch.lines if other.kind is Kind.PROCESS):
        return False
    turn.problems.append(Problem(path=stretch.journal.path, offset=line.offset, reason="a second process line"))
    return True


def _insert_processes(connection: Connection, staged: bool) -> None:
    if staged:
        connection.rows(
            "INSERT INTO processes BY NAME"
            " SELECT s.file_id, s.host, s.boot_id, s.pid, s.version, s.mode, s.upstream, s.listen,"
            " s.at AS started_at, s.at AS last_line_at"
            " FROM staged_process AS s WHERE s.file_id NOT IN (SELECT file_id FROM processes)"
        )


def _note_presence(
    connection: Connection, survey: Survey, turn: Turn, heard: dict[str, int], now_us: int
) -> tuple[Watched, ...]:
    """Bring `processes` up to date, and answer those that have not ended."""
    stopped = {
        stretch.journal.file_id: line.at
        for stretch in turn.stretches
        for line in stretch.lines
        if line.kind is Kind.STOP
    }
    known = connection.rows(
        "SELECT file_id, host, boot_id, pid, epoch_us(last_line_at), gone_at IS NOT NULL"
        " FROM processes WHERE stopped_at IS NULL ORDER BY file_id"
    )
    journals = {journal.file_id: journal for journal in survey.journals}
    watched, rows = [], []
    for file_id, host, boot, pid, last_line_at, gone in known:
        if gone and file_id not in heard:
            continue
        process = Watched(
            file_id=file_id, host=host, boot=boot, pid=pid, last_line_at=max(last_line_at, heard.get(file_id, 0))
        )
        row = {"file_id": file_id, "last_line_at": process.last_line_at, "heard": file_id in heard}
        gone_at = None
        if file_id in stopped:
            row["stopped_at"] = stopped[file_id]
        else:
            here = is_present(process, journals.get(file_id))
            gone_at = ended_at(process, here, now_us)
            row["gone_at"] = gone_at
            row["observed_at"] = now_us if here else None
            if gone_at is None:
                watched.append(process)
        rows.append(row)
    if rows:
        stage_rows(connection, "staged_watch", _WATCHED, rows)
        connection.rows(
            "UPDATE processes SET last_line_at = w.last_line_at, stopped_at = w.stopped_at, gone_at = w.gone_at,"
            " observed_at = CASE WHEN w.observed_at IS NULL THEN processes.observed_at ELSE w.observed_at END"
            " FROM staged_watch AS w WHERE w.file_id = processes.file_id"
            " AND (w.heard OR w.stopped_at IS NOT NULL OR w.gone_at IS NOT NULL OR w.observed_at IS NOT NULL)"
        )
    return tuple(watched)


def is_present(process: Watched, journal: JournalFile | None) -> bool | None:
    """Whether this process is on this machine and alive; None where this machine cannot tell."""
    if journal is None:
        return None
    return is_here(host=process.host, boot=process.boot, pid=process.pid, file_id=process.file_id, paths=journal.paths)


def ended_at(process: Watched, here: bool | None, now_us: int) -> int | None:
    """When a process that wrote no stop line is known to have ended, at the latest; None: it may still be there."""
    silent_at = process.last_line_at + SILENCE_US
    if here is False:
        return max(process.last_line_at, min(now_us, silent_at))
    if here is None and now_us >= silent_at:
        return silent_at
    return None


def _insert_readings(connection: Connection, turn: Turn) -> None:
    """Settle lines into `readings`, each call once; a second settle line of a call is located instead."""
    low, high = connection.rows("SELECT min(call_id), max(call_id) FROM staged_settle")[0]
    connection.rows(
        "CREATE OR REPLACE TEMP TABLE repeated_settle AS SELECT file_id, line_offset, call_id FROM staged_settle"
        " QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY file_id, line_offset) > 1"
        " OR call_id IN (SELECT r.call_id FROM readings AS r WHERE r.call_id BETWEEN $low AND $high)",
        {"low": low, "high": high},
    )
    repeated = connection.rows(
        "SELECT file_id, line_offset, call_id FROM repeated_settle ORDER BY file_id, line_offset"
    )
    if repeated:
        _locate(turn, repeated, "a second settle line of call")
        connection.rows(
            "DELETE FROM staged_settle AS s USING repeated_settle AS r"
            " WHERE r.file_id = s.file_id AND r.line_offset = s.line_offset"
        )
    connection.rows("INSERT INTO readings BY NAME SELECT * FROM staged_settle")
    connection.rows("DELETE FROM open_calls WHERE call_id IN (SELECT call_id FROM staged_settle)")
    connection.rows((_SQL / "ingest_twins.sql").read_text(encoding="utf-8"))
    if connection.rows(
        "SELECT 1 FROM staged_settle WHERE response_id IS NOT NULL"
        " AND CASE WHEN operation = 'create' THEN usage_source IS NULL ELSE usage_source IS NOT NULL END LIMIT 1"
    ):
        connection.rows((_SQL / "ingest_told.sql").read_text(encoding="utf-8"))


def _insert_starts(connection: Connection, turn: Turn) -> None:
    """Start lines into `open_calls`, but for calls that are settled already."""
    low, high = connection.rows("SELECT min(call_id), max(call_id) FROM staged_start")[0]
    connection.rows(
        "CREATE OR REPLACE TEMP TABLE repeated_start AS SELECT file_id, line_offset, call_id FROM staged_start"
        " QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY file_id, line_offset) > 1"
        " OR call_id IN (SELECT o.call_id FROM open_calls AS o)"
    )
    connection.rows(
        "INSERT INTO open_calls BY NAME SELECT s.* FROM staged_start AS s"
        " ANTI JOIN repeated_start AS r ON r.file_id = s.file_id AND r.line_offset = s.line_offset"
        " WHERE s.call_id NOT IN (SELECT r.call_id FROM readings AS r WHERE r.call_id BETWEEN $low AND $high)"
        " ORDER BY s.file_id, s.line_offset",
        {"low": low, "high": high},
    )
    _locate(
        turn,
        connection.rows("SELECT file_id, line_offset, call_id FROM repeated_start ORDER BY file_id, line_offset"),
        "a second start line of call",
    )


def _insert_marks(connection: Connection, kind: Kind) -> None:
    connection.rows(
        f"INSERT INTO marks BY NAME SELECT *, $kind AS kind FROM staged_{kind} ORDER BY file_id, line_offset",
        {"kind": str(kind)},
    )


def _keep_time_labels(connection: Connection) -> None:
    """Work out anew which stretches of time belong to imported runs, if there is any."""
    if connection.rows("SELECT 1 FROM marks WHERE marked_by = 'metrics' LIMIT 1"):
        connection.rows("DELETE FROM time_labels")
        connection.rows(
            "INSERT INTO time_labels BY NAME SELECT framework, run_id, step, from_at, to_at,"
            " unnest(range(date_trunc('minute', from_at), to_at, INTERVAL 1 MINUTE)) AS minute"
            " FROM imported_times ORDER BY framework, from_at, minute"
        )


def _locate(turn: Turn, places: Iterable[tuple[Any, ...]], reason: str) -> None:
    paths = {stretch.journal.file_id: stretch.journal.path for stretch in turn.stretches}
    for file_id, offset, call_id in places:
        turn.problems.append(Problem(path=paths[file_id], offset=offset, reason=f"{reason} {call_id}"))


def _log(connection: Connection, turn: Turn, settled: bool, now_us: int) -> int:
    """Note how far each journal is carried; answers the readings made."""
    if not turn.stretches:
        return 0
    stage_rows(
        connection,
        "staged_offsets",
        _CARRIED,
        [{"file_id": stretch.journal.file_id, "end_offset": stretch.end, "at": now_us} for stretch in turn.stretches],
    )
    made = (
        "SELECT s.file_id, count(*) AS rows FROM staged_settle AS s GROUP BY s.file_id"
        if settled
        else "SELECT '' AS file_id, 0 AS rows"
    )
    connection.rows(
        "INSERT INTO ingest_log BY NAME"
        ' SELECT o.file_id, o.end_offset, CASE WHEN m.rows IS NULL THEN 0 ELSE m.rows END AS rows, o."at" AS "at"'
        f" FROM staged_offsets AS o LEFT JOIN ({made}) AS m ON m.file_id = o.file_id ORDER BY o.file_id"
    )
    return int(connection.rows(f"SELECT CAST(sum(rows) AS BIGINT) FROM ({made})")[0][0] or 0)
