"""The meter of one WebSocket: its messages in, calls begun and ended out. Sans I/O.

    meter = SocketMeter(model="gpt-realtime")
    meter.take(message, from_client=True, at=now_us)     # [Begun(number=0)]: a `response.create`
    meter.take(message, from_client=False, at=now_us)    # [Ended(number=0, reading=...)]: its terminal event
    meter.give_up(0)                                     # what is known of a call whose socket broke

One call is one model response, in Responses WebSocket mode (`response.completed`, `.incomplete`, `.failed`) and in
Realtime (`response.done`), or one transcription of what a Realtime session heard, which another model makes and bills.
A response begins with the client's `response.create` or, where the server starts it by itself (a steered response's
successor, voice detection), with its `response.created`; lanes (`stream_id`) are kept apart. An error that does not say
what it is about may be about another message of the client: whether it refused a create that waits is known once that
is answered, or never is. Sources: docs/openai-usage.md A.3, A.6.

A session is mostly audio deltas in base64: only messages whose type can matter are parsed. Never here: I/O, clocks,
labels, audio, and the text of a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..data.call import Flag, Operation, Usage
from .answer import TEXT_CHARS_MAX, Answer
from .endpoint import Endpoint
from .json_body import EVENT_MEMBERS, Document, JsonBody
from .meter import reading_of
from .socket_happening import Begun, Ended, Happening, ToldAgain, Work

CALLS_OPEN_MAX = 1024
"""More calls open on one socket than this, and the oldest is given up. OpenAI allows 16 responses in flight."""
ENDED_KEPT = 64
"""So many responses back another terminal event is known as one."""
_SURELY_PARSED_BYTES = 64 * 1024

_CREATE = "response.create"
_CREATED = "response.created"
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.done"})
_HEARD = frozenset(
    {
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
    }
)
_SESSION = frozenset(
    {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}
)
_FROM_CLIENT = frozenset({_CREATE})
_FROM_SERVER = frozenset({_CREATED, "error"}) | _TERMINAL | _HEARD | _SESSION

_TYPE_FIRST = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"type"[ \t\r\n]*:[ \t\r\n]*"([^"\\]{1,128})"')
_LANE = re.compile(rb'"stream_id"[ \t\r\n]*:[ \t\r\n]*"([^"\\]{1,512})"')
_REFUSALS = (
    "authentication_error",
    "insufficient_quota",
    "invalid_request_error",
    "not_found_error",
    "permission_error",
    "rate_limit_error",
    "rate_limit_exceeded",
)
"""Types and codes of errors that refuse a request, where the error says no HTTP status (Realtime's never does)."""
_ABOUT_A_CREATE = ("conversation_already_has_active_response",)
"""Codes of errors that no other message of a client can cause."""

_RESPONSE = Endpoint(name=None, operation=Operation.CREATE, usage_endpoint="completions")
_TRANSCRIPTION = Endpoint(name=None, operation=Operation.CREATE, usage_endpoint="audio_transcriptions")


def _any_of(names: frozenset[str]) -> Callable[[bytes], object]:
    return re.compile(b"|".join(re.escape(b'"%b"' % name.encode()) for name in sorted(names))).search


_MENTIONS = {True: _any_of(_FROM_CLIENT), False: _any_of(_FROM_SERVER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """An error that came while a create waited, and did not say that it was about it."""

    answer: Answer
    refused: bool
    at: int
    size: int


@dataclass(slots=True, kw_only=True)
class _Call:
    number: int
    lane: str | None
    event_id: str | None
    """The client's own name for its `response.create`; an error may point to it."""
    request_model: str | None
    request_bytes: int
    answer: Answer
    created: bool = False
    """Whether the server has begun to answer."""
    first_byte_at: int | None = None
    response_bytes: int = 0
    error: str | None = None
    """An error on its lane while it was under way. It may be about something else, unless the response never ends."""
    flags: tuple[Flag, ...] = ()
    """What its create says of it."""
    doubt: _Doubt | None = None
    """An error on its lane while it waited. It may be about something else, unless nothing ever answers the create."""


@dataclass(slots=True)
class SocketMeter:
    """Reads the messages of one WebSocket as they pass."""

    model: str | None = None
    """`model` of the connect URL; None: it has none."""
    _session_model: str | None = None
    _listening_model: str | None = None
    _calls: dict[int, _Call] = field(default_factory=dict)
    """Those that are open, oldest first."""
    _ended: dict[str, tuple[int, Usage]] = field(default_factory=dict)
    """The last responses that ended, by id, and what they told: a repeated terminal event is no other response."""
    _next: int = 0

    def take(self, message: bytes, *, from_client: bool, at: int) -> Sequence[Happening]:
        """Take one whole message. What a client or provider sends cannot make this raise."""
        wanted = _FROM_CLIENT if from_client else _FROM_SERVER
        first = _TYPE_FIRST.match(message)
        if first is not None:
            kind = first[1].decode("utf-8", "replace")
            passing = kind not in wanted
        else:
            kind = ""
            passing = len(message) > _SURELY_PARSED_BYTES and not _MENTIONS[from_client](message)
        if not passing:
            body = JsonBody(EVENT_MEMBERS)
            body.feed(message)
            document = body.document()
            said = document.members.get("type")
            kind = said if type(said) is str else kind
            passing = kind not in wanted
        if passing:
            if not from_client and self._calls:
                self._count(message)
            return ()
        if from_client:
            return self._create(document, len(message))
        return self._serve(kind, document, len(message), at)

    def give_up(self, number: int) -> Ended | None:
        """What is known of a call that will not be ended by a message; None: it has ended."""
        call = self._calls.get(number)
        if call is None:
            return None
        if call.doubt is not None:
            return self._refuse(call, call.doubt)
        return self._end(call)

    @property
    def open_numbers(self) -> tuple[int, ...]:
        """The calls that have begun and not ended, oldest first."""
        return tuple(self._calls)

    def _create(self, document: Document, size: int) -> Sequence[Happening]:
        """A client's `response.create`. In Realtime its model is the session's."""
        members = document.members
        call = self._begin(
            lane=_name(members.get("stream_id")),
            event_id=_name(members.get("event_id")),
            request_model=_name(members.get("model")),
            request_bytes=size,
        )
        if members.get("generate") is False:
            call.flags = (Flag.WARM_UP,)
        return self._within_bounds(Begun(number=call.number, work=Work.RESPONSE))

    def _serve(self, kind: str, document: Document, size: int, at: int) -> Sequence[Happening]:
        """A message of the server whose type matters."""
        members = document.members
        if kind in _SESSION:
            self._learn(members.get("session"))
            return ()
        if kind == "error":
            return self._error(document, size, at)
        if kind in _HEARD:
            return self._heard(document, size, at)
        response = members.get("response")
        name = _name(response.get("id")) if isinstance(response, dict) else None
        if kind in _TERMINAL and name is not None and name in self._ended:
            return self._tell_again(name, document, size)
        begun: list[Happening] = []
        call = self._find(name, _name(members.get("stream_id")), terminal=kind in _TERMINAL)
        if call is None:
            call = self._begin(lane=_name(members.get("stream_id")))
            begun.extend(self._within_bounds(Begun(number=call.number, work=Work.RESPONSE)))
        call.created = True
        call.doubt = None
        call.response_bytes += size
        if call.first_byte_at is None:
            call.first_byte_at = at
        if document.problem is None:
            call.answer.take_event(b"", document)
        if kind not in _TERMINAL:
            return begun
        call.error = None
        return [*begun, self._end(call, unreadable=None if document.problem is None else f"{document.problem}_json")]

    def _error(self, document: Document, size: int, at: int) -> Sequence[Happening]:
        """An error message: it refuses a create, or stands beside a response under way.

        Realtime names the client's message it is about, if that had a name; Responses mode names the lane.
        """
        members = document.members
        error = members.get("error")
        details: Mapping[str, Any] = error if isinstance(error, dict) else members
        lane = _name(members.get("stream_id"))
        about = _name(details.get("event_id"))
        waiting = [call for call in self._calls.values() if not call.created and call.lane == lane]
        if about is not None:
            waiting = [call for call in waiting if call.event_id == about]
        if waiting:
            status = members.get("status")
            status_code = status if type(status) is int and 400 <= status < 600 else None
            refused = any(details.get(name) in _REFUSALS for name in ("type", "code"))
            answer = Answer(_RESPONSE, status_code=status_code or (400 if refused else 200))
            answer.take_event(b"error", document)
            doubt = _Doubt(answer=answer, refused=refused, at=at, size=size)
            if about is not None or status_code is not None or details.get("code") in _ABOUT_A_CREATE:
                return [self._refuse(waiting[0], doubt, status_code=status_code)]
            sure = [call for call in waiting if call.doubt is None]
            if sure:
                sure[0].doubt = doubt
            return ()
        under_way = [call for call in self._calls.values() if call.created and call.lane == lane]
        if under_way:
            stated = Answer(_RESPONSE, status_code=200)
            stated.take_event(b"error", document)
            under_way[-1].error = stated.error
        return ()

    def _refuse(self, call: _Call, said: _Doubt, *, status_code: int | None = None) -> Ended:
        """The end of a create that an error answered."""
        call.answer = said.answer
        call.first_byte_at = said.at
        call.response_bytes += said.size
        return self._end(call, status_code=status_code, refused=said.refused)

    def _tell_again(self, name: str, document: Document, size: int) -> Sequence[Happening]:
        """Another terminal event of a response that had ended; it matters if it tells another usage."""
        number, before = self._ended[name]
        answer = Answer(_RESPONSE, status_code=200)
        if document.problem is None:
            answer.take_event(b"", document)
        reading = reading_of(answer, streamed=True, no_terminal=False, unreadable=None, body_bytes_decoded=size)
        if reading.usage is None or reading.usage_counts == before:
            return ()
        self._ended[name] = number, reading.usage_counts
        return [ToldAgain(number=number, reading=reading)]

    def _heard(self, document: Document, size: int, at: int) -> Sequence[Happening]:
        """What a session heard was written down: a call that begins and ends with its one message."""
        call = self._begin(lane=None, endpoint=_TRANSCRIPTION)
        call.created = True
        call.first_byte_at = at
        call.response_bytes = size
        if document.problem is None:
            call.answer.take_event(b"", document)
        call.answer.id = _name(document.members.get("item_id"))
        call.answer.model = self._listening_model
        call.request_model = self._listening_model
        unreadable = None if document.problem is None else f"{document.problem}_json"
        return [Begun(number=call.number, work=Work.TRANSCRIPTION), self._end(call, unreadable=unreadable)]

    def _learn(self, session: object) -> None:
        """The models of a session, as `session.created` and `session.updated` tell them."""
        if not isinstance(session, dict):
            return
        self._session_model = _name(session.get("model")) or self._session_model
        for path in (("audio", "input", "transcription"), ("input_audio_transcription",)):
            place: object = session
            for step in path:
                place = place.get(step) if isinstance(place, dict) else None
            if isinstance(place, dict):
                self._listening_model = _name(place.get("model")) or self._listening_model

    def _find(self, name: str | None, lane: str | None, *, terminal: bool) -> _Call | None:
        """The open call that a response event belongs to; None: a call that nobody here has seen begin."""
        if name is not None:
            for call in self._calls.values():
                if call.answer.id == name:
                    return call
        # A server that names no lane may still have been asked on one.
        waiting = [call for call in self._calls.values() if not call.created]
        here = [call for call in waiting if call.lane == lane] or (waiting if lane is None else [])
        if here:
            return next((call for call in here if call.doubt is None), here[0])
        nameless = [
            call for call in self._calls.values() if call.answer.id is None and call.created and call.lane == lane
        ]
        return nameless[0] if terminal and nameless else None

    def _begin(
        self,
        *,
        lane: str | None,
        event_id: str | None = None,
        request_model: str | None = None,
        request_bytes: int = 0,
        endpoint: Endpoint = _RESPONSE,
    ) -> _Call:
        call = _Call(
            number=self._next,
            lane=lane,
            event_id=event_id,
            request_model=request_model,
            request_bytes=request_bytes,
            answer=Answer(endpoint, status_code=200),
        )
        self._next += 1
        self._calls[call.number] = call
        return call

    def _within_bounds(self, begun: Begun) -> list[Happening]:
        """The happening, and the end of the oldest call where there are too many."""
        if len(self._calls) <= CALLS_OPEN_MAX:
            return [begun]
        return [begun, self._end(next(iter(self._calls.values())), unreadable="too_many_open")]

    def _end(
        self,
        call: _Call,
        *,
        unreadable: str | None = None,
        status_code: int | None = None,
        refused: bool = False,
    ) -> Ended:
        del self._calls[call.number]
        call.answer.flags.update(dict.fromkeys(call.flags))
        reading = reading_of(
            call.answer,
            streamed=True,
            no_terminal=False,
            unreadable=unreadable,
            body_bytes_decoded=call.response_bytes,
        )
        if call.answer.id is not None:
            self._ended[call.answer.id] = call.number, reading.usage_counts
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
        return Ended(
            number=call.number,
            reading=replace(
                reading,
                response_model=reading.response_model or self._session_model,
                error=reading.error or call.error,
            ),
            request_model=call.request_model or self.model,
            first_byte_at=call.first_byte_at,
            request_bytes=call.request_bytes,
            response_bytes=call.response_bytes,
            status_code=status_code,
            refused=refused,
        )

    def _count(self, message: bytes) -> None:
        """Add a message that is not parsed to the size of the response it seems to belong to."""
        under_way = [call for call in self._calls.values() if call.created]
        if len(under_way) > 1:
            named = _LANE.search(message)
            lane = named[1].decode("utf-8", "replace") if named else None
            under_way = [call for call in under_way if call.lane == lane]
        if under_way:
            under_way[-1].response_bytes += len(message)


def _name(value: object) -> str | None:
    """A short string as it may stand in a journal line; None where the wire has something else."""
    if type(value) is not str:
        return None
    # Half a surrogate pair can be written in JSON, and in no UTF-8.
    return value[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
