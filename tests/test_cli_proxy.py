"""`submeter proxy` as a process of its own, with the commands that speak to it while it runs."""

from __future__ import annotations

import http.client
import json
import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from submeter.cli.proxy import DRAIN, parse_listen, parse_older_drain, proxy, stop_signals
from submeter.data.error import SubmeterError
from submeter.sim import Key, Sim

SECRET = "sk-of-chatdev"
START_S = 60.0
COMMAND = [sys.executable, "-c", "from submeter.cli.main import main; main()"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A proxy process and where it listens."""

    process: subprocess.Popen[str]
    url: str
    said: list[str]
    """What it has said on stderr so far."""
    folder: Path

    def submeter(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], cwd=self.folder, env=environment(), capture_output=True, text=True, check=False
        )

    def ask(self, path: str = "", **headers: str) -> int:
        """One chat completion; the status of its answer."""
        base = urlsplit(self.url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=20)
        body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]})
        all_headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json", **headers}
        connection.request("POST", f"{path}/v1/chat/completions", body, all_headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(START_S)


def environment() -> dict[str, str]:
    """Ours without any key but one framework's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "SUBMETER"))}
    return kept | {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev1"}


@contextmanager
def running(folder: Path, upstream: str, *words: str) -> Iterator[Running]:
    """A proxy on a free port, once it has said where it listens."""
    command = [*COMMAND, "proxy", "--listen", "127.0.0.1:0", "--upstream", upstream, *words]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines: queue.Queue[str | None] = queue.Queue()
    said: list[str] = []

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip("\n"))
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        while line := lines.get(timeout=START_S):
            if "export OPENAI_BASE_URL=" in line:
                url = line.strip().partition("=")[2].removesuffix("/v1")
                yield Running(process=process, url=url, said=said, folder=folder)
                break
        else:
            pytest.fail("\n".join(said))
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with Sim(keys=[Key(secret=SECRET, api_key_id="key_chatdev1")]) as started:
        yield started


def test_a_call_is_a_row_that_another_process_can_ask_for_at_once(sim: Sim, tmp_path: Path) -> None:
    with running(tmp_path, sim.url) as proxy:
        assert proxy.ask("/run/r-1/step/4.7") == 200
        (call,) = json.loads(proxy.submeter("sql", "FROM calls", "--json").stdout)
    names = ("framework", "run_id", "step", "outcome", "standing", "api_key_id")
    assert [call[name] for name in names] == ["chatdev", "r-1", "4.7", "metered", "counted", "key_chatdev1"]
    assert SECRET not in json.dumps(call)


def test_a_step_mark_reaches_the_running_proxy_and_labels_calls_from_then_on(sim: Sim, tmp_path: Path) -> None:
    with running(tmp_path, sim.url) as proxy:
        assert proxy.ask() == 200
        marked = proxy.submeter("step", "begin", "1", "--run", "chatdev/r-1")
        assert (marked.returncode, marked.stdout) == (0, "")
        assert proxy.url in marked.stderr
        assert proxy.ask() == 200
        assert proxy.submeter("step", "end", "1", "--run", "chatdev/r-1", "--status", "success").returncode == 0
        assert proxy.ask() == 200
        query = "SELECT run_id, step FROM calls ORDER BY started_at"
        rows = json.loads(proxy.submeter("sql", query, "--json").stdout)
        steps = json.loads(proxy.submeter("steps", "r-1", "--json").stdout)
    assert [(row["run_id"], row["step"]) for row in rows] == [(None, None), ("r-1", "1"), ("r-1", None)]
    assert [(step["step"], step["status"], step["calls"]) for step in steps] == [("1", "success", 1), (None, None, 1)]


def test_a_stop_that_is_told_twice_at_once_is_one_stop() -> None:
    times = iter([0.0, 0.2])
    with stop_signals(lambda: next(times)) as told_to_stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert told_to_stop.is_set()


def test_a_proxy_under_nohup_stays_deaf_to_a_hang_up() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as told_to_stop:
            signal.raise_signal(signal.SIGHUP)
            assert not told_to_stop.is_set()
            signal.raise_signal(signal.SIGTERM)
            assert told_to_stop.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_stop_that_is_told_later_ends_at_once() -> None:
    times = iter([0.0, 2.0])
    with stop_signals(lambda: next(times)):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_cleanly_when_told_to(sim: Sim, tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, sim.url) as proxy:
        assert proxy.ask("/run/r-1") == 200
        assert proxy.stop(number) == 0
        (process,) = json.loads(proxy.submeter("sql", "SELECT stopped_at FROM processes", "--json").stdout)
    assert process["stopped_at"] is not None
    assert not any("Traceback" in line for line in proxy.said)


def test_a_proxy_that_crashes_leaves_no_core_with_the_keys_in_it(sim: Sim, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with running(tmp_path, sim.url) as proxy:
            assert proxy.ask() == 200
            assert resource.prlimit(proxy.process.pid, resource.RLIMIT_CORE) == (0, before[1])
            assert proxy.stop(signal.SIGABRT) == -signal.SIGABRT
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("core")] == []


def test_doctor_finds_the_running_proxy_and_exits_by_what_it_finds(sim: Sim, tmp_path: Path) -> None:
    with running(tmp_path, sim.url) as proxy:
        assert proxy.ask("/run/r-1") == 200
        told = proxy.submeter("doctor", "--json")
        findings = {finding["check"]: finding for finding in json.loads(told.stdout)}
        (tmp_path / ".env").write_text(
            f"OPENAI_ADMIN_KEY={sim.admin_key}\nOPENAI_API_KEY_BAES=sk-of-baes\nOPENAI_API_KEY_BAES_ID=key_baes1\n"
        )
        again = subprocess.run(
            [*COMMAND, "doctor"],
            cwd=tmp_path,
            env=environment() | {"SUBMETER_USAGE_API_URL": sim.base_url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert told.returncode == 1
    assert {name for name, finding in findings.items() if finding["state"] != "fine"} == {"admin key"}
    assert proxy.url in findings["proxy"]["said"]
    assert sim.url in findings["upstream"]["said"]
    assert again.returncode == 0, again.stdout
    assert "baes" in again.stdout
    assert SECRET not in told.stdout + again.stdout


def test_a_taken_port_is_three_lines_and_leaves_no_journal(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = start_and_fail(tmp_path, "--listen", str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 3
    assert list((tmp_path / "submeter.duckdb.journal").glob("*.jsonl")) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--upstream", "api.openai.com"],
        ["--upstream", "https://api.openai.com/?x=1"],
        ["--listen", "127.0.0.1"],
        ["--listen", "0.0.0.0:0"],
        ["--ledger", "missing/../file/l.duckdb"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_served_is_three_lines(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").touch()
    ended = start_and_fail(tmp_path, "--listen", "127.0.0.1:0", *words)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 3, ended.stderr
    assert ended.stdout == ""


def test_one_key_under_two_frameworks_is_an_error_before_anything_listens(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY_A=sk-one-for-both\nOPENAI_API_KEY_B=sk-one-for-both\n")
    ended = start_and_fail(tmp_path, "--listen", "127.0.0.1:0")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 3), ended.stderr
    assert "One key is used for a and b." in ended.stderr
    assert "sk-one" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def start_and_fail(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "proxy", *words]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=START_S
    )


@pytest.mark.parametrize(
    ("words", "drain", "grace_s"),
    [((), "", 10.0), (("--drain", "--json"), DRAIN, 10.0), (("--drain",), DRAIN, 10.0), (("--grace", "3"), "", 3.0)],
)
def test_drain_is_a_switch_and_grace_is_how_long_a_stop_waits(
    words: tuple[str, ...], drain: str, grace_s: float
) -> None:
    said = proxy.make_context("proxy", list(words)).params
    assert (said["drain"], said["grace_s"]) == (drain, grace_s)


def test_a_drain_with_a_number_is_the_grace_that_it_once_was() -> None:
    assert proxy.make_context("proxy", ["--drain", "2.5", "--json"]).params["drain"] == "2.5"
    assert parse_older_drain("2.5") == 2.5
    for wrong in ("x", "-1", "nan", "inf"):
        with pytest.raises(SubmeterError):
            parse_older_drain(wrong)


def test_a_listener_is_a_host_and_a_port_or_a_port_alone() -> None:
    assert parse_listen("127.0.0.1:8787") == ("127.0.0.1", 8787)
    assert parse_listen("[::1]:0") == ("::1", 0)
    assert parse_listen("8787") == ("127.0.0.1", 8787)
    for wrong in ("", "host", "host:", ":1", "host:http", "host:65536"):
        with pytest.raises(SubmeterError):
            parse_listen(wrong)
