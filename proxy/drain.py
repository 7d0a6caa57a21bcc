"""An answer whose client has left, read to its end so that its usage is known (`--drain`, off by default).

A client that leaves stops a generation: the upstream's connection is cut. With this it is not; the provider goes on
generating and bills all of it, and the row says how much that was. It ends after ten minutes or 64 MiB at the latest:
then the call is one whose client left, as without it. Never here: what bytes mean.
"""

from __future__ import annotations

import asyncio

from .answer_side import SwitchError
from .desk import DrainLimits
from .door import Held
from .exchange import Exchange
from .far_side import FarSide
from .framing import BodyError
from .message_head import HeadError
from .outcome import LEFT, Break


class Drain:
    """The upstream's connection of a client that has left."""

    def __init__(self, exchange: Exchange, far: FarSide, limits: DrainLimits, held: set[Held]) -> None:
        """`held`: the connections that the server keeps count of."""
        self._exchange = exchange
        self._far = far
        self._held = held
        self._bytes_left = limits.bytes_max
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.call_later(limits.seconds, self.cut)
        self.moved_at = self._loop.time()
        if exchange.request.attempt is not None:
            exchange.request.attempt.leave()
        held.add(self)
        far.near = self
        if far.transport is not None:
            # It was not read while the client did not read.
            far.transport.resume_reading()

    def far_connected(self, far: FarSide) -> None:
        """It was connected before: only then had anything been sent."""

    def far_data(self, far: FarSide, data: bytes) -> None:
        self.moved_at = self._loop.time()
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            self.cut()
            return
        answer = self._exchange.answer
        try:
            answer.take(data)
        except (SwitchError, HeadError, BodyError):
            self.cut()
        else:
            if answer.whole:
                self._let_go()

    def far_ended(self, far: FarSide, *, clean: bool) -> None:
        _, whole = self._exchange.answer.closed(clean=clean)
        if whole:
            self._let_go()
        else:
            self.cut()

    def unreachable(self, far: FarSide, error: str) -> None:
        """It was connected before."""

    def read_on(self, why: str, on: bool) -> None:
        """There is nobody to read."""

    def cut(self) -> None:
        """It is read no further: a call whose client left."""
        self._exchange.break_off(Break.CLIENT_LEFT, error=LEFT)
        self._let_go()

    fall_silent = cut

    def _let_go(self) -> None:
        self._end.cancel()
        self._held.discard(self)
        self._far.close()
