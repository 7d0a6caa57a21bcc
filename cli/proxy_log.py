"""What a running proxy says on stderr: that it starts and stops, and a line for calls, as text or as JSON lines.

Lines are written by a thread: whoever reads stderr may be slow, and no call waits for them. What does not fit is
counted, and said. Never here: what a line says of a call (`submeter.proxy.call_log`).
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from ..data.clock import Clock, utc
from ..data.harmless import harmless
from ..proxy.call_log import call_record, call_text, is_plain

STDERR = 2
LINES_WAITING_MAX = 10_000
CLOSE_S_MAX = 2.0
"""How long a stop waits for a reader of stderr that has stopped reading."""


class Logged(StrEnum):
    """Which calls have a line."""

    PROBLEMS = "problems"
    """Those that were not plainly metered."""
    CALLS = "calls"
    NONE = "none"


class LogFormat(StrEnum):
    """What a line is."""

    TEXT = "text"
    JSON = "json"


class ProxyLog(logging.Handler):
    """The log of one proxy; also where its library's own warnings go."""

    def __init__(self, logged: Logged, form: LogFormat, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self.calls = 0
        self.problems = 0
        self.logged = logged
        self.form = form
        self._clock = clock
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._dropped = 0
        self._writing = threading.Thread(target=self._write, name="submeter-log", daemon=True)
        self._writing.start()
        logging.getLogger("submeter.proxy").addHandler(self)

    @property
    def talks(self) -> bool:
        """Whether words for people may stand between the lines."""
        return self.form is LogFormat.TEXT

    @property
    def counts(self) -> tuple[int, int]:
        """Calls that have ended, and those of them that were not plainly metered."""
        return self.calls, self.problems

    def call(self, line: Mapping[str, Any]) -> None:
        """A call has ended; `line` is its settle line. Never waits."""
        self.calls += 1
        plain = is_plain(line)
        self.problems += not plain
        if self.logged is Logged.CALLS or (self.logged is Logged.PROBLEMS and not plain):
            self._put(call_text(line) if self.talks else _json(call_record(line)))

    def event(self, name: str, text: str | None = None, **fields: Any) -> None:
        """Something that is no call: a sentence for people, or a record of its fields."""
        if not self.talks:
            self._put(_json({"event": name, "at": self._now(), **fields}))
        elif text is not None:
            self._put(text)

    def emit(self, record: logging.LogRecord) -> None:
        """A warning of the proxy's own code."""
        self.event("warning", record.getMessage(), message=record.getMessage())

    def close(self) -> None:
        """Write what waits, for a moment at most."""
        logging.getLogger("submeter.proxy").removeHandler(self)
        try:
            self._lines.put(None, timeout=CLOSE_S_MAX)
            self._writing.join(CLOSE_S_MAX)
        except queue.Full:
            pass
        super().close()

    def _put(self, text: str) -> None:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                _write_to_stderr(text)
                if self._dropped and self._lines.empty():
                    dropped, self._dropped = self._dropped, 0
                    self.event("dropped", f"{dropped:,} lines of this log were dropped: nobody read it.", lines=dropped)
            except OSError:
                return

    def _now(self) -> str:
        return f"{utc(self._clock.now_us()):%Y-%m-%dT%H:%M:%SZ}"


def _write_to_stderr(text: str) -> None:
    """Write a line past Python's own stream: a thread that is stuck in that would hold up the end of the program."""
    waiting = (harmless(text) + "\n").encode("utf-8", "backslashreplace")
    while waiting:
        try:
            waiting = waiting[os.write(STDERR, waiting) :]
        except BlockingIOError:
            # Another program made it non-blocking, and it is full now.
            select.select([], [STDERR], [])


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode()
