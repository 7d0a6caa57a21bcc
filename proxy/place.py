"""A worker's place beside the others of its proxy: what it takes part in and is not its own.

    place = WorkerPlace(number=0, count=2, board=board, listening=..., intercepting=(), authority=..., own_secret=...)

Never here: how workers are started (`workers`), and what they are told for it (`worker_settings`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from .board import Board
from .listen import INTERCEPT_HOST, Listen

BACKLOG = 1024
"""Connections that wait to be taken."""


class SharedSocket(socket.socket):
    """A listening socket from which several processes take connections.

    To asyncio the connections that may wait, and those that it takes in one turn, are one number. It is told 1 for
    the second, so that a connection goes to the worker that has time for it; for the first it is not asked.
    """

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(BACKLOG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Sockets that listen."""

    listening: tuple[SharedSocket, ...]
    intercepting: tuple[SharedSocket, ...] = ()
    """Those of the intercept port; none: there is no such port."""

    def close(self) -> None:
        for found in (*self.listening, *self.intercepting):
            found.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """One worker's place."""

    number: int
    count: int
    """How many workers there are."""
    board: Board
    notices: tuple[Board, ...]
    """Of each worker, by number: what it lets the others show of its calls (`live`)."""
    bound: Bound
    """All workers take connections from these."""
    authority: Path
    """The folder of the certificate authority."""
    own_secret: str = field(repr=False)
    """Marks requests of our own making, which any of the workers may be given."""


def bind(listen: Listen) -> Bound:
    """Listen where this says, as the event loop of a proxy without workers would. Raises `OSError`."""

    async def bound() -> Bound:
        taken: list[tuple[SharedSocket, ...]] = []
        try:
            taken.append(await _bind(listen.host, listen.port))
            if listen.intercept_port is not None:
                taken.append(await _bind(INTERCEPT_HOST, listen.intercept_port))
            for found in (found for sockets in taken for found in sockets):
                found.listen()
        except BaseException:
            for found in (found for sockets in taken for found in sockets):
                found.close()
            raise
        return Bound(listening=taken[0], intercepting=taken[1] if len(taken) > 1 else ())

    return asyncio.run(bound())


async def _bind(host: str, port: int) -> tuple[SharedSocket, ...]:
    # A server that never serves: it is asyncio that knows which addresses a host name has.
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    try:
        return tuple(SharedSocket(fileno=os.dup(found.fileno())) for found in server.sockets)
    finally:
        server.close()
