"""The engine's hooks for WebSockets: each whole message passes by the `Socket` of its connection, and on.

An addon beside the `Tap`, which sees the handshake. Messages are dropped from the engine's memory once read; the
engine sends each one when its hook returns. Never here: parsing, files, and any decision about what a call means.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .attempt import SOCKET_HEADER, Attempt
from .labels import PathLabels
from .outcome import Break
from .recorder import Recorder
from .socket_calls import Socket, Sockets

if TYPE_CHECKING:
    from mitmproxy import http

logger = logging.getLogger("submeter.proxy")

_HANDSHAKE = "submeter.handshake"
_SOCKET = "submeter.socket"


def note_handshake(flow: http.HTTPFlow, attempt: Attempt, path: PathLabels, headers: Mapping[str, str]) -> None:
    """Keep what the calls of a socket take from its handshake, if this request is one."""
    if SOCKET_HEADER in headers:
        flow.metadata[_HANDSHAKE] = attempt.start, path, headers


class SocketTap:
    """The addon. One for a proxy."""

    def __init__(self, recorder: Recorder, *, stopping: Callable[[], bool]) -> None:
        self._sockets = Sockets(recorder)
        self._stopping = stopping

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        with _passing_on("websocket_start"):
            start, path, headers = flow.metadata.pop(_HANDSHAKE)
            request_id = flow.response.headers.get("x-request-id") if flow.response else None
            flow.metadata[_SOCKET] = self._sockets.open(start, path, headers, request_id)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        messages = flow.websocket.messages if flow.websocket else []
        socket: Socket | None = flow.metadata.get(_SOCKET)
        with _passing_on("websocket_message"):
            if socket is not None:
                for message in messages:
                    socket.message(message.content, from_client=message.from_client)
        messages.clear()

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is not None:
            self._close(
                flow,
                Break.CLIENT_LEFT if flow.websocket.closed_by_client else Break.UPSTREAM_BROKE,
                f"the socket closed with code {flow.websocket.close_code}",
            )

    def error(self, flow: http.HTTPFlow) -> None:
        # Not seen for a socket, on either version; where it came, no call would stay open for it.
        self._close(flow, Break.UPSTREAM_BROKE, "the socket broke")

    def _close(self, flow: http.HTTPFlow, broke: Break, error: str) -> None:
        socket: Socket | None = flow.metadata.get(_SOCKET)
        if socket is not None:
            with _passing_on("websocket_end"):
                socket.close(Break.STOPPED if self._stopping() else broke, error=error)


@contextmanager
def _passing_on(where: str) -> Iterator[None]:
    """Whatever fails here costs rows, never a message. Type and place go to the log: the rest could hold content."""
    try:
        yield
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(
            "submeter failed at %s (%s, %s:%s); messages pass", where, type(error).__name__, frame.name, frame.lineno
        )
