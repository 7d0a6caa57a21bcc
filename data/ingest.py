"""Carries journal lines into the tables: rows and byte offsets in one transaction, each line once, whatever happens.

A turn is a few megabytes of whole lines, so that the ledger is never held for long. What cannot be carried is located
and never stops the rest. Here is what each kind of line becomes; how the file is opened and locked is `ledger`'s
affair, and nothing here imports DuckDB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from .clock import Clock
from .columns import LINES, TIME_US_MAX, Form, Kind
from .presence import Watched, ended_at, is_present
from .questions import read_sql
from .read_lines import insert_reads, stage_reads
from .replay import Line, Problem, Stretch, Survey, read_stretch
from .staging import Connection, PlacedLine, StatementRefusedError, stage_lines

TURN_BYTES = 8 * 1024 * 1024
"""Journal bytes carried in one transaction: about 12,000 lines, well under a second of holding the ledger."""

TABLES = {
    Kind.READ: "additions",
    Kind.KEY: "keys",
    Kind.AUDIT: "audits",
    Kind.INFERRED: "inferred",
    Kind.GAP: "gaps",
}
"""Kinds whose lines each become one row of one table, name by name."""

CALL_COLUMNS: dict[str, Form] = {"kind": Form.TEXT, **LINES[Kind.SETTLE].columns}
"""A settle line repeats its start line, so that both kinds are staged as one table: `staged_calls`."""


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
        _insert_processes(connection, Kind.PROCESS in staged.kinds)
        turn.watched = _note_presence(connection, survey, turn, heard, now_us)
        made = _insert_readings(connection, turn, staged.settles) if staged.settles else Counter[str]()
        if staged.starts:
            _insert_starts(connection, turn, staged.starts)
        for kind in (Kind.RUN, Kind.STEP):
            if kind in staged.kinds:
                _insert_marks(connection, kind)
        if Kind.RUN in staged.kinds or Kind.STEP in staged.kinds:
            _keep_time_labels(connection)
        for kind, table in TABLES.items():
            if kind in staged.kinds:
                connection.rows(f"INSERT INTO {table} BY NAME SELECT * FROM staged_{kind}")
        if staged.reads:
            insert_reads(connection)
        _log(connection, turn, made, now_us)
        turn.rows = made.total()
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
            turn.problems.extend(stretch.problems)
            continue
        left -= stretch.end - start
        turn.more = turn.more or stretch.more
        turn.stretches.append(stretch)
        turn.problems.extend(stretch.problems)
        turn.lines += len(stretch.lines)
    return turn


@dataclass(slots=True)
class _Staged:
    """Which temporary tables were made of a turn's lines."""

    settles: list[PlacedLine] = field(default_factory=list)
    """In `staged_calls`, of kind `settle`."""
    starts: list[PlacedLine] = field(default_factory=list)
    """In `staged_calls`, of kind `start`: those alone whose call did not end in the same turn."""
    kinds: set[Kind] = field(default_factory=set)
    """Of the other kinds: those with a table `staged_<kind>`."""
    reads: bool = False
    """Whether reads of the Usage API were staged and judged."""


def _stage(connection: Connection, turn: Turn, reads: Path) -> _Staged:
    """Make temporary tables of this turn's lines."""
    by_kind: dict[Kind, list[PlacedLine]] = {}
    for stretch in turn.stretches:
        file_id = stretch.journal.file_id
        for line in stretch.lines:
            kind = line.kind
            if kind is Kind.STOP or (kind is Kind.PROCESS and _is_second_process_line(stretch, line, turn)):
                continue
            by_kind.setdefault(kind, []).append((file_id, line))
    staged, refused = _stage_calls(connection, by_kind.pop(Kind.SETTLE, []), by_kind.pop(Kind.START, []))
    read_lines = by_kind.pop(Kind.USAGE_READ, [])
    if read_lines:
        kept, unread, wrong = stage_reads(connection, reads, read_lines)
        refused += unread
        staged.reads = bool(kept)
        _locate(turn, wrong)
    for kind, lines in by_kind.items():
        refused += stage_lines(connection, f"staged_{kind}", LINES[kind].columns, lines)
        staged.kinds.add(kind)
    _locate(turn, ((file_id, line.offset, f"{line.kind}: DuckDB cannot read it") for file_id, line in refused))
    return staged


def _stage_calls(
    connection: Connection, settles: list[PlacedLine], starts: list[PlacedLine]
) -> tuple[_Staged, list[PlacedLine]]:
    """Settle lines, and start lines of calls that did not end, into `staged_calls`; and those that DuckDB refused."""
    refused: list[PlacedLine] = []
    while True:
        settled = {line.call_id for _, line in settles}
        waiting = [placed for placed in starts if placed[1].call_id not in settled]
        if not settles and not waiting:
            return _Staged(), refused
        found = stage_lines(connection, "staged_calls", CALL_COLUMNS, settles + waiting)
        if not found:
            return _Staged(settles=settles, starts=waiting), refused
        # A start line stands again where its settle line was refused.
        refused += found
        bad = {id(line) for _, line in found}
        settles = [placed for placed in settles if id(placed[1]) not in bad]
        starts = [placed for placed in starts if id(placed[1]) not in bad]


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
    watched = []
    news: list[dict[str, str | int | None]] = []
    for file_id, host, boot, pid, last_line_at, gone in known:
        if gone and file_id not in heard:
            continue
        process = Watched(
            file_id=file_id, host=host, boot=boot, pid=pid, last_line_at=max(last_line_at, heard.get(file_id, 0))
        )
        stopped_at, observed_at, gone_at = stopped.get(file_id), None, None
        if stopped_at is None:
            here = is_present(process, journals.get(file_id))
            gone_at = ended_at(process, here, now_us)
            observed_at = now_us if here else None
            if gone_at is None:
                watched.append(process)
        if file_id in heard or stopped_at is not None or gone_at is not None or observed_at is not None:
            news.append(
                {
                    "file_id": file_id,
                    "last_line_at": process.last_line_at,
                    "observed_at": observed_at,
                    "stopped_at": stopped_at,
                    "gone_at": gone_at,
                }
            )
    if news:
        # As JSON text: DuckDB's Python looks for pandas on the disk at each value, and at each of a list's.
        connection.rows(read_sql("ingest_presence"), {"processes": orjson.dumps(news).decode()})
    return tuple(watched)


def _insert_readings(connection: Connection, turn: Turn, settles: Sequence[PlacedLine]) -> Counter[str]:
    """Settle lines into `readings`, each call once; a second settle line of a call is located instead.

    Answers how many readings each journal made.
    """
    made = Counter(file_id for file_id, _ in settles)
    low, high, alone = _span_of_ids(settles)
    times = [min(line.started_at, TIME_US_MAX) for _, line in settles]
    known, twin, answers = connection.rows(
        read_sql("ingest_probe"), {"low": low, "high": high, "first": min(times), "last": max(times)}
    )[0]
    if known or not alone:
        stored = "SELECT r.call_id FROM readings AS r WHERE r.call_id BETWEEN $low AND $high"
        made.subtract(_take_out(connection, turn, Kind.SETTLE, stored, {"low": low, "high": high}))
    connection.rows("INSERT INTO readings BY NAME SELECT * EXCLUDE (kind) FROM staged_calls WHERE kind = 'settle'")
    connection.rows(
        "DELETE FROM open_calls WHERE call_id IN (SELECT s.call_id FROM staged_calls AS s WHERE s.kind = 'settle')"
    )
    if twin:
        connection.rows(read_sql("ingest_twins"), {"first": min(times), "last": max(times)})
    if answers:
        connection.rows(read_sql("ingest_told"))
    connection.rows(read_sql("ingest_skews"))
    return made


def _insert_starts(connection: Connection, turn: Turn, starts: Sequence[PlacedLine]) -> None:
    """Start lines into `open_calls`, but for calls that are settled already; a second one is located instead."""
    low, high, alone = _span_of_ids(starts)
    if not alone or connection.rows(
        "SELECT 1 FROM open_calls"
        " WHERE call_id IN (SELECT s.call_id FROM staged_calls AS s WHERE s.kind = 'start') LIMIT 1"
    ):
        _take_out(connection, turn, Kind.START, "SELECT o.call_id FROM open_calls AS o", {})
    names = ", ".join((*LINES[Kind.START].columns, "file_id", "line_offset", '"at"'))
    connection.rows(
        f"INSERT INTO open_calls BY NAME SELECT {names} FROM staged_calls WHERE kind = 'start' AND call_id NOT IN"
        " (SELECT r.call_id FROM readings AS r WHERE r.call_id BETWEEN $low AND $high)",
        {"low": low, "high": high},
    )


def _span_of_ids(lines: Sequence[PlacedLine]) -> tuple[str, str, bool]:
    """The first and last of these lines' call ids, between which few others lie, and whether each is there once."""
    ids = {line.call_id for _, line in lines}
    return min(ids), max(ids), len(ids) == len(lines)


def _take_out(
    connection: Connection, turn: Turn, kind: Kind, known: str, parameters: Mapping[str, object]
) -> Counter[str]:
    """Locate the lines of this kind that repeat another of the turn, or a call that is `known`; they make no row.

    Answers how many there were in each journal.
    """
    connection.rows(
        "CREATE OR REPLACE TEMP TABLE repeated AS SELECT file_id, line_offset, call_id FROM staged_calls"
        " WHERE kind = $kind QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY file_id, line_offset) > 1"
        f" OR call_id IN ({known})",
        {"kind": str(kind), **parameters},
    )
    places = connection.rows("SELECT file_id, line_offset, call_id FROM repeated ORDER BY file_id, line_offset")
    _locate(turn, ((file_id, offset, f"a second {kind} line of call {call_id}") for file_id, offset, call_id in places))
    connection.rows(
        "DELETE FROM staged_calls AS s USING repeated AS r"
        " WHERE r.file_id = s.file_id AND r.line_offset = s.line_offset"
    )
    return Counter(file_id for file_id, _, _ in places)


def _insert_marks(connection: Connection, kind: Kind) -> None:
    connection.rows(
        f"INSERT INTO marks BY NAME SELECT *, $kind AS kind FROM staged_{kind} ORDER BY file_id, line_offset",
        {"kind": str(kind)},
    )


def _keep_time_labels(connection: Connection) -> None:
    """Work out anew which stretches of time belong to imported runs, if there is any."""
    if connection.rows("SELECT 1 FROM marks WHERE marked_by = 'metrics' LIMIT 1"):
        connection.rows(read_sql("ingest_time_labels"))


def _locate(turn: Turn, places: Iterable[tuple[str, int, str]]) -> None:
    """Note places by file_id and offset, and what is wrong there."""
    paths = {stretch.journal.file_id: stretch.journal.path for stretch in turn.stretches}
    turn.problems.extend(
        Problem(path=paths[file_id], offset=offset, reason=reason) for file_id, offset, reason in places
    )


def _log(connection: Connection, turn: Turn, made: Mapping[str, int], now_us: int) -> None:
    """Note how far each journal is carried, and how many readings it made."""
    if turn.stretches:
        ends = {stretch.journal.file_id: stretch.end for stretch in turn.stretches}
        log = [{"file_id": file_id, "end_offset": end, "rows": made.get(file_id, 0)} for file_id, end in ends.items()]
        connection.rows(read_sql("ingest_log"), {"log": orjson.dumps(log).decode(), "now_us": now_us})
