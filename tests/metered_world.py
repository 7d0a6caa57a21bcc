"""One run through the real proxy to the simulator, on one clock, for tests of the commands that audit it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.clock import FixedClock
from submeter.proxy import Submeter
from submeter.sim import Key, Sim

NOW_US = 1_795_000_000_000_000
SECRET = "sk-of-chatdev"
KEY_ID = "key_chatdev1"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One framework, one metered run `chatdev/r-1`, and the books of the provider."""

    ledger: Path
    clock: FixedClock
    sim: Sim

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, words, obj=Invocation(ledger=self.ledger, clock=self.clock))

    def past(self, minutes: int) -> None:
        self.clock.sleep(minutes * 60)


@contextmanager
def metered_world(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, ledger_name: str = "l.duckdb", now_us: int = NOW_US
) -> Iterator[World]:
    """The world, in a folder that is the working directory meanwhile; its run begins at `now_us`."""
    clock = FixedClock(now_us)
    monkeypatch.chdir(folder)
    for name, value in {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": KEY_ID}.items():
        monkeypatch.setenv(name, value)
    with Sim(now=lambda: clock.now_us() / 1e6, keys=[Key(secret=SECRET, api_key_id=KEY_ID)]) as sim:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", sim.admin_key)
        monkeypatch.setenv("SUBMETER_USAGE_API_URL", sim.base_url)
        ledger = folder / ledger_name
        with Submeter(ledger, upstream=sim.url, clock=clock) as meter, meter.run("chatdev", run_id="r-1") as run:
            with run.step("1"):
                ask(run.base_url)
            with run.step("2"):
                clock.sleep(60)
        yield World(ledger=ledger, clock=clock, sim=sim)


def ask(base_url: str) -> None:
    """One chat completion."""
    base = urlsplit(base_url)
    connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=20)
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]})
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    connection.request("POST", f"{base.path}/chat/completions", body, headers)
    assert connection.getresponse().read()
    connection.close()
