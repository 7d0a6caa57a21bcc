"""Lines that a journal's disk would not take before the end: kept in another place, as a journal of their own.

The file may simply be moved into the journal folder: it has a process line, and its lines are numbered anew. Where no
other disk takes it either, the lines go to the log, one by one. Nothing here knows why the disk would not take them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .error import SubmeterError
from .journal_line import FORMAT, encode_line

MEMORY_DISK = Path("/dev/shm")
CANNOT_TELL = 3
_HEAD = re.compile(rb'\{"v":\d+,"kind":"(\w+)","seq":\d+,')
_OWN_KINDS = (b"process", b"stop")
"""Kinds of lines that the new journal has of its own."""

logger = logging.getLogger("submeter.data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """Lines that are not in their journal, and where they are."""

    journal: Path
    lines: int
    rescued: Path | None
    """None: no other disk took them; they are in the log."""

    def error(self) -> SubmeterError:
        """What a user is told."""
        if self.rescued is None:
            where = "No other disk took them; each was written to stderr, from which it may be put back."
            next_step = f"Make room, and put those lines into a file of {self.journal.parent}"
        else:
            where = f"They are kept in {self.rescued}"
            next_step = f"Make room, then: mv {shlex.quote(str(self.rescued))} {shlex.quote(str(self.journal.parent))}"
        return SubmeterError(
            f"{self.lines:,} lines could not be written to {self.journal}", where, next_step, exit_code=CANNOT_TELL
        )


def rescue(
    stem: str, lines: Sequence[bytes], *, process: Mapping[str, Any], gap: Mapping[str, Any] | None, now_us: int
) -> Path | None:
    """Write these lines as a journal to the first disk that takes them; None, and each to the log, where none does.

    `gap`: what is to be announced with them, of lines that memory did not hold.
    """
    texts = list(_numbered(lines, process, gap, now_us))
    data = b"".join(texts)
    for folder in _folders():
        with contextlib.suppress(OSError):
            return _write(folder, stem, data)
    for text in texts:
        logger.error("%s", text.decode("utf-8").rstrip())
    return None


def call_id_of(line: bytes) -> str | None:
    """The call that a waiting line is of."""
    call_id = orjson.loads(line).get("call_id")
    return call_id if isinstance(call_id, str) else None


def kind_of(line: bytes) -> str:
    """The kind of a waiting line."""
    return str(orjson.loads(line)["kind"])


def written_at(line: bytes) -> int:
    """When a waiting line was made, in microseconds UTC."""
    return int(orjson.loads(line)["at"])


def _numbered(
    lines: Sequence[bytes], process: Mapping[str, Any], gap: Mapping[str, Any] | None, now_us: int
) -> Iterator[bytes]:
    seq = 0
    yield encode_line({"v": FORMAT, "kind": "process", "seq": seq, "at": now_us, **process})
    for line in lines:
        head = _HEAD.match(line)
        if head is None or head[1] in _OWN_KINDS:
            continue
        seq += 1
        yield b'{"v":%d,"kind":"%b","seq":%d,' % (FORMAT, head[1], seq) + line[head.end() :]
    for kind, fields in (("gap", gap), ("stop", {})):
        if fields is not None:
            seq += 1
            yield encode_line({"v": FORMAT, "kind": kind, "seq": seq, "at": now_us, **fields})


def _folders() -> Iterator[Path]:
    """Where another disk may be."""
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())
    with contextlib.suppress(RuntimeError):
        yield Path.home()
    yield MEMORY_DISK


def _write(folder: Path, stem: str, data: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f"{stem}-", suffix=".jsonl", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
