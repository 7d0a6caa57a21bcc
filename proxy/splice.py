"""A WebSocket behind its handshake: its bytes pass as they are, and a copy is read. Sans I/O.

    splice = Splice(desk, socket, extensions)
    splice.passing(data, from_client=True)       # lines are written before this returns, so before `data` goes on
    splice.ended(by_client=True)                 # one side's connection ended

Never here: sockets, and what a message says.
"""

from __future__ import annotations

from .desk import Desk, log_failure
from .outcome import STOPPED, Break
from .socket_calls import Socket
from .socket_frames import SocketFrames

_ABNORMAL = 1006
"""The close code of a socket that ended without one (RFC 6455 section 7.1.5)."""


class Splice:
    """One WebSocket between its handshake and its end."""

    def __init__(self, desk: Desk, socket: Socket | None, extensions: str) -> None:
        self._desk = desk
        self._socket = socket
        self._frames = SocketFrames(extensions)
        self._over = False
        self._note_problem()

    def passing(self, data: bytes, *, from_client: bool) -> None:
        """Bytes are about to go on."""
        socket = self._socket
        if socket is None or self._frames.problem is not None:
            return
        try:
            for message in self._frames.read(data, from_client=from_client):
                socket.message(message, from_client=from_client)
        except Exception as error:
            log_failure("a socket's messages", error)
        self._note_problem()
        closed = self._frames.closed
        if closed is not None:
            self._close(by_client=closed.by_client, code=closed.code)

    def ended(self, *, by_client: bool) -> None:
        """A connection ended; if no closing handshake was seen this is how the socket ended."""
        self._close(by_client=by_client, code=_ABNORMAL)

    def _close(self, *, by_client: bool, code: int) -> None:
        if self._over:
            return
        self._over = True
        broke = Break.CLIENT_LEFT if by_client else Break.UPSTREAM_BROKE
        error = f"the socket closed with code {code}"
        if self._desk.stopping():
            broke, error = Break.STOPPED, STOPPED
        if self._socket is not None:
            try:
                self._socket.close(broke, error=error)
            except Exception as error_of_ours:
                log_failure("a socket's end", error_of_ours)

    def _note_problem(self) -> None:
        """Frames that cannot be read: what is open is settled as unreadable, and a gap says that more may come."""
        if self._frames.problem is None or self._socket is None:
            return
        try:
            self._socket.unreadable()
        except Exception as error:
            log_failure("a socket that cannot be read", error)
