"""One worker of a proxy, as who started it sees it: a process that listens, until its stdin ends.

What it says, on its stdout, is JSON lines: where it listens or why it cannot, and at its end what it could not write
down. It is in a session of its own, so that a Ctrl-C at the terminal reaches who started it, who then ends the pipe;
and that ends as well where who started it is killed. Never here: why a worker is started, and when.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Sequence
from typing import Any

import orjson

from ..data.error import SubmeterError
from .worker_settings import WorkerSettings

START_S_MAX = 60.0
KEPT_BACK = ("OPENAI_", "OPEN_AI_", "SUBMETER_TOKEN")
"""Beginnings of names of variables that no worker is given: keys, admin keys under each of their names, the token."""


class WorkerProcess:
    """One worker, started."""

    def __init__(self, command: Sequence[str], settings: WorkerSettings) -> None:
        """Raises `OSError` where the system does not start it."""
        # Its keys it is told as fingerprints; what is in no environment, no worker can hand on.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(KEPT_BACK)}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=settings.descriptors,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(settings.encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> dict[str, Any]:
        """Wait until it listens, and answer where. Raises its `SubmeterError`, or one that it says nothing."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S_MAX)
        line = self._process.stdout.readline() if ready else b""
        if not ready:
            self.kill()
        said = _said(line)
        if said is None or "url" not in said:
            raise _error(said) or SubmeterError(
                "A worker of the proxy did not start.",
                "It said nothing for a minute."
                if not ready
                else "It ended without a word; see what it said on stderr.",
                "Run: submeter doctor; or start the proxy without --workers.",
                exit_code=3,
            )
        return said

    def tell_to_stop(self) -> None:
        """End its stdin: it closes its listener, waits for open calls and writes the rest down."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """Every call that had ended is in its journal, and the others are there as `lost`."""
        self._process.kill()

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code, once it has ended; raises `TimeoutError` where it has not within so long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def last_words(self) -> SubmeterError | None:
        """After its end: what it could not write down; None: it wrote everything down, or was killed."""
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return None
        with self._process.stdout as words:
            lines = words.read().splitlines()
        self.tell_to_stop()
        return _error(_said(lines[-1])) if lines else None


def _said(line: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


def _error(said: dict[str, Any] | None) -> SubmeterError | None:
    if said is None or "error" not in said:
        return None
    return SubmeterError(*said["error"], exit_code=said["exit_code"])


def error_line(error: SubmeterError) -> bytes:
    """How a worker says an error."""
    return orjson.dumps({"error": [error.what, error.why, error.next_step], "exit_code": error.exit_code}) + b"\n"
