"""What a forked child of the host program does with a proxy that goes on in its parent: it lets go of it.

The child has none of the proxy's threads, but it has its sockets: as long as it kept them, a connection that the
proxy closes would stay open for the other side, and a listener that is gone would still be connected to.

Never here: a word on any of these connections. They are the parent's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable


def let_go_of_sockets(loop: asyncio.AbstractEventLoop | None, listeners: Iterable[object]) -> None:
    """Close the child's copies of all sockets that the parent's event loop has open, and of its listeners."""
    listening = [found for server in listeners if isinstance(server, asyncio.Server) for found in server.sockets]
    # A loop that is not asyncio's own has its connections elsewhere; they are then the child's until it ends.
    transports = list(getattr(loop, "_transports", {}).values())
    connected = [transport.get_extra_info("socket") for transport in transports]
    woken_by = [getattr(loop, name, None) for name in ("_ssock", "_csock")]
    for held in (*listening, *connected, *woken_by, getattr(loop, "_selector", None)):
        # What asyncio shows of a socket cannot be closed; what is inside can.
        inner = held if isinstance(held, socket.socket) else getattr(held, "_sock", held)
        with contextlib.suppress(Exception):
            inner.close()
