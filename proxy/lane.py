"""The lane: one connection of a client and the one upstream connection that belongs to it. The sockets of the proxy.

A client's requests are taken one after the other; what it sends ahead waits. Each is an `Exchange`, which says what
goes on in either direction; here it is only moved. The upstream's connection is opened with the first request, kept
for the next ones, and opened anew where it has ended meanwhile. A request of which anything may have been sent is never
sent again.

Both sides are slowed down by each other: what waits for a side that does not read is bounded. A client that closes its
side has left, whatever is under way is cut and recorded: that is how clients stop a generation (`drain` reads it to
its end instead, where that was asked for). Never here: what bytes mean, and files.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from .admission import Admission, Direct
from .answer_side import SwitchError
from .control_request import ControlRequest, begin_control
from .desk import Desk, is_browser, is_control
from .door import NOT_METERED, Held
from .drain import Drain
from .exchange import Exchange, begin_exchange
from .far_side import WAITING_BYTES_MAX, FarSide, Roads
from .framing import BodyError
from .inbox import Inbox
from .labels import PathLabels
from .message_head import HeadError, RequestHead, parse_request_head, says_close
from .outcome import LEFT, Break
from .outlet import Outlet
from .refusal import Answer, broken_call, on_the_wire, refusal
from .refused_head import refused_head
from .splice import Splice

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TLS_HANDSHAKE = b"\x16"
_BROKE = "the upstream ended the connection before its answer was whole"


class NearSide(asyncio.Protocol):
    """One client's connection."""

    def __init__(
        self,
        desk: Desk,
        roads: Roads,
        open_: set[Held],
        tls: Callable[[], ssl.SSLContext] | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`tls`: what a client that begins with a TLS handshake is met with; None: it is refused.

        `admission`: how its requests are taken; None: as those of the base URL.
        """
        self._desk = desk
        self._roads = roads
        self._open = open_
        self._admission: Admission = admission or Direct()
        self._out = Outlet()
        self._far: FarSide | None = None
        self._in = Inbox()
        self._exchange: Exchange | None = None
        self._control: ControlRequest | None = None
        self._splice: Splice | None = None
        self._tls = tls
        """None once the first byte has come."""
        self._gone = False
        self._full = False
        """Whether the client does not read what it is sent; nothing more is begun for it then."""
        self._again: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.moved_at = self._loop.time()
        """When a byte last came from either side, in the loop's time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.begin(transport)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        self.moved_at = self._loop.time()
        if self._out.deaf or self._gone:
            return
        tls, self._tls = self._tls, None
        if tls is not None and data.startswith(_TLS_HANDSHAKE):
            self._out.begin_tls(self, tls(), data)
            return
        if self._splice is not None:
            self._splice.passing(data, from_client=True)
            self._send(data)
            return
        exchange = self._exchange
        if exchange is not None and not exchange.request.whole and not self._in.data:
            self._pass_request(exchange, data)
        else:
            self._in.add(data)
        self._turn()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._open.discard(self)

    def pause_writing(self) -> None:
        self._full, far = True, self._far
        if far is not None and far.transport is not None:
            far.transport.pause_reading()

    def resume_writing(self) -> None:
        self._full, far = False, self._far
        if far is not None and far.transport is not None and not far.ended:
            far.transport.resume_reading()
        self._turn()

    def read_on(self, why: str, on: bool) -> None:
        self._out.read_on(why, on)

    def far_connected(self, far: FarSide) -> None:
        self._out.read_on("far", True)
        if self._full and far.transport is not None:
            far.transport.pause_reading()
        waiting, far.waiting = b"".join(far.waiting), []
        self._send(waiting)

    def far_data(self, far: FarSide, data: bytes) -> None:
        self.moved_at = self._loop.time()
        if self._splice is not None:
            self._splice.passing(data, from_client=False)
            self._out.write(data)
            return
        exchange = self._exchange
        if exchange is None or exchange.answer.whole or not exchange.sent:
            # Nobody asked for this: the connection cannot be trusted with another request.
            self._drop_far()
            return
        try:
            out = exchange.answer.take(data)
        except SwitchError:
            self._break_answer(exchange, "the upstream switched to a protocol that is not passed on")
        except (HeadError, BodyError) as error:
            self._break_answer(exchange, f"the upstream's answer cannot be passed on: {error}")
        else:
            self._out.write(out)
            if exchange.answer.whole:
                self._answered(exchange)

    def far_ended(self, far: FarSide, *, clean: bool) -> None:
        if far is not self._far:
            return
        self._far = None
        self._out.read_on("far", True)
        if self._splice is not None:
            self._splice.ended(by_client=False)
            self._close(reset=not clean)
            return
        exchange = self._exchange
        if exchange is None or not exchange.sent:
            # The next request, or this one, opens another.
            return
        if exchange.answer.whole:
            # It was answered before its request was whole, and nothing takes the rest.
            if self._again is None:
                self._linger(b"")
            return
        out, whole = exchange.answer.closed(clean=clean)
        self._out.write(out)
        if whole:
            self._answered(exchange)
        else:
            self._break_answer(exchange, _BROKE, reset=not clean)

    def fall_silent(self) -> None:
        """Nothing has moved for so long that nobody can be there."""
        exchange = self._exchange
        if exchange is not None:
            self._break_answer(exchange, "neither side sent a byte for too long")
        else:
            self.cut()

    @property
    def busy(self) -> bool:
        """Whether an answer is under way: its row may be written, and its last bytes still to come."""
        return self._exchange is not None

    def cut(self) -> None:
        """The proxy stops: whatever is under way is settled as it stands."""
        self._leave()
        self._out.abort()

    def _turn(self) -> None:
        while self._in.data and not (self._out.deaf or self._gone or self._full or self._splice):
            exchange, control = self._exchange, self._control
            if control is not None:
                data = self._in.take()
                self._in.data = data[control.take(data) :]
                self._answer_control(control)
            elif exchange is None:
                if not self._begin():
                    break
            elif not exchange.request.whole:
                self._pass_request(exchange, self._in.take())
            else:
                break
        waits = self._exchange is not None or self._full
        ahead = waits and len(self._in.data) > WAITING_BYTES_MAX
        if ahead or self._out.is_stopped_by("ahead"):
            self._out.read_on("ahead", not ahead)

    def _begin(self) -> bool:
        """Begin the request whose head has come; False: it has not, or nothing follows it."""
        raw: bytes | None = None
        try:
            raw = self._in.next_head()
            if raw is None:
                return False
            head = parse_request_head(raw)
            path = self._admission.path_of(head.target, lambda: head.fields)
            head = self._admission.head_of(head)
            if path is None:
                self._answer_here(head, NOT_METERED, refused=True)
            elif self._admission.controls and (is_control(path.path) or is_browser(head, path)):
                self._begin_control(head, path)
            else:
                self._begin_exchange(begin_exchange(self._desk, head, path, self._out.address))
        except HeadError as error:
            self._linger(refused_head(self._desk, self._admission, raw or self._in.take(), error))
        return True

    def _begin_exchange(self, exchange: Exchange) -> None:
        if exchange.request.refused is not None:
            status_code, why = exchange.request.refused
            self._answer_here(exchange.request.head, refusal(status_code, f"submeter: {why}"), refused=True)
            return
        self._exchange = exchange
        if exchange.request.continues:
            self._out.write(_CONTINUE)
        far = self._far
        if far is not None and (far.upstream != exchange.request.upstream or far.is_dead()):
            self._drop_far()
        if self._far is None:
            self._far = self._roads.reach(self, exchange.request.upstream)
        self._send(exchange.request.open())

    def _pass_request(self, exchange: Exchange, data: bytes) -> None:
        try:
            out, taken = exchange.request.take(data)
        except BodyError as error:
            exchange.break_off(Break.CLIENT_LEFT, error=f"the request cannot be passed on: {error}")
            self._drop_far()
            if exchange.answer.seen:
                self._linger(b"")
            else:
                self._linger(on_the_wire(broken_call(400, str(error)), method=exchange.request.head.method))
            return
        self._in.data = data[taken:]
        self._send(out)
        if exchange.request.whole and exchange.answer.whole:
            self._answered(exchange)

    def _begin_control(self, head: RequestHead, path: PathLabels) -> None:
        control = begin_control(self._desk.control, head, path, self._out.address)
        if isinstance(control, Answer):
            self._answer_here(head, control, refused=True)
            return
        if control.continues:
            self._out.write(_CONTINUE)
        self._control = control
        self._answer_control(control)

    def _answer_control(self, control: ControlRequest) -> None:
        if control.body.ended:
            self._control = None
            self._answer_here(control.head, control.answer(self._desk.control))

    def _answer_here(self, head: RequestHead, answer: Answer, *, refused: bool = False) -> None:
        """Answer without asking upstream. What is refused is answered at once, its body may still be to come."""
        closes = refused or says_close(head)
        raw = on_the_wire(answer, method=head.method, closes=closes)
        if closes:
            self._linger(raw)
        else:
            self._out.write(raw)

    def _answered(self, exchange: Exchange) -> None:
        """The answer is whole; the next request may come once this one is."""
        if exchange.answer.switched:
            self._begin_splice(exchange)
        elif exchange.answer.again is not None:
            if self._again is None:
                self._again = asyncio.ensure_future(self._send_again(exchange))
        elif exchange.answer.closes:
            self._drop_far()
            if exchange.request.whole:
                self._close()
            else:
                self._linger(b"")
        elif exchange.request.whole:
            if exchange.answer.behind:
                self._drop_far()
            self._exchange = None
            self._turn()

    async def _send_again(self, exchange: Exchange) -> None:
        out = await exchange.send_again()
        self._again = None
        if not self._gone and self._exchange is exchange:
            self._out.write(out)
            exchange.answer.closes = exchange.answer.closes or self._far is None
            self._answered(exchange)

    def _break_answer(
        self, exchange: Exchange, error: str, *, broke: Break = Break.UPSTREAM_BROKE, reset: bool = False
    ) -> None:
        """The upstream's answer will not be whole: a 502 where the client has seen nothing of it, else a break."""
        exchange.break_off(broke, error=error)
        self._drop_far()
        if exchange.answer.seen:
            self._close(reset=reset and exchange.answer.until_close)
        else:
            self._linger(on_the_wire(broken_call(502, error), method=exchange.request.head.method))

    def unreachable(self, far: FarSide, error: str) -> None:
        """There is no connection with the upstream."""
        if far is self._far and self._exchange is not None:
            self._break_answer(self._exchange, error, broke=Break.UPSTREAM_UNREACHABLE)

    def _begin_splice(self, exchange: Exchange) -> None:
        self._splice = splice = Splice(self._desk, exchange.answer.socket, exchange.answer.socket_extensions)
        self._exchange = None
        behind, ahead = exchange.answer.behind, self._in.take()
        if behind:
            splice.passing(behind, from_client=False)
            self._out.write(behind)
        if ahead:
            splice.passing(ahead, from_client=True)
            self._send(ahead)
        # A client that was stopped because it sent so much ahead is heard again.
        self._turn()

    def _send(self, data: bytes) -> None:
        far, exchange = self._far, self._exchange
        if not data:
            return
        if far is None:
            if exchange is None or exchange.sent or exchange.answer.whole:
                return
            self._far = far = self._roads.reach(self, exchange.request.upstream)
        if exchange is not None and far.transport is not None:
            exchange.sent = True
        far.send(data)

    def _leave(self) -> None:
        """The client has gone, or we let it go."""
        if self._gone:
            return
        self._gone = True
        exchange, self._exchange = self._exchange, None
        if self._splice is not None:
            self._splice.ended(by_client=True)
        elif exchange is not None and self._far is not None and (limits := exchange.drain_limits):
            Drain(exchange, self._far, limits, self._open)
            self._far = None
        elif exchange is not None:
            exchange.break_off(Break.CLIENT_LEFT, error=LEFT)
        if self._again is not None:
            self._again.cancel()
        self._drop_far()

    def _drop_far(self) -> None:
        far, self._far = self._far, None
        if far is not None:
            far.close()
            self._out.read_on("far", True)

    def _close(self, *, reset: bool = False) -> None:
        """End the client's connection once it has what was written."""
        self._exchange = None
        self._drop_far()
        self._out.close(reset=reset)

    def _linger(self, last: bytes) -> None:
        """Say the last word, and let a client that is still sending finish."""
        self._exchange, self._control, self._in.data = None, None, b""
        self._out.linger(last)
