"""The engine's hooks: where mitmproxy's flows meet our attempts.

Every hook is a few lines: find the attempt, tell it what happened. The bytes go on whatever the attempt makes of
them: this is the one place with a broad `except`, because an exception in a `response.stream` callable silently drops
that chunk (facts/mitmproxy.md). To send nothing a callable returns `[]`; `b""` would end a chunked body early.

Never here: parsing, files, and any decision about what a call means.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import chain
from secrets import token_hex
from time import perf_counter_ns, time
from typing import Concatenate, ParamSpec, TypeVar

from mitmproxy import connection, http

from ..data.call import Flag
from .asking import Asking, Way, is_mute
from .attempt import Attempt, begin_attempt
from .control import BODY_BYTES_MAX, PREFIX, Control, token_matches
from .engine_refusals import answer_at_once, response_of
from .head import REQUEST_NAMES, RESPONSE_NAMES, Fields, body_bytes, plain_headers
from .held import Passing, hold
from .intercept import Intercept, is_intercepted
from .labels import OUR_HEADERS, PLAIN_HEADER, TOKEN_HEADER, PathLabels, join_labels, split_path
from .outcome import STOPPED, Break, without_quotes
from .receipts import CARRIED, receipt_path
from .recorder import Recorder
from .refusal import Answer, refusal
from .rewrite_request import may_ask
from .rewrite_stream import UsageHider
from .socket_tap import note_handshake
from .upstream import OwnAnswer, OwnRequest, send_again
from .upstream_url import Upstream, parse_upstream

logger = logging.getLogger("submeter.proxy")

HEAD_BYTES_MAX = 256 * 1024
_OURS = frozenset(name.encode() for name in OUR_HEADERS)
_ATTEMPT = "submeter.attempt"
_LOCAL = "submeter.local"
_REFUSED = "submeter.refused"
_ASKING = "submeter.asking"


P = ParamSpec("P")
T = TypeVar("T")


def _passing_on(
    hook: Callable[Concatenate[Tap, http.HTTPFlow, P], T],
) -> Callable[Concatenate[Tap, http.HTTPFlow, P], T | None]:
    """Whatever fails in this hook costs a row at most, and then a `gap` says so; the bytes go on."""

    def passing_on(tap: Tap, flow: http.HTTPFlow, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        began_ns = perf_counter_ns()
        answer = None
        try:
            answer = hook(tap, flow, *args, **kwargs)
        except Exception as error:
            _log_failure(hook.__name__, error)
            if hook.__name__ == "requestheaders" and _ATTEMPT not in flow.metadata:
                tap.note_gap()
        if attempt := flow.metadata.get(_ATTEMPT):
            attempt.overhead_ns += perf_counter_ns() - began_ns
        return answer

    return passing_on


class Tap:
    """The addon. One for a proxy; all its state is in the recorder."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        control: Control,
        upstream: Upstream,
        ready: Callable[[], None],
        stopping: Callable[[], bool],
        listener: Callable[[], str],
        receipts: bool = False,
        intercept: Intercept | None = None,
    ) -> None:
        """`listener`: our own URL, for what we send ourselves; `receipts`: whether what clients left is looked up."""
        self._recorder = recorder
        self._control = control
        self._upstream = upstream
        self._ready = ready
        self._stopping = stopping
        self._listener = listener
        self._receipts = receipts
        self._lookups: set[asyncio.Task[object]] = set()
        self._plain = token_hex(16)
        self._asks = True
        """Whether streams are asked for their usage; not once the upstream has refused the question."""
        self._intercept = intercept

    def running(self) -> None:
        self._ready()

    def note_gap(self) -> None:
        """Journal that a call has no row."""
        now_us = self._recorder.clock.now_us()
        self._recorder.journal.append("gap", {"from": now_us, "to": now_us, "calls": 1, "lines": 0})

    @_passing_on
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._ready()
        request = flow.request
        path = self._admitted(flow)
        if path is None:
            return
        fields = request.headers.fields
        headers = plain_headers(fields, REQUEST_NAMES)
        secret, _, region = headers.get(PLAIN_HEADER, "").partition(" ")
        plain = token_matches(self._plain, secret)
        if plain and region:
            path = replace(path, upstream=replace(self._upstream, host=region))
            request.data.host = region
        ours = Flag.RECEIPT if request.method == "GET" else Flag.RETRIED_BY_US
        flags = (ours,) if plain else ()
        try:
            attempt = begin_attempt(self._recorder, method=request.method, path=path, headers=headers, flags=flags)
        except Exception:
            # No row is made; the request goes on as any other all the same.
            self._rewrite_head(flow, path)
            raise
        flow.metadata[_ATTEMPT] = attempt
        note_handshake(flow, attempt, path, headers)
        if flow.error:
            # The engine refused it (smuggling); its `error` hook follows.
            flow.metadata[_REFUSED] = True
            return
        if refused := self._why_refused(request, path.token or headers.get(TOKEN_HEADER)):
            status_code, why = refused
            attempt.refuse(status_code, why)
            self._answer_here(flow, refusal(status_code, f"submeter: {why}"))
            return
        self._rewrite_head(flow, path)
        may = self._asks and not plain and request.http_version != "HTTP/1.0"
        if may and may_ask(request.method, attempt.start.endpoint, headers):
            flow.metadata[_ASKING] = Asking(attempt, path, fields)
            hold(request, self._request_tap(attempt))
        else:
            request.stream = self._request_tap(attempt)

    @_passing_on
    def request(self, flow: http.HTTPFlow) -> None:
        if flow.metadata.get(_LOCAL):
            if flow.response is None:
                path = flow.request.path.partition("?")[0]
                content = flow.request.raw_content or b""
                flow.response = response_of(self._control.answer(flow.request.method, path, content))
        elif attempt := flow.metadata.get(_ATTEMPT):
            self._request_whole(flow, attempt)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        attempt: Attempt | None = flow.metadata.get(_ATTEMPT)
        if response is None or attempt is None or attempt.settled:
            return
        way = self._begin_answer(flow, response, attempt)
        if way is Way.HIDE:
            if "content-length" in response.headers:
                del response.headers["content-length"]
                if not flow.request.is_http2:
                    response.headers["transfer-encoding"] = "chunked"
            response.stream = self._hiding_tap(attempt, UsageHider())
        elif way is Way.HOLD:
            hold(response, self._response_tap(attempt))
        elif response.status_code != 101:
            response.stream = self._response_tap(attempt)

    @_passing_on
    def _begin_answer(self, flow: http.HTTPFlow, response: http.Response, attempt: Attempt) -> Way:
        headers = plain_headers(response.headers.fields, RESPONSE_NAMES)
        attempt.respond(
            status_code=response.status_code,
            headers=headers,
            body_bytes=body_bytes(attempt.start.method, response.status_code, headers),
        )
        asking: Asking | None = flow.metadata.get(_ASKING)
        if asking is None:
            return Way.PASS
        flow.request.data.content = b""
        return asking.answered(response.status_code, headers)

    @_passing_on
    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        attempt: Attempt | None = flow.metadata.get(_ATTEMPT)
        asking: Asking | None = flow.metadata.get(_ASKING)
        if asking is not None and flow.response is not None and not flow.response.stream:
            return self._refused(flow.response, asking, flow)
        if attempt is not None:
            attempt.end()
        return None

    @_passing_on
    def error(self, flow: http.HTTPFlow) -> None:
        attempt: Attempt | None = flow.metadata.get(_ATTEMPT)
        if attempt is None:
            return
        says = without_quotes(flow.error.msg if flow.error else "") or "the call broke off"
        broke, flags = self._why_broke(flow)
        attempt.break_off(broke, error=STOPPED if broke is Break.STOPPED else says, flags=flags)
        if self._receipts and not self._stopping() and (path := receipt_path(attempt)):
            self._look_up(attempt, path, flow.request.headers.fields)

    def _look_up(self, attempt: Attempt, path: str, fields: Fields) -> None:
        """Ask, once, what became of a call whose client left; with the key that its request still holds."""
        target = join_labels(PathLabels(path=path, token=self._control.token))
        carried = tuple((name, value) for name, value in fields if name.lower() in CARRIED)
        own = OwnRequest(method="GET", target=target, fields=carried, body=b"")
        task = asyncio.ensure_future(send_again(self._listener(), own, secret=self._ours(attempt)))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    def _request_whole(self, flow: http.HTTPFlow, attempt: Attempt) -> None:
        """The body is whole. One that was held back may go on with our question in it."""
        asking: Asking | None = flow.metadata.get(_ASKING)
        content = flow.request.raw_content if asking is not None else None
        if content:
            attempt.request_chunk(content)
        attempt.request_end()
        if asking is None or not content:
            if is_mute(attempt):
                attempt.flags += (Flag.USAGE_NOT_ASKED,)
        elif asked := asking.ask(content, flow.request.headers.fields):
            flow.request.data.content, flow.request.headers.fields = asked

    def _refused(self, response: http.Response, asking: Asking, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """A refusal that was held back is whole; where it is about our question the request is sent again."""
        content = response.raw_content or b""
        asking.attempt.response_chunk(content)
        asking.attempt.end()
        if not asking.names_our_question(content, response.headers.get("content-encoding")) or self._stopping():
            return None
        return self._send_plain(asking, flow)

    async def _send_plain(self, asking: Asking, flow: http.HTTPFlow) -> None:
        if asking.request is None:
            return
        try:
            answer = await send_again(self._listener(), asking.request, secret=self._ours(asking.attempt))
        except Exception as error:
            _log_failure("sending again", error)
            return
        if answer is not None:
            flow.response = _whole_response(answer)
            # Where it is refused all the same, the question was not the reason.
            self._asks = self._asks and answer.status_code >= 400

    def _rewrite_head(self, flow: http.HTTPFlow, path: PathLabels) -> None:
        """Make the head that of a request to our upstream: without labels, under its path, with its name."""
        request = flow.request
        upstream = path.upstream or self._upstream
        request.data.path = upstream.join(path.path).encode("utf-8", "surrogateescape")
        request.data.authority = b""
        host = upstream.authority.encode()
        # In their order, without ours, and with the upstream's own `Host`, also where HTTP/1.0 did without one.
        fields = [
            (name, host if lower == b"host" else value)
            for name, value in request.headers.fields
            if (lower := name.lower()) not in _OURS
        ]
        named = any(value is host for _, value in fields)
        request.headers.fields = tuple(fields) if named else ((b"Host", host), *fields)
        if upstream.scheme == "https":
            flow.server_conn.sni = upstream.host

    def _ours(self, attempt: Attempt) -> tuple[bytes, bytes]:
        """The header that marks a request as ours: one that goes where that attempt went."""
        upstream = attempt.start.upstream
        region = "" if upstream == self._upstream.url else f" {parse_upstream(upstream).host}"
        return PLAIN_HEADER.encode(), (self._plain + region).encode()

    def _admitted(self, flow: http.HTTPFlow) -> PathLabels | None:
        """The path and labels of a call; None: a control request, or one that the intercept refused."""
        if self._intercept is not None and is_intercepted(flow.client_conn):
            intercepted = self._intercept.admit(flow)
            flow.metadata[_LOCAL] = intercepted is None
            return replace(intercepted, token=self._control.token) if intercepted else None
        path = split_path(flow.request.path)
        if path.path.startswith(PREFIX) and path.path[len(PREFIX) : len(PREFIX) + 1] in ("", "/", "?"):
            self._begin_control(flow)
            return None
        return path

    def _begin_control(self, flow: http.HTTPFlow) -> None:
        flow.metadata[_LOCAL] = True
        headers = flow.request.headers
        refused = self._control.refused(headers)
        body_bytes = headers.get("content-length", "0")
        if refused is not None:
            self._answer_here(flow, refused)
        elif "transfer-encoding" in headers or not body_bytes.isdigit() or int(body_bytes) > BODY_BYTES_MAX:
            self._answer_here(flow, refusal(413, f"A control request tells its length, at most {BODY_BYTES_MAX}."))

    def _why_refused(self, request: http.Request, token: str | None) -> tuple[int, str] | None:
        """Why a request does not go upstream, as (status code, reason), or None."""
        if not request.path.startswith("/"):
            return 400, "the request target does not start with a slash"
        fields = request.headers.fields
        head_bytes = len(request.data.path) + sum(map(len, chain.from_iterable(fields))) + 4 * len(fields)
        if head_bytes > HEAD_BYTES_MAX:
            return 431, f"the request head is over {HEAD_BYTES_MAX} bytes"
        if self._control.token is not None and not token_matches(self._control.token, token):
            return 401, "this listener asks for its token, in X-Submeter-Token or /token/<token>/v1"
        return None

    def _answer_here(self, flow: http.HTTPFlow, answer: Answer) -> None:
        """Answer without asking upstream; at once, also where the client is still to send a body."""
        flow.metadata[_LOCAL] = True
        answer_at_once(flow, answer)

    def _why_broke(self, flow: http.HTTPFlow) -> tuple[Break, tuple[Flag, ...]]:
        """From the state of both connections, not from the engine's words for it."""
        server = flow.server_conn
        reached = server.timestamp_tcp_setup is not None and (
            self._upstream.scheme == "http" or server.timestamp_tls_setup is not None
        )
        never_sent = () if reached else (Flag.NEVER_SENT,)
        if flow.metadata.get(_REFUSED):
            return Break.REFUSED_BY_US, (Flag.NEVER_SENT,)
        if self._stopping():
            return Break.STOPPED, never_sent
        if not flow.client_conn.state & connection.ConnectionState.CAN_READ:
            return Break.CLIENT_LEFT, never_sent
        return (Break.UPSTREAM_BROKE if reached else Break.UPSTREAM_UNREACHABLE), never_sent

    def _request_tap(self, attempt: Attempt) -> Passing:
        def passed(data: bytes) -> bytes | list[bytes]:
            began_ns = perf_counter_ns()
            try:
                if data:
                    attempt.request_chunk(data)
            except Exception as error:
                _log_failure("request body", error)
            attempt.overhead_ns += perf_counter_ns() - began_ns
            return data or []

        return passed

    def _response_tap(self, attempt: Attempt) -> Passing:
        def passed(data: bytes) -> bytes | list[bytes]:
            began_ns = perf_counter_ns()
            try:
                if data:
                    attempt.response_chunk(data)
                else:
                    attempt.end()
            except Exception as error:
                _log_failure("response body", error)
            attempt.overhead_ns += perf_counter_ns() - began_ns
            return data or []

        return passed

    def _hiding_tap(self, attempt: Attempt, hider: UsageHider) -> Passing:
        """As `_response_tap`; what goes on is without the usage that we asked for."""
        read = self._response_tap(attempt)

        def passed(data: bytes) -> bytes | list[bytes]:
            read(data)
            began_ns = perf_counter_ns()
            try:
                kept = hider.feed(data) if data else hider.finish()
            except Exception as error:
                _log_failure("hiding usage", error)
                kept = hider.give_up()
            attempt.overhead_ns += perf_counter_ns() - began_ns
            return kept or []

        return passed


def _whole_response(answer: OwnAnswer) -> http.Response:
    now = time()
    headers = http.Headers([*answer.fields, (b"Content-Length", b"%d" % len(answer.body))])
    return http.Response(b"HTTP/1.1", answer.status_code, answer.reason, headers, answer.body, None, now, now)


def _log_failure(where: str, error: Exception) -> None:
    """Type and place of a mistake of ours. Its message is left out: it could hold what passed."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("submeter failed at %s (%s, %s:%s); bytes pass", where, type(error).__name__, frame.name, frame.lineno)
