"""A tunnel to the upstream through the proxy of the environment: one CONNECT, and its answer.

Whatever it answers, nothing of it but a status goes into an error. Never here: TLS inside the tunnel, and which proxy.
"""

from __future__ import annotations

import asyncio

from .message_head import HeadError, head_end, parse_response_head
from .outer_proxy import OuterProxy
from .upstream_url import Upstream

_WANTS_USER = 407


class TunnelError(OSError):
    """There is no tunnel. Its text says why, in a user's words."""


async def open_tunnel(outer: OuterProxy, upstream: Upstream) -> asyncio.Transport:
    """A plain transport that leads to the upstream; nothing has come over it. Raises `TunnelError`."""
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_connection(_Asking, outer.host, outer.port)
    except OSError as error:
        raise TunnelError(f"the proxy in HTTPS_PROXY cannot be reached: {error.strerror or error}") from None
    try:
        transport.write(outer.connect_head(upstream))
        await asking.answered
    except BaseException:
        transport.abort()
        raise
    return transport


class _Asking(asyncio.Protocol):
    """The connection with the proxy until it has answered."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        looked, self._received = len(self._received), self._received + data
        if self.answered.done():
            return
        try:
            end = head_end(self._received, looked)
            if end is not None:
                self._judge(parse_response_head(self._received[:end]).status_code, more=end < len(self._received))
        except HeadError:
            self._fail("the proxy in HTTPS_PROXY does not answer as one")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the proxy in HTTPS_PROXY ended the connection before it had answered")

    def _judge(self, status_code: int, *, more: bool) -> None:
        if 200 <= status_code < 300 and not more:
            self.answered.set_result(None)
        elif status_code == _WANTS_USER:
            self._fail("the proxy in HTTPS_PROXY wants a user and a password (407), or others than its URL has")
        elif status_code < 300:
            self._fail("the proxy in HTTPS_PROXY does not answer as one")
        else:
            self._fail(f"the proxy in HTTPS_PROXY refused to connect to the upstream ({status_code})")

    def _fail(self, why: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(TunnelError(why))
