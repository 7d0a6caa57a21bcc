"""The request of an exchange: what of it goes upstream, beside the `Attempt` that reads it. Sans I/O.

    request = RequestSide(desk, head, path, body, address)  # start line written; `refused` where it goes nowhere
    request.open()                                  # what goes upstream at once
    request.take(data)                              # what goes upstream, and how much of `data` was this request's

Bytes go on as they came, but for the head (target, `Host`, our labels off) and a body that is held back until it is
whole, because its stream may have to be asked for its usage. Never here: sockets, and the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter_ns

from ..data.call import Flag
from .asking import Asking, is_mute
from .attempt import Attempt, begin_attempt
from .desk import Desk, log_failure
from .framing import Body, ChunkedBody
from .head import REQUEST_NAMES, Fields, plain_headers
from .labels import PLAIN_HEADER, TOKEN_HEADER, PathLabels
from .message_head import RequestHead, composed_head, forwarded_fields, forwarded_head
from .rewrite_request import BODY_BYTES_MAX as HELD_BYTES_MAX
from .rewrite_request import may_ask


class RequestSide:
    """One request, from its head on."""

    def __init__(self, desk: Desk, head: RequestHead, path: PathLabels, body: Body, address: str) -> None:
        """`address`: the client's."""
        self.head = head
        self.path = path
        self.attempt: Attempt | None = None
        """None: it could not be begun; the request goes on all the same."""
        self.asking: Asking | None = None
        """Whether and how its stream is asked for its usage; None: it is none of those that are."""
        self.headers: Mapping[str, str] = {}
        self.refused: tuple[int, str] | None = None
        """Status and reason where it does not go upstream."""
        self.upstream = path.upstream or desk.upstream
        self._desk = desk
        self._body = body
        self._holding = False
        """Whether the body waits to be whole."""
        self._held: list[bytes] = []
        self._held_content: list[bytes] = []
        self._held_bytes = 0
        """How much of the content is held."""
        self._begin(address)

    @property
    def whole(self) -> bool:
        return self._body.ended

    @property
    def continues(self) -> bool:
        """Whether the client waits for our word before it sends a body that we hold back."""
        return self._holding and any(value.lower() == b"100-continue" for value in self.head.wanted.get(b"expect", ()))

    def open(self) -> bytes:
        """What goes upstream at once: the head; nothing where the body is held back."""
        if self._holding and not self._body.ended:
            return b""
        if self._body.ended:
            self._request_ended()
        return self._own_head()

    def take(self, data: bytes) -> tuple[bytes, int]:
        """What of the request's body goes upstream now, and how much of `data` is its. Raises `BodyError`."""
        pieces, taken = self._body.take(data)
        raw = data if taken == len(data) else data[:taken]
        attempt = self.attempt
        if attempt is not None:
            began_ns = perf_counter_ns()
            for piece in pieces:
                attempt.request_chunk(piece)
            attempt.overhead_ns += perf_counter_ns() - began_ns
        if self._holding:
            return self._hold_request(raw, pieces), taken
        if self._body.ended:
            self._request_ended()
        return raw, taken

    def _begin(self, address: str) -> None:
        head, desk = self.head, self._desk
        headers = plain_headers(head.wanted, REQUEST_NAMES)
        plain, region = desk.own(headers.get(PLAIN_HEADER))
        if region is not None:
            self.upstream = region
            self.path = replace(self.path, upstream=region)
        ours = Flag.RECEIPT if head.method == "GET" else Flag.RETRIED_BY_US
        began_ns = perf_counter_ns()
        attempt: Attempt | None
        try:
            attempt = begin_attempt(
                desk.recorder, method=head.method, path=self.path, headers=headers, flags=(ours,) if plain else ()
            )
        except Exception as error:
            # No row is made; the request goes on as any other all the same.
            log_failure("the request's head", error)
            desk.note_gap()
            attempt = None
        self.attempt = attempt
        self.headers = headers
        self.refused = desk.why_refused(self.path.path, self.path.token or headers.get(TOKEN_HEADER), address)
        if attempt is None:
            return
        if self.refused is not None:
            attempt.refuse(*self.refused)
            return
        may = desk.asks and not plain and head.minor == 1
        if may and may_ask(head.method, attempt.start.endpoint, headers):
            self.asking = Asking(attempt, self.path, head)
            self._holding = True
        attempt.overhead_ns += perf_counter_ns() - began_ns

    def _target(self) -> bytes:
        return self.upstream.join(self.path.path).encode("utf-8", "surrogateescape")

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
            if self._body.ended:
                self._request_ended()
            return self._own_head() + self._take_held()
        return self._release() if self._body.ended else b""

    def _release(self) -> bytes:
        """The whole request that was held back, with our question where it can be asked."""
        self._holding = False
        content, raw = b"".join(self._held_content), self._take_held()
        asking, attempt = self.asking, self.attempt
        asked = None
        if asking is not None and attempt is not None:
            try:
                attempt.request_end()
                if content:
                    asked = asking.ask(content, self._fields_to_send)
                elif is_mute(attempt):
                    attempt.flags += (Flag.USAGE_NOT_ASKED,)
            except Exception as error:
                log_failure("asking", error)
        if asked is None:
            head = (
                composed_head(self.head, target=self._target(), fields=self._fields_to_send())
                if self._expects()
                else self._own_head()
            )
            return head + raw
        body, fields = asked
        if isinstance(self._body, ChunkedBody):
            body = b"%x\r\n%b\r\n%b" % (len(body), body, self._body.tail)
        return composed_head(self.head, target=self._target(), fields=fields) + body

    def _fields_to_send(self) -> Fields:
        """Those of the request, made to go on; its body is whole, so that nothing is to be waited for."""
        fields = forwarded_fields(self.head, host=self._host())
        return tuple((name, value) for name, value in fields if name.lower() != b"expect")

    def _expects(self) -> bool:
        return b"expect" in self.head.wanted

    def _take_held(self) -> bytes:
        raw = b"".join(self._held)
        self._held, self._held_content, self._held_bytes = [], [], 0
        return raw
