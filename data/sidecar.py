"""The lock beside a ledger: who may open it, and for how long one waits.

Every opening of a ledger by submeter is inside this lock: exclusive to carry journals in, shared to read. Within one
process openings follow each other too, because DuckDB allows one configuration per file and process, and because a
second open() and close() of the file would drop the first one's POSIX lock. Waiting for another process is real time,
whatever clock the ledger keeps, and always bounded. Never here: the ledger file itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .error import SubmeterError
from .paths import lock_path
from .system import exit_code_of, no_locks, words

POLL_S = 0.002
POLL_S_MAX = 0.05
TURN_WAIT_S = 30.0
"""How long one waits for another submeter's turn where the ledger has to be whole: it ends by itself or with its
process, and takes a moment that a busy machine draws out. Another program's connection may stay open for hours."""

_in_process: dict[str, threading.Lock] = {}
_in_process_guard = threading.Lock()
_held: set[int] = set()
"""Descriptors of lock files that are open here."""


def _let_go_after_fork() -> None:
    """A forked child is another process: the locks are its parent's, and so is the thread that would release them."""
    global _in_process_guard
    _in_process_guard = threading.Lock()
    _in_process.clear()
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_after_fork)


class LockHeldError(Exception):
    """Somebody else has held the lock, or the file, for as long as we were ready to wait."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid
        """Whoever holds it; None: the system does not tell."""


class Patience:
    """A bounded wait in growing steps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._step_s = POLL_S

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()

    def anew(self) -> Patience:
        """As long a wait, from now on."""
        return Patience(self._seconds)

    def pause(self) -> bool:
        """Wait one step; False where the time is up."""
        if self.left_s <= 0:
            return False
        time.sleep(min(self._step_s, max(0.0, self.left_s)))
        self._step_s = min(self._step_s * 1.5, POLL_S_MAX)
        return True


@contextmanager
def sidecar(ledger: Path, *, exclusive: bool, patience: Patience) -> Iterator[None]:
    """Hold a ledger's lock for the length of a block. Raises `LockHeldError`, or `SubmeterError` for a bad place."""
    with _in_process_guard:
        mutex = _in_process.setdefault(os.path.realpath(ledger), threading.Lock())
    if not mutex.acquire(timeout=max(0.0, patience.left_s)):
        raise LockHeldError(os.getpid())
    try:
        path = lock_path(ledger)
        was_there = path.exists()
        try:
            descriptor = _open_lock(path, exclusive=exclusive)
        except OSError as error:
            raise SubmeterError(
                f"The ledger cannot be {'written' if exclusive else 'opened'}: {ledger}",
                f"Its lock {path.name} cannot be made: {words(error)}.",
                "Choose a place you can write to, with --ledger PATH or SUBMETER_LEDGER.",
                exit_code=exit_code_of(error),
            ) from error
        if descriptor is None:
            yield
            return
        _held.add(descriptor)
        try:
            mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
            while True:
                try:
                    fcntl.flock(descriptor, mode)
                    break
                except BlockingIOError:
                    if not patience.pause():
                        raise LockHeldError(_holder(descriptor)) from None
                except OSError as error:
                    if not was_there:
                        path.unlink(missing_ok=True)
                    raise no_locks(ledger.parent, error) from error
            yield
        finally:
            # Said, and not left to the closing: a child that was forked in between would hold it on.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            _held.discard(descriptor)
            os.close(descriptor)
    finally:
        mutex.release()


def _open_lock(path: Path, *, exclusive: bool) -> int | None:
    """The lock file, made where there is none; None for a reader where nobody can make one, so that nobody writes."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if exclusive or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if error.errno != errno.EROFS:
                raise error from None
            return None


def _holder(descriptor: int) -> int | None:
    """The process that holds a flock on this file, as Linux tells it."""
    inode = os.fstat(descriptor).st_ino
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                words = line.split()
                if "->" not in words and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                    return int(words[4])
    except (OSError, IndexError, ValueError):
        return None
    return None
