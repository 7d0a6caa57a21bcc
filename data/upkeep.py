"""Housekeeping of a ledger: is it what its journals say, and a copy of it for others.

A check reads every journal again from its first byte into a second, passing ledger, and sets the two side by
side; nothing is taken on trust from the first. Findings are values, each with its place. Here is no import of DuckDB
and no lock: `ledger` opens what is needed and hands over connections.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from .clock import Clock
from .columns import Kind
from .error import SubmeterError
from .ingest import carry_turn
from .presence import is_held
from .rebuild import writers_of
from .replay import NOT_JSON, JournalFile, Line, Problem, Survey, read_all
from .staging import Connection
from .system import open_file, words

_NUMBERED = re.compile(rb'{"v":\d+,"kind":"(\w+)","seq":(\d+),')

COMPARED = {
    "readings": "*",
    "open_calls": "*",
    "twins": "*",
    "time_labels": "*",
    "additions": "*",
    "keys": "*",
    "marks": "*",
    "usage_reads": "*",
    "usage_buckets": "*",
    "audits": "*",
    "inferred": "*",
    "gaps": "*",
    "process_skew_steps": "*",
    "processes": "* EXCLUDE (observed_at, gone_at)",
}
"""What must be the same in a ledger and in one built anew. When a process was seen alive or gone is not in a journal,
and `ingest_log` says when lines came in, not which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Lines that a process numbered and that are not in its journal."""

    path: Path
    first_seq: int
    lines: int
    announced: bool
    """Whether `gap` lines of this journal account for them (a full disk); if not, somebody changed the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time in which a process could not write. Microseconds UTC."""

    path: Path
    from_at: int
    to_at: int
    calls: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check of a ledger against its journals found."""

    journals: int
    lines: int
    """Whole lines in all journals, decoded."""
    rows: int
    """Readings in the ledger."""
    problems: tuple[Problem, ...] = ()
    """Lines that cannot be carried, torn ones included, pages that are missing, files of nobody."""
    holes: tuple[Hole, ...] = ()
    gaps: tuple[Gap, ...] = ()
    differences: tuple[str, ...] = ()
    """Where the ledger is not what its journals say, in words."""
    bytes_waiting: int = 0
    """Journal bytes, up to the last whole line, that are not in the ledger yet."""
    unfinished: tuple[Problem, ...] = ()
    """Last lines without their newline: being written now, or by a process that was killed in the middle of a write.
    What such a line would have told had not happened yet, as far as any client could see."""
    repaired: tuple[Problem, ...] = ()
    """Torn lines that the same process wrote again, whole, once its disk took them: nothing is missing there."""
    unended: tuple[Path, ...] = ()
    """Journals without a stop line that nobody here writes: killed, stopped on a full disk, or of another host."""
    only_record: bool = False
    """Whether journals or pages that the ledger was built from are gone or cut short: it alone has their rows."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found: no line unread, missing, unannounced or waiting, and the ledger is as told."""
        return not (self.problems or self.holes or self.gaps or self.differences or self.bytes_waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a ledger holds, in figures that can be compared."""

    digests: dict[str, tuple[int, int]]
    """Rows and a digest without order, by table."""
    offsets: dict[str, int]
    logged_rows: int
    repeated_calls: tuple[str, ...]
    """Calls that are in `readings` more than once."""
    good_reads: frozenset[tuple[str, int]]
    """Places of the reads of the Usage API that are good."""
    writers: dict[str, str]
    """Whose each journal is, in words."""


def carry_all(connection: Connection, survey: Survey, *, reads: Path, clock: Clock) -> list[Problem]:
    """Carry every whole line of a survey into an empty ledger; answers what could not be carried."""
    problems = list(survey.problems)
    while True:
        turn = carry_turn(connection, survey, reads=reads, clock=clock)
        problems.extend(turn.problems)
        if not turn.more:
            return problems


def read_contents(connection: Connection) -> Contents:
    """Sum up a ledger."""
    digests = {}
    for table, columns in COMPARED.items():
        count, digest = connection.rows(
            f"SELECT count(*), CAST(sum(hash(t)) AS HUGEINT) FROM (SELECT {columns} FROM {table}) AS t"
        )[0]
        digests[table] = (count, digest or 0)
    offsets = dict(connection.rows("SELECT file_id, max(end_offset) FROM ingest_log GROUP BY file_id"))
    logged = connection.rows("SELECT CAST(sum(rows) AS BIGINT) FROM ingest_log")[0][0]
    repeated = connection.rows(
        "SELECT call_id FROM readings GROUP BY call_id HAVING count(*) > 1 ORDER BY call_id LIMIT 100"
    )
    good_reads = connection.rows("SELECT file_id, line_offset FROM usage_reads WHERE good")
    return Contents(
        digests=digests,
        offsets=offsets,
        logged_rows=logged or 0,
        repeated_calls=tuple(row[0] for row in repeated),
        good_reads=frozenset((file_id, offset) for file_id, offset in good_reads),
        writers=writers_of(connection),
    )


def up_to(survey: Survey, offsets: dict[str, int]) -> Survey:
    """The survey as it was when a ledger had carried so much of each journal."""
    return replace(
        survey,
        journals=tuple(
            replace(journal, size=offsets[journal.file_id])
            for journal in survey.journals
            if offsets.get(journal.file_id, 0) > 0
        ),
    )


def compare(found: Contents, told: Contents, survey: Survey) -> list[str]:
    """Where a ledger (`found`) is not what its journals say (`told`), in words."""
    differences = []
    sizes = {journal.file_id: journal.size for journal in survey.journals}
    for file_id, offset in sorted(found.offsets.items()):
        if file_id not in sizes:
            whose = found.writers.get(file_id)
            told_of = f" ({whose})" if whose else ""
            differences.append(f"journal {file_id} is in the ledger, but its file is gone{told_of}")
        elif sizes[file_id] < offset:
            differences.append(f"journal {file_id} is {sizes[file_id]} bytes long, but {offset} were carried in")
    came = len(told.good_reads - found.good_reads)
    if came:
        reads, their = ("read", "its") if came == 1 else ("reads", "their")
        differences.append(
            f"{came} {reads} of the Usage API came in before {their} pages, which are there now:"
            " submeter ledger rebuild takes them in"
        )
    gone = len(found.good_reads - told.good_reads)
    if gone:
        reads = "read of the Usage API that is" if gone == 1 else "reads of the Usage API that are"
        differences.append(f"the pages of {gone} {reads} good in the ledger are gone or damaged")
    for table, (count, digest) in found.digests.items():
        told_count, told_digest = told.digests[table]
        if count != told_count:
            differences.append(f"{table} has {count} rows; the journals tell of {told_count}")
        elif digest != told_digest:
            differences.append(f"{table} has the right number of rows, but not the right ones")
    readings = found.digests["readings"][0]
    if found.logged_rows != readings:
        differences.append(f"readings has {readings} rows; ingest_log tells of {found.logged_rows}")
    differences.extend(f"call {call_id} is in readings more than once" for call_id in found.repeated_calls)
    return differences


def _is_only_record(found: Contents, told: Contents, survey: Survey) -> bool:
    """Whether the ledger knows of more than its journals and pages still tell."""
    sizes = {journal.file_id: journal.size for journal in survey.journals}
    shorter = any(sizes.get(file_id, 0) < offset for file_id, offset in found.offsets.items())
    return shorter or bool(found.good_reads - told.good_reads)


def scan(journal: JournalFile) -> tuple[int, list[Hole], list[Gap], list[Problem], bool]:
    """How many lines of a journal decode, holes in their numbering, gaps, torn lines made good, whether it stops."""
    lines = 0
    stopped = False
    gaps: list[Gap] = []
    torn: list[_Torn] = []
    repaired: list[Problem] = []
    missing: dict[int, int] = {}
    expected = 0
    for stretch in read_all(journal):
        torn += [_torn(journal, problem.offset) for problem in stretch.problems if problem.reason == NOT_JSON]
        for line in stretch.lines:
            lines += 1
            for part in [part for part in torn if part.offset < line.offset]:
                if part.is_begun_in(line, expected):
                    reason = f"torn, and written whole at byte {line.offset}"
                    repaired.append(Problem(path=journal.path, offset=part.offset, reason=reason))
                if part.is_begun_in(line, expected) or part.seq is None:
                    torn.remove(part)
            if line.seq > expected:
                missing[expected] = line.seq - expected
            elif line.seq < expected:
                _found_late(missing, line.seq)
            expected = max(expected, line.seq + 1)
            stopped = line.kind is Kind.STOP
            if line.kind is Kind.GAP:
                gap = line.fields
                gaps.append(
                    Gap(
                        path=journal.path,
                        from_at=gap["from"],
                        to_at=gap["to"],
                        calls=gap["calls"],
                        lines=gap["lines"],
                    )
                )
    announced = sum(missing.values()) <= sum(gap.lines for gap in gaps)
    holes = [
        Hole(path=journal.path, first_seq=first, lines=count, announced=announced)
        for first, count in sorted(missing.items())
    ]
    return lines, holes, gaps, repaired, stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Torn:
    """What stands in a journal of a line that was not written whole."""

    offset: int
    text: bytes
    kind: str | None
    seq: int | None
    """Its number; None: it was torn before that."""

    def is_begun_in(self, line: Line, expected: int) -> bool:
        """Whether `line` is this one written whole, where the next number is `expected`.

        A line that waits is written again byte for byte, but for a gap line, which is made anew. Torn before its
        number, it can only be the line that follows, and only if no number is left out there.
        """
        if self.seq is None:
            return line.seq <= expected and line.raw.startswith(self.text)
        return line.seq == self.seq and (self.kind == line.kind == Kind.GAP or line.raw.startswith(self.text))


def _torn(journal: JournalFile, offset: int) -> _Torn:
    with os.fdopen(open_file(journal.path), "rb") as file:
        file.seek(offset)
        text = file.readline().strip()
    numbered = _NUMBERED.match(text)
    kind, seq = (numbered[1].decode(), int(numbered[2])) if numbered else (None, None)
    return _Torn(offset=offset, text=text, kind=kind, seq=seq)


def _found_late(missing: dict[int, int], seq: int) -> None:
    """Take one number out of the missing ones, by first number and count (a gap line goes before what follows it)."""
    for first, count in missing.items():
        if first <= seq < first + count:
            del missing[first]
            if seq > first:
                missing[first] = seq - first
            if seq + 1 < first + count:
                missing[seq + 1] = first + count - seq - 1
            return


def check_report(found: Contents, told: Contents, survey: Survey, problems: list[Problem]) -> CheckReport:
    """A ledger's contents (`found`) set against those of one built anew (`told`), and every journal looked through."""
    scanned = [scan(journal) for journal in survey.journals]
    repaired = [problem for _, _, _, found_good, _ in scanned for problem in found_good]
    unended = [
        journal.path
        for journal, (*_, stopped) in zip(survey.journals, scanned, strict=True)
        if not (stopped or is_held(journal.paths))
    ]
    made_good = {(problem.path, problem.offset) for problem in repaired}
    waiting = 0
    unfinished = []
    for journal in survey.journals:
        offset = found.offsets.get(journal.file_id, 0)
        whole = _whole_bytes(journal, offset)
        waiting += whole
        if offset + whole < journal.size:
            unfinished.append(Problem(path=journal.path, offset=offset + whole, reason="a line without its end"))
    return CheckReport(
        journals=len(survey.journals),
        lines=sum(lines for lines, *_ in scanned),
        rows=found.digests["readings"][0],
        problems=tuple(problem for problem in problems if (problem.path, problem.offset) not in made_good),
        holes=tuple(hole for _, holes, *_ in scanned for hole in holes),
        gaps=tuple(gap for _, _, gaps, *_ in scanned for gap in gaps),
        differences=tuple(compare(found, told, survey)),
        only_record=_is_only_record(found, told, survey),
        bytes_waiting=waiting,
        unfinished=tuple(unfinished),
        repaired=tuple(repaired),
        unended=tuple(unended),
    )


def _whole_bytes(journal: JournalFile, start: int) -> int:
    """Bytes of whole lines after `start`."""
    if journal.size <= start:
        return 0
    with os.fdopen(open_file(journal.path), "rb") as file:
        file.seek(start)
        return file.read(journal.size - start).rfind(b"\n") + 1


def sync_file(path: Path) -> None:
    """Wait until a closed file is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(path: Path, to: Path) -> None:
    """Copy a closed ledger to `to`, 0600, in the place of what is there in one step. Raises `SubmeterError`."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)
        try:
            with path.open("rb") as source, os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
                copy.flush()
                os.fsync(copy.fileno())
            os.replace(name, to)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SubmeterError(
            f"The snapshot cannot be written: {to}",
            f"{words(error)}.",
            "Choose another place: submeter ledger snapshot PATH",
        ) from error
