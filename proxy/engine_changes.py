"""What we change in the engine itself. Five things, each with its reason; never here: anything it can be asked for.

A WebSocket that broke on one side breaks on the other. Where a connection ends without a closing handshake the engine
says to the other side that all is well (close code 1000, measured on 11.0.2 and 12.2.3). A client would then take the
half of a response that it has for the whole, where without a proxy it sees the break (the openai SDK connects again).

TLS works in a host program that makes warnings errors. On 11.0.2 the engine's own use of pyOpenSSL warns in the
middle of a handshake, which then fails.

Hooks are asked only of addons that have them. The engine looks through every addon anew at every hook, and once more
at an `update` hook for its own screens, which nobody listens to here: 13 % of its CPU per call.

Messages are not checked for their types. The engine does so for each one that it has itself just parsed, unless
Python runs with -O: another 13 %.

What one read of a socket makes the engine send goes out in one write, not one for each chunk of a body: a fast
stream has several in a read, and a write costs more than all else that is done for a chunk.

(All three by `bench/bench_proxy.py`, which measures against the engine without them.)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mitmproxy import http
    from mitmproxy.addonmanager import AddonManager, safecall
    from mitmproxy.addons.tlsconfig import TlsConfig
    from mitmproxy.connection import Connection
    from mitmproxy.exceptions import AddonHalt
    from mitmproxy.hooks import Hook
    from mitmproxy.master import Master
    from mitmproxy.options import Options
    from mitmproxy.proxy import mode_servers
    from mitmproxy.proxy.commands import Command, SendData
    from mitmproxy.proxy.events import Event
    from mitmproxy.proxy.layer import Layer
    from mitmproxy.proxy.layers import websocket
    from mitmproxy.tls import TlsData
    from wsproto.events import CloseConnection
    from wsproto.events import Event as SocketEvent
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
    def send2(self, event: SocketEvent) -> SendData:
        if isinstance(event, CloseConnection) and event.code == CloseReason.ABNORMAL_CLOSURE:
            # The engine closes the connection next, and that is all the other side is to see.
            return SendData(self.conn, b"")
        return super().send2(event)


class _ListeningAddons(AddonManager):
    """The engine's addons, with those that listen to a hook found once instead of at each call of it."""

    def __init__(self, master: Master) -> None:
        super().__init__(master)
        self._listeners: dict[str, list[Callable[..., Any]]] = {}

    def add(self, *addons: object) -> None:
        self._listeners.clear()
        super().add(*addons)

    def remove(self, addon: object) -> None:
        self._listeners.clear()
        super().remove(addon)

    def clear(self) -> None:
        self._listeners.clear()
        super().clear()

    async def trigger_event(self, event: Hook) -> None:
        listeners = self._listeners.get(event.name)
        if listeners is None:
            listeners = [listen for addon in self.chain for _, listen in self._iter_hooks(addon, event)]
            self._listeners[event.name] = listeners
        if not listeners:
            return
        arguments = event.args()
        for listen in listeners:
            try:
                waits = listen(*arguments)
                if waits is not None:
                    await waits
            except AddonHalt:
                return
            except Exception:
                # As the engine itself would: into its log, and the next one is asked all the same.
                with safecall():
                    raise


class LeanMaster(Master):
    """The engine's master, with the addons above."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.addons = _ListeningAddons(self)


class OneWrite:
    """A layer, and with it all below, whose consecutive pieces for one connection become one."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def handle_event(self, event: Event) -> Iterator[Command]:
        connection: Connection | None = None
        pieces: list[bytes] = []
        try:
            for command in self._layer.handle_event(event):
                if connection is not None and not (isinstance(command, SendData) and command.connection is connection):
                    yield SendData(connection, b"".join(pieces))
                    connection, pieces = None, []
                if isinstance(command, SendData):
                    connection = command.connection
                    pieces.append(command.data)
                else:
                    yield command
        except Exception:
            # What the engine had said to send before it failed is sent.
            if connection is not None:
                yield SendData(connection, b"".join(pieces))
            raise
        if connection is not None:
            yield SendData(connection, b"".join(pieces))


class _Handler(mode_servers.ProxyConnectionHandler):
    async def handle_client(self) -> None:
        self.layer = OneWrite(self.layer)  # type: ignore[assignment]
        await super().handle_client()


def _unchecked(_message: http.MessageData) -> None:
    """In the place of a check of types."""


@contextmanager
def engine_changed() -> Iterator[None]:
    """Within it the engine passes a broken socket on as one, writes once, and takes its own messages as they are."""
    handler_before = mode_servers.ProxyConnectionHandler
    socket_before = websocket.WebsocketConnection
    check_before = getattr(http.MessageData, "__post_init__", None)
    mode_servers.ProxyConnectionHandler = _Handler  # type: ignore[misc]
    websocket.WebsocketConnection = _Connection  # type: ignore[misc]
    if check_before is not None:
        http.MessageData.__post_init__ = _unchecked  # type: ignore[method-assign]
    try:
        yield
    finally:
        mode_servers.ProxyConnectionHandler = handler_before  # type: ignore[misc]
        websocket.WebsocketConnection = socket_before  # type: ignore[misc]
        if check_before is not None:
            http.MessageData.__post_init__ = check_before  # type: ignore[method-assign]
