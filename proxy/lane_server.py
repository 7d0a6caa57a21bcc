"""The lane's listener, in the running event loop.

    server = LaneServer(...)
    await server.run()          # calls `bound` once it listens; ends after `exit`
    await server.close()        # no more connections

Never here: threads, the journal, the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from .admission import Admission
from .certificates import OUR_HOSTS
from .control import Control
from .desk import Desk, DrainLimits
from .door import Door, Held
from .far_side import Roads, trusting_context
from .forwarding import Target
from .lane import NearSide
from .listen import INTERCEPT_HOST, Listen
from .outer_proxy import OuterProxy
from .place import BACKLOG, SharedSocket, WorkerPlace
from .recorder import Recorder
from .server_certificate import ServerCertificate
from .upstream_url import Upstream

TURNS_AT_END = 8
"""Turns of the loop after a stop: an accepted connection takes three to be there, and its end one more."""
TUNNEL_HOSTS_MAX = 64
"""The API has six regions; whoever names more of them has certificates made anew."""


class LaneServer:
    """One listener, and the connections that came by it."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        control: Control,
        upstream: Upstream,
        listen: Listen,
        bound: Callable[[list[str], str | None], None],
        stopping: Callable[[], bool],
        listener: Callable[[], str],
        receipts: bool,
        silence_s_max: float,
        drain: DrainLimits | None = None,
        outer: OuterProxy | None = None,
        authority: Path | None = None,
        place: WorkerPlace | None = None,
    ) -> None:
        """`bound` gets the URLs of the listener; `authority`: the folder of the one whose certificate TLS clients see.

        `drain`: how far answers whose client left are read; None: they are cut. `silence_s_max`: a connection without a
        byte for so long is closed. `outer`: the proxy through which the upstream is asked; None: directly. `place`: the
        sockets it shares with other workers; None: it binds its own.
        """
        self._desk = Desk(
            recorder=recorder,
            control=control,
            upstream=upstream,
            stopping=stopping,
            listener=listener,
            receipts=receipts,
            drains=drain,
            own_secret=None if place is None else place.own_secret,
        )
        self._bound_before = None if place is None else place.bound
        self._roads = Roads(trusting_context, outer)
        self._upstream = upstream
        self._authority = authority
        self._listen = listen
        hosts = (*OUR_HOSTS, upstream.host, *(() if listen.everywhere else (listen.host,)))
        self._tls = ServerCertificate(authority, hosts).context if authority is not None else None
        self._bound = bound
        self._silence_s_max = silence_s_max
        self._open: set[Held] = set()
        self._servers: list[asyncio.Server] = []
        self._tunnels: dict[str, ServerCertificate] = {}
        """What clients of tunnels see, by the tunnel's host."""
        self._exit = asyncio.Event()

    @property
    def listeners(self) -> list[object]:
        return list(self._servers)

    async def run(self) -> None:
        """Listen until `exit`, then cut what is open."""
        listen, before = self._listen, self._bound_before
        enter = lambda: self._enter(None, self._tls)  # noqa: E731
        if before is None:
            bound = await self._bind(enter, listen.host, listen.port)
        else:
            bound = await self._share(enter, before.listening)
        intercept = None
        if listen.intercept_port is not None:
            if before is None:
                [(host, port)] = await self._bind(self._door, INTERCEPT_HOST, listen.intercept_port)
            else:
                [(host, port)] = await self._share(self._door, before.intercepting)
            intercept = f"http://{host}:{port}"
        self._bound([f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port in bound], intercept)
        watch = asyncio.ensure_future(self._watch())
        try:
            await self._exit.wait()
        finally:
            watch.cancel()
            await self._cut_all()

    async def _cut_all(self) -> None:
        """Cut what is open, and what comes in meanwhile, and let asyncio take it all down before its loop ends."""
        for _ in range(TURNS_AT_END):
            for near in list(self._open):
                near.cut()
            self._roads.cut_parting()
            await asyncio.sleep(0)

    @property
    def busy(self) -> bool:
        """Whether any answer is under way."""
        return any(isinstance(one, NearSide) and one.busy for one in self._open)

    async def close(self) -> None:
        """Take no more connections."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        # Those taken in this turn begin in the next one: asyncio forgets, and never closes, those of a closed server.
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()

    def exit(self) -> None:
        """Have `run` end."""
        self._exit.set()

    async def _bind(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> list[tuple[str, int]]:
        return self._served(await asyncio.get_running_loop().create_server(factory, host, port, backlog=BACKLOG))

    async def _share(
        self, factory: Callable[[], asyncio.Protocol], sockets: Iterable[SharedSocket]
    ) -> list[tuple[str, int]]:
        """Take connections, one in a turn, from sockets that other workers take some from too."""
        bound = []
        for found in sockets:
            bound += self._served(await asyncio.get_running_loop().create_server(factory, sock=found, backlog=1))
        return bound

    def _served(self, server: asyncio.Server) -> list[tuple[str, int]]:
        self._servers.append(server)
        return [(found.getsockname()[0], found.getsockname()[1]) for found in server.sockets]

    def _enter(self, admission: Admission | None, tls: Callable[[], ssl.SSLContext] | None) -> NearSide:
        return NearSide(self._desk, self._roads, self._open, tls, admission)

    def _door(self) -> Door:
        return Door(
            upstream=self._upstream,
            token=self._desk.control.token,
            enter=lambda admission, target: self._enter(admission, self._tls_of(target)),
            own_ports=lambda: {found.getsockname()[1] for server in self._servers for found in server.sockets},
            held=self._open,
        )

    def _tls_of(self, target: Target | None) -> Callable[[], ssl.SSLContext] | None:
        """What a client sees inside a tunnel: a certificate of the tunnel's host alone."""
        if target is None or self._authority is None:
            return None
        if len(self._tunnels) >= TUNNEL_HOSTS_MAX:
            self._tunnels.clear()
        return self._tunnels.setdefault(target.host.lower(), ServerCertificate(self._authority, [target.host])).context

    async def _watch(self) -> None:
        """Close connections on which nothing has moved for long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._silence_s_max / 10)
            for near in list(self._open):
                if loop.time() - near.moved_at > self._silence_s_max:
                    with contextlib.suppress(Exception):
                        near.fall_silent()
