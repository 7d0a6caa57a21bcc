"""WebSockets through the proxy: messages as they were, one row for each response, whatever becomes of the socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from socket_wire import Message, Stage, playing, visit
from test_proxy_tap import SECRET, calls, journal_kinds
from tornado.websocket import WebSocketClientConnection
from wire import exchange, request_bytes

from submeter.proxy import Submeter
from submeter.sim import Fault, FaultKind, Key, Sim

AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}
KEYS = (Key(secret=SECRET, api_key_id="key_socket"),)
CREATE = {"type": "response.create", "model": "gpt-5", "input": "the prompt that must not stay"}
USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
NOON = 1_795_348_800.0


def event(kind: str, response: dict[str, Any] | None = None, **more: Any) -> str:
    return json.dumps({"type": kind, **({"response": response} if response else {}), **more})


async def said(socket: WebSocketClientConnection, *last: str) -> list[dict[str, Any]]:
    """Events up to the first of one of these types."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in last:
        message = await socket.read_message()
        assert message is not None
        events.append(json.loads(message))
    return events


def responses(ledger: Path) -> list[dict[str, Any]]:
    """The rows of what sockets did, without their handshakes."""
    return [call for call in calls(ledger) if call["operation"] == "create"]


def check_against_books(sim: Sim, ledger: Path) -> list[dict[str, Any]]:
    """Every entry of the books is one row with its counts."""
    rows = responses(ledger)
    told = {row["response_id"]: row for row in rows}
    assert len(rows) == len(sim.books.entries)
    for entry in sim.books.entries:
        if entry.response_id is not None:
            row = told[entry.response_id]
            assert (row["input_tokens"], row["output_tokens"]) == (
                entry.counts.input_tokens,
                entry.counts.output_tokens,
            )
            assert row["cached_input_tokens"] == entry.counts.cached_tokens
            assert (row["outcome"], row["standing"]) == ("metered", "counted")
    return rows


def test_each_response_on_a_socket_is_a_row_and_the_handshake_is_another(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        for _ in range(3):
            await socket.write_message(json.dumps(CREATE))
            await said(socket, "response.completed")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/run/r-1/step/4.7/v1/responses", scene, headers=AUTHORIZED)
        assert sim.wait_idle()
    rows = check_against_books(sim, ledger)
    expected = {
        "run_id": "r-1",
        "step": "4.7",
        "label_source": "url",
        "method": "WS",
        "path": "/v1/responses",
        "endpoint": "responses",
        "usage_endpoint": "completions",
        "streamed": True,
        "status_code": 101,
        "request_model": "gpt-5",
        "response_status": "completed",
        "usage_source": "reported",
        "request_bytes": len(json.dumps(CREATE)),
        "flags": [],
        "error": None,
    }
    for row in rows:
        assert {name: row[name] for name in expected} == expected
        assert row["started_at"] <= row["first_byte_at"] <= row["ended_at"]
        assert row["response_bytes"] > 0
    [handshake] = [call for call in calls(ledger) if call["operation"] == "read"]
    assert (handshake["method"], handshake["endpoint"], handshake["status_code"]) == ("GET", "responses", 101)
    assert (handshake["outcome"], handshake["standing"]) == ("no_usage", None)
    assert {row["request_id"] for row in rows} == {handshake["request_id"]}
    assert journal_kinds(ledger).count("start") == journal_kinds(ledger).count("settle") == 4
    at_rest = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in at_rest
    assert b"the prompt that must not stay" not in at_rest


def test_a_warm_up_is_optional_unless_it_tells_output_and_is_in_no_sum(tmp_path: Path) -> None:
    async def part(stage: Stage) -> None:
        read = {"input_tokens": 12, "output_tokens": 0, "total_tokens": 12}
        for name, usage in (("resp_1", read), ("resp_2", None), ("resp_3", USAGE), ("resp_4", USAGE)):
            await stage.hear()
            await stage.say(event("response.completed", {"id": name, "status": "completed", "usage": usage}))

    async def scene(socket: WebSocketClientConnection) -> None:
        for more in ({"generate": False}, {"generate": False}, {"generate": False}, {}):
            await socket.write_message(json.dumps({**CREATE, **more}))
            await said(socket, "response.completed")

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        visit(f"{meter.url}/run/r-1/v1/responses", scene, headers=AUTHORIZED)
    rows = [(row["standing"], row["flags"], row["total_tokens"]) for row in responses(ledger)]
    assert rows == [
        ("optional", ["warm_up"], 12),
        ("optional", ["warm_up"], None),
        ("unknown", ["warm_up"], 17),
        ("counted", [], 17),
    ]


def test_usage_in_a_second_terminal_event_is_the_row_s_as_it_is_over_http(tmp_path: Path) -> None:
    kinds = ("response.created", "response.completed", "response.done")

    async def part(stage: Stage) -> None:
        await stage.hear()
        for kind in kinds:
            usage = {"usage": USAGE} if kind == "response.done" else {}
            await stage.say(event(kind, {"id": "resp_late", "model": "gpt-5.5", "status": "completed", **usage}))

    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        assert [each["type"] for each in await said(socket, "response.done")] == list(kinds)

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    [row] = responses(ledger)
    assert (row["standing"], row["input_tokens"], row["output_tokens"]) == ("counted", 12, 5)
    assert journal_kinds(ledger).count("read") == 1


def test_a_response_s_row_is_written_before_its_last_message_goes_on(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    kinds: list[list[str]] = []

    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await said(socket, "response.created")
        kinds.append(journal_kinds(ledger))
        await said(socket, "response.completed")
        kinds.append(journal_kinds(ledger))

    with Sim(keys=KEYS, chunk_delay_s=0.01) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    assert kinds[0][-3:] == ["start", "settle", "start"]
    assert kinds[1] == [*kinds[0], "settle"]


def test_lanes_interleave_and_a_refused_one_is_unbilled(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        for lane in ("a", "b", "c"):
            await socket.write_message(json.dumps({**CREATE, "stream_id": lane, "input": f"for {lane}"}))
        await socket.write_message(json.dumps({**CREATE, "stream_id": "d", "model": "gpt-0"}))
        order = [event["stream_id"] for _ in range(4) for event in await said(socket, "response.completed", "error")]
        assert order != sorted(order)

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, chunk_delay_s=0.01) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
        assert sim.wait_idle()
    rows = responses(ledger)
    [refused] = [row for row in rows if row["outcome"] == "refused"]
    assert (refused["status_code"], refused["standing"], refused["request_model"]) == (400, "unbilled", "gpt-0")
    assert "model_not_found" in refused["error"]
    counted = {row["response_id"]: row["total_tokens"] for row in rows if row["standing"] == "counted"}
    assert counted == {entry.response_id: entry.counts.total_tokens for entry in sim.books.entries}


def test_a_steered_response_and_the_successor_the_server_starts_are_two_rows(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await said(socket, "response.created")
        await socket.write_message(json.dumps({"type": "response.steer", "input": "rather this"}))
        await said(socket, "response.incomplete")
        await said(socket, "response.completed")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, chunk_delay_s=0.02) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
        assert sim.wait_idle()
    rows = check_against_books(sim, ledger)
    assert [row["response_status"] for row in rows] == ["incomplete", "completed"]


def test_realtime_responses_and_what_was_heard_are_rows_of_their_own(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await said(socket, "session.created")
        await socket.write_message(json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 1000}))
        await said(socket, "error")
        await socket.write_message(json.dumps({"type": "input_audio_buffer.commit"}))
        await said(socket, "conversation.item.input_audio_transcription.completed")
        for _ in range(2):
            await socket.write_message(json.dumps({"type": "response.create"}))
            await said(socket, "response.done")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/realtime?model=gpt-realtime", scene, headers=AUTHORIZED)
        assert sim.wait_idle()
    rows = check_against_books(sim, ledger)
    assert [row["usage_endpoint"] for row in rows] == ["audio_transcriptions", "completions", "completions"]
    heard, first, _ = rows
    entry = sim.books.entries[0]
    assert (heard["input_tokens"], heard["input_audio_tokens"]) == (entry.counts.input_tokens, entry.counts.input_audio)
    assert (heard["standing"], heard["outcome"]) == ("uncovered", "metered")
    assert (first["request_model"], first["response_model"]) == ("gpt-realtime", "gpt-realtime")
    assert first["output_audio_tokens"] == sim.books.entries[1].counts.output_audio
    assert {row["endpoint"] for row in rows} == {"realtime"}


def test_a_socket_that_upstream_breaks_leaves_a_failed_row_that_is_unknown(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        messages = [await socket.read_message() for _ in range(4)]
        assert messages[-1] is None
        assert socket.close_code is None

    ledger = tmp_path / "submeter.duckdb"
    faults = [Fault(kind=FaultKind.RESET, method="WS", after=3)]
    with Sim(keys=KEYS, faults=faults) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
        assert sim.wait_idle()
    [row] = responses(ledger)
    assert (row["outcome"], row["standing"], row["input_tokens"]) == ("failed", "unknown", None)
    assert row["response_id"] == sim.books.entries[0].response_id
    assert row["error"] == "the socket closed with code 1006"


def test_a_client_that_leaves_the_socket_leaves_an_aborted_row_for_each_response_under_way(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        for lane in ("a", "b"):
            await socket.write_message(json.dumps({**CREATE, "stream_id": lane}))
        await said(socket, "response.created")
        await said(socket, "response.created")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, chunk_delay_s=0.2) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    assert [(row["outcome"], row["standing"]) for row in responses(ledger)] == [("aborted", "unknown")] * 2


def test_a_proxy_that_stops_settles_what_its_sockets_have_under_way(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, chunk_delay_s=0.2) as sim:
        meter = Submeter(ledger, upstream=sim.url, drain_s=0.1).start()

        async def scene(socket: WebSocketClientConnection) -> None:
            await socket.write_message(json.dumps(CREATE))
            await said(socket, "response.created")
            meter.stop()

        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    [row] = responses(ledger)
    assert (row["outcome"], row["standing"]) == ("aborted", "unknown")


def test_an_idle_socket_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS) as sim:
        meter = Submeter(ledger, upstream=sim.url, drain_s=60).start()

        async def scene(socket: WebSocketClientConnection) -> None:
            meter.stop()

        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    assert [call["outcome"] for call in calls(ledger)] == ["no_usage"]


def test_a_stranger_s_handshake_is_one_refused_row(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        raise AssertionError("there is no socket")

    ledger = tmp_path / "submeter.duckdb"
    with Sim() as sim, Submeter(ledger, upstream=sim.url) as meter, pytest.raises(Exception, match="401"):
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    [call] = calls(ledger)
    assert (call["outcome"], call["operation"], call["status_code"]) == ("refused", "read", 401)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_messages_of_both_sides_arrive_as_they_were_and_in_order(tmp_path: Path, compressed: bool) -> None:
    messages: list[Message] = [
        "",
        "no json",
        b"\x00\xff binary",
        "[1, 2",
        '{"type": 7}',
        '{"type": ["response.done"]}',
        event("response.output_audio.delta", delta="QUJD" * 700_000),
        event("error", error=7),
        event("error", error={"type": {}, "event_id": []}),
        '{"type": "response.done", "response": {"id": "resp_cut", "usage": {"input_tok',
        "snow \u2603 and \U0001f600 " * 5000,
        event("response.created", {"id": "resp_1"}),
        event("response.done", {"id": "resp_1", "status": "completed", "usage": USAGE}),
    ]
    heard: list[Message | None] = []

    async def part(stage: Stage) -> None:
        for message in messages:
            heard.append(await stage.hear())
            await stage.say(message)
        stage.close(4001, "enough")

    async def scene(socket: WebSocketClientConnection) -> None:
        for message in messages:
            await socket.write_message(message, binary=isinstance(message, bytes))
            assert await socket.read_message() == message
        assert await socket.read_message() is None
        assert (socket.close_code, socket.close_reason) == (4001, "enough")

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        visit(f"{meter.url}/v1/realtime", scene, headers=AUTHORIZED, compressed=compressed)
    assert heard == messages
    cut, whole = responses(ledger)
    assert (cut["outcome"], cut["standing"]) == ("unreadable", "unknown")
    assert (whole["outcome"], whole["total_tokens"]) == ("metered", 17)


def test_messages_pass_and_nothing_vanishes_when_the_meter_itself_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from submeter.proxy.socket_meter import SocketMeter

    def raising(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a mistake of ours")

    async def scene(socket: WebSocketClientConnection) -> None:
        await socket.write_message(json.dumps(CREATE))
        await said(socket, "response.created")
        monkeypatch.setattr(SocketMeter, "_serve", raising)
        await said(socket, "response.completed")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, chunk_delay_s=0.02) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    [row] = responses(ledger)
    assert (row["outcome"], row["standing"], row["flags"]) == ("unreadable", "unknown", ["meter_failed"])


def test_a_call_on_a_socket_takes_the_step_that_is_open_when_it_begins(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    environment = {"OPENAI_API_KEY_CHATDEV": SECRET}
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url, environment=environment) as meter:

        async def scene(socket: WebSocketClientConnection) -> None:
            with meter.run("chatdev", run_id="r-1") as run:
                for step in ("1", "2"):
                    with run.step(step):
                        await socket.write_message(json.dumps(CREATE))
                        await said(socket, "response.completed")

        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    labels = [(row["framework"], row["run_id"], row["step"], row["label_source"]) for row in responses(ledger)]
    assert labels == [("chatdev", "r-1", step, "mark") for step in ("1", "2")]


def test_a_client_sees_through_the_proxy_what_it_sees_without(tmp_path: Path) -> None:
    seen: list[list[Message]] = []

    async def scene(socket: WebSocketClientConnection) -> None:
        seen.append([])
        for number in range(3):
            await socket.write_message(json.dumps({**CREATE, "input": f"number {number}"}))
            while b"response.completed" not in str(seen[-1][-1:]).encode():
                message = await socket.read_message()
                assert message is not None
                seen[-1].append(message)
            seen[-1].append("")

    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=5, now=lambda: NOON) as plain:
        visit(f"{plain.url}/v1/responses", scene, headers=AUTHORIZED)
    with Sim(keys=KEYS, seed=5, now=lambda: NOON) as sim, Submeter(ledger, upstream=sim.url) as meter:
        visit(f"{meter.url}/v1/responses", scene, headers=AUTHORIZED)
    assert seen[0] == seen[1]
    assert len(seen[0]) > 20


def test_a_response_that_two_sockets_tell_of_is_counted_once(tmp_path: Path) -> None:
    async def part(stage: Stage) -> None:
        await stage.say(event("response.created", {"id": "resp_1"}))
        await stage.say(event("response.done", {"id": "resp_1", "status": "completed", "usage": USAGE}))

    async def scene(socket: WebSocketClientConnection) -> None:
        await said(socket, "response.done")

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        for query in ("?model=gpt-realtime", "?call_id=rtc_1"):
            visit(f"{meter.url}/v1/realtime{query}", scene, headers=AUTHORIZED)
    told = [call for call in calls(ledger) if call["method"] == "WS"]
    assert [(call["operation"], call["standing"]) for call in told] == [("create", "counted"), ("read", None)]
    assert [call["total_tokens"] for call in told] == [17, 17]


def test_a_socket_whose_messages_tell_no_usage_we_can_read_is_an_unknown_create(tmp_path: Path) -> None:
    async def part(stage: Stage) -> None:
        await stage.say(event("session.usage.updated", usage={"seconds": 3}))

    async def scene(socket: WebSocketClientConnection) -> None:
        await said(socket, "session.usage.updated")

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        visit(f"{meter.url}/v1/live/sessions", scene, headers=AUTHORIZED)
    [call] = calls(ledger)
    assert (call["method"], call["endpoint"], call["operation"]) == ("GET", "live/sessions", "create")
    assert (call["standing"], call["flags"]) == ("unknown", ["unknown_endpoint"])


def test_a_post_that_carries_a_header_of_sockets_is_a_call_like_any_other(tmp_path: Path) -> None:
    headers = {**AUTHORIZED, "Sec-WebSocket-Version": "13", "Content-Type": "application/json"}
    body = json.dumps({"model": "gpt-5", "input": "hello"}).encode()
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS) as sim, Submeter(ledger, upstream=sim.url) as meter:
        port = int(meter.url.rsplit(":", 1)[1])
        assert exchange(port, request_bytes("POST", "/v1/responses", headers=headers, body=body)).status == 200
        total = sim.books.total().total_tokens
    [row] = calls(ledger)
    assert (row["operation"], row["standing"], row["total_tokens"]) == ("create", "counted", total)


def test_a_browser_s_key_is_known_by_its_fingerprint_alone(tmp_path: Path) -> None:
    async def scene(socket: WebSocketClientConnection) -> None:
        pass

    async def part(stage: Stage) -> None:
        await stage.hear()

    ledger = tmp_path / "submeter.duckdb"
    with playing(part) as url, Submeter(ledger, upstream=url) as meter:
        offered = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{SECRET}"}
        visit(f"{meter.url}/v1/realtime", scene, headers=offered)
        visit(f"{meter.url}/v1/realtime", scene, headers=AUTHORIZED)
    first, second = calls(ledger)
    assert first["key_fingerprint"] == second["key_fingerprint"] is not None
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
