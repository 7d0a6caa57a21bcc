"""The journal's reading end: which files there are, whose they are, and the whole lines in them.

A journal's identity is the `file_id` of its process line, not its path: a copied, moved or renamed file is the same
journal. Only whole lines are read, up to the last newline; what cannot be decoded is located (path, offset, reason)
and never stops the rest. Never here: DuckDB, and any opinion on what a line means for the ledger.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from .columns import TIME_US_MAX, Kind, misfit
from .error import SubmeterError
from .journal_line import FORMAT
from .system import check_file, exit_code_of, open_file, read_file, words

SUFFIX = ".jsonl"
HEAD_BYTES_MAX = 1024 * 1024
"""How far into a file its process line is looked for: it is the first whole line, behind a torn one at most."""
PIECE_BYTES = 1024 * 1024
COMPARED_BYTES = 64 * 1024
KINDS = {str(kind): kind for kind in Kind}
CALLS = frozenset({Kind.START, Kind.SETTLE})
NO_FIELDS: dict[str, Any] = {}
NEWER = "written by a newer submeter"
NOT_JSON = "not JSON: torn, or not written by submeter"
OUR_NAMES = ("journal_file_id", "journal_offset")
"""Written in front of each line for the bulk load; a line that brings them itself is not one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A place in a journal that could not be carried into the ledger, and why."""

    path: Path
    offset: int
    """Bytes from the start of the file to the start of the line."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFile:
    """One journal: the longest file of its `file_id`."""

    file_id: str
    path: Path
    size: int
    """Bytes, when it was looked at; it may have grown since."""
    paths: tuple[Path, ...]
    """Every file of this `file_id`, copies included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What lies in a journal folder."""

    journals: tuple[JournalFile, ...]
    """In the order of their `file_id`, so that every reading of a folder goes the same way."""
    problems: tuple[Problem, ...]
    footprint: tuple[tuple[str, int, int, int], ...]
    """Name, inode, size and time of change of each file: equal footprints, nothing new."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One decoded line and where it stood. Never changed; not frozen, which would double what a line costs to make."""

    kind: Kind
    seq: int
    at: int
    """Microseconds UTC: when it was written."""
    offset: int
    raw: bytes
    """The JSON object as written, without the newline and without blanks in front."""
    fields: dict[str, Any]
    """The parsed object; nothing of a start or settle line, for they come by the thousand."""
    call_id: str = ""
    """Of a start or settle line."""
    started_at: int = 0
    """Of a start or settle line; microseconds UTC."""


@dataclass(slots=True)
class Stretch:
    """The whole lines of one journal from `start` to `end`."""

    journal: JournalFile
    start: int
    end: int
    more: bool
    """Whether the file goes on after what was read."""
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Reader:
    """Reads one journal folder again and again, and remembers whose each file is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owners: dict[tuple[str, int], str] = {}
        self._compared: dict[tuple[str, str, int], bool] = {}

    def survey(self) -> Survey:
        """Look at every `*.jsonl` of the folder; a folder that is not there is an empty one."""
        footprint: list[tuple[str, int, int, int]] = []
        problems: list[Problem] = []
        try:
            with os.scandir(self.folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise SubmeterError(
                f"The journal folder cannot be read: {self.folder}",
                f"The system says: {words(error)}.",
                "Mend its permissions, or name another ledger with --ledger PATH; see: submeter doctor",
                exit_code=exit_code_of(error),
            ) from error
        for name in names:
            try:
                status = check_file(self.folder / name)
            except FileNotFoundError:
                continue  # Taken away meanwhile.
            except OSError as error:
                problems.append(Problem(path=self.folder / name, offset=0, reason=f"cannot be read: {words(error)}"))
                continue
            footprint.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
        by_owner: dict[str, list[tuple[int, Path]]] = {}
        for name, inode, size, _ in footprint:
            path = self.folder / name
            owner = self._owners.get((name, inode)) or self._owner(path, size, problems)
            if owner is not None:
                self._owners[(name, inode)] = owner
                by_owner.setdefault(owner, []).append((size, path))
        journals = [self._longest(owner, files, problems) for owner, files in sorted(by_owner.items())]
        return Survey(journals=tuple(journals), problems=tuple(problems), footprint=tuple(footprint))

    def _owner(self, path: Path, size: int, problems: list[Problem]) -> str | None:
        """The `file_id` of the process line; None, and a problem where there are whole lines but not that one."""
        if not size:
            return None
        try:
            head = read_file(path, HEAD_BYTES_MAX)
        except OSError as error:
            problems.append(Problem(path=path, offset=0, reason=f"cannot be read: {words(error)}"))
            return None
        refused = "no process line: nobody knows whose journal this is"
        whole = head[: head.rfind(b"\n") + 1]
        for line in whole.split(b"\n"):
            if b'"process"' not in line:
                continue
            decoded = decode(line, 0)
            if isinstance(decoded, Line) and decoded.kind is Kind.PROCESS:
                return str(decoded.fields["file_id"])
            if isinstance(decoded, str) and decoded.startswith(NEWER):
                refused = decoded
        if whole:
            problems.append(Problem(path=path, offset=0, reason=refused))
        return None

    def _longest(self, file_id: str, files: list[tuple[int, Path]], problems: list[Problem]) -> JournalFile:
        """The longest file, after a look at whether the others are its beginning."""
        files.sort(key=lambda file: (-file[0], file[1].name))
        size, path = files[0]
        for other_size, other in files[1:]:
            key = (path.name, other.name, other_size)
            if key not in self._compared:
                self._compared[key] = _is_prefix(other, path, other_size)
            if not self._compared[key]:
                problems.append(
                    Problem(path=other, offset=0, reason=f"same file_id as {path.name}, but not its beginning")
                )
        return JournalFile(file_id=file_id, path=path, size=size, paths=tuple(sorted(other for _, other in files)))


def _is_prefix(shorter: Path, longer: Path, size: int) -> bool:
    """Whether the first and last 64 KiB of `shorter` stand at the same places of `longer`."""
    try:
        with os.fdopen(open_file(shorter), "rb") as one, os.fdopen(open_file(longer), "rb") as two:
            for offset in (0, max(0, size - COMPARED_BYTES)):
                one.seek(offset)
                two.seek(offset)
                length = min(COMPARED_BYTES, size - offset)
                if one.read(length) != two.read(length):
                    return False
    except OSError:
        return False
    return True


def read_stretch(journal: JournalFile, start: int, bytes_max: int) -> Stretch:
    """The whole lines after byte `start` and within the journal's `size`, about `bytes_max` bytes of them.

    A line longer than `bytes_max` is passed by and located: none of ours is over 64 KiB. Nothing, and a problem, where
    the system does not let the file be read.
    """
    wanted = min(bytes_max, max(0, journal.size - start))
    try:
        with os.fdopen(open_file(journal.path), "rb") as file:
            file.seek(start)
            data = file.read(wanted)
            end = data.rfind(b"\n") + 1
            if not end and len(data) == bytes_max:
                return _pass_by(journal, start, file, len(data))
            more = start + len(data) < journal.size
    except OSError as error:
        problem = Problem(path=journal.path, offset=start, reason=f"cannot be read: {words(error)}")
        return Stretch(journal=journal, start=start, end=start, more=False, problems=[problem])
    stretch = Stretch(journal=journal, start=start, end=start + end, more=more)
    offset = start
    for text in data[:end].split(b"\n")[:-1]:
        if text and not text.isspace():
            decoded = decode(text, offset)
            if isinstance(decoded, Line):
                stretch.lines.append(decoded)
            else:
                stretch.problems.append(Problem(path=journal.path, offset=offset, reason=decoded))
        offset += len(text) + 1
    return stretch


def _pass_by(journal: JournalFile, start: int, file: Any, read: int) -> Stretch:
    length = read
    while piece := file.read(PIECE_BYTES):
        newline = piece.find(b"\n")
        if newline >= 0:
            length += newline + 1
            problem = Problem(path=journal.path, offset=start, reason=f"a line of {length - 1} bytes")
            return Stretch(journal=journal, start=start, end=start + length, more=True, problems=[problem])
        length += len(piece)
    return Stretch(journal=journal, start=start, end=start, more=False)


def read_all(journal: JournalFile, bytes_max: int = 4 * PIECE_BYTES) -> Iterator[Stretch]:
    """Every whole line of a journal from its beginning, stretch by stretch."""
    start = 0
    while True:
        stretch = read_stretch(journal, start, bytes_max)
        yield stretch
        if not stretch.more or stretch.end == start:
            return
        start = stretch.end


def decode(text: bytes, offset: int) -> Line | str:
    """One line as written, or the reason why it is none."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return NOT_JSON
    if type(fields) is not dict:
        return "not a JSON object"
    version = fields.get("v")
    if type(version) is int and version > FORMAT:
        return f"{NEWER} (format {version}): pipx upgrade submeter"
    if version != FORMAT:
        return f"format {version!r} is not known to this version"
    named = fields.get("kind")
    if type(named) is not str or named not in KINDS:
        return f"kind {named!r} is not known to this version"
    kind = KINDS[named]
    seq, at = fields.get("seq"), fields.get("at")
    if type(seq) is not int or seq < 0:
        return "seq is not a count"
    if type(at) is not int or not 0 <= at <= TIME_US_MAX:
        return "at is not a time"
    for name in OUR_NAMES:
        if name in fields:
            return f"{name} is not a field of a line"
    reason = misfit(kind, fields)
    if reason is not None:
        return f"{kind}: {reason}"
    if kind in CALLS:
        return Line(
            kind=kind,
            seq=seq,
            at=at,
            offset=offset,
            raw=text.strip(),
            fields=NO_FIELDS,
            call_id=fields["call_id"],
            started_at=fields["started_at"],
        )
    return Line(kind=kind, seq=seq, at=at, offset=offset, raw=text.strip(), fields=fields)
