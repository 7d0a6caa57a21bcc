"""A lane between a client and an upstream that a test plays by hand: all three on one event loop, bytes as they are."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire import hang_up

from submeter.data.clock import SystemClock
from submeter.data.journal import Journal
from submeter.data.keys import KeyRing
from submeter.data.marks import MarkBook
from submeter.proxy.control import Control
from submeter.proxy.desk import DrainLimits
from submeter.proxy.lane_server import LaneServer
from submeter.proxy.listen import Listen
from submeter.proxy.outer_proxy import OuterProxy
from submeter.proxy.recorder import Recorder
from submeter.proxy.upstream_url import parse_upstream

PLAY_S_MAX = 30.0

Part = Callable[["Wire"], Awaitable[None]]
"""What the upstream does on one connection; the connection is closed when it returns."""


@dataclass(slots=True)
class Wire:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def hear(self, until: bytes = b"\r\n\r\n") -> bytes:
        return await self.reader.readuntil(until)

    async def hear_bytes(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def hear_all(self) -> bytes:
        """To the end of the connection."""
        return await self.reader.read()

    async def hear_request(self) -> bytes:
        """A request whose head tells its length, or that has no body."""
        head = await self.hear()
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + (await self.hear_bytes(int(length[0].split(b":")[1])) if length else b"")

    def reset(self) -> None:
        """End the connection so that the other side is told of an error."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(slots=True, kw_only=True)
class Lane:
    """What a test has of the lane."""

    port: int
    journal: Path
    server: LaneServer
    connections: list[Wire] = field(default_factory=list)
    """The upstream's ends, in the order they came."""
    clients: list[Wire] = field(default_factory=list)

    async def connect(self) -> Wire:
        client = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**22))
        self.clients.append(client)
        return client

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let everybody else go on until this holds."""
        while not holds():
            await asyncio.sleep(0)

    def lines(self, kind: str = "settle") -> list[dict[str, Any]]:
        """The journal's lines of this kind, as they are now."""
        lines = [json.loads(line) for line in self.journal.read_bytes().splitlines()]
        return [line for line in lines if line["kind"] == kind]


@asynccontextmanager
async def lane_to(
    folder: Path,
    part: Part,
    *,
    silence_s_max: float = 3600,
    tls: ssl.SSLContext | None = None,
    listen: Listen | None = None,
    drain: DrainLimits | None = None,
    outer: OuterProxy | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Lane]:
    """`tls`: what the upstream speaks, where it is not plain. `drain`: how far an answer without a client is read.

    `outer`: the proxy through which the upstream is asked, then by the name `host`.
    """
    clock = SystemClock()
    connections: list[Wire] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        connections.append(wire)
        try:
            await part(wire)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    served = await asyncio.start_server(upstream, "127.0.0.1", 0, limit=2**22, ssl=tls)
    scheme = "http" if tls is None else "https"
    address = parse_upstream(f"{scheme}://{host}:{served.sockets[0].getsockname()[1]}")
    journal = Journal.open(folder / "submeter.duckdb", mode="test", clock=clock)
    recorder = Recorder(journal=journal, clock=clock, keys=KeyRing(keys=()), marks=MarkBook(), upstream=address.url)
    bound: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    stopping = False
    server = LaneServer(
        recorder=recorder,
        control=Control(clock=clock, apply=recorder.mark, follow=recorder.marks.apply, health=lambda: {"fine": True}),
        upstream=address,
        listen=listen or Listen(port=0),
        bound=lambda urls, _intercept: bound.set_result(urls),
        stopping=lambda: stopping,
        listener=lambda: bound.result()[0],
        receipts=False,
        silence_s_max=silence_s_max,
        drain=drain,
        outer=outer,
    )
    running = asyncio.ensure_future(server.run())
    urls = await bound
    journal.begin(upstream=address.url, listen=urls)
    port = int(urls[0].rsplit(":", 1)[1])
    lane = Lane(port=port, journal=journal.path, server=server, connections=connections)
    try:
        yield lane
    finally:
        await server.close()
        stopping = True
        server.exit()
        await running
        served.close()
        for wire in (*lane.clients, *connections):
            hang_up(wire.writer)
        await asyncio.sleep(0)
        journal.close()


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene to its end, within a bound."""

    async def bounded() -> None:
        await asyncio.wait_for(scene, PLAY_S_MAX)

    asyncio.run(bounded())
