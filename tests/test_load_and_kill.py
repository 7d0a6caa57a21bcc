"""A thousand calls, half of them streams, some aborted, some failed, and a kill -9 of the proxy in the middle.

Judged by what the clients completed and by the books of the pretend OpenAI: one row per attempt, nothing twice,
nothing lost, while a second process asks the ledger again and again, without an error or a call that vanishes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from wire import find_header, read_head, request_bytes

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.sim import Key, Sim
from submeter.sim.faults import Fault, FaultKind

CALLS = 1000
CLIENTS = 50
QUERIES_MIN = int(os.environ.get("SUBMETER_TEST_QUERIES", "3"))
"""The second process asks as long as the load lasts, and so many times if that was sooner over."""
SEED = 11
KEYS = (Key(secret="sk-load-a", api_key_id="key_load_a"), Key(secret="sk-load-b", api_key_id="key_load_b"))
COMMAND = Path(sys.executable).with_name("submeter")


@dataclass(slots=True)
class Seen:
    """What a client knows of one attempt."""

    sent: bool = False
    completed: bool = False
    status: int | None = None
    usage: Any = None


class Attempts:
    """Numbers every attempt, as its step label and as a header."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def new(self) -> int:
        self.seen.append(Seen())
        return len(self.seen) - 1


def start_proxy(ledger: Path, upstream: str, port: int) -> tuple[subprocess.Popen[str], int]:
    environment = {**os.environ, "OPENAI_API_KEY_A": KEYS[0].secret, "OPENAI_API_KEY_B": KEYS[1].secret}
    process = subprocess.Popen(
        [COMMAND, "--ledger", ledger, "proxy", "--listen", f"127.0.0.1:{port}", "--upstream", upstream],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ledger.parent,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "OPENAI_BASE_URL=" in line:
            return process, int(line.rstrip().rsplit(":", 1)[1].split("/")[0])
    raise AssertionError("the proxy did not start")


async def attempt(port: int, number: int, seen: Seen, *, stream: bool, fail: bool, abort: bool) -> bool:
    """Make one attempt; True where nothing came back and a client would try again."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    except OSError:
        return True
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Attempt {number}"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {
        "Authorization": f"Bearer {KEYS[number % 2].secret}",
        "Content-Type": "application/json",
        "X-Attempt": str(number),
        **({"X-Fault": "500"} if fail else {}),
    }
    target = f"/run/load/step/{number}/v1/chat/completions"
    try:
        writer.write(request_bytes("POST", target, headers=headers, body=json.dumps(body).encode()))
        seen.sent = True
        head = await read_head(reader)
        if abort:
            await reader.read(1)
            return False
        status = int(head.split(b" ", 2)[1])
        if stream and not fail:
            text = await reader.readuntil(b"data: [DONE]")
            events = [line[6:] for line in text.split(b"\n") if line.startswith(b"data: {")]
            usage = [event["usage"] for event in map(json.loads, events) if event.get("usage")][-1]
        else:
            answer = json.loads(await reader.readexactly(int(find_header(head, "content-length") or 0)))
            usage = answer.get("usage")
        seen.completed, seen.status, seen.usage = True, status, usage
        return False
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    finally:
        writer.close()


ASKING = """
import itertools, sys, threading
from submeter.cli.main import main

least = int(sys.argv[2])
sys.argv = ["submeter", "--ledger", sys.argv[1], "sql", "SELECT count(*) AS calls FROM calls", "--format", "csv"]
enough = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
for asked in itertools.count():
    if enough.is_set() and asked >= least:
        break
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


@pytest.fixture
def asking(tmp_path: Path) -> Any:
    """A second process that asks the ledger again and again, until its stdin is closed."""

    def begin(ledger: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", ASKING, str(ledger), str(QUERIES_MIN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return begin


def test_every_attempt_is_one_row_through_load_aborts_failures_and_a_kill(tmp_path: Path, asking: Any) -> None:
    ledger = tmp_path / "submeter.duckdb"
    attempts = Attempts()
    chance = random.Random(SEED)
    plans = [
        {"stream": n % 2 == 0, "fail": chance.random() < 0.05, "abort": chance.random() < 0.05} for n in range(CALLS)
    ]
    faults = [Fault(kind=FaultKind.STATUS, status=500, header=("x-fault", "500"))]
    with Sim(keys=KEYS, seed=SEED, faults=faults, chunk_delay_s=0.002) as sim:
        process, port = start_proxy(ledger, sim.url, 0)
        asker = asking(ledger)

        async def client(mine: list[int]) -> None:
            for plan in mine:
                again = True
                while again:
                    number = attempts.new()
                    again = await attempt(port, number, attempts.seen[number], **plans[plan])
                    if again:
                        await asyncio.sleep(0.05)

        async def killer() -> None:
            nonlocal process
            while sum(seen.completed for seen in attempts.seen) < CALLS * 2 // 5:
                await asyncio.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
            process, _ = await asyncio.to_thread(start_proxy, ledger, sim.url, port)

        async def everything() -> None:
            await asyncio.gather(killer(), *(client(list(range(n, CALLS, CLIENTS))) for n in range(CLIENTS)))

        asyncio.run(everything())
        assert sim.wait_idle()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode == 0
        told, complaint = asker.communicate(timeout=120)

    assert asker.returncode == 0, complaint
    answers = [int(line) for line in told.splitlines() if line != "calls"]
    assert len(answers) >= QUERIES_MIN
    assert answers == sorted(answers), "a call that was there is not there any more"

    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    table = opened.query("SELECT step, outcome, standing, usage, input_tokens, output_tokens FROM calls")
    rows = {int(row[0]): row[1:] for row in table.rows}
    assert len(rows) == len(table.rows), "an attempt has two rows"
    reached = {int(received.headers["x-attempt"]): received.request_id for received in sim.received}
    assert set(reached) <= set(rows), "an attempt that reached the provider has no row"
    entries = {entry.request_id: entry for entry in sim.books.entries}
    completed = [number for number, seen in enumerate(attempts.seen) if seen.completed]
    assert len(completed) >= CALLS * 0.8
    for number in completed:
        outcome, standing, usage, inputs, outputs = rows[number]
        seen = attempts.seen[number]
        if seen.status == 500:
            assert (outcome, standing, usage) == ("failed", "unknown", None)
            continue
        counts = entries[reached[number]].counts
        assert (outcome, standing) == ("metered", "counted")
        assert json.loads(usage) == seen.usage
        assert (inputs, outputs) == (counts.input_tokens, counts.output_tokens)
    assert {rows[number][0] for number in rows} >= {"metered", "failed", "aborted", "lost"}
    assert_sums_agree(opened)

    before = opened.query("SELECT * FROM calls ORDER BY call_id").rows
    opened.rebuild()
    assert opened.query("SELECT * FROM calls ORDER BY call_id").rows == before
    assert opened.check().problems == ()
