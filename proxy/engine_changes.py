"""What we change in the engine itself. Two things, each with its reason; never here: anything it can be asked for.

A WebSocket that broke on one side breaks on the other. Where a connection ends without a closing handshake the engine
says to the other side that all is well (close code 1000, measured on 11.0.2 and 12.2.3). A client would then take the
half of a response that it has for the whole, where without a proxy it sees the break (the openai SDK connects again).

TLS works in a host program that makes warnings errors. On 11.0.2 the engine's own use of pyOpenSSL warns in the
middle of a handshake, which then fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.proxy.commands import SendData
    from mitmproxy.proxy.layers import websocket
    from mitmproxy.tls import TlsData
    from wsproto.events import CloseConnection, Event
    from wsproto.frame_protocol import CloseReason


class QuietTlsConfig(TlsConfig):
    """The engine's own TLS, without the warnings that are nobody's here."""

    def tls_start_client(self, tls_start: TlsData) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            super().tls_start_client(tls_start)

    def tls_start_server(self, tls_start: TlsData) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            super().tls_start_server(tls_start)


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
