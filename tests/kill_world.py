"""An upstream and clients for tests that kill the proxy: what was sent, what was seen, and when the shot falls.

The upstream sends every kind of answer in pieces cut at random bytes, and keeps a book of what it sent. Clients keep
a record of their own: a call is completed once they have seen the byte that completes its answer, and not before.
A `Trap` is one shot at a random byte of one answer. Nothing here knows what the proxy writes down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wire import RawRequest, find_header, framed, hang_up, read_head, request_bytes
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

SECRET = "sk-of-the-clients-that-see-kills"
MODEL = "gpt-4o-mini-2024-07-18"
RESPONSES_A_SOCKET = 3
PAUSE_S_MAX = 0.004
STREAM_BYTES = 2000
"""About what a stream has: where in one that is on its way a shot falls."""
ALL = 1 << 40
"""More bytes than any answer has: it was seen to its end."""


class Manner(StrEnum):
    """How a call is asked and answered."""

    LENGTH = "length"
    """JSON with Content-Length; complete with its last byte."""
    CHUNKED = "chunked"
    """JSON in chunks; complete with the last chunk."""
    CHAT = "chat"
    """A chat stream; complete with `[DONE]`."""
    MUTE = "mute"
    """A chat stream that did not ask for its usage; complete with `[DONE]`."""
    RESPONSES = "responses"
    """A Responses stream; complete with the line of its terminal event."""
    SOCKET = "socket"
    """Responses on a WebSocket; each complete with its terminal message."""


TARGETS = {
    Manner.LENGTH: "chat/completions",
    Manner.CHUNKED: "chat/completions",
    Manner.CHAT: "chat/completions",
    Manner.MUTE: "chat/completions",
    Manner.RESPONSES: "responses",
    Manner.SOCKET: "responses",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One answer as the upstream's book has it."""

    call: int
    manner: Manner
    response_id: str
    request_id: str
    usage: dict[str, int]

    @property
    def totals(self) -> tuple[int, int]:
        """Input and output tokens."""
        first, second, _ = self.usage.values()
        return first, second


@dataclass(slots=True)
class Call:
    """What a client knows of one call; of a socket, of one response on it."""

    number: int
    manner: Manner
    response_id: str | None = None
    completed: bool = False


@dataclass(slots=True)
class Trap:
    """One kill: of which manner the answer is, which byte of it, and who pulls.

    Held: the upstream stops after that byte, waits a moment and shoots. Otherwise it goes on sending, and the client
    shoots when it has seen so many bytes.
    """

    manner: Manner
    held: bool
    near_end: bool
    fraction: float
    pause_s: float
    shoot: Callable[[], None]
    taken: bool = False
    sprung: bool = False

    def take(self, length: int) -> int:
        """The byte after which the shot falls, in an answer of this length."""
        self.taken = True
        span = min(length, 80) if self.near_end else length
        return length - span + max(1, round(self.fraction * span))

    def spring(self) -> None:
        if not self.sprung:
            self.sprung = True
            self.shoot()


@dataclass(slots=True)
class World:
    """Upstream and clients, their books, and the trap that is set, if one is."""

    chance: random.Random
    sent: list[Sent] = field(default_factory=list)
    reached: set[int] = field(default_factory=set)
    """Calls whose request the upstream has read; of sockets, their responses' calls."""
    calls: list[Call] = field(default_factory=list)
    trap: Trap | None = None
    ended: bool = False

    @property
    def completed(self) -> int:
        return sum(call.completed for call in self.calls)

    def new_call(self, manner: Manner) -> Call:
        self.calls.append(Call(len(self.calls), manner))
        return self.calls[-1]

    def book(self, call: int, manner: Manner, request_id: str) -> Sent:
        """A new answer, with counts that no other has."""
        serial = len(self.sent) + 1
        names = (
            ("prompt_tokens", "completion_tokens") if "chat" in TARGETS[manner] else ("input_tokens", "output_tokens")
        )
        counts = (1000 + serial, 3 * serial)
        usage = dict(zip((*names, "total_tokens"), (*counts, sum(counts)), strict=True))
        prefix = "chatcmpl" if "chat" in TARGETS[manner] else "resp"
        entry = Sent(call=call, manner=manner, response_id=f"{prefix}-{serial}", request_id=request_id, usage=usage)
        self.sent.append(entry)
        return entry

    async def answer(self, request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """The upstream's part, for `wire.serving`."""
        number = int(request.header("x-call") or -1)
        manner = Manner(request.header("x-manner") or "")
        if manner is Manner.SOCKET:
            await self._serve_socket(request, reader, writer)
            return False
        self.reached.add(number)
        entry = self.book(number, manner, f"req-{len(self.sent) + 1}")
        await self._send(writer, manner, b"".join(self._http(entry)))
        return True

    def _http(self, entry: Sent) -> list[bytes]:
        headers = {"Content-Type": "application/json", "x-request-id": entry.request_id}
        if entry.manner in (Manner.LENGTH, Manner.CHUNKED):
            content = "x" * self.chance.choice((10, 300, 3000, 90_000))
            message = {"choices": [{"index": 0, "message": {"content": content}}], "usage": entry.usage}
            body = json.dumps(
                {"id": entry.response_id, "object": "chat.completion", "model": MODEL, **message}
            ).encode()
            return framed(200, headers, body, cuts=None if entry.manner is Manner.LENGTH else self._cuts(len(body)))
        events = responses_events(entry, self.chance) if entry.manner is Manner.RESPONSES else self._chat_events(entry)
        body = b"".join(events)
        return framed(200, {**headers, "Content-Type": "text/event-stream"}, body, cuts=self._cuts(len(body)))

    def _chat_events(self, entry: Sent) -> list[bytes]:
        """As the provider streams where usage was asked for; the proxy asks for those that do not."""
        head = {"id": entry.response_id, "object": "chat.completion.chunk", "model": MODEL}
        delta = {**head, "choices": [{"index": 0, "delta": {"content": "word "}}], "usage": None}
        last = {**head, "choices": [], "usage": entry.usage}
        events = [*[delta] * self.chance.randint(1, 12), last]
        return [*(b"data: %b\n\n" % json.dumps(event).encode() for event in events), b"data: [DONE]\n\n"]

    def _cuts(self, length: int) -> list[int]:
        return [self.chance.randrange(length) for _ in range(self.chance.randint(0, 12))]

    async def _send(self, writer: asyncio.StreamWriter, manner: Manner, raw: bytes) -> None:
        """Write an answer in pieces cut anywhere, with pauses; up to the trap's byte, if it is the one waited for."""
        trap, held_at = self.trap, 0
        if trap is not None and trap.held and not trap.taken and trap.manner is manner:
            held_at = trap.take(len(raw))
            raw = raw[:held_at]
        edges = sorted({0, len(raw), *self._cuts(len(raw))})
        for begin, end in itertools.pairwise(edges):
            writer.write(raw[begin:end])
            await writer.drain()
            await asyncio.sleep(self.chance.choice((0, 0, PAUSE_S_MAX * self.chance.random())))
        if trap is not None and held_at:
            await asyncio.sleep(trap.pause_s)
            trap.spring()

    async def _serve_socket(
        self, request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        socket = WSConnection(ConnectionType.SERVER)
        socket.receive_data(request.head + b"\r\n\r\n")
        request_id = f"req-socket-{len(self.sent) + 1}-{request.header('x-call')}"
        async for event in socket_events(socket, reader):
            if isinstance(event, Request):
                writer.write(socket.send(AcceptConnection(extra_headers=[(b"x-request-id", request_id.encode())])))
            elif isinstance(event, TextMessage):
                number = int(json.loads(event.data)["metadata"]["call"])
                self.reached.add(number)
                entry = self.book(number, Manner.SOCKET, request_id)
                texts = [text.removeprefix(b"data: ").strip() for text in responses_events(entry, self.chance)]
                frames = [socket.send(TextMessage(data=text.decode())) for text in texts]
                await self._send(writer, Manner.SOCKET, b"".join(frames))
            elif isinstance(event, CloseConnection):
                writer.write(socket.send(event.response()))
                return

    async def client(self, port: Callable[[], int], chance: random.Random) -> None:
        """Make calls until the world ends, on one connection as long as it lasts."""
        reader = writer = None
        while not self.ended:
            manner = chance.choice(list(Manner))
            try:
                if reader is None or writer is None or manner is Manner.SOCKET:
                    if writer is not None:
                        hang_up(writer)
                    reader, writer = await asyncio.open_connection("127.0.0.1", port(), limit=2**22)
                if manner is Manner.SOCKET:
                    await self._visit(reader, writer, chance)
                    keep = False
                else:
                    keep = await self._ask(self.new_call(manner), reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                keep = False
                # The proxy is down, or just coming up.
                await asyncio.sleep(0.02)
            if not keep and writer is not None:
                hang_up(writer)
                reader = writer = None
        if writer is not None:
            hang_up(writer)

    async def _ask(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One call over HTTP; whether the connection can take another."""
        body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        if call.manner in (Manner.CHAT, Manner.MUTE, Manner.RESPONSES):
            body["stream"] = True
        if call.manner is Manner.CHAT:
            body["stream_options"] = {"include_usage": True}
        raw = json.dumps(body).encode()
        writer.write(request_bytes("POST", target(call), headers=call_headers(call), body=raw))
        head = await read_head(reader)
        assert head.split(b" ", 2)[1] == b"200", head
        seen = Payload(head)
        watch = self._watch(call.manner, seen.length or STREAM_BYTES)
        while not seen.whole:
            data = await reader.read(65536)
            if not data:
                return False
            seen.feed(data)
            note_completion(call, seen)
            watch(len(data))
        watch(ALL)
        return True

    def _watch(self, manner: Manner, length: int) -> Callable[[int], None]:
        """Told how many bytes more were seen; shoots if this is the answer that the trap waits for."""
        trap = self.trap
        if trap is None or trap.held or trap.taken or trap.manner is not manner:
            return lambda count: None
        left = [trap.take(length)]

        def seen(count: int) -> None:
            left[0] -= count
            if left[0] <= 0:
                trap.spring()

        return seen

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random) -> None:
        """A few responses on one socket, one after another."""
        socket = WSConnection(ConnectionType.CLIENT)
        first = call = self.new_call(Manner.SOCKET)
        headers = [(name.encode(), value.encode()) for name, value in call_headers(first).items()]
        writer.write(socket.send(Request(host="127.0.0.1", target=target(first), extra_headers=headers)))
        watch = self._watch(Manner.SOCKET, STREAM_BYTES)
        left = chance.randint(1, RESPONSES_A_SOCKET)
        async for event in socket_events(socket, reader, watch):
            if isinstance(event, AcceptConnection):
                writer.write(create(socket, call))
            elif isinstance(event, TextMessage):
                said = json.loads(event.data)
                call.response_id = said["response"]["id"]
                if said["type"] != "response.completed":
                    continue
                call.completed = True
                left -= 1
                if not left:
                    watch(ALL)
                    return
                call = self.new_call(Manner.SOCKET)
                writer.write(create(socket, call))


class Payload:
    """The body of one answer, out of its framing, as far as it has come."""

    def __init__(self, head: bytes) -> None:
        length = find_header(head, "content-length")
        self.length = None if length is None else int(length)
        self.body = bytearray()
        self.whole = False
        self._framed = bytearray()

    def feed(self, data: bytes) -> None:
        if self.length is not None:
            self.body += data
            self.whole = len(self.body) >= self.length
            return
        self._framed += data
        while (line := self._framed.find(b"\r\n")) >= 0:
            size = int(self._framed[:line], 16)
            if len(self._framed) < line + 2 + size + 2:
                return
            self.body += self._framed[line + 2 : line + 2 + size]
            del self._framed[: line + 2 + size + 2]
            self.whole = size == 0


def note_completion(call: Call, seen: Payload) -> None:
    """Whether the byte that completes the answer has been seen by now, and of which answer."""
    if call.response_id is None and (at := seen.body.find(b'"id": "')) >= 0:
        name, quote, _ = bytes(seen.body[at + 7 : at + 60]).partition(b'"')
        call.response_id = name.decode() if quote else None
    match call.manner:
        case Manner.CHAT | Manner.MUTE:
            call.completed = b"data: [DONE]" in seen.body
        case Manner.RESPONSES:
            at = seen.body.find(b'"response.completed"')
            call.completed = at >= 0 and seen.body.find(b"\n", at) >= 0
        case _:
            call.completed = seen.whole


def target(call: Call) -> str:
    return f"/run/kills/step/{call.number}/v1/{TARGETS[call.manner]}"


def call_headers(call: Call) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {SECRET}",
        "Content-Type": "application/json",
        "X-Call": str(call.number),
        "X-Manner": call.manner,
    }


def create(socket: WSConnection, call: Call) -> bytes:
    message = {"type": "response.create", "model": "gpt-5", "input": "hi", "metadata": {"call": str(call.number)}}
    return socket.send(TextMessage(data=json.dumps(message)))


def responses_events(entry: Sent, chance: random.Random) -> list[bytes]:
    answer = {"id": entry.response_id, "object": "response", "model": MODEL}
    events = [{"type": "response.created", "response": {**answer, "status": "in_progress", "usage": None}}]
    delta = {"type": "response.output_text.delta", "delta": "word ", "response": {"id": entry.response_id}}
    events += [delta] * chance.randint(1, 12)
    events.append({"type": "response.completed", "response": {**answer, "status": "completed", "usage": entry.usage}})
    return [b"data: %b\n\n" % json.dumps(event).encode() for event in events]


async def socket_events(
    socket: WSConnection, reader: asyncio.StreamReader, watch: Callable[[int], None] = lambda count: None
) -> AsyncIterator[Any]:
    """Whole messages and what else happens on a socket, until it closes or breaks."""
    text = ""
    while True:
        for event in socket.events():
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    yield TextMessage(data=text)
                    text = ""
            else:
                yield event
        data = await reader.read(65536)
        watch(len(data))
        if not data:
            return
        socket.receive_data(data)
