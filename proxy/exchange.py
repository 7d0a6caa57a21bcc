"""One request and its answer, and how they end where one of them is not whole. Sans I/O.

    exchange = begin_exchange(desk, head, path, address)    # start line written
    exchange.request, exchange.answer               # what goes on in either direction
    exchange.break_off(...)                         # it will not be whole any more

Whatever fails in metering costs a row at most, and then a `gap` says so; the bytes go on. Never here: sockets.
"""

from __future__ import annotations

from ..data.call import Flag, Operation
from .answer_side import AnswerSide
from .desk import Desk, DrainLimits, log_failure
from .framing import request_body
from .labels import PathLabels
from .message_head import RequestHead
from .outcome import STOPPED, Break, without_quotes
from .receipts import receipt_path
from .request_side import RequestSide
from .upstream import OwnAnswer


def begin_exchange(desk: Desk, head: RequestHead, path: PathLabels, address: str) -> Exchange:
    """A request whose head is complete: its start line is written. Raises `HeadError` for a body in doubt."""
    return Exchange(desk, RequestSide(desk, head, path, request_body(head), address))


class Exchange:
    """One request and its answer."""

    def __init__(self, desk: Desk, request: RequestSide) -> None:
        self.request = request
        self.answer = AnswerSide(desk, request)
        self.sent = False
        """Whether any of it was given to a connection with the upstream."""
        self._desk = desk

    def break_off(self, broke: Break, *, error: str) -> None:
        """It will not be whole any more."""
        attempt = self.request.attempt
        if attempt is None:
            return
        if self._desk.stopping():
            broke, error = Break.STOPPED, STOPPED
        try:
            attempt.break_off(broke, error=without_quotes(error), flags=() if self.sent else (Flag.NEVER_SENT,))
            if self._desk.receipts and broke is not Break.STOPPED and (path := receipt_path(attempt)):
                self._desk.look_up(path, self.request.head.fields, self.request.upstream)
        except Exception as error_of_ours:
            log_failure("breaking off", error_of_ours)

    @property
    def drain_limits(self) -> DrainLimits | None:
        """How far its answer is read without its client; None: not at all, or it tells nothing of what is billed."""
        attempt = self.request.attempt
        if attempt is None or attempt.settled or self._desk.stopping():
            return None
        creates = attempt.start.operation is Operation.CREATE
        return self._desk.drains if creates and self.sent and self.request.whole else None

    async def send_again(self) -> bytes:
        """Send the request once more as it came: where there is an answer to that it is the one the client gets."""
        request, self.answer.again = self.answer.again, None
        answer: OwnAnswer | None = None
        try:
            if request is not None:
                answer = await self._desk.send(request, self.request.upstream)
        except Exception as error:
            log_failure("sending again", error)
        if answer is None:
            return self.answer.held
        # Where it is refused all the same, the question was not the reason.
        self._desk.asks = self._desk.asks and answer.status_code >= 400
        return answer.on_the_wire()
