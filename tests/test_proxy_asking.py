"""Streams that would not tell their usage: asked for it, counted, and the client sees what it would have seen."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from test_proxy_tap import CHAT, CHAT_BODY, JSON, SECRET, always, calls, chat, journal_kinds, proxied, sse
from wire import Answer, RawRequest, exchange, framed, read_response, request_bytes

from submeter.proxy import Submeter
from submeter.proxy.rewrite_request import BODY_BYTES_MAX
from submeter.sim import Fault, FaultKind, Key, Sim

STREAM = {**CHAT, "stream": True}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
MINE = {"Content-Type": "application/json"}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
KEY = Key(secret=SECRET, api_key_id="key_a")


def chunk(usage: Any, choices: list[Any]) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices}
    return head if usage is ... else {**head, "usage": usage}


def stream(*, asked: bool) -> bytes:
    nothing = None if asked else ...
    choices = [{"index": 0, "delta": {"content": 'says "usage": null'}}]
    extra = [chunk(USAGE, [])] if asked else []
    return sse(chunk(nothing, choices), chunk(nothing, choices), *extra, b"[DONE]")


def server(pieces: dict[bool, list[bytes]], *, refuses: bytes | None = None) -> Answer:
    """An upstream that streams with usage or without, as it is asked; `refuses`: its 400 to the question."""

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = json.loads(request.body)
        asked = (body.get("stream_options") or {}).get("include_usage") is True
        refused = framed(400, JSON, refuses or b"")
        for piece in (
            refused if asked and refuses else pieces[asked] if body.get("stream") else framed(200, JSON, CHAT_BODY)
        ):
            writer.write(piece)
            await writer.drain()
        return True

    return answer


def streams(cuts: list[int] | None = None) -> dict[bool, list[bytes]]:
    return {asked: framed(200, SSE, stream(asked=asked), cuts=cuts) for asked in (True, False)}


@pytest.mark.parametrize("cuts", [None, [1, 2, 3, 50, 51, 200, 201, 202], list(range(1, 2000, 7))])
@pytest.mark.parametrize(
    "options", [{}, {"stream_options": {"include_usage": False, "new": 1}}, {"stream_options": None}]
)
def test_a_mute_stream_is_counted_and_its_client_sees_what_it_would_have_seen(
    tmp_path: Path, cuts: list[int] | None, options: dict[str, Any]
) -> None:
    with proxied(tmp_path, server(streams(cuts))) as (port, upstream, ledger):
        response = exchange(port, chat(body={**STREAM, **options}, headers={"Accept-Encoding": "gzip, br"}))
        assert (response.status, response.body, response.whole) == (200, stream(asked=False), True)
        assert response.header("content-length") is None
        [request] = upstream.requests
        assert json.loads(request.body)["stream_options"]["include_usage"] is True
        assert json.loads(request.body)["stream_options"].get("new") == (
            (options.get("stream_options") or {}).get("new")
        )
        assert request.header("accept-encoding") == "identity"
        assert request.header("content-length") == str(len(request.body))
    [call] = calls(ledger)
    assert (call["input_tokens"], call["output_tokens"], call["standing"]) == (12, 5, "counted")
    assert (call["usage_source"], call["outcome"], call["flags"]) == ("requested", "metered", [])
    assert call["request_bytes"] == len(json.dumps({**STREAM, **options}))
    assert call["response_bytes"] == len(stream(asked=True))


def test_the_row_is_written_before_done_goes_on(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def client(port: int, ledger: Path) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat(body=STREAM))
        got = b""
        while b"[DONE]" not in got:
            got += await reader.read(65536)
        seen.append(journal_kinds(ledger))
        writer.close()
        return got

    cut_before_blank_line = [len(stream(asked=True)) - 1]
    with proxied(tmp_path, server(streams(cut_before_blank_line))) as (port, _, ledger):
        asyncio.run(client(port, ledger))
    assert seen == [["process", "key", "start", "settle"]]


def test_the_next_calls_on_the_connection_are_unharmed(tmp_path: Path) -> None:
    async def client(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bodies = []
        for body in (STREAM, CHAT, {**STREAM, "stream_options": {"include_usage": True}}, STREAM, CHAT):
            writer.write(chat(body=body))
            bodies.append((await read_response(reader)).body)
        writer.close()
        return bodies

    with proxied(tmp_path, server(streams())) as (port, _, ledger):
        expected = [stream(asked=False), CHAT_BODY, stream(asked=True), stream(asked=False), CHAT_BODY]
        assert asyncio.run(client(port)) == expected
    sources = ["requested", "reported", "reported", "requested", "reported"]
    assert [call["usage_source"] for call in calls(ledger)] == sources


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (json.dumps(CHAT).encode(), {"Accept-Encoding": "gzip"}),
        (json.dumps({**STREAM, "stream_options": {"include_usage": True}}).encode(), {"Accept-Encoding": "gzip"}),
        (gzip.compress(json.dumps(CHAT).encode(), mtime=0), {"Content-Encoding": "gzip", "Accept-Encoding": "br"}),
        (b"{broken", {}),
    ],
)
def test_other_requests_go_upstream_byte_for_byte(tmp_path: Path, body: bytes, headers: dict[str, str]) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        assert exchange(port, chat(body=body, headers=headers)).body == CHAT_BODY
        [request] = upstream.requests
        assert request.body == body
        assert request.header("accept-encoding") == headers.get("Accept-Encoding")
        assert request.header("content-encoding") == headers.get("Content-Encoding")
    [call] = calls(ledger)
    assert (call["standing"], call["usage_source"]) == ("counted", "reported")


def test_a_compressed_body_is_asked_plain(tmp_path: Path) -> None:
    with proxied(tmp_path, server(streams())) as (port, upstream, ledger):
        body = gzip.compress(json.dumps(STREAM).encode())
        assert exchange(port, chat(body=body, headers={"Content-Encoding": "gzip"})).body == stream(asked=False)
        assert upstream.requests[0].header("content-encoding") is None
    [call] = calls(ledger)
    assert (call["usage_source"], call["request_model"], call["request_bytes"]) == (
        "requested",
        "gpt-4o-mini",
        len(body),
    )


def test_a_chunked_body_is_asked_too(tmp_path: Path) -> None:
    body = json.dumps(STREAM).encode()
    head = request_bytes("POST", "/v1/chat/completions", headers={"Authorization": f"Bearer {SECRET}"})
    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with proxied(tmp_path, server(streams())) as (port, _, ledger):
        raw = head + b"%x\r\n%b\r\n5\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body[:-5], body[-5:])
        assert exchange(port, raw).body == stream(asked=False)
    assert [call["usage_source"] for call in calls(ledger)] == ["requested"]


def test_a_body_too_long_to_hold_passes_unchanged_and_the_row_says_so(tmp_path: Path) -> None:
    body = json.dumps({**STREAM, "user": "x" * BODY_BYTES_MAX}).encode()
    with proxied(tmp_path, server(streams())) as (port, upstream, ledger):
        assert exchange(port, chat(body=body)).body == stream(asked=False)
        assert upstream.requests[0].body == body
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["flags"]) == ("no_usage", "unknown", ["usage_not_asked"])


def test_an_answer_that_is_no_stream_passes_as_it_is(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        response = exchange(port, chat(body=STREAM))
        assert (response.body, response.header("content-length")) == (CHAT_BODY, str(len(CHAT_BODY)))
    assert [(call["standing"], call["usage_source"]) for call in calls(ledger)] == [("counted", "reported")]


def test_an_answer_that_comes_compressed_all_the_same_passes_and_is_flagged(tmp_path: Path) -> None:
    body = gzip.compress(stream(asked=True))
    with proxied(tmp_path, always(framed(200, {**SSE, "Content-Encoding": "gzip"}, body))) as (port, _, ledger):
        assert exchange(port, chat(body=STREAM)).body == body
    [call] = calls(ledger)
    assert (call["input_tokens"], call["flags"]) == (12, ["usage_not_hidden"])


def test_bytes_pass_when_hiding_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(event: bytes) -> bytes:
        raise RuntimeError(f"leaks {event!r}")

    monkeypatch.setattr("submeter.proxy.rewrite_stream._rewritten", raises)
    with proxied(tmp_path, server(streams([40, 300]))) as (port, _, ledger):
        assert exchange(port, chat(body=STREAM)).body == stream(asked=True)
    assert [call["input_tokens"] for call in calls(ledger)] == [12]


REFUSAL = b'{"error": {"message": "Unknown parameter: stream_options", "type": "t", "param": "stream_options"}}'


def test_a_refused_question_is_sent_again_once_as_a_call_of_its_own(tmp_path: Path) -> None:
    with proxied(tmp_path, server(streams([10, 99]), refuses=REFUSAL)) as (port, upstream, ledger):
        target = "/run/r%201/step/4/v1/chat/completions?a=%2F"
        first = exchange(port, chat(target, body=STREAM, headers={"Accept-Encoding": "gzip"}))
        assert (first.status, first.body, first.header("content-type")) == (
            200,
            stream(asked=False),
            SSE["Content-Type"],
        )
        later = exchange(port, chat(target, body=STREAM))
        assert (later.status, later.body) == (200, stream(asked=False))
        asked, again, unasked = upstream.requests
        assert {request.target for request in upstream.requests} == {"/v1/chat/completions?a=%2F"}
        assert again.body == unasked.body == json.dumps(STREAM).encode() != asked.body
        assert again.header("accept-encoding") == "gzip"
        assert b"submeter" not in again.head.lower()
    refused, repeated, plain = calls(ledger)
    assert (refused["outcome"], refused["standing"], refused["flags"]) == ("refused", "unbilled", [])
    assert set(repeated["flags"]) == {"retried_by_us", "usage_not_asked"}
    assert (repeated["outcome"], repeated["standing"]) == ("no_usage", "unknown")
    assert plain["flags"] == ["usage_not_asked"]
    assert {(call["run_id"], call["step"]) for call in (refused, repeated, plain)} == {("r 1", "4")}


def test_a_request_that_is_refused_unchanged_too_does_not_end_the_asking(tmp_path: Path) -> None:
    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        good = b"stream_options" in request.body and b"bad" not in request.body
        writer.write(framed(200, SSE, stream(asked=True))[0] if good else framed(400, MINE, REFUSAL)[0])
        return True

    with proxied(tmp_path, answer) as (port, upstream, ledger):
        refused = exchange(port, chat(body={**STREAM, "stream_options": {"bad": 1}}))
        assert (refused.status, refused.body) == (400, REFUSAL)
        assert exchange(port, chat(body=STREAM)).body == stream(asked=False)
        assert len(upstream.requests) == 3
    assert [call["outcome"] for call in calls(ledger)] == ["refused", "refused", "metered"]


def test_another_refusal_is_not_sent_again(tmp_path: Path) -> None:
    refusal = b'{"error": {"message": "no such model", "type": "t", "param": "model"}}'
    with proxied(tmp_path, server(streams(), refuses=refusal)) as (port, upstream, ledger):
        response = exchange(port, chat(body=STREAM))
        assert (response.status, response.body) == (400, refusal)
        assert len(upstream.requests) == 1
    assert [call["outcome"] for call in calls(ledger)] == ["refused"]


def test_nobody_else_can_say_that_a_request_is_ours(tmp_path: Path) -> None:
    with proxied(tmp_path, server(streams())) as (port, upstream, ledger):
        exchange(port, chat(body=STREAM, headers={"X-Submeter-Plain": "guess"}))
        assert b"submeter" not in upstream.requests[0].head.lower()
    assert [(call["usage_source"], call["flags"]) for call in calls(ledger)] == [("requested", [])]


def sim_body(raw: bytes, faults: tuple[Fault, ...], tmp_path: Path | None = None) -> tuple[bytes, Sim]:
    with Sim(keys=[KEY], seed=5, now=lambda: 1_790_000_000.0, faults=faults) as sim:
        if tmp_path is None:
            return exchange(int(sim.url.rsplit(":", 1)[1]), raw).body, sim
        with Submeter(tmp_path / "submeter.duckdb", upstream=sim.url) as meter:
            return exchange(int(meter.url.rsplit(":", 1)[1]), raw).body, sim


def payloads(body: bytes) -> list[Any]:
    """The events of a stream without what differs between two calls: ids, text, padding."""
    events = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
    return [list(json.loads(event)) for event in events]


FAULTS = [
    (),
    (FaultKind.USAGE_WITH_CHOICES,),
    (FaultKind.USAGE_REPEATED,),
    (FaultKind.LINE_ENDS,),
    (FaultKind.ONE_BYTE_WRITES,),
    (FaultKind.NO_DONE,),
]


@pytest.mark.parametrize("kinds", FAULTS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_simulator_s_streams_have_the_same_members_as_unasked(
    tmp_path: Path, kinds: tuple[FaultKind, ...], path: str
) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    chatting = {**STREAM, "n": 2, "tools": tools, "tool_choice": "none"}
    body = chatting if "chat" in path else {"model": "gpt-3.5-turbo-instruct", "prompt": "hi", "stream": True, "n": 2}
    faults = tuple(Fault(kind=kind) for kind in kinds)
    through, sim = sim_body(chat(path, body=body), faults, tmp_path)
    for names in payloads(through):
        assert "usage" not in names
        assert "choices" in names
    assert b'"choices":[]' not in through
    [call] = calls(tmp_path / "submeter.duckdb")
    [entry] = sim.books.entries
    assert (call["input_tokens"], call["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)
    assert (call["usage_source"], call["standing"]) == ("requested", "counted")
