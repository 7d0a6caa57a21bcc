"""The intercept port: a forward proxy that reads the metered hosts and tunnels the rest.

A connection first meets the `Door`. A CONNECT to a host that is not metered is connected and relayed there, both ways,
byte for byte; the engine's HTTP layers never see it, so server-first protocols work and no certificate is made. All
else goes to the engine, and in `Intercept` its hooks: a CONNECT to a metered host is decrypted, and its requests are
given to `tap` as if they had come by the base URL. What may pass is decided in
`forwarding`. With `tap` and `serve` all that knows mitmproxy.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from mitmproxy import connection, http, tls
from mitmproxy.exceptions import AddonHalt
from mitmproxy.proxy import commands, events, layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from .engine_refusals import Linger, answer_at_once
from .forwarding import (
    Target,
    connect_target,
    is_metered,
    is_unmetered_api_host,
    labels_of,
    may_tunnel,
    path_at_upstream,
    regional,
    same_host,
)
from .labels import PathLabels
from .refusal import Answer, on_the_wire, refusal
from .upstream_url import Upstream

logger = logging.getLogger("submeter.proxy")

HEAD_BYTES_MAX = 256 * 1024
_ENDS_OF_HEAD = (b"\r\n\r\n", b"\n\n")
_TLS_HANDSHAKE = b"\x16"
_NOT_METERED = refusal(
    403, "submeter: this port forwards no plain HTTP, and tunnels only to the ports of the web and those above 1023."
)
_NO_CONNECTION = refusal(502, "submeter: there is no connection to this place.")


def is_intercepted(client: connection.Client) -> bool:
    """Whether a connection came in by the intercept port."""
    return client.proxy_mode.type_name == "regular"


class Intercept:
    """The addon of the intercept port. Its state is the label of each open connection."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._labels: dict[str, PathLabels] = {}

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if len(nextlayer.context.layers) == 1 and is_intercepted(nextlayer.context.client):
            nextlayer.layer = Door(nextlayer.context, self._upstream)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A CONNECT that came to the engine: to a metered host, or not the first request of its connection."""
        if not is_intercepted(flow.client_conn):
            return
        if not is_metered(Target(host=flow.request.host, port=flow.request.port), self._upstream):
            answer_at_once(flow, _NOT_METERED)
            return
        self._labels[flow.client_conn.id] = labels_of(flow.request.headers.get("proxy-authorization"))

    def tls_start_client(self, data: tls.TlsData) -> None:
        """Inside a tunnel there is no host but the one that it was opened for: another name gets no certificate."""
        named, address = data.context.client.sni, data.context.server.address
        if is_intercepted(data.context.client) and named and (address is None or not same_host(named, address[0])):
            logger.warning("a tunnel to %s asked for another host inside, and was closed", address and address[0])
            raise AddonHalt

    def client_disconnected(self, client: connection.Client) -> None:
        self._labels.pop(client.id, None)

    def admit(self, flow: http.HTTPFlow) -> PathLabels | None:
        """The path and label of a request of this port, now bound for the upstream; None: it was refused."""
        request = flow.request
        target = Target(host=request.host, port=request.port)
        if not is_metered(target, self._upstream):
            answer_at_once(flow, _NOT_METERED)
            return None
        given = request.headers.pop("proxy-authorization", None)
        request.headers.pop("proxy-connection", None)
        label = self._labels.get(flow.client_conn.id) or labels_of(given)
        # The engine's own setters would change the Host header too, which is the tap's to set.
        region = regional(target.host, self._upstream)
        upstream = region or self._upstream
        request.data.scheme = upstream.scheme.encode()
        request.data.host = upstream.host
        request.data.port = upstream.port
        path = path_at_upstream(request.path, target, self._upstream)
        return replace(label, path=path, token=None, upstream=region)


class Door(layer.Layer):
    """The first layer of a connection: waits for one request head, and opens a tunnel or lets the engine in."""

    def __init__(self, context: Context, upstream: Upstream) -> None:
        super().__init__(context)
        self._upstream = upstream
        self._received = b""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.context.client)
        elif isinstance(event, events.DataReceived):
            self._received += event.data
            end = _end_of_head(self._received)
            if end is not None:
                yield from self._open(self._received[:end], self._received[end:])
            elif len(self._received) > HEAD_BYTES_MAX or self._received.startswith(_TLS_HANDSHAKE):
                yield commands.CloseConnection(self.context.client)

    def _open(self, head: bytes, rest: bytes) -> layer.CommandGenerator[None]:
        target = connect_target(head)
        if target is not None and not is_metered(target, self._upstream):
            yield from self._tunnel(target, rest)
            return
        # The engine counts the layers of a connection to know where it is: this one was never there.
        self.context.layers.remove(self)
        yield from self._go_on(layers.HttpLayer(self.context, HTTPMode.regular), head + rest)

    def _tunnel(self, target: Target, rest: bytes) -> layer.CommandGenerator[None]:
        if not may_tunnel(target):
            yield from self._answer(_NOT_METERED)
            return
        self.context.server = connection.Server(address=(target.host, target.port))
        problem = yield commands.OpenConnection(self.context.server)
        if problem:
            yield from self._answer(_NO_CONNECTION)
            return
        if is_unmetered_api_host(target.host):
            logger.warning("calls to %s go past the meter: it asks for the client's own certificate", target.host)
        yield commands.SendData(self.context.client, b"HTTP/1.1 200 Connection established\r\n\r\n")
        yield from self._go_on(layers.TCPLayer(self.context, ignore=True), rest)

    def _go_on(self, following: layer.Layer, received: bytes) -> layer.CommandGenerator[None]:
        self._received = b""
        self._handle_event = following.handle_event  # type: ignore[method-assign]
        yield from following.handle_event(events.Start())
        if received:
            yield from following.handle_event(events.DataReceived(self.context.client, received))

    def _answer(self, answer: Answer) -> layer.CommandGenerator[None]:
        yield commands.SendData(self.context.client, on_the_wire(answer))
        yield Linger(self.context.client)


def _end_of_head(data: bytes) -> int | None:
    """Where a request head that is complete ends, its last empty line included."""
    ends = [at + len(end) for end in _ENDS_OF_HEAD if (at := data.find(end)) >= 0]
    return min(ends) if ends else None
