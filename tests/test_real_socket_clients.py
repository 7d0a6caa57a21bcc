"""The real openai SDKs on WebSockets, against the pretend OpenAI: what they saw is the rows and the books."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from client_rooms import SDK, node_with, python_with
from socket_wire import visit
from test_proxy_sockets import CREATE, check_against_books, said
from test_real_clients import CLIENTS, KEYS, SECRET, run_client
from tls import certified
from tornado.websocket import WebSocketClientConnection

from submeter.data.clock import SystemClock
from submeter.data.keys import read_keys
from submeter.proxy import Submeter
from submeter.proxy.environment import intercept_environment
from submeter.proxy.listen import Listen
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream
from submeter.sim import Sim


def check_what_was_seen(sim: Sim, ledger: Path, seen: list[dict[str, Any]]) -> None:
    rows = {row["response_id"]: row for row in check_against_books(sim, ledger)}
    assert [call["id"] for call in seen] == list(rows)
    for call in seen:
        row = rows[call["id"]]
        assert json.loads(row["usage"]) == call["usage"]
        assert row["endpoint"] == call["kind"]
        assert (row["run_id"], row["step"]) == ("r-1", "2")


def test_the_python_sdk_s_sockets_are_metered_to_the_token(tmp_path: Path) -> None:
    python = python_with(SDK)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=3) as sim, Submeter(ledger, upstream=sim.url) as meter:
        environment = {**os.environ, "OPENAI_BASE_URL": f"{meter.url}/run/r-1/step/2/v1", "OPENAI_API_KEY": SECRET}
        seen = run_client([str(python), str(CLIENTS / "openai_sockets_python.py")], environment, tmp_path)
    assert len(seen) == 5
    check_what_was_seen(sim, ledger, seen)


def test_the_node_sdk_that_insists_on_wss_is_served_on_the_same_port(tmp_path: Path) -> None:
    node, room = node_with("openai", "ws")
    script = room / "openai_realtime_node.mjs"
    shutil.copy(CLIENTS / "openai_realtime_node.mjs", script)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=4) as sim, Submeter(ledger, upstream=sim.url) as meter:
        run = meter.run("aframework", run_id="r-1")
        environment = {**run.step("2").env(), "OPENAI_API_KEY": SECRET}
        seen = run_client([node, str(script)], environment, tmp_path)
    assert len(seen) == 3
    check_what_was_seen(sim, ledger, seen)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_wss_client_and_a_wss_upstream_trust_what_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await said(socket, "response.completed")

    served, roots = certified(tmp_path / "upstream")
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, ssl_context=served) as sim, Submeter(ledger, upstream=sim.url) as meter:
        port = meter.url.rsplit(":", 1)[1]
        visit(
            f"https://{host}:{port}/v1/responses",
            scene,
            headers={"Authorization": f"Bearer {SECRET}"},
            trusted=ssl.create_default_context(cafile=str(meter.certificate)),
        )
        assert sim.wait_idle()
    check_against_books(sim, ledger)


def test_sockets_to_the_api_s_own_name_are_metered_by_the_intercept(tmp_path: Path) -> None:
    python = python_with(SDK)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=6) as sim:
        server = ProxyServer(
            ledger=ledger,
            listen=Listen(port=0, intercept_port=0),
            upstream=parse_upstream(sim.url),
            clock=SystemClock(),
            keys=read_keys({}),
        )
        server.start()
        try:
            assert server.intercept_url is not None
            assert server.authority is not None
            environment, _ = intercept_environment(
                os.environ, server.intercept_url, run_id="r-1", step="2", authority=server.authority
            )
            environment |= {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "https://api.openai.com/v1"}
            seen = run_client([str(python), str(CLIENTS / "openai_sockets_python.py")], environment, tmp_path)
        finally:
            server.stop()
    assert len(seen) == 5
    check_what_was_seen(sim, ledger, seen)
