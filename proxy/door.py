"""The intercept port: a forward proxy that meters the API's hosts and tunnels the rest, byte for byte, unread.

A connection waits at the `Door` for one request head. A CONNECT to a metered host is answered, and what follows is the
lane's, TLS and all; so are requests that name a metered host themselves. A CONNECT to any other host becomes a `Pipe`.
What may pass is decided in `forwarding`. Never here: what is metered, and how.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import Protocol, cast

from .admission import Admission, Through
from .far_side import CONNECT_S_MAX, WAITING_BYTES_MAX
from .forwarding import Target, connect_target, is_metered, is_unmetered_api_host, labels_of, may_tunnel
from .loose_head import read_loosely
from .message_head import HeadError, head_end
from .outer_proxy import METERED_HEADER
from .outlet import Outlet
from .refusal import on_the_wire, refusal
from .upstream_url import Upstream

logger = logging.getLogger("submeter.proxy")

_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NOT_METERED = refusal(
    403, "submeter: this port forwards no plain HTTP, and tunnels only to the ports of the web and those above 1023."
)
_NO_CONNECTION = refusal(502, "submeter: there is no connection to this place.")
_TLS_HANDSHAKE = b"\x16"


class Held(Protocol):
    """A connection that the server keeps count of."""

    moved_at: float

    def cut(self) -> None:
        """The proxy stops."""

    def fall_silent(self) -> None:
        """Nothing has moved for too long."""


Enter = Callable[[Admission, Target | None], asyncio.Protocol]
"""Makes the lane's side of a connection that came by this port, for a tunnel to this host if to any."""


class Door(asyncio.Protocol):
    """One connection of the intercept port, until its first request head is there."""

    def __init__(
        self, *, upstream: Upstream, token: str | None, enter: Enter, own_ports: Callable[[], set[int]], held: set[Held]
    ) -> None:
        """`own_ports`: those that this proxy listens on."""
        self._upstream = upstream
        self._token = token
        self._enter = enter
        self._own_ports = own_ports
        self._held = held
        self._received = b""
        self._task: asyncio.Task[None] | None = None
        self._out = Outlet()
        self.moved_at = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.begin(transport)
        self._held.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._out.deaf:
            return
        looked, self._received = len(self._received), self._received + data
        if self._task is not None:
            # Sent right behind a CONNECT that is still being connected.
            if len(self._received) > WAITING_BYTES_MAX:
                self._out.read_on("ahead", False)
            return
        try:
            end = head_end(self._received, looked)
        except HeadError:
            self.cut()
            return
        if end is not None:
            self._open(self._received[:end], self._received[end:])
        elif self._received.startswith(_TLS_HANDSHAKE):
            self.cut()

    def cut(self) -> None:
        self._out.abort()

    fall_silent = cut

    def _open(self, head: bytes, rest: bytes) -> None:
        target = connect_target(head)
        loose = read_loosely(head)
        fields = loose.fields if loose is not None else ()
        named = {name.lower(): value for name, value in fields}
        if target is None:
            self._go_on(self._enter(Through(upstream=self._upstream, token=self._token), None), head + rest)
        elif is_metered(target, self._upstream) and METERED_HEADER.lower() not in named:
            given = named.get(b"proxy-authorization", b"")
            through = Through(
                upstream=self._upstream,
                token=self._token,
                tunnel=target,
                labels=labels_of(given.decode("latin-1") or None),
            )
            self._out.write(_CONNECTED)
            self._go_on(self._enter(through, target), rest)
        elif not may_tunnel(target):
            self._out.linger(on_the_wire(NOT_METERED))
        else:
            self._received = rest
            self._task = asyncio.ensure_future(self._tunnel(target))

    async def _tunnel(self, target: Target) -> None:
        far = Pipe(self._held)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await asyncio.get_running_loop().create_connection(lambda: far, target.host, target.port)
        except (OSError, ValueError):
            self._task = None
            self._out.linger(on_the_wire(_NO_CONNECTION))
            return
        self._task = None
        if far.leads_to(self._own_ports()):
            far.cut()
            self._out.linger(on_the_wire(_NO_CONNECTION))
            return
        if is_unmetered_api_host(target.host):
            logger.warning("calls to %s go past the meter: it asks for the client's own certificate", target.host)
        near = Pipe(self._held)
        near.other, far.other = far, near
        self._out.write(_CONNECTED)
        self._go_on(near, self._received)

    def _go_on(self, following: asyncio.Protocol, received: bytes) -> None:
        transport = self._out.transport
        self._held.discard(self)
        if transport is None or transport.is_closing():
            following.connection_lost(None)
            return
        transport.set_protocol(following)
        following.connection_made(transport)
        transport.resume_reading()
        if received:
            following.data_received(received)


class Pipe(asyncio.Protocol):
    """One side of a tunnel: what comes goes to the other, to the end of each direction."""

    def __init__(self, held: set[Held]) -> None:
        self.other: Pipe | None = None
        self.transport: asyncio.Transport | None = None
        self._held = held
        self._early = b""
        """What a server said before the client's side was there."""
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self.moved_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self._held.add(self)
        other = self.other
        if other is not None:
            early, other._early = other._early, b""
            if early:
                self.transport.write(early)
            if other._ended:
                self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self.moved_at = self._loop.time()
        if self.other is None or self.other.transport is None:
            self._early += data
            return
        self.other.moved_at = self.moved_at
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        other = self.other
        if other is None or other.transport is None:
            return True
        if other._ended or other.transport.is_closing():
            other.transport.close()
            return False
        other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self)
        other = self.other
        if other is not None and other.transport is not None:
            other.transport.close() if exc is None else other.transport.abort()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def leads_to(self, ports: set[int]) -> bool:
        """Whether this is connected to one of these ports of this machine."""
        assert self.transport is not None
        peer, own = self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")
        if peer is None or peer[1] not in ports:
            return False
        return bool(ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback or peer[0] == own[0])

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    fall_silent = cut
