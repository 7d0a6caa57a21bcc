"""The answer of an exchange: what of it goes to the client, and when its row is written. Sans I/O.

    answer = AnswerSide(desk, request)
    answer.take(data)                 # what goes to the client now; its lines are written by then
    answer.closed(clean=True)         # the upstream's connection ended

Bytes go on as they came, 1xx answers, chunks and trailers too, but for the stream that was asked for its usage: that is
taken out again. A refusal that may be of our question is held until it is whole. Never here: sockets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter_ns

from .asking import Way
from .attempt import SOCKET_HEADER
from .desk import Desk, log_failure
from .framing import Body, BodyError, ChunkedBody, LengthBody, response_body
from .head import RESPONSE_NAMES, body_bytes, plain_headers
from .message_head import ResponseHead, head_end, parse_response_head, says_close
from .request_side import RequestSide
from .rewrite_request import BODY_BYTES_MAX as HELD_BYTES_MAX
from .rewrite_stream import UsageHider
from .socket_calls import Socket
from .upstream import OwnRequest

SWITCHING_PROTOCOLS = 101
_ENDS_ANY_BODY = b"0\r\n\r\n"
_LENGTH_LINE = re.compile(rb"(?i)\r\ncontent-length:[^\r\n]*")
_SOCKET_NAMES = {b"sec-websocket-extensions": "sec-websocket-extensions", b"x-request-id": "x-request-id"}


class SwitchError(Exception):
    """The upstream went over to a protocol that is not read here."""


class AnswerSide:
    """The answer to one request."""

    def __init__(self, desk: Desk, request: RequestSide) -> None:
        self.begun = False
        """Whether the head of the final answer has come."""
        self.whole = False
        self.closes = says_close(request.head)
        """Whether the connection ends with this exchange."""
        self.behind = b""
        """What the upstream sent behind the answer: after a 101 the first of its socket, else nothing good."""
        self.again: OwnRequest | None = None
        """What is to be sent once more as it came, because the upstream refused our question; else `held`."""
        self.held = b""
        self.switched = False
        """Whether it made the connection a WebSocket."""
        self.socket: Socket | None = None
        """The calls of that WebSocket."""
        self.socket_extensions = ""
        self._desk = desk
        self._request = request
        self._held: list[bytes] = []
        self._held_content: list[bytes] = []
        self._held_bytes = 0
        self._received = b""
        """The beginning of a head."""
        self._body: Body | None = None
        self._way = Way.PASS
        self._hider: UsageHider | None = None
        self._encoding: str | None = None

    @property
    def seen(self) -> bool:
        """Whether anything of the final answer went to the client."""
        return self.begun and self._way is not Way.HOLD

    @property
    def until_close(self) -> bool:
        """Whether only the end of the connection ends its answer."""
        return self._body is not None and self._body.until_close

    def take(self, data: bytes) -> bytes:
        """What of the answer goes to the client now. Raises `HeadError`, `BodyError`: then nothing of `data` does."""
        out = self._answer_head(data) if self._body is None else self._answer_body(self._body, data)
        return self._hold_answer(out) if self._way is Way.HOLD else out

    def closed(self, *, clean: bool) -> tuple[bytes, bool]:
        """The upstream's connection ended within the answer: what else goes on, and whether that made it whole."""
        if self._body is None or not self._body.until_close or not clean:
            return b"", False
        self._end_attempt()
        self.whole = True
        if self._hider is not None:
            return self._hidden((), ends=True, tail=_ENDS_ANY_BODY), True
        return self._let_go(), True

    def _answer_head(self, data: bytes) -> bytes:
        """What goes on while the head of the final answer is waited for, and with it."""
        out: list[bytes] = []
        looked, self._received = len(self._received), self._received + data
        while True:
            end = head_end(self._received, looked)
            if end is None:
                return b"".join(out)
            raw, self._received, looked = self._received[:end], self._received[end:], 0
            head = parse_response_head(raw)
            if head.status_code == SWITCHING_PROTOCOLS:
                out.append(self._switch(head))
                return b"".join(out)
            if head.status_code >= 200:
                break
            out.append(raw)
        body = response_body(head, self._request.head.method)
        out.append(self._begin_answer(head, body))
        rest, self._received = self._received, b""
        # A body's first bytes may be its last: the row is written before the head goes on.
        try:
            out.append(self._answer_body(body, rest))
        except BodyError:
            # The head came in the same bytes, so the client has seen nothing of it.
            self.begun = False
            raise
        return b"".join(out)

    def _begin_answer(self, head: ResponseHead, body: Body) -> bytes:
        """The answer's head, as it goes on."""
        self.begun = True
        self.closes = self.closes or body.until_close or says_close(head)
        self._body = body
        attempt = self._request.attempt
        if attempt is None:
            return head.raw
        began_ns = perf_counter_ns()
        try:
            headers = plain_headers(head.wanted, RESPONSE_NAMES)
            attempt.respond(
                status_code=head.status_code,
                headers=headers,
                body_bytes=body_bytes(self._request.head.method, head.status_code, headers),
            )
            if self._request.asking is not None and not body.ended:
                self._way = self._request.asking.answered(head.status_code, headers)
            self._encoding = headers.get("content-encoding")
        except Exception as error:
            log_failure("the answer's head", error)
        attempt.overhead_ns += perf_counter_ns() - began_ns
        if self._way is not Way.HIDE:
            return head.raw
        self._hider = UsageHider()
        return _chunked_head(head)

    def _answer_body(self, body: Body, data: bytes) -> bytes:
        pieces, taken = body.take(data)
        raw = data if taken == len(data) else data[:taken]
        self.behind = data[taken:]
        self._feed(pieces, ends=body.ended)
        if body.ended:
            self.whole = True
        if self._hider is not None:
            tail = body.tail if isinstance(body, ChunkedBody) else _ENDS_ANY_BODY
            return self._hidden(pieces, ends=body.ended, tail=tail)
        if self._way is Way.HOLD:
            self._held_content.extend(pieces)
        return raw

    def _feed(self, pieces: Sequence[bytes], *, ends: bool) -> None:
        attempt = self._request.attempt
        if attempt is None:
            return
        began_ns = perf_counter_ns()
        try:
            for piece in pieces:
                attempt.response_chunk(piece)
            if ends:
                attempt.end()
        except Exception as error:
            log_failure("the answer's body", error)
        attempt.overhead_ns += perf_counter_ns() - began_ns

    def _end_attempt(self) -> None:
        self._feed((), ends=True)

    def _hold_answer(self, raw: bytes) -> bytes:
        """Hold a refusal until it is whole, and say whether the request is to be sent once more."""
        self._held.append(raw)
        self._held_bytes += len(raw)
        if self._held_bytes > HELD_BYTES_MAX:
            return self._let_go()
        if not self.whole:
            return b""
        asking = self._request.asking
        if asking is not None and not self._desk.stopping():
            try:
                if asking.names_our_question(b"".join(self._held_content), self._encoding):
                    self.again = asking.request
            except Exception as error:
                log_failure("a refusal", error)
        raw = self._let_go()
        if self.again is None:
            return raw
        self.held = raw
        return b""

    def _let_go(self) -> bytes:
        """What is held of an answer; from now on it passes."""
        self._way = Way.PASS
        return self._take_held()

    def _hidden(self, pieces: Sequence[bytes], *, ends: bool, tail: bytes) -> bytes:
        """The stream without the usage that we asked for, in chunks of our own."""
        hider = self._hider
        assert hider is not None
        kept = b""
        try:
            kept = hider.feed(b"".join(pieces))
            if ends:
                kept += hider.finish()
        except Exception as error:
            log_failure("hiding usage", error)
            # What was fed before is let go of already.
            kept += hider.give_up()
        out = b"%x\r\n%b\r\n" % (len(kept), kept) if kept else b""
        return out + tail if ends else out

    def _switch(self, head: ResponseHead) -> bytes:
        """A 101: the handshake's row is written, and what follows is a socket; raises `SwitchError` for others."""
        attempt = self._request.attempt
        if attempt is None or SOCKET_HEADER not in self._request.headers:
            raise SwitchError
        self._begin_answer(head, LengthBody(0))
        self._end_attempt()
        self.whole = self.switched = self.closes = True
        self.behind, self._received = self._received, b""
        fields = plain_headers(head.wanted, _SOCKET_NAMES)
        self.socket_extensions = fields.get("sec-websocket-extensions", "")
        try:
            path, headers = self._request.path, self._request.headers
            self.socket = self._desk.sockets.open(attempt.start, path, headers, fields.get("x-request-id"))
        except Exception as error:
            log_failure("a socket's handshake", error)
            self._desk.note_gap()
        return head.raw

    def _take_held(self) -> bytes:
        raw = b"".join(self._held)
        self._held, self._held_content, self._held_bytes = [], [], 0
        return raw


def _chunked_head(head: ResponseHead) -> bytes:
    """The head of an answer whose body is framed anew."""
    raw = _LENGTH_LINE.sub(b"", head.raw)
    raw = b"HTTP/1.1" + raw[len(b"HTTP/1.1") :]
    if b"transfer-encoding" in head.wanted:
        return raw
    return raw[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
