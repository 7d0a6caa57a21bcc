"""The proxy on raw sockets: bytes, rows, and when a row is written."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from wire import Answer, RawRequest, RawServer, exchange, framed, request_bytes, serving

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.proxy import Submeter

SECRET = "sk-proj-the-secret-that-must-not-stay-0123456789"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "the prompt that must not stay"}]}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
CHAT_BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"message": {"content": "the completion that must not stay"}}],
        "usage": USAGE,
    }
).encode()
JSON = {"Content-Type": "application/json", "x-request-id": "req_1", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}


@contextmanager
def proxied(tmp_path: Path, answer: Answer, **options: Any) -> Iterator[tuple[int, RawServer, Path]]:
    """A raw upstream behind a proxy: the proxy's port, the upstream, the ledger's path."""
    ledger = tmp_path / "submeter.duckdb"
    with serving(answer) as upstream, Submeter(ledger, upstream=upstream.url, **options) as meter:
        yield int(meter.url.rsplit(":", 1)[1]), upstream, ledger


def always(pieces: list[bytes], *, keep: bool = True) -> Answer:
    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return keep

    return answer


def chat(target: str = "/v1/chat/completions", body: Any = None, headers: dict[str, str] | None = None) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body or CHAT).encode()
    return request_bytes(
        "POST",
        target,
        headers={"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json", **(headers or {})},
        body=raw,
    )


def calls(ledger: Path) -> list[dict[str, Any]]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    with opened.looking() as connection:
        table = connection.table("SELECT * FROM calls ORDER BY started_at, call_id")
    assert_sums_agree(opened)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def journal_kinds(ledger: Path) -> list[str]:
    return [
        json.loads(line)["kind"]
        for path in sorted(journal_folder(ledger).glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events)


def test_a_json_call_is_one_exact_row_and_its_bytes_pass(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        response = exchange(port, chat("/run/r-1/step/4.7/v1/chat/completions?x=secret-query"))
        assert response.body == CHAT_BODY
        [request] = upstream.requests
        assert request.target == "/v1/chat/completions?x=secret-query"
        assert request.body == json.dumps(CHAT).encode()
        assert request.header("host") == f"127.0.0.1:{upstream.port}"
    [call] = calls(ledger)
    expected = {
        "run_id": "r-1",
        "step": "4.7",
        "label_source": "url",
        "method": "POST",
        "path": "/v1/chat/completions",
        "endpoint": "chat/completions",
        "usage_endpoint": "completions",
        "operation": "create",
        "outcome": "metered",
        "standing": "counted",
        "status_code": 200,
        "streamed": False,
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "response_id": "chatcmpl-1",
        "request_id": "req_1",
        "input_tokens": 12,
        "output_tokens": 5,
        "total_tokens": 17,
        "cached_input_tokens": None,
        "usage_source": "reported",
        "request_bytes": len(json.dumps(CHAT)),
        "response_bytes": len(CHAT_BODY),
    }
    assert {name: call[name] for name in expected} == expected
    assert json.loads(call["usage"]) == USAGE
    assert call["started_at"] <= call["first_byte_at"] <= call["ended_at"]
    assert str(call["server_date"]) == "2026-11-22 10:00:00"
    assert call["overhead_us"] is not None


def test_our_headers_are_taken_off_and_label_the_row(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        exchange(port, chat(headers={"X-Submeter-Run": "r-9", "X-Submeter-Step": "2"}))
        assert b"submeter" not in upstream.requests[0].head.lower()
    assert [(c["run_id"], c["step"], c["label_source"]) for c in calls(ledger)] == [("r-9", "2", "header")]


def test_a_stream_s_row_is_written_before_done_goes_on(tmp_path: Path) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {"content": "x"}}]}
    usage = {**chunk, "choices": [], "usage": USAGE}
    body = sse(chunk, usage, b"[DONE]")
    seen: list[list[str]] = []

    async def client(port: int, ledger: Path) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat(body={**CHAT, "stream": True, "stream_options": {"include_usage": True}}))
        got = b""
        while b"[DONE]" not in got:
            got += await reader.read(65536)
        seen.append(journal_kinds(ledger))
        writer.close()
        return got

    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    with proxied(tmp_path, always(framed(200, headers, body, cuts=[10, len(sse(chunk, usage))]))) as (port, _, ledger):
        asyncio.run(client(port, ledger))
    assert seen == [["process", "key", "start", "settle"]]
    [call] = calls(ledger)
    assert (call["outcome"], call["streamed"], call["input_tokens"]) == ("metered", True, 12)


def test_a_content_length_body_s_row_is_written_before_its_last_byte_goes_on(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def client(port: int, ledger: Path) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(CHAT_BODY))
        seen.append(journal_kinds(ledger))
        writer.close()

    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        asyncio.run(client(port, ledger))
    assert seen == [["process", "key", "start", "settle"]]


def test_a_client_that_leaves_in_the_middle_leaves_a_row(tmp_path: Path) -> None:
    async def endless(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        event = sse({"object": "chat.completion.chunk", "choices": [], "model": "m", "id": "c"})
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await reader.read()
        return False

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat())
        await reader.readuntil(b"data:")
        writer.close()
        await writer.wait_closed()

    with proxied(tmp_path, endless) as (port, _, ledger):
        asyncio.run(client(port))
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["status_code"]) == ("aborted", "unknown", 200)
    assert call["input_tokens"] is None
    assert call["response_bytes"] > 0


@pytest.mark.parametrize("cut", ["before_headers", "content_length", "chunked"])
def test_an_upstream_that_breaks_off_leaves_a_failed_row(tmp_path: Path, cut: str) -> None:
    async def broken(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if cut == "content_length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
        elif cut == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}")
        await writer.drain()
        return False

    with proxied(tmp_path, broken) as (port, _, ledger):
        response = exchange(port, chat())
        assert response.status == (502 if cut == "before_headers" else 200)
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"]) == ("failed", "unknown")
    assert call["error"]


def test_an_upstream_that_is_down_is_a_502_and_an_unbilled_row(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port_down = taken.getsockname()[1]
    ledger = tmp_path / "submeter.duckdb"
    with Submeter(ledger, upstream=f"http://127.0.0.1:{port_down}") as meter:
        response = exchange(int(meter.url.rsplit(":", 1)[1]), chat())
    assert response.status == 502
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["status_code"]) == ("failed", "unbilled", None)
    assert "never_sent" in call["flags"]


@pytest.mark.parametrize(
    ("status", "outcome", "standing"),
    [
        (401, "refused", "unbilled"),
        (429, "refused", "unbilled"),
        (408, "refused", "unknown"),
        (500, "failed", "unknown"),
    ],
)
def test_an_error_status_is_a_row_that_says_so(tmp_path: Path, status: int, outcome: str, standing: str) -> None:
    body = b'{"error": {"message": "quotes the prompt", "type": "some_type", "code": "some_code", "param": null}}'
    with proxied(tmp_path, always(framed(status, JSON, body))) as (port, _, ledger):
        assert exchange(port, chat()).body == body
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["status_code"]) == (outcome, standing, status)
    assert "some_type" in call["error"]
    assert "prompt" not in call["error"]


def test_a_response_without_a_body_is_a_row_too(tmp_path: Path) -> None:
    with proxied(tmp_path, always([b"HTTP/1.1 204 No Content\r\n\r\n"])) as (port, _, ledger):
        raw = request_bytes("DELETE", "/v1/responses/resp_1", headers={"Authorization": f"Bearer {SECRET}"})
        assert exchange(port, raw, method="DELETE").status == 204
    [call] = calls(ledger)
    assert (call["outcome"], call["operation"], call["standing"]) == ("no_usage", "read", None)


GARBAGE = (
    b"",
    b"\x00\xff" * 999,
    b"{" * 5000,
    b'{"usage": "twelve"}',
    b'{"usage": {"prompt_tokens": ',
    b"\x1f\x8b broken",
)


@pytest.mark.parametrize("encoding", [None, "gzip", "br", "zstd", "deflate", "unheard-of"])
def test_garbage_passes_byte_for_byte_and_is_never_a_number(tmp_path: Path, encoding: str | None) -> None:
    headers = {**JSON, **({"Content-Encoding": encoding} if encoding else {})}

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = GARBAGE[int(request.header("x-body") or "")]
        return await always(framed(200, headers, body, cuts=[1, 2, 3]))(request, reader, writer)

    with proxied(tmp_path, answer) as (port, _, ledger):
        for number, body in enumerate(GARBAGE):
            raw = chat(f"/step/{number}/v1/chat/completions", headers={"X-Body": str(number)})
            assert exchange(port, raw).body == body
    rows = calls(ledger)
    assert [row["step"] for row in rows] == [str(number) for number in range(len(GARBAGE))]
    for row in rows:
        assert row["outcome"] in ("unreadable", "no_usage")
        assert (row["standing"], row["input_tokens"], row["usage"]) == ("unknown", None, None)


def test_bytes_pass_when_the_meter_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(self: object, data: bytes) -> bool:
        raise RuntimeError(f"leaks {data!r}")

    monkeypatch.setattr("submeter.proxy.meter.Meter.feed", raises)
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY, cuts=[5]))) as (port, _, ledger):
        assert exchange(port, chat()).body == CHAT_BODY
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"]) == ("unreadable", "unknown")
    assert "meter_failed" in call["flags"]


def test_kept_alive_connections_carry_one_call_after_another(tmp_path: Path) -> None:
    async def client(port: int) -> list[bytes]:
        from wire import read_response

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bodies = []
        for step in range(5):
            writer.write(chat(f"/step/{step}/v1/chat/completions"))
            bodies.append((await read_response(reader)).body)
        writer.close()
        return bodies

    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY, cuts=[7]))) as (port, _, ledger):
        assert asyncio.run(client(port)) == [CHAT_BODY] * 5
    assert [c["step"] for c in calls(ledger)] == ["0", "1", "2", "3", "4"]


def test_nothing_secret_is_in_any_file(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        exchange(port, chat("/v1/chat/completions?key=the-query-that-must-not-stay"))
    calls(ledger)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert b"must-not-stay" not in path.read_bytes().replace(b" ", b"-"), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_request_line_in_absolute_form_still_goes_to_our_upstream(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        exchange(port, chat("http://evil.example/run/r-1/v1/chat/completions"))
        [request] = upstream.requests
        assert request.target == "/v1/chat/completions"
        assert request.header("host") == f"127.0.0.1:{upstream.port}"
    assert [c["run_id"] for c in calls(ledger)] == ["r-1"]


def test_a_request_target_without_a_slash_is_refused_and_not_forwarded(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        assert exchange(port, request_bytes("OPTIONS", "*"), method="OPTIONS").status == 400
        assert upstream.requests == []
    assert [(c["outcome"], "never_sent" in c["flags"]) for c in calls(ledger)] == [("refused", True)]


def test_a_head_over_256_kb_is_refused_and_not_forwarded(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        raw = request_bytes("GET", "/v1/models", headers={"X-Long": "x" * (257 * 1024)})
        assert exchange(port, raw, method="GET").status == 431
        assert upstream.requests == []
    assert [c["outcome"] for c in calls(ledger)] == ["refused"]


def test_a_control_request_from_a_foreign_page_is_refused_and_is_no_row(tmp_path: Path) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        body = b'{"run": "r-1", "step": "1"}'
        ok = exchange(port, request_bytes("POST", "/_submeter/step", body=body))
        assert ok.status == 200
        health = exchange(port, request_bytes("GET", "/_submeter/health"), method="GET")
        assert json.loads(health.body)["calls_open"] == 0
        rebound = request_bytes("GET", "/_submeter/health", host="evil.example")
        assert exchange(port, rebound, method="GET").status == 403
        assert upstream.requests == []
    assert calls(ledger) == []
    assert journal_kinds(ledger) == ["process", "step", "stop"]


def test_a_step_mark_labels_the_calls_that_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_BAES", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY_BAES_ID", "key_baes")
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        for step in ("1", "2"):
            exchange(
                port, request_bytes("POST", "/_submeter/step", body=b'{"run":"baes/r-1","step":"%b"}' % step.encode())
            )
            exchange(port, chat())
    assert [(c["framework"], c["run_id"], c["step"], c["label_source"], c["api_key_id"]) for c in calls(ledger)] == [
        ("baes", "r-1", "1", "mark", "key_baes"),
        ("baes", "r-1", "2", "mark", "key_baes"),
    ]


def test_a_smuggling_request_that_the_engine_refuses_is_an_unbilled_row(tmp_path: Path) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"0\r\n\r\n"
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        assert exchange(port, raw).status == 400
        assert upstream.requests == []
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"]) == ("refused", "unbilled")


@pytest.mark.parametrize("target", ["/v1/chat/completions", "http://elsewhere.example/v1/chat/completions"])
def test_a_request_without_a_host_goes_on_with_the_upstream_s(tmp_path: Path, target: str) -> None:
    raw = f"POST {target} HTTP/1.0\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, _):
        assert exchange(port, raw).status == 200
        [request] = upstream.requests
        assert request.header("host") == upstream.url.removeprefix("http://")


def test_a_stop_waits_for_open_calls_and_then_cuts_and_records_the_rest(tmp_path: Path) -> None:
    async def silent(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        await reader.read()
        return False

    ledger = tmp_path / "submeter.duckdb"
    with serving(silent) as upstream:
        meter = Submeter(ledger, upstream=upstream.url, drain_s=0.1).start()
        sockets = []
        for number in range(50):
            connection = socket.create_connection(("127.0.0.1", int(meter.url.rsplit(":", 1)[1])))
            connection.sendall(chat(f"/step/{number}/v1/chat/completions"))
            assert connection.recv(12) == b"HTTP/1.1 200"
            sockets.append(connection)
        meter.stop()
        for connection in sockets:
            connection.close()
    rows = calls(ledger)
    assert sorted(int(row["step"]) for row in rows) == list(range(50))
    assert {(row["outcome"], row["standing"]) for row in rows} == {("aborted", "unknown")}


def test_a_second_terminal_event_after_the_first_is_the_one_that_stands(tmp_path: Path) -> None:
    def terminal(name: str, inputs: int) -> Any:
        usage = {"input_tokens": inputs, "output_tokens": 1, "total_tokens": inputs + 1}
        return {"type": "response.completed", "response": {"id": name, "status": "completed", "usage": usage}}

    body = sse(terminal("resp_1", 10), terminal("resp_2", 20))
    pieces = framed(200, {"Content-Type": "text/event-stream"}, body, cuts=[len(sse(terminal("resp_1", 10)))])
    with proxied(tmp_path, always(pieces)) as (port, _, ledger):
        assert exchange(port, chat("/v1/responses")).body == body
    [call] = calls(ledger)
    assert (call["response_id"], call["input_tokens"], call["standing"]) == ("resp_2", 20, "counted")


def test_a_proxy_started_again_in_the_middle_of_a_run_goes_on_labelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_BAES", SECRET)
    mark = json.dumps({"run": "baes/r-1", "step": "3"}).encode()
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, _):
        exchange(port, request_bytes("POST", "/_submeter/step", body=mark))
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        exchange(port, chat())
    assert [(c["framework"], c["run_id"], c["step"]) for c in calls(ledger)] == [("baes", "r-1", "3")]


def test_a_chat_that_searches_the_web_is_hosted_work_and_an_embedding_of_a_search_model_is_none(
    tmp_path: Path,
) -> None:
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, _, ledger):
        for target, body in (
            ("/v1/chat/completions", {**CHAT, "web_search_options": {}}),
            ("/v1/chat/completions", CHAT),
            ("/v1/embeddings", {"model": "text-search-ada-doc-001", "input": "x"}),
        ):
            assert exchange(port, chat(target, body)).status == 200
    assert ["hosted_tool" in call["flags"] for call in calls(ledger)] == [True, False, False]


def test_an_answer_that_breaks_the_protocol_leaves_none_of_itself_in_the_row(tmp_path: Path) -> None:
    broken = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"THE-COMPLETION-THAT-MUST-NOT-STAY\r\n"]
    with proxied(tmp_path, always(broken, keep=False)) as (port, _, ledger):
        exchange(port, chat())
    [call] = calls(ledger)
    assert call["outcome"] == "failed"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"MUST-NOT-STAY" not in path.read_bytes(), path


def test_a_method_that_is_no_text_is_forwarded_without_our_labels_and_is_a_row(tmp_path: Path) -> None:
    raw = chat("/run/r-1/v1/chat/completions", headers={"X-Submeter-Step": "1"}).replace(b"POST", b"P\xffST", 1)
    with proxied(tmp_path, always(framed(200, JSON, CHAT_BODY))) as (port, upstream, ledger):
        exchange(port, raw)
        assert [request.head for request in upstream.requests if b"submeter" in request.head.lower()] == []
        assert all(request.target == "/v1/chat/completions" for request in upstream.requests)
    assert [(c["run_id"], c["step"]) for c in calls(ledger)] == [("r-1", "1")]


def test_a_date_before_our_time_is_no_date_and_costs_no_row(tmp_path: Path) -> None:
    headers = {**JSON, "Date": "Sun, 01 Jan 1950 00:00:00 GMT"}
    with proxied(tmp_path, always(framed(200, headers, CHAT_BODY))) as (port, _, ledger):
        exchange(port, chat())
    assert [(c["server_date"], c["standing"]) for c in calls(ledger)] == [(None, "counted")]


def test_a_relative_ledger_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with (
        serving(always(framed(200, JSON, CHAT_BODY))) as upstream,
        Submeter("l.duckdb", upstream=upstream.url) as meter,
    ):
        monkeypatch.chdir(tmp_path / "b")
        exchange(int(meter.url.rsplit(":", 1)[1]), chat())
    assert len(calls(tmp_path / "a" / "l.duckdb")) == 1
    assert list((tmp_path / "b").iterdir()) == []
