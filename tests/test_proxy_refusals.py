"""What submeter refuses by itself reaches a client that is still sending, as JSON, and names no library."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from test_proxy_tap import CHAT_BODY, JSON, SECRET, always, calls, proxied
from wire import framed, serving

from submeter.data.clock import SystemClock
from submeter.data.keys import KeyRing
from submeter.proxy import Submeter
from submeter.proxy.authority import authority_certificate
from submeter.proxy.listen import Listen
from submeter.proxy.refusal import broken_call, on_the_wire
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream

TOKEN = "a-token-of-twenty-letters"
BODY_BYTES = 8_000_000
"""More than the buffers of both sides hold, so that the refusal meets a client that is still sending."""


def head(target: str, **headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", f"Authorization: Bearer {SECRET}", f"Content-Length: {BODY_BYTES}"]
    return "\r\n".join([*lines, *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]).encode()


def sent_whole(connection: socket.socket, raw_head: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send all of a request as a blocking client does, then read the answer to its end."""
    connection.sendall(raw_head + b"\r\n\r\n" + b"x" * BODY_BYTES)
    answer = b""
    while data := connection.recv(65_536):
        answer += data
    raw, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = raw.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}, body


def assert_refused(port: int, raw_head: bytes, status: int, words: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as connection:
        said_status, headers, body = sent_whole(connection, raw_head)
    said = json.loads(body)["error"]
    assert (said_status, headers["content-type"], said["type"]) == (status, "application/json", "submeter")
    assert words in said["message"]
    assert "mitmproxy" not in f"{headers} {said}".lower()
    assert int(headers["content-length"]) == len(body)


@contextmanager
def open_to_others(tmp_path: Path, upstream: str) -> Iterator[int]:
    server = ProxyServer(
        ledger=tmp_path / "submeter.duckdb",
        listen=Listen(host="0.0.0.0", port=0, remote=True, token=TOKEN),
        upstream=parse_upstream(upstream),
        clock=SystemClock(),
        keys=KeyRing(keys=()),
    )
    server.start()
    try:
        yield int(server.url.rsplit(":", 1)[1])
    finally:
        server.stop()


def test_refusals_reach_a_client_that_is_still_sending_its_body(tmp_path: Path) -> None:
    with serving(always(framed(200, JSON, CHAT_BODY))) as upstream, open_to_others(tmp_path, upstream.url) as port:
        chat = "/v1/chat/completions"
        assert_refused(port, head(chat, Host="h"), 401, "in X-Submeter-Token")
        assert_refused(port, head(chat, Host="h", X_Submeter_Token="wrong"), 401, "in X-Submeter-Token")
        assert_refused(port, head(chat, Host="h", Transfer_Encoding="chunked"), 400, "was not passed on")
        assert_refused(port, head(chat, Host="h", X_Long="x" * 300_000), 431, "head is over")
        assert_refused(port, head("/_submeter/step", Host="h", X_Submeter_Token=TOKEN), 403, "not this proxy's own")
        control = head("/_submeter/step", Host="127.0.0.1", X_Submeter_Token=TOKEN)
        assert_refused(port, control, 413, "tells its length")
        assert upstream.requests == []
    rows = [(row["outcome"], row["status_code"], row["standing"]) for row in calls(tmp_path / "submeter.duckdb")]
    assert rows == [("refused", status, "unbilled") for status in (401, 401, None, 431)]


def test_a_502_reaches_a_client_that_is_still_sending_its_body(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port_down = taken.getsockname()[1]
    with Submeter(tmp_path / "submeter.duckdb", upstream=f"http://127.0.0.1:{port_down}") as meter:
        raw = head("/v1/chat/completions", Host="h")
        assert_refused(int(meter.url.rsplit(":", 1)[1]), raw, 502, "the upstream gave no whole answer")
    [row] = calls(tmp_path / "submeter.duckdb")
    assert (row["outcome"], row["standing"]) == ("failed", "unbilled")


def test_a_refusal_reaches_a_client_over_tls_too(tmp_path: Path) -> None:
    with (
        serving(always(framed(200, JSON, CHAT_BODY))) as upstream,
        Submeter(tmp_path / "submeter.duckdb", upstream=upstream.url) as meter,
    ):
        assert meter._server is not None
        assert meter._server.authority is not None
        trusting = ssl.create_default_context(cafile=str(authority_certificate(meter._server.authority)))
        plain = socket.create_connection(("127.0.0.1", int(meter.url.rsplit(":", 1)[1])), 20)
        with closing(trusting.wrap_socket(plain, server_hostname="127.0.0.1")) as connection:
            connection.sendall(head("/_submeter/step", Host="evil.example") + b"\r\n\r\n" + b"x" * 100_000)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 403 Forbidden\r\n")


def test_a_connection_that_was_refused_takes_no_second_request(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        with closing(socket.create_connection(("127.0.0.1", port), 20)) as connection:
            first = b"POST /_submeter/step HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}"
            connection.sendall(first + b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
            answer = b""
            while data := connection.recv(65_536):
                answer += data
        assert answer.count(b"HTTP/1.1 ") == 1
        assert upstream.requests == []
    assert calls(ledger) == []


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        ("Certificate verify failed: self-signed certificate", "answer: Certificate verify failed: self-signed"),
        ("broken \udcff", "answer: broken ?."),
    ],
)
def test_a_client_is_told_why_its_call_broke(says: str, shown: str) -> None:
    assert shown in json.loads(broken_call(502, says).body)["error"]["message"]


def test_a_head_request_is_refused_without_a_body() -> None:
    raw = on_the_wire(broken_call(502, "why"), method="HEAD")
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in raw
