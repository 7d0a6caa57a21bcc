"""The reserve: 4 MiB held back in a journal folder, so that a disk that is full still takes the last calls.

One for all processes of the folder. Most of it is given up by the first write that fails; the last piece is for the
`gap` of a process that ends on a full disk. Nothing here knows what is written instead.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_NAME = "reserve"
RESERVE_BYTES = 4 * 1024 * 1024
RESERVE_LAST_BYTES = 4096
"""What the disks we know give out at least, and more than a line of our own that says what is missing."""


def keep_reserve(folder: Path) -> None:
    """Hold the reserve back, as far as the disk has room."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / RESERVE_NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)


def give_up_reserve(folder: Path, kept_bytes: int = RESERVE_LAST_BYTES) -> bool:
    """Give the disk what is reserved, but for the last piece, or for all of it; whether there was any."""
    reserve = folder / RESERVE_NAME
    try:
        if os.stat(reserve).st_size <= kept_bytes:
            return False
        if kept_bytes:
            os.truncate(reserve, kept_bytes)
        else:
            os.unlink(reserve)
    except OSError:
        return False
    return True
