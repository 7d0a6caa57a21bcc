"""What the operating system refuses, in words: the one place that turns an `OSError` into what a user is told.

And one way to open a file that somebody else may have put there: only what is a file is opened, so that no pipe or
device is waited for. Nothing here knows what a file is for.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .error import SubmeterError

CANNOT_TELL = 3

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What may pass by itself: with it a command ends with exit code 3, cannot tell yet."""

_WORDS = {
    errno.ENOLCK: "the file system gives no locks (flock): No locks available",
    errno.ENOSYS: "the file system gives no locks (flock): Function not implemented",
    errno.EOPNOTSUPP: "the file system gives no locks (flock): Operation not supported",
    errno.ELOOP: "a symbolic link that leads back to itself",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NoFileError(OSError):
    """What is there is no file."""


def words(error: OSError) -> str:
    """What the system said, without the path and without a full stop."""
    found = _WORDS.get(error.errno) if error.errno is not None else None
    return found or error.strerror or str(error) or type(error).__name__


def exit_code_of(error: OSError) -> int:
    """3 where it may pass (a full disk, one that is read alone), else 2."""
    return CANNOT_TELL if error.errno in NO_ROOM else 2


def refused(error: OSError) -> SubmeterError:
    """Any refusal of the system that nobody on the way had better words for."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    return SubmeterError(
        f"The system refused: {words(error)}.",
        f"It is about {where}." if where else "It did not say about which file.",
        "Mend that, or work elsewhere with --ledger PATH; then see: submeter doctor",
        exit_code=exit_code_of(error),
    )


def no_locks(place: Path, error: OSError) -> SubmeterError:
    """Where a file cannot be locked, so that two programs would write at once."""
    return SubmeterError(
        f"Nothing can be kept in {place.absolute()}",
        f"{words(error)[0].upper()}{words(error)[1:]}, and without them two programs would write at once.",
        "Name a ledger on a local disk, with --ledger PATH or SUBMETER_LEDGER; hosts are merged by copying journals.",
    )


def check_file(path: Path) -> os.stat_result:
    """What the system tells of a file; raises `NoFileError` for what is there and is none, and `OSError`."""
    status = os.stat(path)
    _check_kind(status, path)
    return status


def open_file(path: Path) -> int:
    """A descriptor to read a file that is there; raises `NoFileError` for what is none, at once, and `OSError`."""
    # Without O_NONBLOCK a pipe is opened when somebody writes to it, which may be never.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check_kind(os.fstat(descriptor), path)
    except NoFileError:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(status: os.stat_result, path: Path) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise NoFileError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file", str(path))


def read_file(path: Path, bytes_max: int | None = None) -> bytes:
    """All of a file that is there, or its first `bytes_max` bytes; raises as `open_file` does."""
    with os.fdopen(open_file(path), "rb") as file:
        return file.read() if bytes_max is None else file.read(bytes_max)
