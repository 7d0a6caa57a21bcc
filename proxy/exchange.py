"""One request and its answer, from head to last byte, beside the `Attempt` that meters it. Sans I/O.

    exchange = begin_exchange(desk, head)          # start line written; or answered here: `exchange.refused`
    exchange.open()                                # what goes upstream at once
    exchange.request_data(data)                    # what goes upstream, and how much of `data` was this request's
    exchange.answer_data(data)                     # what goes to the client; its lines are written by then
    exchange.answer_closed(clean=True)             # the upstream's connection ended
    exchange.break_off(...)                        # it will not be whole any more

Bytes go on as they came, but for the request's head (target, `Host`, our labels off) and the one stream that was asked
for its usage. Whatever fails in metering costs a row at most, and then a `gap` says so. Never here: sockets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter_ns

from ..data.call import Flag
from .asking import Asking, Way, is_mute
from .attempt import SOCKET_HEADER, Attempt, begin_attempt
from .desk import Desk, log_failure
from .framing import Body, ChunkedBody, LengthBody, request_body, response_body
from .head import REQUEST_NAMES, RESPONSE_NAMES, body_bytes, plain_headers
from .labels import PLAIN_HEADER, TOKEN_HEADER, PathLabels
from .message_head import (
    RequestHead,
    ResponseHead,
    composed_head,
    forwarded_fields,
    forwarded_head,
    head_end,
    parse_response_head,
)
from .outcome import STOPPED, Break, without_quotes
from .receipts import receipt_path
from .rewrite_request import BODY_BYTES_MAX as HELD_BYTES_MAX
from .rewrite_request import may_ask
from .rewrite_stream import UsageHider
from .socket_calls import Socket
from .upstream import OwnRequest

SWITCHING_PROTOCOLS = 101
_ENDS_ANY_BODY = b"0\r\n\r\n"
_LENGTH_LINE = re.compile(rb"(?i)\r\ncontent-length:[^\r\n]*")


def begin_exchange(desk: Desk, head: RequestHead, path: PathLabels) -> Exchange:
    """A request whose head is complete: its start line is written. Raises `HeadError` for a body in doubt."""
    return Exchange(desk, head, path, request_body(head))


class Exchange:
    """One request and its answer."""

    def __init__(self, desk: Desk, head: RequestHead, path: PathLabels, body: Body) -> None:
        self.head = head
        self.attempt: Attempt | None = None
        self.refused: tuple[int, str] | None = None
        """Status and reason where it does not go upstream."""
        self.sent = False
        """Whether any of it was given to a connection with the upstream."""
        self.answering = False
        """Whether the head of its final answer has come."""
        self.answered = False
        """Whether its answer is whole."""
        self.closes = says_close(head.fields, head.minor)
        """Whether the connection ends with this exchange."""
        self.behind = b""
        """What the upstream sent behind the answer: after a 101 the first of its socket, else nothing good."""
        self.again: OwnRequest | None = None
        """What is to be sent once more as it came, because the upstream refused our question; else `held`."""
        self.held = b""
        self.switched = False
        """Whether it has become a WebSocket."""
        self.socket: Socket | None = None
        """The calls of the WebSocket that this request has opened."""
        self.socket_extensions = ""
        self._desk = desk
        self._path = path
        self._request = body
        self.upstream = path.upstream or desk.upstream
        self._asking: Asking | None = None
        self._holding = False
        """Whether the request's body waits to be whole."""
        self._held: list[bytes] = []
        self._held_content: list[bytes] = []
        self._held_bytes = 0
        self._received = b""
        """The beginning of an answer's head."""
        self._answer: Body | None = None
        self._way = Way.PASS
        self._hider: UsageHider | None = None
        self._encoding: str | None = None
        self._headers: Mapping[str, str] = {}
        self._begin()

    @property
    def request_whole(self) -> bool:
        return self._request.ended

    @property
    def until_close(self) -> bool:
        """Whether only the end of the connection ends its answer."""
        return self._answer is not None and self._answer.until_close

    @property
    def continues(self) -> bool:
        """Whether the client waits for our word before it sends a body that we hold back."""
        return self._holding and any(
            name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in self.head.fields
        )

    def open(self) -> bytes:
        """What goes upstream at once: the head; nothing where the body is held back."""
        if self._holding and not self._request.ended:
            return b""
        if self._request.ended:
            self._request_ended()
        return self._own_head()

    def request_data(self, data: bytes) -> tuple[bytes, int]:
        """What of the request's body goes upstream now, and how much of `data` is its. Raises `BodyError`."""
        pieces, taken = self._request.take(data)
        raw = data if taken == len(data) else data[:taken]
        attempt = self.attempt
        if attempt is not None:
            began_ns = perf_counter_ns()
            for piece in pieces:
                attempt.request_chunk(piece)
            attempt.overhead_ns += perf_counter_ns() - began_ns
        if self._holding:
            return self._hold_request(raw, pieces), taken
        if self._request.ended:
            self._request_ended()
        return raw, taken

    def answer_data(self, data: bytes) -> bytes:
        """What of the answer goes to the client now. Raises `HeadError`, `BodyError`: then nothing of `data` does."""
        out = self._answer_head(data) if self._answer is None else self._answer_body(self._answer, data)
        return self._hold_answer(out) if self._way is Way.HOLD else out

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
        body = response_body(head, self.head.method)
        out.append(self._begin_answer(head, body))
        rest, self._received = self._received, b""
        # A body's first bytes may be its last: the row is written before the head goes on.
        out.append(self._answer_body(body, rest))
        return b"".join(out)

    def answer_closed(self, *, clean: bool) -> tuple[bytes, bool]:
        """The upstream's connection ended within the answer: what else goes on, and whether that made it whole."""
        if self._answer is None or not self._answer.until_close or not clean:
            return self._let_go(), False
        self._end_attempt()
        self.answered = True
        if self._hider is not None:
            return self._hidden((), ends=True, tail=_ENDS_ANY_BODY), True
        return self._let_go(), True

    def break_off(self, broke: Break, *, error: str) -> None:
        """It will not be whole any more."""
        attempt = self.attempt
        if attempt is None:
            return
        if self._desk.stopping():
            broke, error = Break.STOPPED, STOPPED
        try:
            attempt.break_off(broke, error=without_quotes(error), flags=() if self.sent else (Flag.NEVER_SENT,))
            if self._desk.receipts and broke is not Break.STOPPED and (path := receipt_path(attempt)):
                self._desk.look_up(path, self.head.fields, self.upstream)
        except Exception as error_of_ours:
            log_failure("breaking off", error_of_ours)

    def sent_again(self, status_code: int) -> None:
        """The request was sent once more as it came. Where that too is refused our question was not the reason."""
        self._desk.asks = self._desk.asks and status_code >= 400

    def _begin(self) -> None:
        head, desk = self.head, self._desk
        headers = plain_headers(head.fields, REQUEST_NAMES)
        plain, region = desk.own(headers.get(PLAIN_HEADER))
        if region is not None:
            self.upstream = region
            self._path = replace(self._path, upstream=region)
        ours = Flag.RECEIPT if head.method == "GET" else Flag.RETRIED_BY_US
        began_ns = perf_counter_ns()
        attempt: Attempt | None
        try:
            attempt = begin_attempt(
                desk.recorder, method=head.method, path=self._path, headers=headers, flags=(ours,) if plain else ()
            )
        except Exception as error:
            # No row is made; the request goes on as any other all the same.
            log_failure("the request's head", error)
            desk.note_gap()
            attempt = None
        self.attempt = attempt
        self._headers = headers
        self.refused = desk.why_refused(self._path.path, self._path.token or headers.get(TOKEN_HEADER))
        if attempt is None:
            return
        if self.refused is not None:
            attempt.refuse(*self.refused)
            return
        may = desk.asks and not plain and head.minor == 1
        if may and may_ask(head.method, attempt.start.endpoint, headers):
            self._asking = Asking(attempt, self._path, head.fields)
            self._holding = True
        attempt.overhead_ns += perf_counter_ns() - began_ns

    def _target(self) -> bytes:
        return self.upstream.join(self._path.path).encode("utf-8", "surrogateescape")

    def _host(self) -> bytes:
        return self.upstream.authority.encode()

    def _own_head(self) -> bytes:
        return forwarded_head(self.head, target=self._target(), host=self._host())

    def _request_ended(self) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        try:
            attempt.request_end()
            if is_mute(attempt):
                attempt.flags += (Flag.USAGE_NOT_ASKED,)
        except Exception as error:
            log_failure("the request's body", error)

    def _hold_request(self, raw: bytes, pieces: Sequence[bytes]) -> bytes:
        self._held.append(raw)
        self._held_content.extend(pieces)
        self._held_bytes += sum(map(len, pieces))
        if self._held_bytes > HELD_BYTES_MAX:
            # Too long to be changed: it passes as it came.
            self._holding = False
            if self._request.ended:
                self._request_ended()
            return self._own_head() + self._take_held()
        return self._release() if self._request.ended else b""

    def _release(self) -> bytes:
        """The whole request that was held back, with our question where it can be asked."""
        self._holding = False
        content, raw = b"".join(self._held_content), self._take_held()
        asking, attempt = self._asking, self.attempt
        fields = tuple(
            (name, value) for name, value in forwarded_fields(self.head, host=self._host()) if name.lower() != b"expect"
        )
        asked = None
        if asking is not None and attempt is not None:
            try:
                attempt.request_end()
                if content:
                    asked = asking.ask(content, fields)
                elif is_mute(attempt):
                    attempt.flags += (Flag.USAGE_NOT_ASKED,)
            except Exception as error:
                log_failure("asking", error)
        if asked is None:
            head = (
                composed_head(self.head, target=self._target(), fields=fields) if self._expects() else self._own_head()
            )
            return head + raw
        body, fields = asked
        if isinstance(self._request, ChunkedBody):
            body = b"%x\r\n%b\r\n%b" % (len(body), body, self._request.tail)
        return composed_head(self.head, target=self._target(), fields=fields) + body

    def _expects(self) -> bool:
        return any(name.lower() == b"expect" for name, _ in self.head.fields)

    def _take_held(self) -> bytes:
        raw = b"".join(self._held)
        self._held, self._held_content, self._held_bytes = [], [], 0
        return raw

    def _begin_answer(self, head: ResponseHead, body: Body) -> bytes:
        """The answer's head, as it goes on."""
        self.answering = True
        self.closes = self.closes or body.until_close or says_close(head.fields, head.minor)
        self._answer = body
        attempt = self.attempt
        if attempt is None:
            return head.raw
        began_ns = perf_counter_ns()
        try:
            headers = plain_headers(head.fields, RESPONSE_NAMES)
            attempt.respond(
                status_code=head.status_code,
                headers=headers,
                body_bytes=body_bytes(self.head.method, head.status_code, headers),
            )
            if self._asking is not None:
                self._way = self._asking.answered(head.status_code, headers)
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
            self.answered = True
        if self._hider is not None:
            tail = body.tail if isinstance(body, ChunkedBody) else _ENDS_ANY_BODY
            return self._hidden(pieces, ends=body.ended, tail=tail)
        if self._way is Way.HOLD:
            self._held_content.extend(pieces)
        return raw

    def _feed(self, pieces: Sequence[bytes], *, ends: bool) -> None:
        attempt = self.attempt
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
        if not self.answered:
            return b""
        asking = self._asking
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
        try:
            kept = hider.feed(b"".join(pieces)) if pieces else b""
            if ends:
                kept += hider.finish()
        except Exception as error:
            log_failure("hiding usage", error)
            kept = hider.give_up()
        out = b"%x\r\n%b\r\n" % (len(kept), kept) if kept else b""
        return out + tail if ends else out

    def _switch(self, head: ResponseHead) -> bytes:
        """A 101: the handshake's row is written, and what follows is a socket; raises `SwitchError` for others."""
        attempt = self.attempt
        if attempt is None or SOCKET_HEADER not in self._headers:
            raise SwitchError
        self._begin_answer(head, LengthBody(0))
        self._end_attempt()
        self.answered = self.switched = self.closes = True
        self.behind, self._received = self._received, b""
        fields = plain_headers(head.fields, _SOCKET_NAMES)
        self.socket_extensions = fields.get("sec-websocket-extensions", "")
        try:
            self.socket = self._desk.sockets.open(attempt.start, self._path, self._headers, fields.get("x-request-id"))
        except Exception as error:
            log_failure("a socket's handshake", error)
            self._desk.note_gap()
        return head.raw


class SwitchError(Exception):
    """The upstream went over to a protocol that is not read here."""


_SOCKET_NAMES = {b"sec-websocket-extensions": "sec-websocket-extensions", b"x-request-id": "x-request-id"}


def says_close(fields: Sequence[tuple[bytes, bytes]], minor: int) -> bool:
    """Whether a head says that its connection ends with this message."""
    said = b",".join(value for name, value in fields if name.lower() == b"connection").lower()
    options = {option.strip() for option in said.split(b",")}
    return b"close" in options or (minor == 0 and b"keep-alive" not in options)


def _chunked_head(head: ResponseHead) -> bytes:
    """The head of an answer whose body is framed anew."""
    raw = _LENGTH_LINE.sub(b"", head.raw)
    raw = b"HTTP/1.1" + raw[len(b"HTTP/1.1") :]
    if any(name.lower() == b"transfer-encoding" for name, _ in head.fields):
        return raw
    return raw[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
