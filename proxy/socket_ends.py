"""A WebSocket that broke on one side breaks on the other: a change to the engine's own WebSocket layer.

Where a connection ends without a closing handshake the engine says to the other side that all is well (close code
1000, measured on 11.0.2 and 12.2.3). A client would then take the half of a response it has for the whole, where
without a proxy it sees the break (the openai SDK connects again). Never here: anything else about the engine.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mitmproxy.proxy.commands import SendData
    from mitmproxy.proxy.layers import websocket
    from wsproto.events import CloseConnection, Event
    from wsproto.frame_protocol import CloseReason


class _Connection(websocket.WebsocketConnection):
    def send2(self, event: Event) -> SendData:
        if isinstance(event, CloseConnection) and event.code == CloseReason.ABNORMAL_CLOSURE:
            # The engine closes the connection next, and that is all the other side is to see.
            return SendData(self.conn, b"")
        return super().send2(event)


@contextmanager
def sockets_end_as_they_did() -> Iterator[None]:
    """Within it the engine passes a broken socket on as a broken one."""
    before = websocket.WebsocketConnection
    websocket.WebsocketConnection = _Connection  # type: ignore[misc]
    try:
        yield
    finally:
        websocket.WebsocketConnection = before  # type: ignore[misc]
