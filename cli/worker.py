"""A worker of `submeter proxy --workers N`: the process that it starts, and no command of its own.

Its first line of stdin is what it is to do (`submeter.proxy.worker_settings`); it stops when stdin ends. On stdout it
says where it listens, or why it cannot. Stderr is the proxy's own: a line for a call is written from here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from ..data.clock import SystemClock
from ..data.error import SubmeterError
from ..proxy.serve import ProxyServer
from ..proxy.upstream_url import parse_upstream
from ..proxy.worker_process import error_line
from ..proxy.worker_settings import WorkerSettings, read_settings
from .proxy import WATCH_EVERY_S, stop_signals, wait_for_eof
from .proxy_log import LogFormat, Logged, ProxyLog


def main() -> int:
    """Work until stdin ends; the exit code."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # Whoever started it has gone.
    try:
        unwritten = work(read_settings(line))
    except SubmeterError as error:
        unwritten = error
    if unwritten is None:
        return 0
    _say(error_line(unwritten))
    return unwritten.exit_code


def work(settings: WorkerSettings) -> SubmeterError | None:
    """Serve until told to stop; what could not be written down at the end."""
    place = settings.place()
    row = place.board.row(place.number)
    log = ProxyLog(Logged(settings.logged), LogFormat(settings.log_format), SystemClock())
    before = row.problems

    def settled(line: Mapping[str, Any]) -> None:
        log.call(line)
        row.problems = before + log.problems

    server = ProxyServer(
        ledger=Path(settings.ledger),
        listen=settings.listen,
        upstream=parse_upstream(settings.upstream),
        clock=SystemClock(),
        keys=settings.keys,
        receipts=settings.receipts,
        drain=settings.drain,
        settled=settled,
        place=place,
    )
    with closing(log), stop_signals() as told_to_stop:
        server.start()
        try:
            _say(orjson.dumps({"url": server.url, "intercept": server.intercept_url}) + b"\n")
            threading.Thread(target=wait_for_eof, args=(told_to_stop,), daemon=True).start()
            while not told_to_stop.is_set() and not server.wait(WATCH_EVERY_S):
                pass
        finally:
            server.stop(settings.grace_s)
    return server.unwritten


def _say(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        pass  # Whoever started it has gone, and stdin ends too.


if __name__ == "__main__":
    sys.exit(main())
