"""Requests too long to be held back for our question: they pass as they come, and the row says so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from test_proxy_asking import STREAM, server, stream, streams
from test_proxy_tap import CHAT, CHAT_BODY, SECRET, calls, chat, proxied
from wire import RawRequest, RawResponse, exchange, framed, read_response, request_bytes

from submeter.proxy.rewrite_request import BODY_BYTES_MAX

TARGET = "/run/r-1/step/2/v1/chat/completions"


def long_body(size: int) -> bytes:
    """A request for a stream that does not ask for its usage, of exactly this size."""
    rest = len(json.dumps({**STREAM, "user": ""}))
    return json.dumps({**STREAM, "user": "x" * (size - rest)}).encode()


def in_chunks(body: bytes, sizes: list[int]) -> bytes:
    """The same request with its body in chunks, of these sizes over and over."""
    head = request_bytes(
        "POST", TARGET, headers={"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    ).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    pieces, at = [head], 0
    while at < len(body):
        piece = body[at : at + sizes[len(pieces) % len(sizes)]]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += len(piece)
    return b"".join([*pieces, b"0\r\n\r\n"])


def ask_twice(port: int, first: bytes) -> list[RawResponse]:
    """A request and, on the same connection, two more: one that is asked for its usage and one that is no stream."""

    async def client() -> list[RawResponse]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for raw in (first, chat(body=STREAM), chat()):
            writer.write(raw)
            answers.append(await read_response(reader))
        writer.close()
        return answers

    return asyncio.run(client())


def check(port: int, raw: bytes) -> None:
    answers = ask_twice(port, raw)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [answer.body for answer in answers] == [stream(asked=False), stream(asked=False), CHAT_BODY]
    assert all(answer.whole for answer in answers)


SIZES: list[list[int] | None] = [None, [65_536], [1, 16_000, 7], [BODY_BYTES_MAX // 2]]
"""Chunks of the body, over and over; None: one body with its Content-Length."""


@pytest.mark.parametrize("sizes", SIZES)
def test_the_row_of_a_body_over_the_limit_tells_what_was_asked_and_what_was_not(
    tmp_path: Path, sizes: list[int] | None
) -> None:
    body = long_body(BODY_BYTES_MAX + 100_000)
    raw = chat(TARGET, body=body) if sizes is None else in_chunks(body, sizes)
    with proxied(tmp_path, server(streams([9]))) as (port, _, ledger):
        check(port, raw)
    first = calls(ledger)[0]
    assert (first["request_bytes"], first["request_model"]) == (len(body), "gpt-4o-mini")
    assert first["flags"] == ["usage_not_asked"]


@pytest.mark.parametrize("sizes", [None, [65_536], [1, 16_000, 7], [BODY_BYTES_MAX // 2]])
def test_a_body_over_the_limit_passes_byte_for_byte_and_harms_no_later_call_on_its_connection(
    tmp_path: Path, sizes: list[int] | None
) -> None:
    body = long_body(BODY_BYTES_MAX + 1)
    raw = chat(TARGET, body=body) if sizes is None else in_chunks(body, sizes)
    with proxied(tmp_path, server(streams([9]))) as (port, upstream, ledger):
        check(port, raw)
        long, asked, plain = upstream.requests
        assert long.body == body
        assert (long.header("content-length") is None) is (sizes is not None)
        assert json.loads(asked.body)["stream_options"] == {"include_usage": True}
        assert json.loads(plain.body) == CHAT
    first, second, third = calls(ledger)
    assert (first["run_id"], first["step"], first["streamed"]) == ("r-1", "2", True)
    assert (first["outcome"], first["standing"], first["input_tokens"]) == ("no_usage", "unknown", None)
    assert [(row["standing"], row["usage_source"]) for row in (second, third)] == [
        ("counted", "requested"),
        ("counted", "reported"),
    ]


@pytest.mark.parametrize("cuts", [None, list(range(0, BODY_BYTES_MAX, 400_000))])
def test_a_refusal_too_long_to_be_held_back_passes_byte_for_byte_and_its_row_has_its_size(
    tmp_path: Path, cuts: list[int] | None
) -> None:
    refusal = b'{"long": "%b", "error": {"message": "stream_options", "code": "c"}}' % (b"x" * BODY_BYTES_MAX)
    pieces = framed(400, {"Content-Type": "application/json"}, refusal, cuts=cuts)

    async def refuses(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for piece in pieces if json.loads(request.body).get("stream_options") else framed(200, {}, CHAT_BODY):
            writer.write(piece)
            await writer.drain()
        return True

    with proxied(tmp_path, refuses) as (port, upstream, ledger):
        answer = exchange(port, chat(TARGET, body=STREAM))
        assert (answer.status, answer.body, answer.whole) == (400, refusal, True)
        assert exchange(port, chat()).body == CHAT_BODY
        assert len(upstream.requests) == 2
    [first, _] = calls(ledger)
    assert (first["outcome"], first["standing"], first["response_bytes"]) == ("refused", "unbilled", len(refusal))
    assert first["error"] == "c"


@pytest.mark.parametrize("sizes", [None, [65_536]])
def test_a_body_of_just_the_limit_is_held_back_and_asked(tmp_path: Path, sizes: list[int] | None) -> None:
    body = long_body(BODY_BYTES_MAX)
    raw = chat(TARGET, body=body) if sizes is None else in_chunks(body, sizes)
    with proxied(tmp_path, server(streams([9]))) as (port, upstream, ledger):
        check(port, raw)
        assert json.loads(upstream.requests[0].body)["stream_options"] == {"include_usage": True}
    assert [row["usage_source"] for row in calls(ledger)] == ["requested", "requested", "reported"]
