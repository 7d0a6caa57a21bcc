"""The meter in async programs, in several processes at once, and as a child where the proxy cannot be imported."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree

from submeter.data.call import Edge, MarkedBy
from submeter.data.clock import SystemClock
from submeter.data.error import SubmeterError
from submeter.data.ledger import Ledger
from submeter.data.marks import Mark
from submeter.data.paths import journal_folder
from submeter.proxy import Submeter
from submeter.proxy.child import ChildProxy
from submeter.proxy.listen import Listen
from submeter.sim import Fault, FaultKind, Key, Sim

SECRET = "sk-sim-beside-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_beside"),)
PROGRAM_S_MAX = 120
PRELUDE = """
import json, os, sys, threading, urllib.request
from submeter.proxy import Submeter

def call(base_url):
    request = urllib.request.Request(
        base_url + "/chat/completions",
        json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode(),
        {"Authorization": "Bearer " + os.environ["SIM_KEY"], "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).read()

class Clash:
    \"\"\"A library of the proxy cannot be imported, as beside others whose pins do not fit its own.\"\"\"
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "httptools":
            raise ImportError("cannot import name 'x' from 'h11'")
"""
CLASH = PRELUDE + "sys.meta_path.insert(0, Clash())\n"
RUN_AND_STEP = """
with Submeter(os.environ["LEDGER"], upstream=os.environ["SIM"]) as meter:
    with meter.run("ChatDev", run_id="r-1") as run:
        with run.step("1"):
            call(run.base_url)
        call(run.env()["OPENAI_BASE_URL"])
        call(meter.base_url)
print("httptools" in sys.modules, "mitmproxy" in sys.modules)
"""


def run_program(program: str, ledger: Path, upstream: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SIM_KEY": SECRET, "LEDGER": str(ledger), "SIM": upstream, **more}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        cwd=ledger.parent,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S_MAX,
    )


def table(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    assert_sums_agree(opened)
    return opened.query(sql).rows


@pytest.mark.parametrize(("prelude", "imported"), [(PRELUDE, "True False"), (CLASH, "False False")])
def test_a_program_s_rows_are_the_same_with_the_proxy_inside_and_as_a_child(
    tmp_path: Path, prelude: str, imported: str
) -> None:
    ledger = tmp_path / "l.duckdb"
    with Sim(keys=KEYS) as sim:
        done = run_program(prelude + RUN_AND_STEP, ledger, sim.url, OPENAI_API_KEY_BESIDE_ID="key_1")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{imported}\n", "")
    assert table(ledger, "SELECT framework, run_id, step, label_source, standing FROM calls ORDER BY started_at") == [
        ("chatdev", "r-1", "1", "url", "counted"),
        ("chatdev", "r-1", None, "url", "counted"),
        (None, None, None, None, "counted"),
    ]
    assert table(ledger, "SELECT kind, edge, marked_by, status FROM marks ORDER BY marked_at") == [
        ("run", "begin", "python", None),
        ("step", "begin", "python", None),
        ("step", "end", "python", "success"),
        ("run", "end", "python", "success"),
    ]
    assert table(ledger, "SELECT count(*) FROM processes WHERE stopped_at IS NOT NULL") == [(1,)]


def test_leaving_the_block_waits_for_a_child_s_open_calls(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    program = (
        CLASH
        + """
with Submeter(os.environ["LEDGER"], upstream=os.environ["SIM"], drain_s=20) as meter:
    thread = threading.Thread(target=call, args=(meter.base_url,))
    thread.start()
    while b'"calls_open":1' not in urllib.request.urlopen(meter.url + "/_submeter/health").read():
        pass
thread.join()
"""
    )
    with Sim(keys=KEYS, faults=[Fault(kind=FaultKind.DELAY, seconds=1.0)]) as sim:
        done = run_program(program, ledger, sim.url)
    assert done.returncode == 0, done.stderr
    assert table(ledger, "SELECT outcome, standing FROM calls") == [("metered", "counted")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('upstream="api.openai.com"', "--upstream"),
        ('host="0.0.0.0"', "token"),
        ('port=int(os.environ["TAKEN"])', "cannot listen"),
    ],
)
def test_a_child_that_cannot_start_says_why_in_the_same_words(tmp_path: Path, change: str, words: str) -> None:
    program = (
        CLASH
        + f"""
from submeter.data.error import SubmeterError
try:
    Submeter(os.environ["LEDGER"], {change}).start()
except SubmeterError as error:
    print(str(error))
"""
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_program(program, tmp_path / "l.duckdb", "", TAKEN=str(taken.getsockname()[1]))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert words in done.stdout


def child(tmp_path: Path, upstream: str, **environment: str) -> ChildProxy:
    return ChildProxy(
        ledger=tmp_path / "l.duckdb",
        listen=Listen(port=0),
        upstream=upstream,
        drain_s=1.0,
        environment={**os.environ, **environment},
    )


def test_a_command_on_the_path_that_is_none_gives_way_to_the_next(tmp_path: Path) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "submeter").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (broken / "submeter").chmod(0o755)
    proxy = child(tmp_path, "http://127.0.0.1:9", PATH=f"{broken}{os.pathsep}{os.environ['PATH']}")
    proxy.start()
    try:
        assert proxy.url.startswith("http://127.0.0.1:")
    finally:
        proxy.stop(1.0)
    proxy.stop(1.0)


def test_a_child_that_stops_on_a_full_disk_tells_where_the_rest_is_kept(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ledger = tmp_path / "l.duckdb"
    child = ChildProxy(
        ledger=ledger,
        listen=Listen(port=0),
        upstream="http://127.0.0.1:9",
        drain_s=0.0,
        environment={
            **os.environ,
            "TMPDIR": str(elsewhere),
            "PATH": str(elsewhere),
            "PYTHONDONTWRITEBYTECODE": "1",  # A torn compiled file would break every later import.
        },
    )
    child.start()
    try:
        for number in range(20):  # So large is the journal that the child's own words find room, in a file as they are.
            child.mark(begun(f"written-{number}"))
        (journal,) = journal_folder(ledger).glob("*.jsonl")
        assert child._process is not None
        room = journal.stat().st_size
        resource.prlimit(child._process.pid, resource.RLIMIT_FSIZE, (room, room))
        child.mark(begun("kept"))
    finally:
        child.stop(0.0)
    (kept,) = elsewhere.glob("*.jsonl")
    assert b'"kept"' in kept.read_bytes()
    assert child.unwritten is not None
    assert str(kept) in child.unwritten.next_step
    assert child.unwritten.exit_code == 3


def begun(run_id: str) -> Mark:
    return Mark(
        kind="run",
        framework="baes",
        run_id=run_id,
        step=None,
        edge=Edge.BEGIN,
        by=MarkedBy.PYTHON,
        marked_at=SystemClock().now_us(),
        status=None,
    )


def test_a_second_child_at_the_same_time_is_refused(tmp_path: Path) -> None:
    first, second = child(tmp_path, "http://127.0.0.1:9"), child(tmp_path, "http://127.0.0.1:9")
    first.start()
    try:
        with pytest.raises(SubmeterError) as error:
            second.start()
        assert "already running" in error.value.what
    finally:
        first.stop(0)
    second.start()
    second.stop(0)


def test_a_program_that_is_killed_takes_its_child_with_it_and_loses_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    program = (
        CLASH
        + """
meter = Submeter(os.environ["LEDGER"], upstream=os.environ["SIM"]).start()
call(meter.base_url)
print(meter._server._process.pid, flush=True)
threading.Event().wait()
"""
    )
    with Sim(keys=KEYS) as sim:
        environment = {**os.environ, "SIM_KEY": SECRET, "LEDGER": str(ledger), "SIM": sim.url}
        with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        wait_for_end(pid)
    assert table(ledger, "SELECT standing FROM calls") == [("counted",)]
    assert table(ledger, "SELECT count(*) FROM processes WHERE stopped_at IS NOT NULL") == [(1,)]


def wait_for_end(pid: int) -> None:
    """Until this process, not a child of ours, is gone."""
    deadline = time.monotonic() + PROGRAM_S_MAX
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
    pytest.fail("the child lives on")


def test_several_processes_share_a_ledger_and_lose_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    program = (
        PRELUDE
        + """
with Submeter(os.environ["LEDGER"], upstream=os.environ["SIM"]) as meter:
    with meter.run(os.environ["FRAMEWORK"], run_id="r-1") as run, run.step("1"):
        for _ in range(10):
            call(run.base_url)
"""
    )
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    with Sim(keys=KEYS) as sim:

        def go(framework: str) -> None:
            done[framework] = run_program(program, ledger, sim.url, FRAMEWORK=framework)

        threads = [threading.Thread(target=go, args=(name,)) for name in ("baes", "chatdev", "ghspec")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [(ended.returncode, ended.stderr) for ended in done.values()] == [(0, "")] * 3
    sums = table(ledger, "SELECT framework, run_id, step, calls, counted FROM step_usage ORDER BY framework")
    assert [row for row in sums if row[2] is not None] == [
        (name, "r-1", "1", 10, 10) for name in ("baes", "chatdev", "ghspec")
    ]
    checked = Ledger(ledger, clock=SystemClock()).check()
    assert (checked.problems, checked.gaps, checked.differences) == ((), (), ())


def one_call(base_url: str) -> None:
    program = PRELUDE + "call(os.environ['URL'])"
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "SIM_KEY": SECRET, "URL": base_url}, check=True, timeout=60
    )


def test_async_with_starts_marks_and_stops_without_blocking_the_program_s_loop(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def program(url: str) -> tuple[int, int]:
        ticking = asyncio.create_task(tick())
        before = ticks
        async with Submeter(ledger, upstream=url) as meter:
            started = ticks - before
            async with meter.run("baes", run_id="r-1") as run, run.step("1"):
                await asyncio.to_thread(one_call, run.base_url)
            before = ticks
        stopped = ticks - before
        ticking.cancel()
        return started, stopped

    with Sim(keys=KEYS) as sim:
        started, stopped = asyncio.run(program(sim.url))
    assert started >= 5, "the loop went on while the proxy started"
    assert stopped >= 1
    assert table(ledger, "SELECT framework, run_id, step, standing FROM calls") == [("baes", "r-1", "1", "counted")]
    assert table(ledger, "SELECT status FROM runs") == [("success",)]


def test_an_async_block_that_raises_has_failed_and_stops(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"

    async def program() -> None:
        async with Submeter(ledger, upstream="http://127.0.0.1:9") as meter, meter.run("baes", run_id="r-1"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(program())
    assert table(ledger, "SELECT status FROM runs") == [("failed",)]


def test_a_start_that_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    ledger = tmp_path / "l.duckdb"

    async def enter() -> None:
        async with Submeter(ledger, upstream="http://127.0.0.1:9"):
            await asyncio.Event().wait()

    async def program() -> None:
        task = asyncio.create_task(enter())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    with Submeter(ledger, upstream="http://127.0.0.1:9"):
        pass


def test_a_clock_of_one_s_own_needs_the_proxy_inside(tmp_path: Path) -> None:
    program = (
        CLASH
        + """
from submeter.data.clock import FixedClock
from submeter.data.error import SubmeterError
try:
    Submeter(os.environ["LEDGER"], clock=FixedClock(0)).start()
except SubmeterError as error:
    print(error.what)
"""
    )
    done = run_program(program, tmp_path / "l.duckdb", "")
    assert "cannot be imported" in done.stdout, done.stderr
