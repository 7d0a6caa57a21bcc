"""A process that writes a journal: its clock, its file, and its lines by when they are written in truth."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from submeter.data.journal import boot_id

MINUTE_US = 60_000_000


def us(minute: float) -> int:
    return round(minute * MINUTE_US)


@dataclass(slots=True, kw_only=True)
class Process:
    """One writing process. Times are minutes of its world."""

    name: str
    host: str
    mode: str
    offset: float = 0.0
    """Minutes that its clock is ahead of the provider's."""
    residual: float = 0.0
    """What is left of that after the correction that its own calls allow."""
    dated: bool = False
    """Whether answers told the provider's time, so that its clock is known."""
    here: bool = False
    """On this machine: whether it lives is asked, not guessed."""
    copied_at: float = -1.0
    """When its journal came in from another host."""
    begun_at: float = 0.0
    killed_at: float | None = None
    file_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    lines: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    written: int = 0
    held: int | None = None

    def write(self, folder: Path, now: float, *, pid: int, at_us: Callable[[Process, float], int]) -> None:
        """Append the lines that stand in the journal at a moment. `at_us`: a moment by this process's clock."""
        if now < self.copied_at or now < self.begun_at:
            return
        told = [] if self.written else [(self.begun_at, "process", self._process_line(pid))]
        told += [line for line in self.lines[max(0, self.written - 1) :] if line[0] <= now]
        text = b""
        for at, kind, fields in told:
            head = {"v": 1, "kind": kind, "seq": self.written, "at": at_us(self, at)}
            text += orjson.dumps({**head, **fields}) + b"\n"
            self.written += 1
        if text:
            self._append(folder / f"{self.name}.jsonl", text)
        if self.killed_at is not None and now >= self.killed_at:
            self.let_go()

    def _process_line(self, pid: int) -> dict[str, Any]:
        return {
            "file_id": self.file_id,
            "host": self.host,
            "boot_id": boot_id(),
            "pid": pid,
            "version": "1",
            "mode": self.mode,
            "upstream": "https://api.openai.com" if self.mode == "proxy" else None,
            "listen": [],
        }

    def _append(self, path: Path, text: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            new = not os.fstat(descriptor).st_size
            os.write(descriptor, text)
            if self.here and new:
                self.held = os.dup(descriptor)
                fcntl.flock(self.held, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def let_go(self) -> None:
        """The process is gone: nobody holds its file."""
        if self.held is not None:
            os.close(self.held)
            self.held = None
