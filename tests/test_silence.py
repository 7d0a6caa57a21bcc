"""Silence for long cuts no call: answers that take long, streams that pause, sockets.

A connection on which nothing has moved for a day is ended. That the watch over it does cut is shown by a proxy that is
given a limit of a fraction of a second, under which the same silence cuts everything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from socket_wire import Stage, playing, visit
from test_proxy_sockets import AUTHORIZED, CREATE, USAGE, event, said
from test_proxy_tap import CHAT, CHAT_BODY, JSON, calls, chat, sse
from tornado.websocket import WebSocketClientConnection
from wire import RawRequest, exchange, framed, serving

from submeter.data.clock import SystemClock
from submeter.data.keys import read_keys
from submeter.proxy.listen import Listen
from submeter.proxy.serve import SILENCE_S_MAX, ProxyServer
from submeter.proxy.upstream_url import parse_upstream

SHORT_S = 0.2
SILENCE_S = 3 * SHORT_S


@contextmanager
def watched(folder: Path, upstream: str, silence_s_max: float = SILENCE_S_MAX) -> Iterator[str]:
    server = ProxyServer(
        ledger=folder / "submeter.duckdb",
        listen=Listen(port=0),
        upstream=parse_upstream(upstream),
        clock=SystemClock(),
        keys=read_keys({}),
        silence_s_max=silence_s_max,
    )
    server.start()
    try:
        yield server.url
    finally:
        server.stop(drain_s=0)


def pausing(pieces: list[bytes]) -> Any:
    """An upstream that falls silent before each piece but the first."""

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for number, piece in enumerate(pieces):
            await asyncio.sleep(SILENCE_S if number else 0)
            writer.write(piece)
            await writer.drain()
        return True

    return answer


CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"}


@pytest.mark.parametrize("where", ["before its headers", "in its body"])
def test_an_answer_that_is_long_in_coming_is_whole_and_counted(tmp_path: Path, where: str) -> None:
    [raw] = framed(200, JSON, CHAT_BODY)
    pieces = [b"", raw] if where == "before its headers" else [raw[:-9], raw[-9:]]
    with serving(pausing(pieces)) as upstream, watched(tmp_path, upstream.url) as url:
        answer = exchange(int(url.rsplit(":", 1)[1]), chat())
    assert (answer.status, answer.body, answer.whole) == (200, CHAT_BODY, True)
    [call] = calls(tmp_path / "submeter.duckdb")
    assert (call["outcome"], call["standing"], call["input_tokens"]) == ("metered", "counted", 12)


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_that_pauses_is_whole_and_counted(tmp_path: Path, asked: bool) -> None:
    told = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    words = sse({**CHUNK, "choices": [{"index": 0, "delta": {"content": "x"}}]})
    body = words + sse({**CHUNK, "choices": [], "usage": told}, b"[DONE]")
    pieces = framed(200, {"Content-Type": "text/event-stream"}, body, cuts=[len(words)])
    request = {**CHAT, "stream": True, **({"stream_options": {"include_usage": True}} if asked else {})}
    answered = pausing([*pieces[:2], b"".join(pieces[2:])])
    with serving(answered) as upstream, watched(tmp_path, upstream.url) as url:
        answer = exchange(int(url.rsplit(":", 1)[1]), chat(body=request))
    assert (answer.body, answer.whole) == (body if asked else words + b"data: [DONE]\n\n", True)
    [call] = calls(tmp_path / "submeter.duckdb")
    assert (call["outcome"], call["input_tokens"]) == ("metered", 12)


def test_a_request_whose_client_pauses_in_its_body_is_whole_and_counted(tmp_path: Path) -> None:
    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        raw = chat()
        for piece in (raw[:-9], raw[-9:]):
            writer.write(piece)
            await asyncio.sleep(SILENCE_S)
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(len(CHAT_BODY))
        writer.close()
        return body

    with serving(pausing(framed(200, JSON, CHAT_BODY))) as upstream:
        with watched(tmp_path, upstream.url) as url:
            assert asyncio.run(client(int(url.rsplit(":", 1)[1]))) == CHAT_BODY
        assert upstream.requests[0].body == json.dumps(CHAT).encode()
    assert [call["standing"] for call in calls(tmp_path / "submeter.duckdb")] == ["counted"]


def test_a_socket_whose_upstream_stalls_in_a_response_goes_on_and_is_counted(tmp_path: Path) -> None:
    async def part(stage: Stage) -> None:
        for name in ("resp_1", "resp_2"):
            assert await stage.hear() is not None
            await stage.say(event("response.created", {"id": name}))
            await asyncio.sleep(SILENCE_S)
            await stage.say(event("response.completed", {"id": name, "status": "completed", "usage": USAGE}))

    async def scene(socket: WebSocketClientConnection) -> None:
        for _ in range(2):
            await socket.write_message(json.dumps(CREATE))
            await said(socket, "response.completed")
            # Nobody says a word between two responses either.
            await asyncio.sleep(SILENCE_S)

    with playing(part) as upstream, watched(tmp_path, upstream) as url:
        visit(f"{url}/v1/responses", scene, headers=AUTHORIZED)
    rows = [call for call in calls(tmp_path / "submeter.duckdb") if call["method"] == "WS"]
    assert [(row["response_id"], row["standing"], row["total_tokens"]) for row in rows] == [
        ("resp_1", "counted", 17),
        ("resp_2", "counted", 17),
    ]


def test_a_proxy_with_a_short_limit_would_cut_all_of_these(tmp_path: Path) -> None:
    async def part(stage: Stage) -> None:
        await stage.hear()
        await stage.say(event("response.created", {"id": "resp_1"}))
        await stage.hear()

    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await said(socket, "response.created")
        assert await socket.read_message() is None

    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat())
        got = await reader.read()
        writer.close()
        return got

    [raw] = framed(200, JSON, CHAT_BODY)
    for number, pieces in enumerate([[b"", raw], [raw[:-9], raw[-9:]]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (
            serving(pausing(pieces)) as upstream,
            watched(folder, upstream.url, silence_s_max=SHORT_S) as url,
        ):
            assert not asyncio.run(client(int(url.rsplit(":", 1)[1]))).endswith(CHAT_BODY)
        assert [call["standing"] for call in calls(folder / "submeter.duckdb")] == ["unknown"]
    with playing(part) as address, watched(tmp_path, address, silence_s_max=SHORT_S) as url:
        visit(f"{url}/v1/responses", scene, headers=AUTHORIZED)
    rows = [call for call in calls(tmp_path / "submeter.duckdb") if call["method"] == "WS"]
    assert [(row["response_id"], row["standing"]) for row in rows] == [("resp_1", "unknown")]
