"""Every way a call can break: what its client got, and what its row says of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from test_proxy_tap import CHAT, JSON, SECRET, always, calls, chat, proxied, sse
from wire import RawRequest, exchange, framed

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.proxy import Submeter
from submeter.sim import Fault, FaultKind, Key, Sim

KEY = Key(secret=SECRET, api_key_id="key_a")
SSE = {"Content-Type": "text/event-stream"}
ANSWER = {"model": "gpt-4o-mini", "input": "x", "stream": True}
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {}}]}
RETRIES = {"x-stainless-retry-count": "0"}


def leave_after(port: int, raw: bytes, *, seen: bytes) -> None:
    """Send a request, and leave once the answer has shown this."""

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        await reader.readuntil(seen)
        writer.close()
        await writer.wait_closed()

    asyncio.run(client())


def unknown(ledger: Path) -> list[dict[str, Any]]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    table = opened.query("SELECT why, settled_by, response_id FROM unknown_calls ORDER BY started_at")
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("receipts", [True, False])
@pytest.mark.parametrize("kind", ["response", "stored_chat", "chat"])
def test_a_stream_whose_client_leaves_is_looked_up_once_where_that_was_asked_for_and_it_is_kept(
    tmp_path: Path, receipts: bool, kind: str
) -> None:
    body = ANSWER if kind == "response" else {**CHAT, "stream": True, "store": kind == "stored_chat"}
    path = "/run/r-1/step/2/v1/responses" if kind == "response" else "/run/r-1/step/2/v1/chat/completions"
    ledger = tmp_path / "submeter.duckdb"
    with (
        Sim(keys=[KEY], seed=3, chunk_delay_s=0.05) as sim,
        Submeter(ledger, upstream=sim.url, receipts=receipts) as meter,
    ):
        leave_after(int(meter.url.rsplit(":", 1)[1]), chat(path, body=body), seen=b"delta")
        gets = await_reads(sim, 1 if receipts and kind != "chat" else 0, meter)
    create, *reads = calls(ledger)
    [entry] = sim.books.entries
    assert (create["outcome"], create["run_id"], create["step"]) == ("aborted", "r-1", "2")
    assert len(gets) == len(reads)
    if receipts and kind != "chat":
        [read] = reads
        assert (read["operation"], read["standing"], read["flags"], read["run_id"]) == ("read", None, ["receipt"], None)
        assert (create["standing"], create["usage_source"]) == ("counted", "receipt")
        assert (create["input_tokens"], create["output_tokens"]) == (
            entry.counts.input_tokens,
            entry.counts.output_tokens,
        )
        return
    assert (create["standing"], create["input_tokens"], reads) == ("unknown", None, [])
    [row] = unknown(ledger)
    assert row["why"] == "the client left before the usage came"
    assert "--receipts" in row["settled_by"]


def test_a_stream_whose_client_leaves_is_counted_by_a_meter_that_drains(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with (
        Sim(keys=[KEY], seed=3, chunk_delay_s=0.02) as sim,
        Submeter(ledger, upstream=sim.url, drain=True) as meter,
    ):
        leave_after(int(meter.url.rsplit(":", 1)[1]), chat("/run/r-1/v1/responses", body=ANSWER), seen=b"delta")
        await_reads(sim, 0, meter)
    [create] = calls(ledger)
    [entry] = sim.books.entries
    assert (create["outcome"], create["standing"], create["flags"]) == ("aborted", "counted", ["drained"])
    assert (create["input_tokens"], create["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)


def await_reads(sim: Sim, expected: int, meter: Submeter) -> list[str]:
    """The paths that were read of the upstream, once there are so many and nothing is open."""
    port = int(meter.url.rsplit(":", 1)[1])
    for _ in range(2000):
        health = exchange(port, b"GET /_submeter/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", method="GET")
        said = json.loads(health.body)
        if said["calls_open"] == 0 and said["calls_settled"] == 1 + expected:
            break
    return [one.path for one in sim.received if one.method == "GET"]


@pytest.mark.parametrize("attempts", [3])
def test_each_attempt_of_a_client_that_retries_is_a_row_with_its_number(tmp_path: Path, attempts: int) -> None:
    body = {**CHAT, "stream": False}
    faults = (Fault(kind=FaultKind.CLOSE_BEFORE_HEADERS, nth=(0,)), Fault(kind=FaultKind.STATUS, status=429, nth=(1,)))
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=[KEY], seed=3, faults=faults) as sim, Submeter(ledger, upstream=sim.url) as meter:
        port = int(meter.url.rsplit(":", 1)[1])
        statuses = [
            exchange(port, chat(body=body, headers={"x-stainless-retry-count": str(number)})).status
            for number in range(attempts)
        ]
    assert statuses == [502, 429, 200]
    rows = [(call["retry_count"], call["outcome"], call["standing"]) for call in calls(ledger)]
    assert rows == [(0, "failed", "unknown"), (1, "refused", "unbilled"), (2, "metered", "counted")]


def test_a_client_that_times_out_before_any_answer_leaves_a_row(tmp_path: Path) -> None:
    async def silent(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.read()
        return False

    async def client(port: int, upstream: Any) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat(headers=RETRIES))
        while not upstream.requests:
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    with proxied(tmp_path, silent) as (port, upstream, ledger):
        asyncio.run(client(port, upstream))
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["status_code"], call["retry_count"]) == (
        "aborted",
        "unknown",
        None,
        0,
    )


@pytest.mark.parametrize("after", ["reset", "stall"])
def test_a_stream_that_breaks_in_the_middle_says_what_was_known(tmp_path: Path, after: str) -> None:
    kind = FaultKind.RESET if after == "reset" else FaultKind.STALL
    faults = (Fault(kind=kind, after=3, seconds=3600),)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=[KEY], seed=3, faults=faults) as sim, Submeter(ledger, upstream=sim.url, drain_s=0.1) as meter:
        port = int(meter.url.rsplit(":", 1)[1])
        raw = chat("/v1/responses", body=ANSWER)
        if after == "reset":
            assert not exchange(port, raw).whole
        else:
            leave_after(port, raw, seen=b"response.in_progress")
    [call] = calls(ledger)
    [entry] = sim.books.entries
    assert (call["outcome"], call["standing"]) == ("failed" if after == "reset" else "aborted", "unknown")
    assert (call["response_id"], call["streamed"], call["status_code"]) == (entry.response_id, True, 200)
    assert call["response_bytes"] > 0
    assert call["error"]


def test_half_a_json_is_passed_and_its_row_is_no_number(tmp_path: Path) -> None:
    half = b'{"id": "chatcmpl-1", "usage": {"prompt_tokens": 12, "completion'
    with proxied(tmp_path, always(framed(200, JSON, half, cuts=[9]))) as (port, _, ledger):
        assert exchange(port, chat()).body == half
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["input_tokens"]) == ("unreadable", "unknown", None)
    assert (call["error"], call["response_bytes"]) == ("truncated_json", len(half))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_error_inside_a_200_is_a_failed_row(tmp_path: Path, path: str) -> None:
    said = {"message": "quotes the prompt", "type": "server_error", "code": "server_error", "param": None}
    body = (
        sse(CHUNK, {"error": said}, b"[DONE]")
        if "chat" in path
        else b"event: error\n" + sse({"type": "error", **{k: v for k, v in said.items() if k != "type"}})
    )
    with proxied(tmp_path, always(framed(200, SSE, body, cuts=[30]))) as (port, _, ledger):
        assert exchange(port, chat(path, body={**CHAT, "input": "x", "stream": True})).body == body
    [call] = calls(ledger)
    assert (call["outcome"], call["standing"], call["status_code"]) == ("failed", "unknown", 200)
    assert "error_in_stream" in call["flags"]
    assert "server_error" in call["error"]
    assert "prompt" not in call["error"]
