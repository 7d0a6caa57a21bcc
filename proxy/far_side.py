"""The upstream's side of the lane: one connection for one client's, how it is reached, and whether it still stands.

Certificates and names are verified for an https upstream. Never here: what bytes mean, and the client's side (`lane`).
"""

from __future__ import annotations

import asyncio
import os
import select
import ssl
from collections.abc import Callable
from typing import Protocol, cast

import certifi

from .outer_proxy import OuterProxy
from .tunnel import open_tunnel
from .upstream_url import Upstream

WAITING_BYTES_MAX = 128 * 1024
"""What may wait for a side that does not read, before the other side is not read any more."""
CONNECT_S_MAX = 60.0


class Near(Protocol):
    """Whose far side it is."""

    def far_connected(self, far: FarSide) -> None:
        """It can be written to."""

    def far_data(self, far: FarSide, data: bytes) -> None:
        """The upstream sent this."""

    def far_ended(self, far: FarSide, *, clean: bool) -> None:
        """The upstream sends nothing more; `clean`: it said so."""

    def unreachable(self, far: FarSide, error: str) -> None:
        """There is no connection."""

    def read_on(self, why: str, on: bool) -> None:
        """Read the client, or do not."""


class FarSide(asyncio.Protocol):
    """The upstream's connection of one client."""

    def __init__(self, near: Near, upstream: Upstream, parting: set[asyncio.Transport] | None = None) -> None:
        """`parting`: where its connection is kept from its close on until it has ended."""
        self.near = near
        self.upstream = upstream
        self.transport: asyncio.Transport | None = None
        self.ended = False
        self.waiting: list[bytes] = []
        """What is to be sent once it is connected."""
        self.task: asyncio.Task[None] | None = None
        self._parting = set() if parting is None else parting
        self._poll: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        if self.ended:
            self.transport.abort()
            return
        self.near.far_connected(self)

    def data_received(self, data: bytes) -> None:
        if not self.ended:
            self.near.far_data(self, data)

    def eof_received(self) -> None:
        self._end(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._parting.discard(self.transport)
        self._end(clean=exc is None)

    def _end(self, *, clean: bool) -> None:
        if not self.ended:
            self.ended = True
            self.near.far_ended(self, clean=clean)

    def pause_writing(self) -> None:
        self.near.read_on("far", False)

    def resume_writing(self) -> None:
        self.near.read_on("far", True)

    def send(self, data: bytes) -> None:
        if self.transport is None:
            self.waiting.append(data)
            if sum(map(len, self.waiting)) > WAITING_BYTES_MAX:
                self.near.read_on("far", False)
        else:
            self.transport.write(data)

    def close(self) -> None:
        """No more of this connection; what was given to it still goes out, unless it is stuck."""
        self.ended = True
        if self.transport is None:
            if self.task is not None:
                self.task.cancel()
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            # Over TLS it waits for the upstream's goodbye.
            self._parting.add(self.transport)
            self.transport.close()

    def is_dead(self) -> bool:
        """Whether an idle connection cannot take another request: its end, or anything unasked, lies unread."""
        if self.ended or self.transport is None or self.transport.is_closing():
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))


class Roads:
    """How the connections of one proxy reach the upstream."""

    def __init__(self, trusting: Callable[[], ssl.SSLContext], outer: OuterProxy | None = None) -> None:
        """`trusting`: the TLS context for an https upstream, asked for when it is first needed.

        `outer`: the proxy through which https upstreams are asked; None: there is none.
        """
        self._outer = outer
        self._trusting = trusting
        self._context: ssl.SSLContext | None = None
        self.parting: set[asyncio.Transport] = set()
        """Connections that are closed and have not ended yet."""

    def cut_parting(self) -> None:
        """End the connections that are closed and still wait for the upstream's goodbye: the loop ends."""
        for transport in list(self.parting):
            transport.abort()

    def reach(self, near: Near, upstream: Upstream) -> FarSide:
        """The far side of a client's connection, being connected."""
        far = FarSide(near, upstream, self.parting)
        far.task = asyncio.ensure_future(self._connect(far))
        return far

    async def _connect(self, far: FarSide) -> None:
        upstream = far.upstream
        https = upstream.scheme == "https"
        try:
            if https and self._context is None:
                self._context = self._trusting()
            async with asyncio.timeout(CONNECT_S_MAX):
                if self._outer is not None and self._outer.serves(upstream):
                    await self._connect_through(self._outer, far)
                    return
                await asyncio.get_running_loop().create_connection(
                    lambda: far,
                    upstream.host,
                    upstream.port,
                    ssl=self._context if https else None,
                    server_hostname=upstream.host if https else None,
                )
        except Exception as error:
            far.ended = True
            far.near.unreachable(far, words_of(error))

    async def _connect_through(self, outer: OuterProxy, far: FarSide) -> None:
        context, host = self._context, far.upstream.host
        assert context is not None
        plain = await open_tunnel(outer, far.upstream)
        try:
            inside = await asyncio.get_running_loop().start_tls(plain, far, context, server_hostname=host)
        except BaseException:
            plain.abort()
            raise
        assert inside is not None
        far.connection_made(inside)


def words_of(error: Exception) -> str:
    """Why there is no connection, in a user's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Certificate verify failed: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return type(error).__name__


def trusting_context() -> ssl.SSLContext:
    """Whom an https upstream has to be vouched for by: `SSL_CERT_FILE`, else the roots that certifi brings."""
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
