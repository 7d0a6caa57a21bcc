"""Whether the process that writes a journal is still there.

It holds an exclusive flock on its file for its life; we ask with a shared one on a descriptor of our own, which never
disturbs it. A free lock alone proves nothing for a copy, so a living process of the same pid is asked whether it has
a journal of this `file_id` open. Never here: a guess; where a host cannot tell, silence decides (24 hours).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from .clock import US_PER_S
from .journal import boot_id, host_id

SILENCE_US = 24 * 3600 * US_PER_S
"""After so long without a line a process that nobody can ask is taken for gone (DESIGN.md section 5)."""
_HEAD_BYTES = 4096


def is_held(paths: Iterable[Path]) -> bool:
    """Whether any of these files is under an exclusive flock now."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
