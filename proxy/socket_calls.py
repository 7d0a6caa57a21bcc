"""The calls of one WebSocket: what its meter says has begun and ended, written as start and settle lines.

    socket = Sockets(recorder).open(attempt.start, path, headers, request_id)
    socket.message(content, from_client=False)     # lines are written before this returns, so before it goes on
    socket.close(Break.CLIENT_LEFT, error=...)     # whatever had begun and not ended is settled

A call takes its labels at its own start: path and headers are the handshake's, marks may have moved on. Whatever
fails in reading costs a reading, never a message. Never here: frames, and what a message says.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter_ns
from typing import Any, assert_never
from urllib.parse import parse_qs

from ..data.call import Flag, Labels, Operation, Outcome, Result, Start, UsageSource, settle_line, start_line
from .attempt import read_line
from .endpoint import Endpoint
from .labels import PathLabels
from .meter import Reading
from .outcome import Break, decide_outcome
from .recorder import Recorder, as_text
from .socket_happening import Begun, Ended, ToldAgain, Work
from .socket_meter import ENDED_KEPT, SocketMeter

logger = logging.getLogger("submeter.proxy")

METHOD = "WS"
"""What stands as the method of a call on a socket; its handshake's row has GET."""
SWITCHING_PROTOCOLS = 101
TOLD_MAX = 4096
"""So many responses back a second telling is known as one."""


class Sockets:
    """All WebSockets of one proxy: two of them on one session tell of the same responses, which are counted once
    (docs/openai-usage.md A.6)."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._told: dict[str, str] = {}
        """Response ids to the call that told their usage."""

    def open(self, handshake: Start, path: PathLabels, headers: Mapping[str, str], request_id: str | None) -> Socket:
        """A socket whose handshake is done; `request_id` is that of its answer."""
        return Socket(self, handshake, path, headers, request_id)

    def told_before(self, reading: Reading, call_id: str) -> bool:
        """Whether another call told the usage of this response before; remembers this one if it is told now."""
        name = reading.response_id
        if name is None:
            return False
        if name in self._told:
            return self._told[name] != call_id
        if reading.usage is not None:
            self._told[name] = call_id
            if len(self._told) > TOLD_MAX:
                del self._told[next(iter(self._told))]
        return False


class Socket:
    """One WebSocket from the end of its handshake to its own."""

    def __init__(
        self,
        sockets: Sockets,
        handshake: Start,
        path: PathLabels,
        headers: Mapping[str, str],
        request_id: str | None,
    ) -> None:
        self.sockets = sockets
        self.recorder = sockets.recorder
        self.request_id = request_id
        self.overhead_ns = 0
        """Time spent on messages since a call was last settled."""
        self._handshake = handshake
        self._path = path
        self._headers = headers
        self._model = as_text(_model_of(path.path))
        self._meter = SocketMeter(model=self._model)
        self._calls: dict[int, SocketCall] = {}
        self._settled: dict[int, str] = {}
        """Call ids of the last calls that were settled, by their number."""
        self._failed = False

    def message(self, content: bytes, *, from_client: bool) -> None:
        """A whole message is about to go on."""
        began_ns = perf_counter_ns()
        try:
            for happening in self._meter.take(content, from_client=from_client, at=self.recorder.clock.now_us()):
                match happening:
                    case Begun():
                        self._begin(happening)
                    case Ended():
                        if call := self._calls.get(happening.number):
                            call.settle(happening)
                    case ToldAgain():
                        self._tell_again(happening)
                    case _:
                        assert_never(happening)
        except Exception as error:
            self._note_failure(error)
        self.overhead_ns += perf_counter_ns() - began_ns

    def close(self, broke: Break, *, error: str) -> None:
        """The socket has ended. What had begun and not ended will not be told any more."""
        for call in list(self._calls.values()):
            call.break_off(broke, error=error)

    def unreadable(self) -> None:
        """Its messages cannot be read from here on; they pass. What they would have told of is a gap."""
        self._note_gap()
        self._begin_anew()

    def last_words(self, number: int) -> Ended | None:
        """What the meter knows of an open call."""
        return self._meter.give_up(number)

    def forget(self, number: int, call_id: str) -> None:
        """A call was settled."""
        self._calls.pop(number, None)
        self._settled[number] = call_id
        if len(self._settled) > ENDED_KEPT:
            del self._settled[next(iter(self._settled))]

    def _tell_again(self, told: ToldAgain) -> None:
        """A settled response told another usage: a `read` line, unless another socket told of the response first."""
        call_id = self._settled.get(told.number)
        if call_id is not None and not self.sockets.told_before(told.reading, call_id):
            self.recorder.journal.append("read", read_line(call_id, told.reading))

    def _begin(self, begun: Begun) -> None:
        usage_endpoint = "completions" if begun.work is Work.RESPONSE else "audio_transcriptions"
        endpoint = Endpoint(name=self._handshake.endpoint, operation=Operation.CREATE, usage_endpoint=usage_endpoint)
        start, labels = self.recorder.start(method=METHOD, path=self._path, headers=self._headers, endpoint=endpoint)
        call = SocketCall(self, begun.number, start, labels)
        self._calls[begun.number] = call
        self.recorder.opened(call, labels)

    def _note_failure(self, error: Exception) -> None:
        """A mistake of ours: calls under way become unreadable, and a new meter takes the messages that follow."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(
            "the meter failed on a WebSocket (%s, %s:%s); messages pass, its calls say unreadable",
            type(error).__name__,
            frame.name,
            frame.lineno,
        )
        if not self._calls and not self._failed:
            self._note_gap()
        self._begin_anew()

    def _note_gap(self) -> None:
        now_us = self.recorder.clock.now_us()
        self.recorder.journal.append("gap", {"from": now_us, "to": now_us, "calls": 1, "lines": 0})

    def _begin_anew(self) -> None:
        """Calls under way become unreadable; a new meter takes the messages that follow."""
        calls = list(self._calls.values())
        self._failed = True
        self._meter = SocketMeter(model=self._model)
        self._calls = {}
        for call in calls:
            call.settle(None, flags=(Flag.METER_FAILED,))
        # The new meter counts from 0 again.
        self._settled = {}


class SocketCall:
    """One call on a socket, from its start line to its settle line."""

    def __init__(self, socket: Socket, number: int, start: Start, labels: Labels) -> None:
        self.start = start
        self.start_line: dict[str, Any] = start_line(start)
        self.settled = False
        self._socket = socket
        self._number = number
        self._labels = labels

    def break_off(self, broke: Break, *, error: str, flags: tuple[Flag, ...] = ()) -> None:
        """The socket ended, or the proxy did, before the call."""
        try:
            known = self._socket.last_words(self._number)
        except Exception:
            known, flags = None, (*flags, Flag.METER_FAILED)
        if known is not None and known.refused:
            # An error was all that ever answered it.
            self.settle(known, error=error, flags=flags)
        else:
            self.settle(known, broke=broke, error=error, flags=flags)

    def settle(
        self, ended: Ended | None, *, broke: Break | None = None, error: str | None = None, flags: tuple[Flag, ...] = ()
    ) -> None:
        """Write the settle line, once. `ended`: what the meter says; None: it cannot say."""
        if self.settled:
            return
        self.settled = True
        socket = self._socket
        socket.forget(self._number, self.start.call_id)
        recorder = socket.recorder
        now_us = recorder.closing(self, self._labels)
        start, begun = self.start, self.start_line
        if ended is not None and socket.sockets.told_before(ended.reading, start.call_id):
            start = replace(start, operation=Operation.READ, usage_endpoint=None)
            begun = start_line(start)
        line = settle_line(start, _result(ended, now_us, broke, error, flags, socket.request_id), begun=begun)
        line["overhead_us"] = socket.overhead_ns // 1000
        socket.overhead_ns = 0
        recorder.settle(line)


def _result(
    ended: Ended | None,
    now_us: int,
    broke: Break | None,
    error: str | None,
    flags: tuple[Flag, ...],
    request_id: str | None,
) -> Result:
    reading = ended.reading if ended else Reading(unreadable="meter_failed", streamed=True)
    told = ended.status_code if ended else None
    status_code = told or SWITCHING_PROTOCOLS
    outcome = decide_outcome(
        # An error that says no status and refuses is what HTTP would have answered with a 4xx.
        status_code=400 if ended and ended.refused and told is None else status_code,
        broke=broke,
        has_usage=reading.usage is not None,
        failed_inside=reading.failed_inside,
        unreadable=reading.unreadable is not None,
    )
    says = reading.error or reading.unreadable or error
    return Result(
        outcome=outcome,
        ended_at=now_us,
        first_byte_at=ended.first_byte_at if ended else None,
        completed_at=reading.completed_at,
        status_code=status_code,
        streamed=True,
        request_model=as_text(ended.request_model) if ended else None,
        response_model=as_text(reading.response_model),
        response_status=as_text(reading.response_status),
        response_id=as_text(reading.response_id),
        # The handshake's: messages have none. Calls with status 101 share it and are no twins (ingest_twins.sql).
        request_id=as_text(request_id) if status_code == SWITCHING_PROTOCOLS else None,
        service_tier=as_text(reading.service_tier),
        usage_counts=reading.usage_counts,
        usage=reading.usage,
        tool_usage=reading.tool_usage,
        usage_source=UsageSource.REPORTED if reading.usage is not None else None,
        flags=reading.flags + flags,
        error=as_text(says) if outcome is not Outcome.METERED else None,
        request_bytes=ended.request_bytes if ended else 0,
        response_bytes=ended.response_bytes if ended else 0,
    )


def _model_of(path: str) -> str | None:
    """The model that a Realtime socket is opened for: `?model=`, in Azure's older form `?deployment=`."""
    query = parse_qs(path.partition("?")[2])
    return next(iter(query.get("model") or query.get("deployment") or ()), None)
