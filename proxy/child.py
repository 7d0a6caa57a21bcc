"""The proxy as a child process, for a program beside whose libraries it cannot be imported.

    child = ChildProxy(ledger=..., listen=Listen(port=0), upstream=..., drain_s=10.0, environment=...)
    child.start()     # `submeter proxy`, bound and recording, or a SubmeterError
    child.stop()      # ends its stdin: it closes the listener, waits for open calls, journals the rest

The child is a process group of its own, so a Ctrl-C at the terminal is the program's; it stops when its stdin ends, so
also when the program is killed. Known to the rest as `ProxyServer` is: a url, marks, a stop. Never here: sockets.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from ..data.error import SubmeterError
from ..data.marks import Mark
from .control_client import tell
from .listen import Listen

COMMAND = "submeter"
START_S_MAX = 60.0
STOP_S_MAX = 30.0
"""How long a child may take to end after its open calls have."""
ERROR_LINES = 3
TALK_BYTES_MAX = 64 * 1024
CANNOT_TELL = 3
"""The exit code of a proxy that could not write down all that it metered."""


class ChildProxy:
    """One proxy in a process of its own. One at a time in a program, as with the proxy inside."""

    _running: ChildProxy | None = None
    _one_at_a_time = threading.Lock()

    def __init__(
        self,
        *,
        ledger: Path,
        listen: Listen,
        upstream: str,
        drain_s: float,
        environment: Mapping[str, str],
        receipts: bool = False,
        drain: bool = False,
    ) -> None:
        self._words = ["proxy", "--json", "--until-eof", "--listen", f"{_bracketed(listen.host)}:{listen.port}"]
        self._words += ["--upstream", upstream, "--ledger", str(ledger.absolute()), "--grace", str(drain_s)]
        self._words += ["--receipts"] if receipts else []
        self._words += ["--drain"] if drain else []
        mine = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        self._environment = {**mine, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._talk: IO[bytes] | None = None
        """What the child says on stderr."""
        self.unwritten: SubmeterError | None = None
        """After the stop: what could not be written down, and where it is instead; None where all is written."""
        self._told: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """What a client's base URL starts with; append `/v1`."""
        return str(self._told["url"])

    @property
    def authority(self) -> Path | None:
        """The folder of the child's certificate authority."""
        return Path(self._told["authority"])

    def start(self) -> None:
        """Start the first `submeter` that can; raises its `SubmeterError`, or one that says why none could."""
        with self._one_at_a_time:
            if ChildProxy._running is not None:
                raise SubmeterError(
                    "A proxy is already running in this process.",
                    "There is one at a time: stop it before the next one starts.",
                    "Or start one of its own: submeter proxy --listen 127.0.0.1:0",
                )
            ChildProxy._running = self
        try:
            self._start()
        except BaseException:
            ChildProxy._running = None
            raise

    def _start(self) -> None:
        said = ""
        for command in _commands(self._environment):
            with contextlib.ExitStack() as stack:
                talk = stack.enter_context(tempfile.TemporaryFile())
                if self._start_one(command, talk):
                    stack.pop_all()
                    self._talk = talk
                    return
                talk.seek(0)
                said = talk.read().decode("utf-8", "replace").strip()
        raise SubmeterError(
            "The proxy can be imported neither here nor by any submeter on the PATH.",
            f"The last try said: {said.splitlines()[-1] if said else 'nothing'}.",
            "Install submeter as a tool of its own: pipx install submeter, or uv tool install submeter",
        )

    def _start_one(self, command: Sequence[str], talk: IO[bytes]) -> bool:
        """Whether this command became a proxy; raises where it is one that says why it may not."""
        process = subprocess.Popen(
            [*command, *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=talk,
            env=self._environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_S_MAX)
        line = process.stdout.readline() if ready else b""
        if line:
            self._told = orjson.loads(line)
            self._process = process
            return True
        if not ready:
            process.kill()
        _end(process, STOP_S_MAX)
        talk.seek(0)
        lines = talk.read().decode("utf-8", "replace").splitlines()
        if process.returncode in (2, 3) and len(lines) == ERROR_LINES:
            raise SubmeterError(*lines, exit_code=process.returncode)
        return False

    def stop(self, drain_s: float) -> None:
        """Have the child stop as it was told at its start, and wait for its end. Twice is once."""
        process, self._process = self._process, None
        if process is not None:
            _end(process, drain_s + STOP_S_MAX)
            ChildProxy._running = None
            self._hear(process.returncode)

    def _hear(self, exit_code: int | None) -> None:
        """What the child said last, where it ended with an error."""
        talk, self._talk = self._talk, None
        if talk is None:
            return
        with talk:
            talk.seek(max(0, talk.seek(0, os.SEEK_END) - TALK_BYTES_MAX))
            lines = talk.read().decode("utf-8", "replace").splitlines()[-ERROR_LINES:]
        if exit_code == CANNOT_TELL and len(lines) == ERROR_LINES:
            self.unwritten = SubmeterError(*lines, exit_code=exit_code)

    def let_go_after_fork(self) -> None:
        """In a forked child of the program: this proxy is its parent's, and ends when the parent says so."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            # Not ours to wait for.
            process.returncode = 0

    def mark(self, mark: Mark) -> None:
        """Journal a mark, by the child's control path."""
        tell(self.url, mark)


def _leave_to_parent() -> None:
    running, ChildProxy._running = ChildProxy._running, None
    ChildProxy._one_at_a_time = threading.Lock()
    if running is not None:
        running.let_go_after_fork()


os.register_at_fork(after_in_child=_leave_to_parent)


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        # Every call that had ended is in its journal, and the others are there as `lost`.
        process.kill()
        process.wait()
    finally:
        process.stdout.close()


def _commands(environment: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """Every `submeter` on the PATH, as a tool of its own may stand behind the one of this environment; then our own."""
    for folder in dict.fromkeys(environment.get("PATH", os.defpath).split(os.pathsep)):
        program = Path(folder) / COMMAND
        if folder and program.is_file() and os.access(program, os.X_OK):
            yield [str(program)]
    yield [sys.executable, "-m", "submeter.cli.main"]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
