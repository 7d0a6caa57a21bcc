"""`submeter proxy` as a process of its own, for tests that stop it, kill it and start it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SUBMETER = [sys.executable, "-m", "submeter.cli.main"]
LOG = "proxy.log"


class Proxy:
    """`submeter proxy` as a process in a group of its own, killed and started again on the same ledger and port."""

    def __init__(self, ledger: Path, upstream: str, secret: str, log: IO[bytes], *options: str) -> None:
        self._words = [*SUBMETER, "--ledger", str(ledger), "proxy", "--json", "--until-eof", "--upstream", upstream]
        self._words += options
        self._secret = secret
        self._folder = ledger.parent
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        process = self._process = subprocess.Popen(
            [*self._words, "--listen", f"127.0.0.1:{self.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._folder,
            env={**os.environ, "OPENAI_API_KEY_A": self._secret, "OPENAI_API_KEY_A_ID": "key_a"},
            start_new_session=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the proxy did not start"
        self.port = int(json.loads(line)["url"].rsplit(":", 1)[1])

    def kill(self) -> None:
        self.tell(signal.SIGKILL)

    def tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait for the process to be gone, after a signal if one is given; its exit code."""
        process = self._process
        if process is None:
            return 0
        if number is not None:
            process.send_signal(number)
        code = process.wait(30)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None
        return code


@contextmanager
def proxy_before(ledger: Path, upstream: str, secret: str, *options: str) -> Iterator[Proxy]:
    """A running one, which is gone when the block is left. Its framework `a` has this key."""
    with (ledger.parent / LOG).open("wb") as log:
        proxy = Proxy(ledger, upstream, secret, log, *options)
        proxy.start()
        try:
            yield proxy
        finally:
            proxy.end(signal.SIGKILL)
