"""Programs with a hard-coded https://api.openai.com under `submeter run --intercept`: rows equal the books.

The name is never resolved: the proxy maps it to the simulator. What a client had sent elsewhere would have failed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_rooms import SDK, node_with, python_with
from laws import assert_sums_agree
from tls import certified

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.sim import Key, Sim

CLIENTS = Path(__file__).resolve().parent / "clients"
SECRET = "sk-sim-of-ghspec-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_ghspec"),)
SUBMETER = [sys.executable, "-m", "submeter.cli.main"]
RUN_S_MAX = 120
NODE = "node@24"
"""The first that minds HTTPS_PROXY in fetch, asked to by NODE_USE_ENV_PROXY."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's data folder."""
    return tmp_path_factory.mktemp("data")


def run_intercepted(
    command: list[str], folder: Path, data: Path, sim: Sim, *words: str, **more: str
) -> subprocess.CompletedProcess[bytes]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUBMETER_"))}
    environment = {
        **mine,
        "SUBMETER_LEDGER": str(folder / "l.duckdb"),
        "XDG_DATA_HOME": str(data),
        "OPENAI_API_KEY_GHSPEC": SECRET,
        "OPENAI_API_KEY_GHSPEC_ID": "key_ghspec",
        **more,
    }
    chosen = ["--framework", "ghspec", "--run", "r-1", "--upstream", sim.url, *(words or ("--intercept",))]
    return subprocess.run(
        [*SUBMETER, "run", *chosen, "--", *command], env=environment, capture_output=True, timeout=RUN_S_MAX
    )


def check_rows(folder: Path, sim: Sim, seen: list[tuple[str, int]], step: str | None = None) -> None:
    ledger = Ledger(folder / "l.duckdb", clock=SystemClock())
    ledger.ingest()
    assert_sums_agree(ledger)
    columns = "request_id, response_id, total_tokens, input_tokens, output_tokens, standing, framework, run_id, step"
    rows = ledger.query(f"SELECT {columns}, api_key_id FROM calls ORDER BY call_id").rows
    books = {entry.request_id: entry.counts for entry in sim.books.entries}
    assert len(rows) == len(books) == len(seen) == 3
    assert [row[1:3] for row in rows] == seen
    for request_id, _, _, input_tokens, output_tokens, *rest in rows:
        assert (input_tokens, output_tokens) == (books[request_id].input_tokens, books[request_id].output_tokens)
        assert rest == ["counted", "ghspec", "r-1", step, "key_ghspec"]


def as_seen(printed: Any) -> list[tuple[str, int]]:
    return [(identity, total) for identity, total in printed]


PLAIN = ("httpx", "requests")
ROOMS = {"requests": PLAIN, "httpx": PLAIN, "openai": (SDK,)}


@pytest.mark.parametrize("library", ["urllib", "requests", "httpx", "openai"])
def test_a_python_program_s_calls_are_rows_and_books(tmp_path: Path, data: Path, library: str) -> None:
    python = Path(sys.executable) if library == "urllib" else python_with(*ROOMS[library])
    with Sim(keys=KEYS) as sim:
        command = [str(python), str(CLIENTS / "hard_coded.py"), library]
        done = run_intercepted(command, tmp_path, data, sim, "--intercept", "--step", "4.7")
        assert done.returncode == 0, done.stderr
        check_rows(tmp_path, sim, as_seen(json.loads(done.stdout)), step="4.7")


def test_a_mute_stream_and_a_realtime_socket_are_metered_and_labelled_too(tmp_path: Path, data: Path) -> None:
    command = [str(python_with(SDK)), str(CLIENTS / "hard_coded_streams.py")]
    with Sim(keys=KEYS) as sim:
        done = run_intercepted(command, tmp_path, data, sim, "--intercept", "--step", "1")
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert (seen["told"], seen["empty"]) == (0, 0), "the stream is as if nobody had asked for its usage"
        stream = sim.books.entries[0].counts
    ledger = Ledger(tmp_path / "l.duckdb", clock=SystemClock())
    assert_sums_agree(ledger)
    columns = "endpoint, run_id, step, usage_source, total_tokens"
    assert ledger.query(f"SELECT {columns} FROM calls WHERE standing = 'counted' ORDER BY endpoint").rows == [
        ("chat/completions", "r-1", "1", "requested", stream.input_tokens + stream.output_tokens),
        ("realtime", "r-1", "1", "reported", seen["realtime"]),
    ]


def test_node_s_fetch_is_metered(tmp_path: Path, data: Path) -> None:
    _, room = node_with(NODE)
    with Sim(keys=KEYS) as sim:
        command = [str(room / "node_modules" / ".bin" / "node"), str(CLIENTS / "hard_coded.mjs")]
        done = run_intercepted(command, tmp_path, data, sim, "--profile", "ghspec")
        assert done.returncode == 0, done.stderr
        check_rows(tmp_path, sim, as_seen(json.loads(done.stdout)))


def test_curl_is_metered(tmp_path: Path, data: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    with Sim(keys=KEYS) as sim:
        done = run_intercepted(["sh", str(CLIENTS / "hard_coded.sh")], tmp_path, data, sim)
        assert done.returncode == 0, done.stderr
        decoder, text, seen = json.JSONDecoder(), done.stdout.decode().strip(), []
        while text:
            answer, end = decoder.raw_decode(text)
            seen.append((answer["id"], answer["usage"]["total_tokens"]))
            text = text[end:].strip()
        check_rows(tmp_path, sim, seen)


def test_an_upstream_that_speaks_tls_itself_is_asked_under_its_own_name(tmp_path: Path, data: Path) -> None:
    served, root = certified(tmp_path / "upstream")
    with Sim(keys=KEYS, ssl_context=served) as sim:
        command = [sys.executable, str(CLIENTS / "hard_coded.py"), "urllib"]
        done = run_intercepted(command, tmp_path, data, sim, SSL_CERT_FILE=str(root))
        assert done.returncode == 0, done.stderr
        check_rows(tmp_path, sim, as_seen(json.loads(done.stdout)))


def test_a_running_proxy_with_an_intercept_port_serves_programs_one_after_another(tmp_path: Path, data: Path) -> None:
    words = ["proxy", "--listen", "127.0.0.1:0", "--intercept", "0", "--json", "--until-eof"]
    environment = {
        **os.environ,
        "SUBMETER_LEDGER": str(tmp_path / "l.duckdb"),
        "XDG_DATA_HOME": str(data),
        "OPENAI_API_KEY_GHSPEC": SECRET,
        "OPENAI_API_KEY_GHSPEC_ID": "key_ghspec",
    }
    with (
        Sim(keys=KEYS) as sim,
        subprocess.Popen(
            [*SUBMETER, *words, "--upstream", sim.url],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as proxy,
    ):
        assert proxy.stdout is not None
        assert proxy.stdin is not None
        assert json.loads(proxy.stdout.readline())["intercept"]
        command = [sys.executable, str(CLIENTS / "hard_coded.py"), "urllib"]
        done = run_intercepted(command, tmp_path, data, sim)
        assert done.returncode == 0, done.stderr
        assert b"which was running" in done.stderr
        check_rows(tmp_path, sim, as_seen(json.loads(done.stdout)))
        proxy.stdin.close()
        assert proxy.wait(RUN_S_MAX) == 0
