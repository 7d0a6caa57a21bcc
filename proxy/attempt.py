"""The life of one call: a start line when its headers are complete, a settle line once, whatever happens.

    begin_attempt(recorder, ...)  -> Attempt, start line written
    attempt.request_chunk(data), attempt.respond(...), attempt.response_chunk(data)
    attempt.end()  or  attempt.break_off(...)      settle line written, once, by whichever comes first

The settle line is written before `response_chunk` returns for the chunk that completes the response, so before that
chunk goes on (docs/design/journal-and-ledger.md "What a kill leaves"). Never here: sockets, prompts, secrets.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import perf_counter_ns
from typing import Any

from ..data.call import Flag, Labels, Outcome, Result, Start, Usage, UsageSource, settle_line, start_line
from .endpoint import Endpoint, find_endpoint, find_socket_endpoint
from .labels import PathLabels
from .meter import Meter, Reading
from .outcome import DRAINED, Break, decide_outcome
from .recorder import Recorder, as_text
from .request_body import RequestFacts, RequestReader

logger = logging.getLogger("submeter.proxy")

SOCKET_HEADER = "sec-websocket-version"
"""Every handshake of a WebSocket has it (RFC 6455 section 4.1)."""


def begin_attempt(
    recorder: Recorder, *, method: str, path: PathLabels, headers: Mapping[str, str], flags: tuple[Flag, ...] = ()
) -> Attempt:
    """Write the start line of a request whose headers are complete."""
    bare_path = path.path.partition("?")[0]
    upgrade = method == "GET" and SOCKET_HEADER in headers and headers.get("upgrade", "").lower() == "websocket"
    endpoint = find_socket_endpoint(bare_path) if upgrade else find_endpoint(method, bare_path)
    start, labels = recorder.start(method=method, path=path, headers=headers, endpoint=endpoint, flags=flags)
    request = RequestReader(content_type=headers.get("content-type"), content_encoding=headers.get("content-encoding"))
    attempt = Attempt(recorder, start, endpoint, labels, request)
    recorder.opened(attempt, labels)
    return attempt


class Attempt:
    """One call from its start line to its settle line."""

    def __init__(
        self, recorder: Recorder, start: Start, endpoint: Endpoint, labels: Labels, request: RequestReader
    ) -> None:
        self.start = start
        self.start_line = start_line(start)
        self.settled = False
        self.overhead_ns = 0
        self.usage_requested = False
        """Whether we asked for the usage in the client's stead."""
        self.flags: tuple[Flag, ...] = ()
        """What was noted under way."""
        self.unsettled_id: str | None = None
        """The provider's id of a response whose client left before its usage came."""
        self._recorder = recorder
        self._endpoint = endpoint
        self._labels = labels
        self._request = request
        self._request_facts: RequestFacts | None = None
        self._request_bytes = 0
        self._response_bytes = 0
        self._response_bytes_due: int | None = None
        self._meter: Meter | None = None
        self._meter_failed = False
        self._status_code: int | None = None
        self._headers: Mapping[str, str] = {}
        self._first_byte_at: int | None = None
        self._settled_reading: Reading | None = None
        self._left = False
        """Whether the client left, and the answer is read to its end all the same."""

    def request_chunk(self, data: bytes) -> None:
        """A piece of the request's body passed."""
        self._request_bytes += len(data)
        try:
            self._request.feed(data)
        except Exception as error:
            self._note_failure(error)

    def request_end(self) -> None:
        """The request's body is whole: read what it tells, and let go of it."""
        self._guard(self._read_request)

    @property
    def request_facts(self) -> RequestFacts | None:
        """What the request's body told; None: it is not whole yet."""
        return self._request_facts

    def respond(self, *, status_code: int, headers: Mapping[str, str], body_bytes: int | None) -> None:
        """The response's headers are complete. `body_bytes`: its Content-Length; None: not said."""
        self._status_code = status_code
        self._headers = headers
        self._response_bytes_due = body_bytes
        self._first_byte_at = self._recorder.clock.now_us()
        try:
            self._begin_meter(status_code, headers)
        except Exception as error:
            self._note_failure(error)

    def response_chunk(self, data: bytes) -> None:
        """A piece of the response's body is about to go on. Settles when it holds the byte that completes it."""
        if self.settled:
            self._feed(data)
            return
        self._response_bytes += len(data)
        complete = self._feed(data)
        if self._response_bytes_due is not None and self._response_bytes >= self._response_bytes_due:
            self.end()
        elif complete:
            self._settle(None)

    def end(self) -> None:
        """The response is whole."""
        if self.settled and self._settled_reading is None:
            # Said before; there is nothing left to be told.
            return
        if self._meter is not None:
            self._guard(self._meter.finish)
        if self.settled:
            self._guard(self._tell_rest)
        else:
            self._settle(None)

    def leave(self) -> None:
        """The client left; what comes of the answer is read for its usage."""
        self._left = True

    def break_off(self, broke: Break, *, error: str, flags: tuple[Flag, ...] = ()) -> None:
        """The call ended before its response was whole. `error` says why, without content."""
        if self.settled:
            self._guard(self._tell_rest)
        else:
            self._settle(broke, error=error, flags=flags)

    def refuse(self, status_code: int, error: str) -> None:
        """We answered it ourselves, and nothing went upstream."""
        self._status_code = status_code
        self.break_off(Break.REFUSED_BY_US, error=error, flags=(Flag.NEVER_SENT,))

    def _tell_rest(self) -> None:
        """Where more usage came after the settle line's, write it as a `read` line: the last one said stands.

        OpenAI ends a stream with its one terminal event; one of the recorded bodies has two.
        """
        if self._meter is None or self._meter_failed or self._settled_reading is None:
            return
        before, self._settled_reading = self._settled_reading, None
        after = self._meter.reading()
        if after.usage is None or (after.response_id, after.usage_counts) == (before.response_id, before.usage_counts):
            return
        self._recorder.journal.append("read", read_line(self.start.call_id, after))

    def _begin_meter(self, status_code: int, headers: Mapping[str, str]) -> None:
        self._meter = Meter(
            self._endpoint,
            status_code=status_code,
            content_type=headers.get("content-type"),
            content_encoding=headers.get("content-encoding"),
            images_expected=(self._request_facts.n if self._request_facts else None) or 1,
        )

    def _feed(self, data: bytes) -> bool:
        if self._meter is None or self._meter_failed:
            return False
        try:
            return self._meter.feed(data)
        except Exception as error:
            self._note_failure(error)
            return False

    def _read_request(self) -> None:
        if self._request_facts is None:
            self._request_facts = self._request.facts()

    def _read_response(self) -> Reading:
        if self._meter is not None and not self._meter_failed:
            try:
                return self._meter.reading()
            except Exception as error:
                self._note_failure(error)
        return Reading()

    def _guard(self, step: Callable[[], object]) -> None:
        """Whatever goes wrong in reading costs a reading, never a byte."""
        try:
            step()
        except Exception as error:
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        """Type and place of the mistake go to the log. Its message is left out: it could hold what passed."""
        self._meter_failed = True
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(
            "the meter failed on call %s (%s, %s:%s); its bytes pass, its row says unreadable",
            self.start.call_id,
            type(error).__name__,
            frame.name,
            frame.lineno,
        )

    def _settle(self, broke: Break | None, *, error: str | None = None, flags: tuple[Flag, ...] = ()) -> None:
        began_ns = perf_counter_ns()
        self.settled = True
        recorder = self._recorder
        now_us = recorder.closing(self, self._labels)
        if self._request_facts is None:
            self._guard(self._read_request)
        reading = self._read_response()
        if broke is None and self._left:
            error, flags = DRAINED, (*flags, Flag.DRAINED)
        if reading.streamed and broke is None:
            self._settled_reading = reading
        if broke is Break.CLIENT_LEFT and reading.usage is None:
            self.unsettled_id = reading.response_id
        if reading.minted is not None:
            recorder.mint(reading.minted, self.start)
        result = self._result(reading, broke, now_us, error, flags)
        overhead_us = (self.overhead_ns + perf_counter_ns() - began_ns) // 1000
        line = settle_line(self.start, result, begun=self.start_line)
        line["overhead_us"] = overhead_us
        recorder.settle(line)

    def _result(
        self, reading: Reading, broke: Break | None, now_us: int, error: str | None, flags: tuple[Flag, ...]
    ) -> Result:
        headers = self._headers
        facts = self._request_facts
        outcome = decide_outcome(
            status_code=self._status_code,
            broke=broke,
            has_usage=reading.tells_usage,
            failed_inside=reading.failed_inside,
            unreadable=self._meter_failed or reading.unreadable is not None,
            left=self._left,
        )
        if self._meter_failed:
            flags += (Flag.METER_FAILED,)
        if facts and facts.searches and self._endpoint.name == "chat/completions":
            # What a search reads may be billed, and no item of a chat's answer tells that there was one.
            flags += (Flag.HOSTED_TOOL,)
        says = error or reading.error or reading.unreadable
        source = UsageSource.REQUESTED if self.usage_requested and reading.streamed else UsageSource.REPORTED
        return Result(
            outcome=outcome,
            ended_at=now_us,
            first_byte_at=self._first_byte_at,
            completed_at=reading.completed_at,
            server_date=_server_date_us(headers.get("date")),
            status_code=self._status_code,
            streamed=reading.streamed if self._meter is not None else None,
            request_model=facts.model if facts else None,
            response_model=reading.response_model,
            response_status=reading.response_status,
            response_id=reading.response_id,
            request_id=as_text(headers.get("x-request-id")),
            batch_id=reading.batch_id,
            service_tier=reading.service_tier,
            usage_counts=reading.usage_counts if reading.tells_usage or reading.batch_id is None else Usage(),
            usage=reading.usage,
            tool_usage=reading.tool_usage,
            usage_source=source if reading.tells_usage else None,
            flags=reading.flags + self.flags + flags,
            error=as_text(says) if outcome is not Outcome.METERED else None,
            organization=as_text(headers.get("openai-organization")),
            project=as_text(headers.get("openai-project")),
            request_bytes=self._request_bytes,
            response_bytes=self._response_bytes,
        )


def read_line(call_id: str, reading: Reading) -> dict[str, Any]:
    """The fields of a `read` line: what the same response said of this call after its settle line was written."""
    fields = {
        "call_id": call_id,
        "source": UsageSource.REPORTED,
        "response_id": reading.response_id,
        "response_model": reading.response_model,
        "response_status": reading.response_status,
        "service_tier": reading.service_tier,
        "completed_at": reading.completed_at,
        "usage": reading.usage,
        **asdict(reading.usage_counts),
        "flags": reading.flags or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


@lru_cache(maxsize=64)
def _server_date_us(text: str | None) -> int | None:
    """An RFC 9110 `Date` in microseconds UTC; None where there is none or it is none."""
    if text is None:
        return None
    try:
        us = int(parsedate_to_datetime(text).timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        return None
    return us if us >= 0 else None
