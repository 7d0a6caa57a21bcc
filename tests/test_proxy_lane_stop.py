"""What a stop leaves behind of connections: nothing."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

from submeter.data.clock import SystemClock
from submeter.data.keys import KeyRing
from submeter.proxy.far_side import FarSide, Near, Roads
from submeter.proxy.listen import Listen
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream

CLIENTS = 60
POST = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def test_a_stop_while_connections_come_in_leaves_no_transport_open(tmp_path: Path) -> None:
    with ExitStack() as stack, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # An upstream that takes connections and never says a word.
        upstream = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=2 * CLIENTS)))
        server = ProxyServer(
            ledger=tmp_path / "submeter.duckdb",
            listen=Listen(port=0),
            upstream=parse_upstream(f"http://127.0.0.1:{upstream.getsockname()[1]}"),
            clock=SystemClock(),
            keys=KeyRing(keys=()),
        )
        server.start()
        address = "127.0.0.1", int(server.url.rsplit(":", 1)[1])
        try:
            for _ in range(CLIENTS):
                client = stack.enter_context(closing(socket.create_connection(address, 20)))
                client.sendall(POST)
        finally:
            server.stop(drain_s=0)
        del server
        gc.collect()
    assert [str(one.message) for one in said if issubclass(one.category, ResourceWarning)] == []


class Silent(asyncio.Transport):
    """A connection over TLS whose other end never says goodbye."""

    aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class Nobody:
    """A client's side that looks away."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def far_side_of(roads: Roads, transport: asyncio.Transport) -> FarSide:
    far = FarSide(cast(Near, Nobody()), parse_upstream("https://api.openai.com"), roads.parting)
    far.connection_made(transport)
    return far


def test_a_closed_connection_that_waits_for_the_upstream_s_goodbye_is_cut_when_the_loop_ends() -> None:
    roads, waiting, gone = Roads(ssl.create_default_context), Silent(), Silent()
    far_side_of(roads, waiting).close()
    parted = far_side_of(roads, gone)
    parted.close()
    parted.connection_lost(None)
    roads.cut_parting()
    assert (waiting.aborted, gone.aborted) == (True, False)
