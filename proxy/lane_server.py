"""The lane's listener, in the running event loop.

    server = LaneServer(...)
    await server.run()          # calls `bound` once it listens; ends after `exit`
    await server.close()        # no more connections

Never here: threads, the journal, the ledger, the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from .control import Control
from .desk import Desk
from .far_side import Roads, trusting_context
from .lane import NearSide
from .listen import Listen
from .recorder import Recorder
from .server_certificate import ServerCertificate
from .upstream_url import Upstream

BACKLOG = 1024
"""Connections that wait to be taken."""


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
        silence_s_max: int,
        authority: Path | None = None,
    ) -> None:
        """`bound` gets the URLs of the listener; `authority`: the folder of the one whose certificate TLS clients see.

        `silence_s_max`: a connection without a byte for so long is closed.
        """
        self._desk = Desk(
            recorder=recorder,
            control=control,
            upstream=upstream,
            stopping=stopping,
            listener=listener,
            receipts=receipts,
        )
        https = upstream.scheme == "https"
        self._roads = Roads(host=upstream.host, port=upstream.port, trusting=trusting_context if https else None)
        self._listen = listen
        hosts = (upstream.host, *(() if listen.everywhere else (listen.host,)))
        self._tls = ServerCertificate(authority, hosts).context if authority is not None else None
        self._bound = bound
        self._silence_s_max = silence_s_max
        self._open: set[NearSide] = set()
        self._server: asyncio.Server | None = None
        self._exit = asyncio.Event()

    @property
    def listeners(self) -> list[object]:
        return [self._server] if self._server is not None else []

    async def run(self) -> None:
        """Listen until `exit`, then cut what is open."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: NearSide(self._desk, self._roads, self._open, self._tls),
            self._listen.host,
            self._listen.port,
            backlog=BACKLOG,
        )
        bound = [found.getsockname() for found in self._server.sockets]
        self._bound([f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port, *_ in bound], None)
        watch = asyncio.ensure_future(self._watch())
        try:
            await self._exit.wait()
        finally:
            watch.cancel()
            for near in list(self._open):
                near.cut()

    async def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    def exit(self) -> None:
        """Have `run` end."""
        self._exit.set()

    async def _watch(self) -> None:
        """Close connections on which nothing has moved for long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._silence_s_max / 10)
            for near in list(self._open):
                if loop.time() - near.moved_at > self._silence_s_max:
                    with contextlib.suppress(Exception):
                        near.fall_silent()
