"""Whether the process that writes a journal is still there.

It holds an exclusive flock on its file for its life; we ask with a shared one on a descriptor of our own, which never
disturbs it. A free lock alone proves nothing for a copy, so a living process of the same pid is asked whether it has
a journal of this `file_id` open. Never here: a guess; where a host cannot tell, silence decides (24 hours).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from .clock import US_PER_S
from .journal import boot_id, host_id
from .replay import JournalFile, Survey
from .system import open_file

SILENCE_US = 24 * 3600 * US_PER_S
"""After so long without a line a process that nobody can ask is taken for gone (docs/design/journal-and-ledger.md
"Who is still there")."""
_HEAD_BYTES = 4096


def is_held(paths: Iterable[Path]) -> bool:
    """Whether any of these files is under an exclusive flock now."""
    for path in paths:
        try:
            descriptor = open_file(path)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return False


def is_here(*, host: str, boot: str | None, pid: int, file_id: str, paths: Iterable[Path]) -> bool | None:
    """True: alive on this machine. False: it was on this machine and is gone. None: this machine cannot tell."""
    if is_held(paths):
        return True
    if host != host_id():
        return None
    if boot != boot_id():
        return False
    return _writes(pid, file_id)


def _writes(pid: int, file_id: str) -> bool:
    """Whether this process has a journal of this `file_id` open, wherever it lies."""
    folder = Path("/proc") / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return not Path("/proc/self/fd").is_dir() and _is_alive(pid)
    except PermissionError:
        return True
    for name in names:
        try:
            target = os.readlink(folder / name)
            if not target.endswith(".jsonl"):
                continue
            with open(target, "rb") as file:
                first = orjson.loads(file.read(_HEAD_BYTES).split(b"\n", 1)[0])
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(first, dict) and first.get("file_id") == file_id:
            return True
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A process that had not ended when it was last looked at."""

    file_id: str
    host: str
    boot: str | None
    pid: int
    last_line_at: int
    """Microseconds UTC."""


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


def somebody_ended(watched: Iterable[Watched], survey: Survey, now_us: int) -> bool:
    """Whether one of these processes, alive when last looked at, is gone now, so that its open calls are lost."""
    journals = {journal.file_id: journal for journal in survey.journals}
    return any(
        ended_at(process, is_present(process, journals.get(process.file_id)), now_us) is not None for process in watched
    )
