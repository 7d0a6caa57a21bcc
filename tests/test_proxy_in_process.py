"""The meter inside a Python program: its plain form, its errors, and a host program left as it was."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from full_disk import file_bytes_max
from laws import assert_sums_agree

from submeter.data.clock import SystemClock
from submeter.data.error import SubmeterError
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.proxy import Submeter
from submeter.sim import Key, Sim

SECRET = "sk-sim-in-process-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_in_process"),)
ONE_CALL = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode(),
    {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
)
urllib.request.urlopen(request).read()
"""


def table(ledger: Path, sql: str) -> list[tuple[Any, ...]]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    assert_sums_agree(opened)
    return opened.query(sql).rows


def one_call(environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-c", ONE_CALL], env={**environment, "OPENAI_API_KEY": SECRET}, check=True, timeout=60
    )


def state_of_the_host() -> tuple[Any, ...]:
    root, engine = logging.getLogger(), logging.getLogger("mitmproxy")
    return (
        list(root.handlers),
        root.level,
        list(engine.handlers),
        engine.level,
        engine.propagate,
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        sorted(thread.name for thread in threading.enumerate() if "submeter" in thread.name),
        os.umask(os.umask(0o022)),
    )


def test_runs_and_steps_are_marked_by_with_and_label_the_calls(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with (
        Sim(keys=KEYS) as sim,
        Submeter(ledger, upstream=sim.url) as meter,
        meter.run("ChatDev", run_id="r-1") as run,
    ):
        with run.step("1"):
            one_call(run.env())
            one_call(run.env())
        with run.step("2"):
            pass
        one_call(run.env())
    assert table(ledger, "SELECT framework, run_id, step, calls, counted FROM step_usage ORDER BY step NULLS LAST") == [
        ("chatdev", "r-1", "1", 2, 2),
        ("chatdev", "r-1", "2", 0, 0),
        ("chatdev", "r-1", None, 1, 1),
    ]
    assert table(ledger, "SELECT name, end_source, status FROM runs") == [("chatdev/r-1", "mark", "success")]


def test_a_run_that_raises_has_failed_and_its_calls_stay(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"

    def fail(meter: Submeter) -> None:
        with meter.run("baes", run_id="r-1") as run, run.step("1"):
            one_call(run.env())
            raise ZeroDivisionError

    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter, pytest.raises(ZeroDivisionError):
        fail(meter)
    assert table(ledger, "SELECT status FROM runs") == [("failed",)]
    assert table(ledger, "SELECT status FROM steps") == [("failed",)]
    assert table(ledger, "SELECT count(*) FROM calls") == [(1,)]


def test_parallel_steps_are_labelled_exactly_by_their_own_environments(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with (
        Sim(keys=KEYS) as sim,
        Submeter(ledger, upstream=sim.url) as meter,
        meter.run("baes", run_id="r-1") as run,
        run.step("a") as a,
        run.step("b") as b,
    ):
        for step in (a, b, a):
            one_call(step.env())
    assert table(ledger, "SELECT step, count(*) FROM calls GROUP BY step ORDER BY step") == [("a", 2), ("b", 1)]


def test_one_meter_after_another_on_the_same_port_works_and_leaves_the_host_as_it_was(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ledger = tmp_path / "submeter.duckdb"
    before = state_of_the_host()
    with Sim(keys=KEYS) as sim:
        before = state_of_the_host()
        for _ in range(2):
            with Submeter(ledger, upstream=sim.url, port=port) as meter:
                one_call(meter.env())
            assert state_of_the_host() == before
    assert table(ledger, "SELECT count(*) FROM calls WHERE standing = 'counted'") == [(2,)]


def test_a_meter_inside_a_running_event_loop_does_not_touch_it(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"

    async def program(url: str) -> None:
        loop = asyncio.get_running_loop()
        handler = loop.get_exception_handler()
        with Submeter(ledger, upstream=url) as meter:
            await asyncio.to_thread(one_call, meter.env())
        assert asyncio.get_running_loop() is loop
        assert loop.get_exception_handler() is handler

    with Sim(keys=KEYS) as sim:
        asyncio.run(program(sim.url))
    assert table(ledger, "SELECT count(*) FROM calls") == [(1,)]


def check_refused(error: pytest.ExceptionInfo[SubmeterError], *words: str) -> None:
    lines = str(error.value).splitlines()
    assert len(lines) == 3, lines
    for word in words:
        assert word in str(error.value)


def test_a_second_meter_at_the_same_time_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter:
        with pytest.raises(SubmeterError) as error:
            Submeter(ledger, upstream=sim.url).start()
        check_refused(error, "already running")
        one_call(meter.env())
    assert table(ledger, "SELECT count(*) FROM calls") == [(1,)]


def test_a_taken_port_is_refused_and_the_next_start_works(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    before = state_of_the_host()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SubmeterError) as error:
        Submeter(ledger, port=taken.getsockname()[1]).start()
    check_refused(error, "cannot listen", "submeter proxy --listen")
    assert state_of_the_host() == before
    logging.getLogger("host").error("the host's own logging still works")
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter:
        one_call(meter.env())
    assert table(ledger, "SELECT count(*) FROM calls") == [(1,)]


@pytest.mark.parametrize("place", ["file/submeter.duckdb", "/proc/submeter.duckdb"])
def test_a_ledger_that_cannot_be_written_is_refused_before_anything_listens(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    before = state_of_the_host()
    with pytest.raises(SubmeterError) as error:
        Submeter(tmp_path / place).start()
    check_refused(error)
    assert state_of_the_host() == before


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, and no database" * 1000)
    with pytest.raises(SubmeterError) as error:
        Submeter(path).start()
    check_refused(error)
    assert path.read_text().startswith("my notes")


def test_a_bad_upstream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmeterError) as error:
        Submeter(tmp_path / "l.duckdb", upstream="api.openai.com").start()
    check_refused(error, "--upstream")


def test_a_listener_beyond_loopback_is_refused_without_being_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SubmeterError) as error:
        Submeter(tmp_path / "l.duckdb", host="0.0.0.0").start()
    check_refused(error, "token")


def test_one_key_under_two_frameworks_is_refused_before_anything_listens(tmp_path: Path) -> None:
    environment = {"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_B": SECRET}
    with pytest.raises(SubmeterError) as error:
        Submeter(tmp_path / "l.duckdb", environment=environment).start()
    check_refused(error, "One key is used for a and b.")
    assert SECRET not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def full_disk(ledger: Path) -> Iterator[None]:
    """No file of this process may outgrow what the journal is now: it takes no more, and small files elsewhere are."""
    (journal,) = journal_folder(ledger).glob("*.jsonl")
    with file_bytes_max(journal.stat().st_size):
        yield


@pytest.mark.parametrize("raises", [False, True])
def test_a_stop_on_a_full_disk_raises_with_the_place_of_what_it_kept_and_hides_no_error_of_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    ledger = tmp_path / "submeter.duckdb"

    def program(disk: ExitStack) -> None:
        with Submeter(ledger) as meter:
            for number in range(4):
                with meter.run("baes", run_id=f"written-{number}"):
                    pass
            disk.enter_context(full_disk(ledger))
            with meter.run("baes", run_id="kept"):
                if raises:
                    raise ZeroDivisionError

    with ExitStack() as disk, pytest.raises((SubmeterError, ZeroDivisionError)) as raised:
        program(disk)
    (kept,) = elsewhere.glob("*.jsonl")
    assert b'"kept"' in kept.read_bytes()
    assert raised.type is (ZeroDivisionError if raises else SubmeterError)
    said = "".join(raised.value.__notes__) if raises else str(raised.value)
    assert "could not be written" in said
    assert str(kept) in said


def test_a_meter_that_is_not_running_says_so(tmp_path: Path) -> None:
    meter = Submeter(tmp_path / "l.duckdb")
    with pytest.raises(SubmeterError) as error:
        meter.env()
    check_refused(error, "not running")
    meter.stop()


def test_health_tells_the_ledger_and_the_open_calls(tmp_path: Path) -> None:
    with (
        Sim(keys=KEYS) as sim,
        Submeter(tmp_path / "l.duckdb", upstream=sim.url) as meter,
        urllib.request.urlopen(f"{meter.url}/_submeter/health", timeout=10) as answer,
    ):
        assert b'"calls_open":0' in answer.read()


OPEN_AND_CALL = """
import os, subprocess, sys
from submeter.proxy import Submeter
with Submeter(os.environ["LEDGER"], upstream=os.environ["SIM"]) as meter:
    with meter.run(os.environ["FRAMEWORK"], run_id="r-1") as run, run.step("1"):
        subprocess.run([sys.executable, "-c", os.environ["ONE_CALL"]], env=run.env(), check=True, timeout=60)
        print("called", flush=True)
        sys.stdin.readline()
"""


def test_a_run_id_that_is_open_in_two_programs_under_two_frameworks_is_two_runs(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    programs = []
    with Sim(keys=KEYS) as sim:
        for framework in ("baes", "ghspec"):
            kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
            program = subprocess.Popen(
                [sys.executable, "-c", OPEN_AND_CALL],
                env={
                    **kept,
                    "LEDGER": str(ledger),
                    "SIM": sim.url,
                    "FRAMEWORK": framework,
                    "ONE_CALL": ONE_CALL,
                    "OPENAI_API_KEY": SECRET,
                },
                cwd=tmp_path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            programs.append(program)
            assert program.stdout is not None
            assert program.stdout.readline() == "called\n"
        for program in programs:
            program.communicate("go on\n", timeout=60)
    calls = table(ledger, "SELECT framework, run_id, step, label_source FROM calls ORDER BY started_at")
    assert calls == [("baes", "r-1", "1", "url"), ("ghspec", "r-1", "1", "url")]
    assert table(ledger, "SELECT name FROM runs ORDER BY name") == [("baes/r-1",), ("ghspec/r-1",)]
