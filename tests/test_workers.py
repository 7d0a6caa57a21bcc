"""`submeter proxy --workers 2`: one port, two processes, one ledger, and marks that hold in both.

A connection is brought to the worker it is meant for by stopping the other one (SIGSTOP) while it is made. The tests
share one proxy; the last of them stops it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from wire import RawRequest, framed, serving

from submeter.cli.main import cli
from submeter.cli.running import running_proxies
from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.data.presence import is_held

SECRET = "sk-of-a"
CHAT = "/v1/chat/completions"
COMMAND = [sys.executable, "-m", "submeter.cli.main", "proxy", "--workers", "2", "--json", "--listen", "127.0.0.1:0"]


async def answer(request: RawRequest, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The upstream: chat completions, client secrets, and answers that never end."""
    model = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini"}
    body: dict[str, Any] = {**model, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    if "client_secrets" in request.target:
        body = {"value": "ek_minted_here"}
    [whole] = framed(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
    writer.write(whole[:-1] if request.header("x-hold") else whole)
    return True


@dataclass(slots=True)
class Crew:
    """A proxy of two workers."""

    process: subprocess.Popen[bytes]
    port: int
    ledger: Path
    connections: list[http.client.HTTPConnection] = field(default_factory=list)
    """Those that were made; closed after each test."""

    @property
    def journals(self) -> list[Path]:
        return sorted(journal_folder(self.ledger).glob("*.jsonl"))

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """All lines of a kind, of all journals."""
        found = [json.loads(line) for path in self.journals for line in path.read_bytes().splitlines()]
        return [line for line in found if line["kind"] == kind]

    def workers(self) -> list[int]:
        """Processes of the workers that live."""
        return [json.loads(path.read_bytes().splitlines()[0])["pid"] for path in self.journals if is_held([path])]

    def connect(self) -> http.client.HTTPConnection:
        """A connection with whichever worker takes it."""
        self.connections.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))
        return self.connections[-1]

    def close(self) -> None:
        while self.connections:
            self.connections.pop().close()

    def at(self, pid: int) -> http.client.HTTPConnection:
        """A connection with this worker."""
        others = [other for other in self.workers() if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            while (connection := self._with(pid)) is None:
                pass
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)
        return connection

    def _with(self, pid: int) -> http.client.HTTPConnection | None:
        """A connection, if this worker took it: one that is told to stand still may take one more, and then stand."""
        connection = self.connect()
        connection.timeout = 1
        try:
            if health(connection)["pid"] == pid:
                connection.sock.settimeout(60)
                return connection
        except TimeoutError:
            pass
        connection.close()
        return None

    def beside(self, standing: int) -> http.client.HTTPConnection:
        """A connection with another worker than the one that was told to stand still, once there is one."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            connection = self.connect()
            connection.timeout = 1
            with suppress(TimeoutError):
                if health(connection)["pid"] != standing:
                    connection.sock.settimeout(60)
                    return connection
            connection.close()
        raise TimeoutError

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        ledger = Ledger(self.ledger, clock=SystemClock())
        ledger.ingest(wait_s=30)
        return ledger.query(sql).rows


def ask(connection: http.client.HTTPConnection, target: str = CHAT, *, secret: str = SECRET, **headers: str) -> bytes:
    """One call; the answer's body."""
    told = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers}
    connection.request("POST", target, json.dumps({"model": "gpt-4o-mini", "messages": []}), told)
    return connection.getresponse().read()


def mark(connection: http.client.HTTPConnection, kind: str, edge: str, **fields: str) -> None:
    body = json.dumps({"run": "a/r-1", "edge": edge, **fields})
    connection.request("POST", f"/_submeter/{kind}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, response.read()[:1]) == (200, b"{")


def health(connection: http.client.HTTPConnection) -> dict[str, Any]:
    connection.request("GET", "/_submeter/health")
    told = json.loads(connection.getresponse().read())
    assert isinstance(told, dict)
    return told


@contextmanager
def crew(folder: Path) -> Iterator[Crew]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "SUBMETER"))}
    environment |= {"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_A_ID": "key_a"}
    with serving(answer) as upstream:
        process = subprocess.Popen(
            [*COMMAND, "--upstream", upstream.url, "--grace", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            port = int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1])
            yield Crew(process, port, folder / "submeter.duckdb")
        finally:
            process.kill()
            process.wait(30)
            process.stdout.close()
            # Its workers have it too: at its end all of them are gone.
            process.stderr.read()
            process.stderr.close()


@pytest.fixture(scope="module")
def of_this_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with crew(tmp_path_factory.mktemp("workers")) as found:
        yield found


@pytest.fixture
def both(of_this_file: Crew) -> Iterator[Crew]:
    yield of_this_file
    of_this_file.close()


def test_calls_at_either_worker_are_rows_of_one_ledger(both: Crew) -> None:
    for pid in both.workers():
        assert b"usage" in ask(both.at(pid), "/run/everywhere/v1/chat/completions")
    rows = both.rows(
        "SELECT p.pid, r.input_tokens, r.output_tokens FROM readings AS r JOIN processes AS p ON p.file_id = r.file_id"
        " WHERE r.run_id = 'everywhere' ORDER BY p.pid"
    )
    assert rows == [(pid, 3, 4) for pid in sorted(both.workers())]


def test_a_mark_told_to_one_worker_holds_at_the_other_and_is_written_once(both: Crew) -> None:
    told, other = (both.at(pid) for pid in both.workers())
    ask(other)
    mark(told, "step", "begin", step="4.7")
    ask(other)
    mark(told, "step", "end", step="4.7")
    ask(other)
    mark(other, "run", "end")
    ask(told)
    calls = [line for line in both.lines("settle") if line.get("run_id") != "everywhere"]
    calls.sort(key=lambda line: int(line["started_at"]))
    assert [(line.get("run_id"), line.get("step")) for line in calls[-4:]] == [
        (None, None),
        ("r-1", "4.7"),
        ("r-1", None),
        (None, None),
    ]
    assert [line["edge"] for line in sorted(both.lines("step"), key=lambda line: int(line["at"]))] == ["begin", "end"]
    assert [line["edge"] for line in both.lines("run")] == ["end"]


def test_a_worker_that_hangs_holds_up_no_mark_and_has_it_once_it_goes_on(both: Crew) -> None:
    hangs, works = both.workers()
    there, here = both.at(hangs), both.at(works)
    os.kill(hangs, signal.SIGSTOP)
    try:
        mark(here, "step", "begin", step="while it hung")
    finally:
        os.kill(hangs, signal.SIGCONT)
    ask(there, **{"X-Submeter-Run": "a/r-1"})
    mark(here, "run", "end")
    assert [line["step"] for line in both.lines("settle") if line.get("step") == "while it hung"] == ["while it hung"]


def test_a_client_secret_minted_at_one_worker_is_its_key_s_at_the_other(both: Crew) -> None:
    minting, calling = (both.at(pid) for pid in both.workers())
    assert b"ek_minted_here" in ask(minting, "/v1/realtime/client_secrets")
    ask(calling, "/run/minted/v1/chat/completions", secret="ek_minted_here")
    ask(calling, "/run/stranger/v1/chat/completions", secret="ek_of_somebody")
    ids = {line["run_id"]: line.get("api_key_id") for line in both.lines("settle") if "run_id" in line}
    assert (ids["minted"], ids["stranger"]) == ("key_a", None)


def test_health_counts_the_calls_of_all_workers_and_doctor_sees_one_proxy(both: Crew) -> None:
    one, other = (both.at(pid) for pid in both.workers())
    before = health(one)["calls_settled"]
    ask(one)
    ask(other)
    counts = [(said["workers"], said["calls_open"], said["calls_settled"]) for said in (health(one), health(other))]
    assert counts == [(2, 0, before + 2)] * 2
    assert [(proxy.listen, proxy.workers) for proxy in running_proxies(both.ledger)] == [
        (f"http://127.0.0.1:{both.port}", 2)
    ]


def test_what_can_be_looked_at_is_of_all_workers_whichever_is_asked(both: Crew) -> None:
    one, other = (both.at(pid) for pid in both.workers())
    ask(one, "/run/seen/step/at%20one/v1/chat/completions")
    ask(other, "/run/seen/step/at%20other/v1/chat/completions")
    for connection in (one, other):
        # What the other worker has seen is at most a second old.
        until(lambda asked: steps_seen(asked) == {"at one", "at other"}, connection)
        until(lambda asked: calls_scraped(asked) == health(asked)["calls_settled"], connection)


def until(holds: Callable[[http.client.HTTPConnection], bool], asked: http.client.HTTPConnection) -> None:
    """Ask again and again, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not holds(asked):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps_seen(connection: http.client.HTTPConnection) -> set[str]:
    connection.request("GET", "/_submeter/live")
    last = json.loads(connection.getresponse().read())["last"]
    return {call["step"] for call in last if call["run_id"] == "seen"}


def calls_scraped(connection: http.client.HTTPConnection) -> float:
    connection.request("GET", "/_submeter/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("submeter_calls_total{"))


def test_a_step_of_the_command_line_is_marked_once_for_both(both: Crew) -> None:
    words = ["--ledger", str(both.ledger), "step", "begin", "told once", "--run", "a/r-2"]
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 0, said.output
    assert len([line for line in both.lines("step") if line["step"] == "told once"]) == 1
    for pid in both.workers():
        ask(both.at(pid))
    assert len([line for line in both.lines("settle") if line.get("step") == "told once"]) == 2


def test_a_killed_worker_is_started_again_with_the_marks_and_what_was_complete_is_whole(both: Crew) -> None:
    killed, lives = both.workers()
    dying, living = both.at(killed), both.at(lives)
    mark(living, "step", "begin", step="before the kill")
    ask(dying, "/run/complete/v1/chat/completions")
    headers = {"X-Hold": "1", "Authorization": f"Bearer {SECRET}"}
    dying.request("POST", "/run/open/v1/chat/completions", b"{}", headers)
    open_answer = dying.getresponse()
    assert health(living)["calls_open"] == 1
    os.kill(killed, signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        open_answer.read()
    # The other stands still, so this waits until the new one is there.
    os.kill(lives, signal.SIGSTOP)
    try:
        fresh = both.beside(lives)
        ask(fresh, "/run/a%2Fr-1/v1/chat/completions")
        said = health(fresh)
    finally:
        os.kill(lives, signal.SIGCONT)
    assert said["pid"] not in (killed, lives)
    assert said["calls_open"] == 0
    assert [line["run_id"] for line in both.lines("settle") if line.get("step") == "before the kill"] == ["r-1"]
    outcomes = "SELECT run_id, outcome FROM calls WHERE run_id IN ('complete', 'open') ORDER BY run_id"
    assert both.rows(outcomes) == [("complete", "metered"), ("open", "lost")]


def test_workers_of_a_killed_proxy_end_in_order_and_free_the_port(tmp_path: Path) -> None:
    with crew(tmp_path) as orphaned:
        connections = [orphaned.at(pid) for pid in orphaned.workers()]
        orphaned.process.kill()
        for connection in connections:
            assert connection.sock is not None
            assert connection.sock.recv(1) == b""
        assert orphaned.process.stderr is not None
        orphaned.process.stderr.read()
        assert (orphaned.workers(), len(orphaned.lines("stop"))) == ([], 2)
        with pytest.raises(ConnectionRefusedError):
            health(orphaned.connect())
        orphaned.close()


def test_a_stop_ends_all_workers_and_writes_down_their_open_calls(both: Crew) -> None:
    for number, pid in enumerate(both.workers()):
        headers = {"X-Hold": "1", "Authorization": f"Bearer {SECRET}"}
        connection = both.at(pid)
        connection.request("POST", f"/run/stopped-{number}/v1/chat/completions", b"{}", headers)
        connection.getresponse()
    both.process.send_signal(signal.SIGTERM)
    assert both.process.wait(60) == 0
    assert both.workers() == []
    rows = both.rows("SELECT run_id, outcome, error FROM calls WHERE starts_with(run_id, 'stopped') ORDER BY run_id")
    assert [(row[0], row[1]) for row in rows] == [("stopped-0", "aborted"), ("stopped-1", "aborted")]
    assert both.process.stderr is not None
    assert b"Stopped: " in both.process.stderr.read()
