"""Who holds a file: for `doctor`, where a ledger cannot be opened because somebody else has it open.

Linux tells in /proc; elsewhere the answer is that it cannot be told. Nothing here takes or breaks a lock.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process with a lock on a file."""

    pid: int
    name: str
    """The program's short name; `unknown` where the system does not tell."""

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def holders(path: Path, proc: Path = PROC) -> list[Holder]:
    """Every other process with a flock or a POSIX lock on this file, by pid; empty where none, or not to be told."""
    try:
        wanted = path.stat()
        locks = (proc / "locks").read_text()
    except OSError:
        return []
    found = {
        pid
        for line in locks.splitlines()
        if (lock := _lock(line)) is not None
        for pid, inode in (lock,)
        if inode == wanted.st_ino and pid != os.getpid() and _has_open(proc, pid, wanted)
    }
    return [Holder(pid=pid, name=_name(proc, pid)) for pid in sorted(found)]


def _lock(line: str) -> tuple[int, int] | None:
    """`7: FLOCK  ADVISORY  WRITE 812 08:01:131 0 EOF` as (pid, inode); None for a lock that is only waited for."""
    parts = line.split()
    if len(parts) < 6 or parts[1] == "->":
        return None
    inode = parts[5].rpartition(":")[2]
    return (int(parts[4]), int(inode)) if parts[4].isdigit() and inode.isdigit() else None


def _has_open(proc: Path, pid: int, wanted: os.stat_result) -> bool:
    """Whether the process has this very file open: inode numbers repeat across devices. True where that is hidden."""
    try:
        descriptors = list((proc / str(pid) / "fd").iterdir())
    except OSError:
        return True
    for descriptor in descriptors:
        try:
            status = descriptor.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _name(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text().strip() or "unknown"
    except OSError:
        return "unknown"
