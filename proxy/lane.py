"""The lane: one connection of a client and the one upstream connection that belongs to it. The sockets of the proxy.

A client's requests are taken one after the other; what it sends ahead waits. Each is an `Exchange`, which says what
goes on in either direction; here it is only moved. The upstream's connection is opened with the first request, kept
for the next ones, and opened anew where it has ended meanwhile. A request of which anything may have been sent is never
sent again.

Both sides are slowed down by each other: what waits for a side that does not read is bounded. A client that closes its
side has left, whatever is under way is cut and recorded: that is how clients stop a generation. Never here: what bytes
mean, and files.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from asyncio import sslproto
from collections.abc import Callable
from typing import cast

from ..data.call import Flag
from .admission import Admission, Direct
from .attempt import begin_attempt
from .control import BODY_BYTES_MAX
from .control_request import ControlRequest
from .desk import HEAD_TOO_LONG, Desk, is_control, log_failure
from .door import NOT_METERED, Held
from .exchange import Exchange, SwitchError, begin_exchange, says_close
from .far_side import WAITING_BYTES_MAX, FarSide, Roads
from .framing import BodyError, request_body
from .head import REQUEST_NAMES, plain_headers
from .labels import PathLabels
from .message_head import (
    HeadError,
    HeadSizeError,
    RequestHead,
    head_end,
    parse_request_head,
    read_loosely,
    without_empty_lines,
)
from .outcome import Break
from .refusal import LINGER_S, Answer, broken_call, on_the_wire, refusal
from .splice import Splice
from .upstream import OwnAnswer, OwnRequest

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TLS_HANDSHAKE = b"\x16"
_RESET = struct.pack("ii", 1, 0)
_BROKE = "the upstream ended the connection before its answer was whole"
_LEFT = "the client left"


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
        self._transport: asyncio.Transport | None = None
        self._far: FarSide | None = None
        self._received: bytes | bytearray = b""
        """What came and was not dealt with: a head that is not whole, or what was sent ahead."""
        self._looked = 0
        """How much of it was searched for the end of a head."""
        self._exchange: Exchange | None = None
        self._control: ControlRequest | None = None
        self._splice: Splice | None = None
        self._stopped_by: set[str] = set()
        """Why this connection is not read: what waits for the upstream, or what was sent ahead."""
        self._tls = tls
        """None once the first byte has come."""
        self._deaf = False
        """Whether what the client sends is dropped: it was answered, and may finish."""
        self._gone = False
        self._again: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.moved_at = self._loop.time()
        """When a byte last came from either side, in the loop's time."""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        self.moved_at = self._loop.time()
        if self._deaf or self._gone:
            return
        tls, self._tls = self._tls, None
        if tls is not None and data.startswith(_TLS_HANDSHAKE):
            self._begin_tls(tls(), data)
            return
        if self._splice is not None:
            self._splice.passing(data, from_client=True)
            self._send(data)
            return
        exchange = self._exchange
        if exchange is not None and not exchange.request_whole and not self._received:
            self._pass_request(exchange, data)
        elif self._received:
            if not isinstance(self._received, bytearray):
                self._received = bytearray(self._received)
            self._received += data
        else:
            self._received = data
        self._turn()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._open.discard(self)

    def pause_writing(self) -> None:
        far = self._far
        if far is not None and far.transport is not None:
            far.transport.pause_reading()

    def resume_writing(self) -> None:
        far = self._far
        if far is not None and far.transport is not None and not far.ended:
            far.transport.resume_reading()

    # What the far side tells.

    def far_connected(self, far: FarSide) -> None:
        self.read_on("far", True)
        waiting, far.waiting = b"".join(far.waiting), []
        self._send(waiting)

    def far_data(self, far: FarSide, data: bytes) -> None:
        self.moved_at = self._loop.time()
        if self._splice is not None:
            self._splice.passing(data, from_client=False)
            self._write(data)
            return
        exchange = self._exchange
        if exchange is None or exchange.answered or not exchange.sent:
            # Nobody asked for this: the connection cannot be trusted with another request.
            self._drop_far()
            return
        try:
            out = exchange.answer_data(data)
        except SwitchError:
            self._break_answer(exchange, "the upstream switched to a protocol that is not passed on")
        except (HeadError, BodyError) as error:
            self._break_answer(exchange, f"the upstream's answer cannot be passed on: {error}")
        else:
            self._write(out)
            if exchange.answered:
                self._answered(exchange)

    def far_ended(self, far: FarSide, *, clean: bool) -> None:
        if far is not self._far:
            return
        self._far = None
        self.read_on("far", True)
        if self._splice is not None:
            self._splice.ended(by_client=False)
            self._close(reset=not clean)
            return
        exchange = self._exchange
        if exchange is None or not exchange.sent:
            # The next request, or this one, opens another.
            return
        if exchange.answered:
            # It was answered before its request was whole, and nothing takes the rest.
            if self._again is None:
                self._linger(b"")
            return
        out, whole = exchange.answer_closed(clean=clean)
        self._write(out)
        if whole:
            self._answered(exchange)
        else:
            self._break_answer(exchange, _BROKE, reset=not clean)

    def read_on(self, why: str, on: bool) -> None:
        """Read the client, or do not: several things may stand against it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if on:
            self._stopped_by.discard(why)
            if not self._stopped_by:
                transport.resume_reading()
        else:
            self._stopped_by.add(why)
            transport.pause_reading()

    def fall_silent(self) -> None:
        """Nothing has moved for so long that nobody can be there."""
        exchange = self._exchange
        if exchange is not None:
            self._break_answer(exchange, "neither side sent a byte for too long")
        else:
            self.cut()

    def cut(self) -> None:
        """The proxy stops: whatever is under way is settled as it stands."""
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    def _begin_tls(self, context: ssl.SSLContext, data: bytes) -> None:
        """Put TLS between the client and this; what came is the beginning of its handshake.

        `loop.start_tls` would do the same, but for bytes that have come already.
        """
        plain = self._transport
        assert plain is not None
        # `connection_made` is called once more, with what is inside the TLS.
        between = sslproto.SSLProtocol(self._loop, self, context, None, server_side=True)  # type: ignore[arg-type]
        plain.set_protocol(between)
        between.connection_made(plain)
        buffer = between.get_buffer(len(data))
        buffer[: len(data)] = data
        between.buffer_updated(len(data))

    # The client's requests, one after the other.

    def _turn(self) -> None:
        while self._received and not self._deaf and not self._gone and self._splice is None:
            exchange, control = self._exchange, self._control
            if control is not None:
                data = self._take_received()
                self._received = data[control.take(data) :]
                self._answer_control(control)
            elif exchange is None:
                if not self._begin():
                    break
            elif not exchange.request_whole:
                self._pass_request(exchange, self._take_received())
            else:
                break
        ahead = self._exchange is not None and len(self._received) > WAITING_BYTES_MAX
        if ahead or "ahead" in self._stopped_by:
            self.read_on("ahead", not ahead)

    def _take_received(self) -> bytes:
        data, self._received = bytes(self._received), b""
        return data

    def _begin(self) -> bool:
        """Begin the request whose head has come; False: it has not, or nothing follows it."""
        if not self._looked:
            self._received = without_empty_lines(self._received)
        received = self._received
        try:
            end = head_end(received, self._looked)
        except HeadError as error:
            self._refuse_head(bytes(received), error)
            return False
        if end is None:
            self._looked = len(received)
            return False
        self._looked = 0
        raw, self._received = bytes(received[:end]), bytes(received[end:])
        try:
            head = parse_request_head(raw)
            path = self._admission.path_of(head.target, head.fields)
            head = self._admission.head_of(head)
            if path is None:
                self._answer_here(head, NOT_METERED, refused=True)
            elif self._admission.controls and is_control(path.path):
                self._begin_control(head, path)
            else:
                self._begin_exchange(begin_exchange(self._desk, head, path))
        except HeadError as error:
            self._refuse_head(raw, error)
        return True

    def _begin_exchange(self, exchange: Exchange) -> None:
        if exchange.refused is not None:
            status_code, why = exchange.refused
            self._answer_here(exchange.head, refusal(status_code, f"submeter: {why}"), refused=True)
            return
        self._exchange = exchange
        if exchange.continues:
            self._write(_CONTINUE)
        far = self._far
        if far is not None and (far.upstream != exchange.upstream or far.is_dead()):
            self._drop_far()
            far = None
        if far is None:
            self._far = self._roads.reach(self, exchange.upstream)
        self._send(exchange.open())

    def _pass_request(self, exchange: Exchange, data: bytes) -> None:
        try:
            out, taken = exchange.request_data(data)
        except BodyError as error:
            exchange.break_off(Break.CLIENT_LEFT, error=f"the request cannot be passed on: {error}")
            self._drop_far()
            if exchange.answering:
                self._linger(b"")
            else:
                self._linger(on_the_wire(broken_call(400, str(error)), method=exchange.head.method))
            return
        self._received = data[taken:]
        self._send(out)
        if exchange.request_whole and exchange.answered:
            self._answered(exchange)

    def _refuse_head(self, raw: bytes, error: HeadError) -> None:
        """A head that does not go on; where its first line can be read it is a row."""
        too_long = isinstance(error, HeadSizeError)
        loose = read_loosely(raw)
        answer = broken_call(400, str(error))
        if too_long:
            answer = refusal(HEAD_TOO_LONG[0], f"submeter: {HEAD_TOO_LONG[1]}")
        if loose is not None:
            try:
                path = self._admission.path_of(loose.target, loose.fields)
                if path is not None and not (self._admission.controls and is_control(path.path)):
                    headers = plain_headers(loose.fields, REQUEST_NAMES)
                    attempt = begin_attempt(self._desk.recorder, method=loose.method, path=path, headers=headers)
                    if too_long:
                        attempt.refuse(*HEAD_TOO_LONG)
                    else:
                        attempt.break_off(Break.REFUSED_BY_US, error=str(error), flags=(Flag.NEVER_SENT,))
            except Exception as error_of_ours:
                log_failure("a head that is refused", error_of_ours)
                self._desk.note_gap()
        self._linger(on_the_wire(answer, method=loose.method if loose is not None else "POST"))

    # The proxy's own paths.

    def _begin_control(self, head: RequestHead, path: PathLabels) -> None:
        body = request_body(head)
        headers = {
            name.decode("latin-1").lower(): value.decode("utf-8", "surrogateescape") for name, value in head.fields
        }
        refused = self._desk.control.refused(headers)
        length = headers.get("content-length", "0")
        if refused is None and ("transfer-encoding" in headers or int(length) > BODY_BYTES_MAX):
            refused = refusal(413, f"A control request tells its length, at most {BODY_BYTES_MAX}.")
        if refused is not None:
            self._answer_here(head, refused, refused=True)
            return
        if "expect" in headers and not body.ended:
            self._write(_CONTINUE)
        self._control = control = ControlRequest(head, path, body)
        self._answer_control(control)

    def _answer_control(self, control: ControlRequest) -> None:
        if control.body.ended:
            self._control = None
            answer = self._desk.control.answer(
                control.head.method, control.path.path.partition("?")[0], bytes(control.content)
            )
            self._answer_here(control.head, answer)

    def _answer_here(self, head: RequestHead, answer: Answer, *, refused: bool = False) -> None:
        """Answer without asking upstream. What is refused is answered at once, its body may still be to come."""
        closes = refused or says_close(head.fields, head.minor)
        raw = on_the_wire(answer, method=head.method, closes=closes)
        if closes:
            self._linger(raw)
        else:
            self._write(raw)

    # Answers, and their ends.

    def _answered(self, exchange: Exchange) -> None:
        """The answer is whole; the next request may come once this one is."""
        if exchange.switched:
            self._begin_splice(exchange)
        elif exchange.again is not None:
            if self._again is None:
                self._again = asyncio.ensure_future(self._send_again(exchange, exchange.again))
        elif exchange.closes:
            self._drop_far()
            if exchange.request_whole:
                self._close()
            else:
                self._linger(b"")
        elif exchange.request_whole:
            if exchange.behind:
                self._drop_far()
            self._exchange = None
            self._turn()

    async def _send_again(self, exchange: Exchange, request: OwnRequest) -> None:
        """Send the request once more as it came; where that works its answer is the one the client gets."""
        answer: OwnAnswer | None = None
        try:
            answer = await self._desk.send(request, exchange.upstream)
        except Exception as error:
            log_failure("sending again", error)
        exchange.again, self._again = None, None
        if self._gone or self._exchange is not exchange:
            return
        if answer is None:
            self._write(exchange.held)
        else:
            exchange.sent_again(answer.status_code)
            self._write(_whole_answer(answer))
        if self._far is None:
            exchange.closes = True
        self._answered(exchange)

    def _break_answer(self, exchange: Exchange, error: str, *, reset: bool = False) -> None:
        """The upstream's answer will not be whole: a 502 where the client has seen nothing of it, else a break."""
        exchange.break_off(Break.UPSTREAM_BROKE, error=error)
        self._drop_far()
        if exchange.answering:
            self._close(reset=reset and exchange.until_close)
        else:
            self._linger(on_the_wire(broken_call(502, error), method=exchange.head.method))

    def unreachable(self, far: FarSide, error: str) -> None:
        """There is no connection with the upstream."""
        exchange = self._exchange
        if far is not self._far or exchange is None:
            return
        self._far = None
        exchange.break_off(Break.UPSTREAM_UNREACHABLE, error=error)
        self._linger(on_the_wire(broken_call(502, error), method=exchange.head.method))

    def _begin_splice(self, exchange: Exchange) -> None:
        self._splice = splice = Splice(self._desk, exchange.socket, exchange.socket_extensions)
        self._exchange = None
        behind, ahead = exchange.behind, self._take_received()
        if behind:
            splice.passing(behind, from_client=False)
            self._write(behind)
        if ahead:
            splice.passing(ahead, from_client=True)
            self._send(ahead)

    # Moving bytes, and ends of connections.

    def _send(self, data: bytes) -> None:
        far, exchange = self._far, self._exchange
        if not data:
            return
        if far is None:
            if exchange is None or exchange.sent or exchange.answered:
                return
            self._far = far = self._roads.reach(self, exchange.upstream)
        if exchange is not None and far.transport is not None:
            exchange.sent = True
        far.send(data)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._gone:
            self._transport.write(data)

    def _leave(self) -> None:
        """The client has gone, or we let it go."""
        if self._gone:
            return
        self._gone = True
        exchange, self._exchange = self._exchange, None
        if self._splice is not None:
            self._splice.ended(by_client=True)
        elif exchange is not None:
            exchange.break_off(Break.CLIENT_LEFT, error=_LEFT)
        if self._again is not None:
            self._again.cancel()
        self._drop_far()

    def _drop_far(self) -> None:
        far, self._far = self._far, None
        if far is not None:
            far.close()
            self.read_on("far", True)

    def _close(self, *, reset: bool = False) -> None:
        """End the client's connection once it has what was written."""
        transport = self._transport
        self._exchange, self._deaf = None, True
        self._drop_far()
        if transport is None:
            return
        if reset:
            own = transport.get_extra_info("socket")
            if own is not None:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.close()

    def _linger(self, last: bytes) -> None:
        """Say the last word, close our side, and let a client that is still sending finish: its bytes are dropped.

        A connection that is closed with bytes unread is reset, and the reset takes the answer from the client.
        """
        transport = self._transport
        self._exchange, self._control, self._deaf, self._received = None, None, True, b""
        if transport is None or transport.is_closing():
            return
        self._write(last)
        self._stopped_by.clear()
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(LINGER_S, transport.close)


def _whole_answer(answer: OwnAnswer) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (answer.status_code, answer.reason)]
    lines += [name + b": " + value for name, value in answer.fields]
    lines.append(b"Content-Length: %d" % len(answer.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body
