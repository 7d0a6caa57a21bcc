"""How the engine refuses: in our words, and so that a client which is still sending its body gets them.

The engine's own pages are HTML under its name. It closes the connection at once, which resets it where bytes of the
body lie unread, and it answers a request that an addon kills with nothing at all. Here each of them is our JSON, the
writing side is closed, and what the client still sends is read and dropped (`AtOnce`) until it leaves.

Never here: what is refused, and why.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from .refusal import Answer, broken_call, on_the_wire

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mitmproxy import http
    from mitmproxy.connection import Connection, ConnectionState
    from mitmproxy.proxy.commands import CloseConnection, CloseTcpConnection, Command, SendData
    from mitmproxy.proxy.events import ConnectionEvent
    from mitmproxy.proxy.layers.http import _http1
    from mitmproxy.proxy.layers.http._base import HttpEvent
    from mitmproxy.proxy.layers.http._events import ResponseProtocolError

_OWED = "_submeter_refusal"
_NO_RESPONSE = 444
"""The engine's code for a request that was killed."""
_engine_send = _http1.Http1Server.send
_engine_read_headers = _http1.Http1Server.read_headers


class Linger(CloseTcpConnection):
    """Close our side of a client's connection, and let the client finish."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, half_close=True)


def response_of(answer: Answer) -> http.Response:
    """An answer of ours as the engine sends it."""
    return http.Response.make(answer.status_code, answer.body, {"Content-Type": "application/json"})


def answer_at_once(flow: http.HTTPFlow, answer: Answer) -> None:
    """Answer a request without asking upstream, also where its body is still to come. To be said in `requestheaders`.

    A response that is set there is sent by the engine once the body is whole.
    """
    headers = flow.request.headers
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        vars(flow.request)[_OWED] = answer
        flow.kill()  # type: ignore[no-untyped-call]
    else:
        flow.response = response_of(answer)
        flow.response.headers["Connection"] = "close"


def _send(server: _http1.Http1Server, event: HttpEvent) -> Iterator[Command]:
    if isinstance(event, ResponseProtocolError) and not server.response:
        return _send_refusal(server, event)
    return _engine_send(server, event)


def _send_refusal(server: _http1.Http1Server, event: ResponseProtocolError) -> Iterator[Command]:
    if not server.conn.state & ConnectionState.CAN_WRITE:
        return
    answer: Answer | None = vars(server.request).get(_OWED) if server.request else None
    status_code = _status_code(event.code)
    if answer is None and status_code is not None:
        answer = broken_call(status_code, event.message)
    if answer is None:
        yield CloseConnection(server.conn)
        return
    yield SendData(server.conn, on_the_wire(answer, method=server.request.method if server.request else ""))
    yield Linger(server.conn)


def _status_code(code: Any) -> int | None:
    """The status of the engine's error: a number up to 11, and since 12 something that knows its own."""
    if isinstance(code, int):
        return None if code == _NO_RESPONSE else code
    told: int | None = code.http_status_code()
    return told


def _read_headers(server: _http1.Http1Server, event: ConnectionEvent) -> Iterator[Command]:
    """As the engine does; where it refuses a head, the client may finish."""
    reading: Any = _engine_read_headers(server, event)
    refused, reply = False, None
    while True:
        try:
            command = reading.send(reply)
        except StopIteration:
            return
        refused = refused or (isinstance(command, SendData) and type(command.data) is _Refusal)
        reply = yield Linger(server.conn) if refused and isinstance(command, CloseConnection) else command


class _Refusal(bytes):
    """A page in place of the engine's."""


def _error_response(status_code: int, message: str = "") -> bytes:
    return _Refusal(on_the_wire(broken_call(status_code, message)))


REFUSAL_CHANGES: tuple[tuple[Any, str, Any], ...] = (
    (_http1, "make_error_response", _error_response),
    (_http1.Http1Server, "send", _send),
    (_http1.Http1Server, "read_headers", _read_headers),
)
