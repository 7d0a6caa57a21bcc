"""WebSockets: the Responses API in its socket mode, and Realtime sessions.

Each message of the client is a request of its own, answered in a task, in order within its lane (`stream_id`); lanes
run side by side. What is answered comes from the wire modules, faults from the same plan (method `WS`).
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Protocol

from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from . import response_body, wire_realtime, wire_responses
from .books import State as EntryState
from .faults import FaultKind, FaultPlan
from .frame import Frame, Json, Part, Refusal, Request, compact, of_frames
from .organization import api_key, bearer
from .service import NOBODY
from .settings import AbortBilling
from .spoil import spoil
from .state import State
from .words import chance

MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class House(Protocol):
    """What a socket needs of the simulator."""

    state: State
    plan: FaultPlan
    crashes: list[BaseException]

    def busy(self, change: int) -> None:
        """Count a request under way."""


@dataclass(slots=True)
class Lane:
    """One order of responses on a socket."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    steer: Any = None
    """What a `response.steer` said to the response under way; None: nothing."""


class _Socket(WebSocketHandler):
    """A connection of either kind: who is there, and events out with their faults."""

    def initialize(self, house: House, tasks: set[asyncio.Task[None]]) -> None:
        self.house = house
        self.tasks = tasks
        self.lanes: defaultdict[str | None, Lane] = defaultdict(Lane)
        self.request_id = house.state.next_request_id()
        self.key = NOBODY
        self.gone = False
        self.answered: set[str] = set()
        """Ids of the responses of this socket, which the next one may follow without their being stored."""
        self.opened: set[_Socket] = self.application.settings["opened"]

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Date", formatdate(self.application.settings["now"](), usegmt=True))

    def check_origin(self, origin: str) -> bool:
        return True

    async def prepare(self) -> None:
        headers = {name.lower(): value for name, value in self.request.headers.items()}
        self.set_header("x-request-id", self.request_id)
        try:
            self.key = api_key(self.house.state, bearer(headers))
        except Refusal as refused:
            reply = refused.answer()
            self.set_status(reply.status)
            self.set_header("Content-Type", reply.content_type)
            self.finish(reply.body)

    def on_message(self, message: str | bytes) -> None:
        raw = message.encode() if isinstance(message, str) else message
        self.start(self.message(raw))

    async def open(self, *args: str, **kwargs: str) -> None:
        self.opened.add(self)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as one of the server's tasks."""
        self.house.busy(1)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def on_close(self) -> None:
        self.gone = True
        self.opened.discard(self)

    def hang_up(self) -> None:
        """Close the connection without a closing handshake."""
        self.gone = True
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None:
            stream.close()

    async def message(self, raw: bytes) -> None:
        raise NotImplementedError

    def read(self, raw: bytes, body: Json) -> Request:
        """A message as a request of its own."""
        state = self.house.state
        echo = state.repetition(self.request.path, raw)
        return Request(
            method="WS",
            target=str(self.request.uri),
            path=self.request.path,
            query=(),
            headers={name.lower(): value for name, value in self.request.headers.items()},
            body={**body, "stream": True},
            raw=raw,
            at=state.now(),
            request_id=self.request_id,
            key=self.key,
            any_model=state.settings.any_model,
            rng=chance(state.settings.seed, self.request.path, raw.hex(), echo),
            echo=echo,
        )

    async def say(self, payload: Json) -> None:
        """Send one event; a client that left is noticed by the caller."""
        try:
            await self.write_message(compact(payload))
        except WebSocketClosedError:
            self.gone = True

    async def play(
        self,
        request: Request,
        frames: list[Frame],
        entry: int,
        extra: Json,
        cut: Callable[[int, list[Frame]], list[Frame]] | None = None,
    ) -> None:
        """Send the events of one entry, faults and all; `cut` may replace what is left before each of them."""
        state = self.house.state
        faults = self.house.plan.match("WS", request.path, request.headers, request.raw)
        answer, manner = spoil(of_frames(frames, entry=entry), [f for f in faults if f.kind is not FaultKind.STATUS])
        state.books.note(entry, faults=manner.kinds)
        left = list(answer.frames or ())
        sent = 0
        while left:
            if sent == manner.stall_after:
                await asyncio.sleep(manner.stall_s)
            if manner.cut and sent >= manner.cut_after:
                self._close_books(entry, unbilled=manner.unbilled)
                state.books.note(entry, delivered=False)
                return self.hang_up()
            if cut is not None:
                left = cut(sent, left)
            frame, *left = left
            if frame.part is Part.TERMINAL:
                self._close_books(entry, unbilled=manner.unbilled)
            await self.say({**(frame.payload or {}), **extra})
            if self.gone:
                return self._abandoned(entry, sent / (sent + len(left) + 1))
            sent += 1
            await asyncio.sleep(state.settings.chunk_delay_s)
        state.books.note(entry, delivered=True)
        return None

    def _close_books(self, entry: int, *, unbilled: bool) -> None:
        books, now = self.house.state.books, self.house.state.now()
        if unbilled:
            books.break_off(entry, now, EntryState.FAILED, billed=False)
        else:
            books.complete(entry, now)

    def _abandoned(self, entry: int, share: float) -> None:
        books, how = self.house.state.books, self.house.state.settings.aborts
        share = share if how is AbortBilling.PARTIAL else 1.0
        billed = how is not AbortBilling.NONE
        books.break_off(entry, self.house.state.now(), EntryState.ABORTED, billed=billed, share=share)
        books.note(entry, delivered=False)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.house.busy(-1)
        crash = None if task.cancelled() else task.exception()
        if crash is not None:
            self.house.crashes.append(crash)


class ResponsesSocket(_Socket):
    """`/v1/responses`: `response.create` and `response.steer` in, response events out."""

    async def message(self, raw: bytes) -> None:
        body = _object(raw)
        name = body.pop("stream_id", None)
        lane = self.lanes[name if isinstance(name, str) else None]
        extra = {"stream_id": name} if isinstance(name, str) else {}
        if body.get("type") == "response.steer":
            lane.steer = body.get("input") or "steered"
            return
        async with lane.turn:
            if body.get("type") != "response.create":
                message = "Invalid value for 'type': expected 'response.create' or 'response.steer'."
                await self._refuse(Refusal(400, message, param="type", code="invalid_value"), extra)
                return
            body = {key: value for key, value in body.items() if key != "type"}
            try:
                while body:
                    body = await self._respond(raw, body, lane, extra)
            except Refusal as refused:
                await self._refuse(refused, extra)

    async def _respond(self, raw: bytes, body: Json, lane: Lane, extra: Json) -> Json:
        """One response; returns the body of the successor that a steering started, else an empty one."""
        lane.steer = None
        state = self.house.state
        request = self.read(raw, body)
        response, said, entry = wire_responses.decide(state, request, self.answered)
        self.answered.add(response["id"])
        frames = response_body.events(response, said)
        if body.get("generate") is False:
            await self._warm(response, entry, extra)
            return {}
        steered: Json = {}

        def cut(sent: int, left: list[Frame]) -> list[Frame]:
            if lane.steer is None or steered or len(left) == 1:
                return left
            steered.update({**body, "input": lane.steer, "previous_response_id": response["id"]})
            share = sent / (sent + len(left))
            closed = state.books.break_off(entry, state.now(), EntryState.COMPLETED, billed=True, share=share)
            ended = {**response, "status": "incomplete", "completed_at": None}
            ended |= {"incomplete_details": {"reason": "steered"}, "usage": response_body.usage_of(closed.counts)}
            payload = {"type": "response.incomplete", "sequence_number": sent, "response": ended}
            return [Frame(part=Part.TERMINAL, payload=payload)]

        await self.play(request, frames, entry, extra, cut)
        return {} if self.gone else steered

    async def _warm(self, response: Json, entry: int, extra: Json) -> None:
        """A warm-up generates nothing, and tells what it read. Whether the real one bills that is a switch."""
        state = self.house.state
        billed = state.settings.warm_ups_billed
        closed = state.books.break_off(entry, state.now(), EntryState.COMPLETED, billed=billed, share=0.0)
        created = response_body.snapshot(response, "in_progress")
        await self.say({"type": "response.created", "sequence_number": 0, "response": created, **extra})
        done = response_body.snapshot(response, "completed")
        done |= {"completed_at": int(state.now()), "usage": response_body.usage_of(closed.counts)}
        await self.say({"type": "response.completed", "sequence_number": 1, "response": done, **extra})

    async def _refuse(self, refused: Refusal, extra: Json) -> None:
        await self.say({"type": "error", "status": refused.status, "error": refused.error, **extra})


class RealtimeSocket(_Socket):
    """`/v1/realtime?model=...`: a session, its responses, and what it heard."""

    async def open(self, *args: str, **kwargs: str) -> None:
        await super().open()
        self.model: str = self.get_query_argument("model", None) or "gpt-realtime"
        request = self.read(b"session", {})
        await self.say(self._event(request, "session.created", {"session": wire_realtime.session(request, self.model)}))

    async def message(self, raw: bytes) -> None:
        body = _object(raw)
        async with self.lanes[None].turn:
            match body.get("type"):
                case "session.update":
                    given = body.get("session")
                    self.model = str(given.get("model", self.model)) if isinstance(given, dict) else self.model
                    request = self.read(raw, {})
                    shown = {"session": wire_realtime.session(request, self.model)}
                    await self.say(self._event(request, "session.updated", shown))
                case "conversation.item.create":
                    request = self.read(raw, {})
                    item = {"item": body.get("item"), "previous_item_id": None}
                    await self.say(self._event(request, "conversation.item.added", item))
                case "input_audio_buffer.commit":
                    request = self.read(raw, {})
                    frames, entry = wire_realtime.transcribe(self.house.state, request)
                    await self.play(request, frames, entry, {})
                case "response.create":
                    await self._respond(raw, body)
                case _:
                    message = "Invalid value for 'type'."
                    error = {"type": "invalid_request_error", "code": "invalid_value", "message": message}
                    await self.say(self._event(self.read(raw, {}), "error", {"error": error}))

    async def _respond(self, raw: bytes, body: Json) -> None:
        given = body.get("response")
        request = self.read(raw, {**(given if isinstance(given, dict) else {}), "model": self.model})
        try:
            frames, entry = wire_realtime.respond(self.house.state, request)
        except Refusal as refused:
            await self.say(self._event(request, "error", {"error": refused.error}))
            return
        await self.play(request, frames, entry, {})

    def _event(self, request: Request, name: str, payload: Json) -> Json:
        (frame,) = wire_realtime.numbered(request, [(name, payload)])
        return frame.payload or {}


def application(house: House, tasks: set[asyncio.Task[None]]) -> Application:
    """The sockets' routes, for requests that ask for an upgrade."""
    prefix = house.state.settings.prefix
    given = {"house": house, "tasks": tasks}
    return Application(
        [
            (rf"{prefix}/v1/responses", ResponsesSocket, given),
            (rf"{prefix}/v1/realtime", RealtimeSocket, given),
        ],
        now=house.state.now,
        opened=set(),
        websocket_max_message_size=MESSAGE_BYTES_MAX,
        log_function=lambda handler: None,
    )


def hang_up_all(served: Application) -> None:
    """Close every socket that is still open."""
    for one in list(served.settings["opened"]):
        one.hang_up()


def _object(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
