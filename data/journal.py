"""The journal's writing end: one append-only JSONL file per process, the source of truth.

    journal = Journal.open(ledger, mode="proxy", clock=clock)
    journal.begin(upstream="https://api.openai.com", listen=["http://127.0.0.1:8787"])
    journal.append("start", {...})     # returned: write() has returned
    journal.sync()                     # on disk (fdatasync); called by whoever owns a thread
    journal.close()

A line is one JSON object of at most 64 KiB with `v`, `kind`, `seq` and `at`. Identity of a line is (file_id, byte
offset). After a failed or short write the next one begins with a newline, so a torn line is alone on its line.
On a full disk a 4 MiB reserve is given up first, then up to 10,000 lines wait in memory, then a `gap` is owed:
nothing is lost unannounced, and `append` never raises for the disk's sake. What still waits at the end is brought to
another place (`rescue`).

Never here: DuckDB, threads, and anything secret (see `Start`: a key is its fingerprint).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import socket
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from .clock import Clock
from .error import SubmeterError
from .journal_line import FORMAT, LINE_BYTES_MAX, encode_line
from .paths import journal_folder
from .rescue import Unwritten, call_id_of, kind_of, rescue, written_at
from .reserve import give_up_reserve, keep_reserve
from .system import exit_code_of, no_locks, words

WAITING_LINES_MAX = 10_000
_GAP_CALLS_MAX = 100_000
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC

logger = logging.getLogger("submeter.data")


class Journal:
    """One process's journal file, held under an exclusive flock for the process's life. Safe from any thread."""

    def __init__(
        self,
        path: Path,
        descriptor: int,
        *,
        mode: str,
        clock: Clock,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self.path = path
        self.file_id = str(uuid.uuid4())
        self.mode = mode
        self.begun = False
        self._descriptor = descriptor
        self._clock = clock
        self._write = write
        self._mutex = threading.Lock()
        self._seq = 0
        self._torn = False
        self._dirty = False
        self._closed = False
        self._waiting: deque[bytes] = deque()
        self._gap_from_us = 0
        self._gap_to_us = 0
        self._gap_lines = 0
        self._gap_calls: set[str] = set()
        self._unwritten: Unwritten | None = None

    @classmethod
    def open(cls, ledger: Path, *, mode: str, clock: Clock, write: Callable[[int, bytes], int] = os.write) -> Journal:
        """Make this process's file in the ledger's journal folder; `mode` says who writes (`proxy`, `mark`, `audit`).

        Raises `SubmeterError` where the folder cannot be written to.
        """
        folder = journal_folder(ledger.absolute())
        was_there = folder.exists()
        started_s = clock.now_us() // 1_000_000
        name = f"{_file_safe(socket.gethostname())}-{os.getpid()}-{started_s}-{secrets.token_hex(3)}.jsonl"
        path = folder / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, _OPEN_FLAGS, 0o600)
        except OSError as error:
            raise SubmeterError(
                f"The journal cannot be written: {folder}",
                f"{words(error)}, so no call could be recorded.",
                "Choose a folder you can write to: submeter --help shows --ledger and SUBMETER_LEDGER.",
                exit_code=exit_code_of(error),
            ) from error
        try:
            # Nobody else writes here; somebody who asks whether we live may hold a shared lock for a moment.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            if not was_there:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise no_locks(folder, error) from error
        keep_reserve(folder)
        journal = cls(path, descriptor, mode=mode, clock=clock, write=write)
        _open_journals.add(journal)
        return journal

    def begin(self, *, upstream: str | None = None, listen: Iterable[str] = ()) -> None:
        """Write the `process` line, always the first. A second call does nothing."""
        with self._mutex:
            if self.begun:
                return
            self.begun = True
        self.append("process", self._process_fields() | {"upstream": upstream, "listen": list(listen)})

    def _process_fields(self) -> dict[str, Any]:
        return {
            "file_id": self.file_id,
            "host": host_id(),
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "version": submeter_version(),
            "mode": self.mode,
        }

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write one line. When this returns, write() has returned for it, or it waits, or a gap is owed."""
        with self._mutex:
            if self._closed:
                raise ValueError(f"journal {self.path.name} is closed")
            now_us = self._clock.now_us()
            line = encode_line({"v": FORMAT, "kind": kind, "seq": self._seq, "at": now_us, **fields})
            self._seq += 1
            if ((self._waiting or self._gap_lines) and not self._flush_waiting()) or not self._write_line(line):
                self._keep_waiting(fields.get("call_id"), line, now_us)

    def sync(self) -> None:
        """Try waiting lines again, then fdatasync what was written since the last sync.

        Where somebody took the file away, it is put back whole: it is the only record of its calls.
        """
        with self._mutex:
            if self._closed:
                return
            if not self._in_place():
                self._put_back()
            if self._waiting or self._gap_lines:
                self._flush_waiting()
            if not self._dirty:
                return
            self._dirty = False
            descriptor = os.dup(self._descriptor)
        try:
            os.fdatasync(descriptor)
        except OSError:
            self._dirty = True
        finally:
            os.close(descriptor)

    @property
    def lines_waiting(self) -> int:
        """Lines held in memory because the disk would not take them."""
        return len(self._waiting)

    @property
    def unwritten(self) -> SubmeterError | None:
        """After the end: what a user is to be told, where lines could not be written; None: all were."""
        return None if self._unwritten is None else self._unwritten.error()

    def close(self, *, stop: bool = True) -> None:
        """Write the `stop` line (unless told not to), sync, give up the lock. A file without a line goes.

        Lines that the disk does not take are kept elsewhere, and a `gap` stands for them here: see `unwritten`.
        """
        if self._closed:
            return
        if stop and self.begun:
            self.append("stop", {})
        self.sync()
        with self._mutex:
            if self._waiting or self._gap_lines:
                self._unwritten = self._keep_elsewhere()
                logger.error("%s", str(self._unwritten.error()).replace("\n", " "))
            elif not self.begun and self._in_place() and not os.fstat(self._descriptor).st_size:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            self._let_go()

    def _keep_elsewhere(self) -> Unwritten:
        """Bring what waits to another place, and try to announce it here, which takes less room than any call."""
        waiting = list(self._waiting)
        process = self._process_fields() | {"file_id": str(uuid.uuid4()), "listen": []}
        gap = self._gap_fields() if self._gap_lines else None
        unwritten = Unwritten(
            journal=self.path,
            lines=len(waiting) + self._gap_lines,
            rescued=rescue(self.path.stem, waiting, process=process, gap=gap, now_us=self._clock.now_us()),
        )
        if waiting and kind_of(waiting[0]) == "process":
            # Nothing of this process is here, so that nobody would know whose gap it is.
            with contextlib.suppress(OSError):
                self.path.unlink()
            return unwritten
        self._gap_calls |= {call_id for line in waiting if (call_id := call_id_of(line)) is not None}
        self._gap_from_us = min([*map(written_at, waiting[:1]), *([self._gap_from_us] if self._gap_lines else [])])
        self._gap_to_us = self._clock.now_us()
        self._gap_lines = unwritten.lines
        self._waiting.clear()
        give_up_reserve(self.path.parent, kept_bytes=0)
        self._drop_torn()
        if self._flush_waiting():
            with contextlib.suppress(OSError):
                os.fdatasync(self._descriptor)
        return unwritten

    def _let_go(self) -> None:
        self._closed = True
        _open_journals.discard(self)
        os.close(self._descriptor)

    def _in_place(self) -> bool:
        """Whether our file is still what stands at its path."""
        try:
            there, ours = os.stat(self.path), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _put_back(self) -> None:
        """Write all we wrote to a new file at our path, byte for byte, so that every line keeps its identity."""
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            descriptor = os.open(part, _OPEN_FLAGS, 0o600)
        except OSError as error:
            logger.error("%s was taken away and cannot be put back (%s)", self.path, error.strerror)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            offset = 0
            while data := os.pread(self._descriptor, 1 << 20, offset):
                offset += os.write(descriptor, data)
            os.rename(part, self.path)
        except OSError as error:
            os.close(descriptor)
            logger.error("%s was taken away and cannot be put back (%s)", self.path, error.strerror)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._dirty = True
        logger.error("%s was taken away while it was written; it is back, whole", self.path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self.unwritten is not None:
            raise self.unwritten

    def _write_line(self, line: bytes) -> bool:
        """Put a whole line in the file; False leaves it for later, and at most a torn part behind."""
        data = b"\n" + line if self._torn else line
        for _ in range(2):
            try:
                written = self._write(self._descriptor, data)
            except OSError:
                written = 0
            if written == len(data):
                self._torn = False
                self._dirty = True
                return True
            if written:
                self._torn = True
                data = b"\n" + line
            if not give_up_reserve(self.path.parent):
                return False
        return False

    def _flush_waiting(self) -> bool:
        while self._waiting:
            if not self._write_line(self._waiting[0]):
                return False
            self._waiting.popleft()
        if self._gap_lines:
            gap = {"v": FORMAT, "kind": "gap", "seq": self._seq, "at": self._clock.now_us(), **self._gap_fields()}
            if not self._write_line(encode_line(gap)):
                return False
            self._seq += 1
            self._gap_lines = 0
            self._gap_calls.clear()
        return True

    def _gap_fields(self) -> dict[str, Any]:
        return {
            "from": self._gap_from_us,
            "to": self._gap_to_us,
            "calls": len(self._gap_calls),
            "lines": self._gap_lines,
        }

    def _keep_waiting(self, call_id: str | None, line: bytes, now_us: int) -> None:
        if len(self._waiting) < WAITING_LINES_MAX and not self._gap_lines:
            self._waiting.append(line)
            return
        if not self._gap_lines:
            self._gap_from_us = now_us
        self._gap_to_us = now_us
        self._gap_lines += 1
        if call_id is not None and len(self._gap_calls) < _GAP_CALLS_MAX:
            self._gap_calls.add(call_id)

    def _drop_torn(self) -> None:
        """Take the part of a line that stands at the end away: it is kept whole elsewhere, and its room is wanted."""
        if not self._torn:
            return
        with contextlib.suppress(OSError):
            size = os.fstat(self._descriptor).st_size
            tail = os.pread(self._descriptor, LINE_BYTES_MAX, max(0, size - LINE_BYTES_MAX))
            if whole := tail.rfind(b"\n") + 1:
                os.ftruncate(self._descriptor, size - len(tail) + whole)
                self._torn = False


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """A forked child is another process: it may not write our file, hold its lock after us, or give ids of ours."""
    _chances.clear()
    for journal in list(_open_journals):
        journal._mutex = threading.Lock()
        journal._let_go()


os.register_at_fork(after_in_child=_let_go_after_fork)


def new_call_id(now_us: int) -> str:
    """A UUIDv7 (RFC 9562 5.7) of the given time: sorts by time, and is unique by 74 random bits."""
    while True:
        try:
            chance = _chances.pop()
            break
        except IndexError:
            digits = os.urandom(_CHANCES * _CHANCE_DIGITS // 2).hex()
            _chances.extend(digits[at : at + _CHANCE_DIGITS] for at in range(0, len(digits), _CHANCE_DIGITS))
    time = f"{(now_us // 1000) & 0xFFFF_FFFF_FFFF:012x}"
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{_VARIANT[chance[3]]}{chance[4:7]}-{chance[7:19]}"


_CHANCES, _CHANCE_DIGITS = 256, 20
"""Hex digits of randomness that a call id uses up; fetched many at a time, for asking costs more than the rest."""
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_chances: deque[str] = deque()


def host_id() -> str:
    """The machine's name, as rows carry it."""
    return socket.gethostname()


def boot_id() -> str | None:
    """Changes at each boot; None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


@cache
def submeter_version() -> str:
    try:
        return version("submeter")
    except PackageNotFoundError:
        return "unknown"


def _file_safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "_" for c in name) or "host"
