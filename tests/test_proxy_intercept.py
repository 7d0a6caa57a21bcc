"""The intercept port on raw sockets: what is read, what passes unread, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from tls import certified
from wire import RawResponse, read_response, request_bytes

from submeter.data.clock import SystemClock
from submeter.data.keys import read_keys
from submeter.data.ledger import Ledger
from submeter.proxy.authority import SECRET_FILES, authority_certificate
from submeter.proxy.listen import Listen
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream
from submeter.sim import Key, Sim

SECRET = "sk-sim-of-the-intercepted-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_ghspec"),)
CHAT = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode()
HEADERS = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
ANSWER_S_MAX = 20.0
ALL_BYTES = bytes(range(256)) * 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A proxy with an intercept port, in front of the simulator."""

    server: ProxyServer
    sim: Sim
    ledger: Path
    data: Path

    @property
    def port(self) -> int:
        return port_of(self.server.intercept_url)

    def trusting(self) -> ssl.SSLContext:
        assert self.server.authority is not None
        return ssl.create_default_context(cafile=str(authority_certificate(self.server.authority)))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        ledger = Ledger(self.ledger, clock=SystemClock())
        ledger.ingest()
        assert_sums_agree(ledger)
        return ledger.query(sql).rows


def port_of(url: str | None) -> int:
    assert url is not None
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's data folder. One for all tests here, as a key takes a while to make."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def place(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    ledger = tmp_path / "l.duckdb"
    with Sim(keys=KEYS) as sim:
        server = ProxyServer(
            ledger=ledger,
            listen=Listen(port=0, intercept_port=0),
            upstream=parse_upstream(sim.url),
            clock=SystemClock(),
            keys=read_keys({"OPENAI_API_KEY_GHSPEC": SECRET}),
        )
        server.start()
        try:
            yield Place(server=server, sim=sim, ledger=ledger, data=data)
        finally:
            server.stop(0)


@asynccontextmanager
async def connected(
    port: int, where: str, *, headers: dict[str, str] | None = None, after: bytes = b"", step: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A tunnel by CONNECT, asked for in pieces of `step` bytes where given, with `after` sent at once behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        raw = request_bytes("CONNECT", where, host=where, headers=headers) + after
        for at in range(0, len(raw), step or len(raw)):
            writer.write(raw[at : at + (step or len(raw))])
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S_MAX)
        assert b" 200 " in head.split(b"\r\n")[0]
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


def refused_connect(port: int, where: str) -> int:
    """The status of a CONNECT that is refused, and hung up on."""
    return int(tried(port, request_bytes("CONNECT", where, host=where)).split(b" ")[1])


def tried(port: int, raw: bytes) -> bytes:
    """All that comes back for these bytes until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_S_MAX) as connection:
        connection.sendall(raw)
        received = b""
        while data := connection.recv(65_536):
            received += data
    return received


async def call_through(
    place: Place, where: str, path: str, *, tls: bool = True, headers: dict[str, str] | None = None
) -> RawResponse:
    host = where.partition(":")[0]
    async with connected(place.port, where, headers=headers) as (reader, writer):
        if tls:
            await writer.start_tls(place.trusting(), server_hostname=host)
        writer.write(request_bytes("POST", path, host=host, headers=HEADERS, body=CHAT))
        return await asyncio.wait_for(read_response(reader, method="POST"), ANSWER_S_MAX)


def labelled(label: str) -> dict[str, str]:
    return {"Proxy-Authorization": "Basic " + base64.b64encode(f"submeter:{label}".encode()).decode()}


def test_a_call_to_the_api_s_own_name_is_metered_with_the_label_of_the_proxy_s_password(place: Place) -> None:
    response = asyncio.run(
        call_through(place, "api.openai.com:443", "/v1/chat/completions", headers=labelled("/run/r-1/step/4.7"))
    )
    assert response.status == 200
    (entry,) = place.sim.books.entries
    assert place.rows("SELECT framework, run_id, step, label_source, path, input_tokens, output_tokens FROM calls") == [
        ("ghspec", "r-1", "4.7", "url", "/v1/chat/completions", entry.counts.input_tokens, entry.counts.output_tokens)
    ]
    (received,) = place.sim.received
    names = {name.lower() for name in received.headers}
    assert not names & {"proxy-authorization", "proxy-connection", "x-submeter-run"}


def test_the_configured_upstream_by_its_own_name_is_metered_too(place: Place) -> None:
    where = f"127.0.0.1:{place.sim.port}"
    response = asyncio.run(call_through(place, where, "/v1/chat/completions", tls=False))
    assert response.status == 200
    assert place.rows("SELECT count(*) FROM calls WHERE standing = 'counted'") == [(1,)]


def test_what_another_submeter_meters_already_is_tunnelled_unread(place: Place) -> None:
    # Its HTTPS_PROXY may be our intercept: a call that two meters write down would be counted twice.
    where, metered = f"127.0.0.1:{place.sim.port}", {"X-Submeter-Metered": "1"}
    response = asyncio.run(call_through(place, where, "/v1/chat/completions", tls=False, headers=metered))
    assert response.status == 200
    assert place.rows("SELECT count(*) FROM calls") == [(0,)]


def test_absolute_form_to_the_api_is_metered_and_leaves_its_proxy_headers_here(place: Place) -> None:
    raw = request_bytes(
        "POST",
        "http://api.openai.com/v1/chat/completions",
        host="api.openai.com",
        headers={**HEADERS, **labelled("/run/r-2"), "Proxy-Connection": "keep-alive", "Connection": "close"},
        body=CHAT,
    )
    assert b" 200 " in tried(place.port, raw).split(b"\r\n")[0]
    assert place.rows("SELECT run_id, standing FROM calls") == [("r-2", "counted")]
    names = {name.lower() for name in place.sim.received[0].headers}
    assert not names & {"proxy-authorization", "proxy-connection"}


def test_control_paths_do_not_answer_over_the_intercept(place: Place) -> None:
    response = asyncio.run(call_through(place, "api.openai.com:443", "/_submeter/run"))
    assert response.status == 404, "it is a path of the upstream, which does not know it"
    assert b"Invalid URL" in response.body
    own = (place.port, port_of(place.server.url))
    for port in own:
        raw = request_bytes("GET", f"http://127.0.0.1:{port}/_submeter/health", host=f"127.0.0.1:{port}")
        assert tried(place.port, raw).startswith(b"HTTP/1.1 403 ")
    assert tried(place.port, request_bytes("GET", "/_submeter/health", host=f"127.0.0.1:{place.port}")).startswith(
        b"HTTP/1.1 403 "
    )


def test_a_connect_to_our_own_ports_is_refused(place: Place) -> None:
    for port in (place.port, port_of(place.server.url)):
        for host in ("127.0.0.1", "localhost"):
            assert refused_connect(place.port, f"{host}:{port}") == 502


@pytest.mark.parametrize("where", ["example.org:25", "127.0.0.1:22", "127.0.0.1:1023", "api.openai.com:22"])
def test_a_connect_to_a_service_of_the_system_is_refused(place: Place, where: str) -> None:
    assert refused_connect(place.port, where) == 403
    assert place.rows("SELECT count(*) FROM calls") == [(0,)]


@pytest.mark.parametrize(
    "raw",
    [
        request_bytes("GET", "http://example.org/", host="example.org"),
        request_bytes("POST", "http://example.org/", host="example.org", body=b"x=1"),
        request_bytes("GET", "/", host="example.org"),
        request_bytes("GET", "http://example.org/", host="api.openai.com"),
        request_bytes("GET", "http://127.0.0.1:8787/", host="api.openai.com"),
    ],
)
def test_plain_http_to_any_other_host_is_refused_and_makes_no_row(place: Place, raw: bytes) -> None:
    assert tried(place.port, raw).startswith(b"HTTP/1.1 403 ")
    assert place.rows("SELECT count(*) FROM calls") == [(0,)]
    assert place.sim.received == []


def test_a_host_header_does_not_turn_an_allowed_target_into_another(place: Place) -> None:
    raw = request_bytes(
        "GET", "http://api.openai.com/v1/models", host="example.org", headers={**HEADERS, "Connection": "close"}
    )
    assert b" 200 " in tried(place.port, raw).split(b"\r\n")[0]
    assert {k.lower(): v for k, v in place.sim.received[0].headers.items()}["host"] == f"127.0.0.1:{place.sim.port}"


def test_a_second_request_on_a_connection_opens_no_tunnel_either(place: Place) -> None:
    async def go(port: int) -> RawResponse:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        first = request_bytes("GET", "http://api.openai.com/v1/models", host="api.openai.com", headers=HEADERS)
        writer.write(first)
        assert (await read_response(reader)).status == 200
        writer.write(request_bytes("CONNECT", f"127.0.0.1:{port}", host="x"))
        answer = await asyncio.wait_for(read_response(reader), ANSWER_S_MAX)
        writer.close()
        await writer.wait_closed()
        return answer

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(go(listener.getsockname()[1])).status == 403


def test_a_place_that_does_not_answer_is_a_502(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert refused_connect(place.port, f"127.0.0.1:{port}") == 502


@contextmanager
def tcp_server(talk: Any, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server of one connection, which `talk` has for itself."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            if context is None:
                talk(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as secured:
                    talk(secured)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(ANSWER_S_MAX)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)


@pytest.mark.parametrize("step", [None, 1, 7])
def test_a_server_that_speaks_first_is_heard_and_bytes_pass_both_ways_to_the_half_close(
    place: Place, step: int | None
) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 ready\r\n")
        received = b""
        while data := connection.recv(65_536):
            received += data
        connection.sendall(received[::-1])

    async def go(port: int) -> bytes:
        async with connected(place.port, f"127.0.0.1:{port}", step=step) as (reader, writer):
            assert await asyncio.wait_for(reader.readline(), ANSWER_S_MAX) == b"220 ready\r\n"
            writer.write(ALL_BYTES)
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), ANSWER_S_MAX)

    with tcp_server(talk) as port:
        assert asyncio.run(go(port)) == ALL_BYTES[::-1]
    assert place.rows("SELECT count(*) FROM calls") == [(0,)]


@pytest.mark.parametrize("early", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 5000])
def test_bytes_sent_right_behind_a_connect_arrive_as_they_are(place: Place, early: bytes) -> None:
    async def go(port: int) -> bytes:
        async with connected(place.port, f"127.0.0.1:{port}", after=early) as (reader, _):
            return await asyncio.wait_for(reader.readexactly(len(early)), ANSWER_S_MAX)

    with tcp_server(echo) as port:
        assert asyncio.run(go(port)) == early


def test_tls_to_another_host_is_end_to_end_under_that_host_s_own_certificate(place: Place, tmp_path: Path) -> None:
    served, root = certified(tmp_path / "somebody")

    async def go(port: int) -> bytes:
        async with connected(place.port, f"127.0.0.1:{port}") as (reader, writer):
            await writer.start_tls(ssl.create_default_context(cafile=str(root)), server_hostname="127.0.0.1")
            writer.write(ALL_BYTES)
            return await asyncio.wait_for(reader.readexactly(len(ALL_BYTES)), ANSWER_S_MAX)

    with tcp_server(echo, served) as port:
        assert asyncio.run(go(port)) == ALL_BYTES
    assert place.rows("SELECT count(*) FROM calls") == [(0,)]


def test_a_client_that_does_not_trust_the_authority_sends_nothing_and_harms_nothing(place: Place) -> None:
    async def go() -> None:
        async with connected(place.port, "api.openai.com:443") as (_, writer):
            with pytest.raises(ssl.SSLCertVerificationError):
                await writer.start_tls(ssl.create_default_context(), server_hostname="api.openai.com")

    asyncio.run(go())
    assert asyncio.run(call_through(place, "api.openai.com:443", "/v1/chat/completions")).status == 200
    assert place.rows("SELECT count(*) FROM calls") == [(1,)]


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00\x01", b"CONNECT " + b"a" * 300_000])
def test_what_is_no_request_is_hung_up_on(place: Place, raw: bytes) -> None:
    try:
        assert tried(place.port, raw) == b""
    except ConnectionError:
        pass  # Hung up on before all of it was sent.


def test_a_metered_host_speaks_http_or_is_not_relayed(place: Place) -> None:
    async def go() -> bytes:
        async with connected(place.port, f"127.0.0.1:{place.sim.port}") as (reader, writer):
            writer.write(b"\x00\x01\x02 not http\r\n\r\n")
            return await asyncio.wait_for(reader.read(), ANSWER_S_MAX)

    answer = asyncio.run(go())
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
    assert place.sim.received == []


def test_the_authority_s_key_is_its_owner_s_and_no_secret_is_in_any_file(place: Place) -> None:
    asyncio.run(call_through(place, "api.openai.com:443", "/v1/chat/completions", headers=labelled("/run/r-1")))
    place.server.stop()
    folder = place.server.authority
    assert folder is not None
    assert folder == place.data / "submeter" / "ca"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in SECRET_FILES:
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    private = (folder / SECRET_FILES[0]).read_bytes()
    private_key = private[: private.index(b"-----END")].splitlines()[1]
    written = [path for top in (place.data, place.ledger.parent) for path in top.rglob("*") if path.is_file()]
    for path in (path for path in written if path.name not in SECRET_FILES):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert private_key not in content, path


def test_a_name_inside_a_tunnel_that_is_not_the_tunnel_s_own_gets_no_certificate(place: Place) -> None:
    with closing(socket.create_connection(("127.0.0.1", place.port), ANSWER_S_MAX)) as plain:
        plain.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
        assert b" 200 " in plain.recv(4096)
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        with pytest.raises((ssl.SSLError, ConnectionError)):
            unchecked.wrap_socket(plain, server_hostname="other.example")
    assert place.sim.received == []


@pytest.mark.parametrize("host", ["us.api.openai.com", "eu.api.openai.com"])
def test_a_call_to_a_region_of_the_api_is_metered(place: Place, host: str) -> None:
    """The upstream here is the simulator, which stands for every host of the API."""
    asyncio.run(call_through(place, f"{host}:443", "/v1/chat/completions", headers=labelled("/run/r-1")))
    assert place.rows("SELECT run_id, outcome FROM calls") == [("r-1", "metered")]
