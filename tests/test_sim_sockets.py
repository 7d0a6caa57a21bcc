"""The simulator's WebSockets: Responses in its socket mode, and Realtime."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from submeter.sim import Fault, FaultKind, Sim
from submeter.sim.books import State
from submeter.sim.client import Client

NOON = 1_795_348_800.0
HANG_S = 120.0
"""After so long it hangs; a machine with other work is only slow."""
CREATE = {"type": "response.create", "model": "gpt-5", "input": "hello"}
Play = Callable[[WebSocketClientConnection], Awaitable[None]]


def play(sim: Sim, path: str, scene: Play) -> None:
    """Run a scene on one connected socket."""

    async def run() -> None:
        url = f"ws://127.0.0.1:{sim.port}{path}"
        socket = await websocket_connect(HTTPRequest(url, headers={"Authorization": "Bearer sk-sim-0001"}))
        assert socket.protocol is not None
        stream = socket.protocol.stream
        try:
            await asyncio.wait_for(scene(socket), HANG_S)
        finally:
            socket.close()
            # A closing handshake waits for the other side, and this loop ends before it is done.
            if stream is not None:
                stream.close()

    asyncio.run(run())


async def said(socket: WebSocketClientConnection, *last: str) -> list[dict[str, Any]]:
    """Events up to the first of one of these types."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in last:
        message = await socket.read_message()
        assert message is not None
        events.append(json.loads(message))
    return events


def test_each_response_on_a_socket_is_an_entry_of_its_own() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        for number in range(3):
            await socket.write_message(json.dumps({**CREATE, "stream_id": "a"}))
            events = await said(socket, "response.completed")
            assert {event["stream_id"] for event in events} == {"a"}
            usage = events[-1]["response"]["usage"]
            assert usage["total_tokens"] == sim.books.entries[number].counts.total_tokens

    with Sim(now=lambda: NOON) as sim:
        play(sim, "/v1/responses", scene)
        assert sim.wait_idle()
        assert [entry.state for entry in sim.books.entries] == [State.COMPLETED] * 3


def test_lanes_interleave_and_errors_are_events() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        for lane in ("a", "b"):
            await socket.write_message(json.dumps({**CREATE, "stream_id": lane}))
        order = [event["stream_id"] for _ in range(2) for event in await said(socket, "response.completed")]
        assert order != sorted(order)
        await socket.write_message(json.dumps({**CREATE, "model": "gpt-0"}))
        (error,) = await said(socket, "error")
        assert (error["status"], error["error"]["code"]) == (400, "model_not_found")

    with Sim(now=lambda: NOON, chunk_delay_s=0.01) as sim:
        play(sim, "/v1/responses", scene)


def test_a_steered_response_ends_incomplete_and_a_successor_follows_by_itself() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await socket.read_message()
        await socket.write_message(json.dumps({"type": "response.steer", "input": "rather this"}))
        first = (await said(socket, "response.incomplete"))[-1]["response"]
        second = (await said(socket, "response.completed"))[-1]["response"]
        assert first["incomplete_details"] == {"reason": "steered"}
        assert second["previous_response_id"] == first["id"] != second["id"]
        told = [response["usage"]["total_tokens"] for response in (first, second)]
        assert told == [entry.counts.total_tokens for entry in sim.books.entries]

    with Sim(now=lambda: NOON, chunk_delay_s=0.02) as sim:
        play(sim, "/v1/responses", scene)
        assert sim.wait_idle()
        assert sim.books.total().total_tokens == sum(entry.counts.total_tokens for entry in sim.books.entries)


def test_a_warm_up_tells_what_it_read_and_is_not_billed() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps({**CREATE, "generate": False}))
        done = (await said(socket, "response.completed"))[-1]["response"]
        assert done["usage"]["input_tokens"] == sim.books.entries[0].counts.input_tokens > 0
        assert (done["usage"]["output_tokens"], done["output"]) == (0, [])

    with Sim(now=lambda: NOON) as sim:
        play(sim, "/v1/responses", scene)
        assert not sim.books.entries[0].billed


def test_a_realtime_session_tells_usage_by_response_and_by_what_it_heard() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        (created,) = await said(socket, "session.created")
        assert created["session"]["model"] == "gpt-realtime"
        await socket.write_message(json.dumps({"type": "input_audio_buffer.commit"}))
        (heard,) = await said(socket, "conversation.item.input_audio_transcription.completed")
        assert heard["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens
        await socket.write_message(json.dumps({"type": "response.create"}))
        done = (await said(socket, "response.done"))[-1]["response"]
        assert "model" not in done
        usage, counts = done["usage"], sim.books.entries[1].counts
        assert usage["input_tokens"] == counts.input_tokens
        assert usage["output_token_details"]["audio_tokens"] == counts.output_audio
        assert usage["input_token_details"]["cached_tokens"] == counts.cached_tokens
        await socket.write_message(json.dumps({"type": "nonsense"}))
        assert (await said(socket, "error"))[-1]["error"]["code"] == "invalid_value"

    with Sim(now=lambda: NOON) as sim:
        play(sim, "/v1/realtime?model=gpt-realtime", scene)
        assert sim.wait_idle()
        assert [entry.usage_endpoint for entry in sim.books.entries] == ["audio_transcriptions", "completions"]


def test_a_stranger_gets_no_socket() -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    with Sim(now=lambda: NOON) as sim:
        reply = Client(url=sim.url, secret="sk-nobody").send(
            "GET", "/v1/responses", b"", {**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        )
    assert (reply.status, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_socket_may_break_in_the_middle_of_a_response() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        messages = [await socket.read_message() for _ in range(4)]
        assert messages[-1] is None
        assert None not in messages[:3]

    with Sim(now=lambda: NOON, faults=[Fault(kind=FaultKind.RESET, method="WS", after=3)]) as sim:
        play(sim, "/v1/responses", scene)
        assert sim.wait_idle()
        assert sim.books.entries[0].delivered is False


def test_stopping_closes_open_sockets() -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await asyncio.to_thread(sim.stop)
        assert await socket.read_message() is None

    with Sim(now=lambda: NOON) as sim:
        play(sim, "/v1/responses", scene)
