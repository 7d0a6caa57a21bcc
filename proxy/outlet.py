"""The client's end of a connection: writing to it, reading it or not, and how it ends. Never here: what is said.

A connection that is closed with bytes unread is reset, and the reset takes the answer from the client. Whoever has said
the last word therefore lingers: our side is closed, and what the client still sends is read and dropped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from asyncio import sslproto
from typing import cast

from .far_side import WAITING_BYTES_MAX
from .refusal import LINGER_S

_RESET = struct.pack("ii", 1, 0)


class Outlet:
    """What a protocol has of its client's transport."""

    def __init__(self) -> None:
        self.deaf = False
        """Whether what the client sends is dropped: it was answered, and may finish."""
        self.transport: asyncio.Transport | None = None
        self.address = ""
        """The client's."""
        self._stopped_by: set[str] = set()
        """Why the client is not read: what waits for the upstream, or what was sent ahead."""
        self._loop = asyncio.get_running_loop()

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.transport = cast(asyncio.Transport, transport)
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self.transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)

    def begin_tls(self, inside: asyncio.Protocol, context: ssl.SSLContext, data: bytes) -> None:
        """Put TLS between the client and `inside`; what came is the beginning of its handshake.

        `loop.start_tls` would do the same, but for bytes that have come already.
        """
        plain = self.transport
        assert plain is not None
        # `connection_made` is called once more, with what is inside the TLS.
        between = sslproto.SSLProtocol(self._loop, inside, context, None, server_side=True)  # type: ignore[arg-type]
        plain.set_protocol(between)
        between.connection_made(plain)
        buffer = between.get_buffer(len(data))
        buffer[: len(data)] = data
        between.buffer_updated(len(data))

    def write(self, data: bytes) -> None:
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def read_on(self, why: str, on: bool) -> None:
        """Read the client, or do not: several things may stand against it."""
        if on:
            self._stopped_by.discard(why)
        else:
            self._stopped_by.add(why)
        if self.transport is None or self.transport.is_closing():
            return
        if self._stopped_by:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def is_stopped_by(self, why: str) -> bool:
        return why in self._stopped_by

    def close(self, *, reset: bool = False) -> None:
        """End the connection once the client has what was written; `reset`: so that it is told of an error."""
        self.deaf = True
        if self.transport is None:
            return
        if reset:
            own = self.transport.get_extra_info("socket")
            if own is not None:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.close()

    def linger(self, last: bytes) -> None:
        """Say the last word, close our side, and let a client that is still sending finish: its bytes are dropped."""
        transport = self.transport
        self.deaf = True
        if transport is None or transport.is_closing():
            return
        self.write(last)
        self._stopped_by.clear()
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.close)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
