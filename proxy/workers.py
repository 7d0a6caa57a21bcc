"""A proxy of several processes: one listener, workers that take its connections, one ledger.

    workers = Workers(settings...)       # as many as asked for
    workers.start()                      # all of them listen, or a SubmeterError
    workers.stop(grace_s)                # each waits for its open calls and writes the rest down

Each worker is a whole proxy with a journal of its own (`serve`); what they know together stands on a `Board`. Here they
are started, and started again where one dies, and their journals are carried into the ledger. The listener is held here
too: while a worker starts, connections wait for it or go to another. Where this process is killed, the workers see
their stdin end and stop in order. Never here: connections, marks and calls.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..data.clock import Clock
from ..data.error import SubmeterError
from ..data.keys import KeyRing
from .authority import authority_folder
from .board import Board, Row
from .carrying import Carrying
from .listen import Listen, start_error
from .live import NOTICE_BYTES_MAX
from .outer_proxy import outer_proxy
from .place import Bound, bind
from .shared import first_text
from .upstream_url import Upstream
from .worker_process import WorkerProcess
from .worker_settings import WorkerSettings

logger = logging.getLogger("submeter.proxy")

STOP_S_MAX = 30.0
"""How long a worker may take to end after its open calls have."""
PAUSE_S_MAX = 30.0
LONG_LIFE_S = 60.0
"""A worker that lived so long is started again at once; one that did not, after a pause that doubles."""
IN_ORDER_S = 1.0
"""Who tells a worker to end mostly tells all processes of the proxy, as systemd does: its own stop is waited for."""
FAILURES_MAX = 6
"""So many starts in vain, one after another, and no worker left: the proxy ends."""


@dataclass(slots=True)
class Pauses:
    """How long to wait before a worker is started again. Pure."""

    in_a_row: int = 0

    def after(self, lived_s: float) -> float:
        """The pause after a worker that lived so long."""
        self.in_a_row = 0 if lived_s >= LONG_LIFE_S else self.in_a_row + 1
        return 0.0 if self.in_a_row <= 1 else min(2.0 ** (self.in_a_row - 2), PAUSE_S_MAX)


class Workers:
    """One proxy, known to a command as `ProxyServer` is: urls, a wait, a stop."""

    def __init__(
        self,
        *,
        ledger: Path,
        listen: Listen,
        upstream: Upstream,
        clock: Clock,
        keys: KeyRing,
        count: int,
        command: Sequence[str],
        grace_s: float,
        receipts: bool = False,
        drain: bool = False,
        logged: str = "none",
        log_format: str = "text",
    ) -> None:
        """`command`: what a worker's process runs; the rest as for `ProxyServer` and `WorkerSettings`."""
        self._ledger = ledger.absolute()
        self._listen = listen
        self._upstream = upstream
        self._clock = clock
        self._keys = keys
        self._count = count
        self._command = tuple(command)
        self._grace_s = grace_s
        self._receipts = receipts
        self._drain = drain
        self._logged = logged
        self._log_format = log_format
        self._carrying = Carrying(self._ledger, clock)
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._mutex = threading.Lock()
        """Held where a worker is started, so that none is after the stop."""
        self._processes: dict[int, WorkerProcess] = {}
        """Those that listen, or will, by number."""
        self._threads: list[threading.Thread] = []
        self._board: Board | None = None
        self._notices: list[Board] = []
        self._bound: Bound | None = None
        self._settings: WorkerSettings | None = None
        self._told: dict[str, Any] = {}
        self.unwritten: SubmeterError | None = None
        """What the last worker that could not write everything down said: where it is instead. None: all is written."""

    @property
    def url(self) -> str:
        """What a client's base URL starts with; append `/v1`."""
        return str(self._told["url"])

    @property
    def intercept_url(self) -> str | None:
        """What a client's HTTPS proxy is; None: there is none."""
        found = self._told["intercept"]
        return None if found is None else str(found)

    @property
    def authority(self) -> Path | None:
        """The folder of the certificate authority."""
        return None if self._settings is None else Path(self._settings.authority)

    @property
    def calls_open(self) -> int:
        """Calls that are open, of all workers."""
        return sum(row.calls_open for row in self._rows())

    @property
    def counts(self) -> tuple[int, int]:
        """Calls that have ended, of all workers, those that died included; and those not plainly metered."""
        return sum(row.settled for row in self._rows()), sum(row.problems for row in self._rows())

    def _rows(self) -> list[Row]:
        return [] if self._board is None else self._board.rows()

    def start(self) -> None:
        """Bind, and start all workers. Raises `SubmeterError`, with none left running, where one cannot start."""
        self._listen.check()
        self._listen.check_upstream(self._upstream)
        outer_proxy(os.environ, self._upstream)
        try:
            self._bound = bind(self._listen)
        except OSError as error:
            raise start_error(self._listen, error) from error
        try:
            self._start()
        except BaseException:
            self._stop_all(kill=True)
            raise

    def _start(self) -> None:
        assert self._bound is not None
        marks = self._carrying.begin()
        self._board = Board.make()
        with self._board.held():
            self._board.write(first_text(marks, self._clock.now_us()))
        self._notices = [Board.make(NOTICE_BYTES_MAX) for _ in range(self._count)]
        self._settings = WorkerSettings(
            number=0,
            count=self._count,
            ledger=str(self._ledger),
            listen=self._listen,
            upstream=self._upstream.url,
            keys=self._keys,
            grace_s=self._grace_s,
            receipts=self._receipts,
            drain=self._drain,
            logged=self._logged,
            log_format=self._log_format,
            authority=str(authority_folder()),
            board=self._board.descriptor,
            notices=tuple(notice.descriptor for notice in self._notices),
            listening=tuple(found.fileno() for found in self._bound.listening),
            intercepting=tuple(found.fileno() for found in self._bound.intercepting),
            own_secret=token_hex(16),
        )
        began_s = time.monotonic()
        started = [self._begin(number) for number in range(self._count)]
        for process in started:
            if process is not None:
                self._told = process.hear()
        self._threads.append(self._carrying.go_on(self._stopping))
        for number in range(self._count):
            thread = threading.Thread(
                target=self._keep, args=(number, began_s), name=f"submeter-worker-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _begin(self, number: int) -> WorkerProcess | None:
        """Start one worker; None: the proxy stops."""
        assert self._settings is not None
        with self._mutex:
            if self._stopping.is_set():
                return None
            try:
                process = WorkerProcess(self._command, self._settings.of(number))
            except OSError as error:
                raise SubmeterError(
                    "A worker of the proxy cannot be started.",
                    f"The system says: {error.strerror or error}.",
                    "Start the proxy without --workers, or see: submeter doctor",
                    exit_code=3,
                ) from error
            self._processes[number] = process
            return process

    def _keep(self, number: int, began_s: float) -> None:
        """Wait for a worker's end, and start another in its place, until the proxy stops."""
        pauses, failures = Pauses(), 0
        process: WorkerProcess | None = self._processes[number]
        while True:
            if process is not None:
                code = process.wait()
                with self._mutex:
                    if self._stopping.is_set():
                        return
                    del self._processes[number]
                self.unwritten = process.last_words() or self.unwritten
                if code == 0 and self._stopping.wait(IN_ORDER_S):
                    return
                logger.warning("worker %d (pid %d) ended (%s); another is started", number + 1, process.pid, _how(code))
            pause_s = pauses.after(time.monotonic() - began_s)
            if self._stopping.wait(pause_s):
                return
            began_s, process = time.monotonic(), None
            try:
                process = self._begin(number)
                if process is None:
                    return
                process.hear()
                failures = 0
            except SubmeterError as error:
                if self._stopping.is_set():
                    return
                failures += 1
                logger.warning("worker %d did not start: %s", number + 1, str(error).replace("\n", " "))
                if failures >= FAILURES_MAX and all(other == number for other in self._processes):
                    self._given_up.set()
                    return

    def wait(self, seconds: float | None = None) -> bool:
        """Block until no worker is left that could be started (True) or `seconds` have passed (False)."""
        return self._given_up.wait(seconds)

    def stop(self, grace_s: float) -> None:
        """Close the listener, have the workers end, and carry what they wrote. Idempotent."""
        if self._board is None or not self._threads:
            return
        try:
            self._stop_all(kill=False, seconds=grace_s + STOP_S_MAX)
        except BaseException:
            # Told to stop once more: nobody is waited for.
            self._stop_all(kill=True)
            raise
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._carrying.end()

    def _stop_all(self, *, kill: bool, seconds: float = STOP_S_MAX) -> None:
        with self._mutex:
            self._stopping.set()
        if self._bound is not None:
            self._bound.close()
        processes = list(self._processes.values())
        for process in processes:
            process.kill() if kill else process.tell_to_stop()
        deadline_s = time.monotonic() + seconds
        for process in processes:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                process.kill()
                process.wait()
            self.unwritten = process.last_words() or self.unwritten
        self._processes = {}
        for board in (self._board, *self._notices):
            if board is not None:
                board.close()


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
