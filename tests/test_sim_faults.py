"""Each thing that the simulator can do wrong, once, on a raw connection where it matters."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from submeter.sim import AbortBilling, Fault, FaultKind, Mangle, Sim
from submeter.sim.books import State
from submeter.sim.client import Client

NOON = 1_795_348_800.0
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
RESPONSE = {"model": "gpt-5-mini", "input": "hello", "stream": True}
PATHS = {"chat": "/v1/chat/completions", "response": "/v1/responses"}


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim(now=lambda: NOON, seed=4, silent_cached=0.0) as started:
        yield started


@pytest.fixture
def client(sim: Sim) -> Client:
    return Client(url=sim.url, secret="sk-sim-0001")


def raw(sim: Sim, body: dict[str, Any], path: str = PATHS["chat"]) -> bytes:
    """One request on a bare socket: all that comes back until the end, or until a reset."""
    sent = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", sim.port), timeout=20) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer sk-sim-0001\r\nConnection: close\r\n"
            f"Content-Length: {len(sent)}\r\n\r\n"
        )
        connection.sendall(head.encode() + sent)
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            got += b"<reset>"
        return got


@pytest.mark.parametrize(
    ("status", "retry_after", "kind"),
    [
        (400, None, "application/json"),
        (401, None, "application/json"),
        (429, "7", "application/json"),
        (429, None, "application/json"),
        (500, None, "application/json"),
        (502, None, "text/plain"),
        (503, "1", "text/plain"),
    ],
)
def test_a_status_is_answered_and_costs_nothing(
    sim: Sim, client: Client, status: int, retry_after: str | None, kind: str
) -> None:
    sim.plan.add(Fault(kind=FaultKind.STATUS, status=status, retry_after=retry_after))
    reply = client.post(PATHS["chat"], CHAT)
    assert reply.status == status
    assert reply.headers.get("retry-after") == retry_after
    assert reply.headers["content-type"] == kind
    if kind == "application/json":
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert len(sim.books) == 0


def test_a_failed_call_may_be_billed_all_the_same(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.STATUS, status=500, billed=True))
    assert client.post(PATHS["chat"], CHAT).status == 500
    assert sim.books.entries[0].billed
    assert sim.books.entries[0].faults == ("status",)
    assert sim.books.total().total_tokens > 0


def test_faults_aim_by_path_header_body_number_and_times(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.STATUS, path="*/embeddings", status=429))
    sim.plan.add(Fault(kind=FaultKind.STATUS, header=("X-Case", "b*"), status=503))
    sim.plan.add(Fault(kind=FaultKind.STATUS, body_contains='"stream_options"', status=400))
    sim.plan.add(Fault(kind=FaultKind.STATUS, path=PATHS["response"], nth={1}, status=500))
    sim.plan.add(Fault(kind=FaultKind.STATUS, path="/v1/moderations", times=2, status=500))
    assert client.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}).status == 429
    assert client.post(PATHS["chat"], CHAT, {"x-case": "bad"}).status == 503
    assert client.post(PATHS["chat"], CHAT, {"x-case": "good"}).status == 200
    assert client.post(PATHS["chat"], STREAM).status == 400
    response = {**RESPONSE, "stream": False}
    assert [client.post(PATHS["response"], response).status for _ in range(3)] == [200, 500, 200]
    assert [client.post("/v1/moderations", {"input": "x"}).status for _ in range(3)] == [500, 500, 200]
    assert [count for _, count in sim.plan.fired] == [1, 1, 1, 1, 2]


def test_a_probability_is_kept_and_follows_from_the_seed() -> None:
    outcomes = []
    for _ in range(2):
        with Sim(now=lambda: NOON, seed=9, faults=[Fault(kind=FaultKind.STATUS, probability=0.3)]) as sim:
            client = Client(url=sim.url, secret="sk-sim-0001")
            outcomes.append([client.get("/v1/models").status for _ in range(40)])
    assert outcomes[0] == outcomes[1]
    assert 4 <= outcomes[0].count(500) <= 20


def test_a_delay_outlasts_an_impatient_client_and_the_books_know(sim: Sim) -> None:
    sim.plan.add(Fault(kind=FaultKind.DELAY, seconds=60.0))
    with pytest.raises(TimeoutError):
        Client(url=sim.url, secret="sk-sim-0001", timeout_s=0.5).post(PATHS["chat"], CHAT)
    assert sim.wait_idle()
    (entry,) = sim.books.entries
    assert (entry.state, entry.delivered) == (State.ABORTED, False)


@pytest.mark.parametrize(
    ("aborts", "billed", "input_whole", "output_whole"),
    [
        (AbortBilling.FULL, True, True, True),
        (AbortBilling.PARTIAL, True, True, False),
        (AbortBilling.NONE, False, False, False),
    ],
)
def test_what_an_aborted_stream_costs_is_a_switch(
    aborts: AbortBilling, billed: bool, input_whole: bool, output_whole: bool
) -> None:
    with Sim(now=lambda: NOON, seed=4, aborts=aborts, faults=[Fault(kind=FaultKind.STALL, seconds=60.0)]) as sim:
        with pytest.raises(TimeoutError):
            Client(url=sim.url, secret="sk-sim-0001", timeout_s=0.5).post(PATHS["chat"], STREAM)
        assert sim.wait_idle()
        (entry,) = sim.books.entries
        assert (entry.state, entry.delivered, entry.billed) == (State.ABORTED, False, billed)
        total = sim.books.total()
    with Sim(now=lambda: NOON, seed=4) as whole:
        Client(url=whole.url, secret="sk-sim-0001").post(PATHS["chat"], STREAM)
        worth = whole.books.total()
    assert (total.input_tokens == worth.input_tokens) is input_whole
    assert (total.output_tokens == worth.output_tokens) is output_whole


def test_a_reset_in_the_middle_of_a_stream_reaches_the_client(sim: Sim) -> None:
    sim.plan.add(Fault(kind=FaultKind.RESET, after=3))
    got = raw(sim, STREAM)
    assert got.count(b"data: ") == 3
    assert got.endswith(b"<reset>")
    assert sim.books.entries[0].billed
    assert sim.books.entries[0].delivered is False


def test_a_connection_may_close_before_any_header(sim: Sim) -> None:
    sim.plan.add(Fault(kind=FaultKind.CLOSE_BEFORE_HEADERS))
    assert raw(sim, CHAT) == b""
    (entry,) = sim.books.entries
    assert (entry.state, entry.billed) == (State.FAILED, False)


def test_a_body_may_be_shorter_than_its_length(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.TRUNCATED_LENGTH))
    with pytest.raises(http.client.IncompleteRead):
        client.post(PATHS["chat"], CHAT)
    assert sim.books.entries[0].billed


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_a_chunked_body_may_lack_its_last_chunk(sim: Sim, body: dict[str, Any]) -> None:
    sim.plan.add(Fault(kind=FaultKind.TRUNCATED_CHUNKED))
    got = raw(sim, body)
    assert b"Transfer-Encoding: chunked" in got
    assert not got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("kind", [FaultKind.NOT_JSON, FaultKind.HTML])
def test_a_page_of_html_comes_instead_of_json(sim: Sim, client: Client, kind: FaultKind) -> None:
    sim.plan.add(Fault(kind=kind))
    reply = client.post(PATHS["chat"], CHAT)
    assert reply.body.startswith(b"<html>")
    assert reply.headers["content-type"] == ("application/json" if kind is FaultKind.NOT_JSON else "text/html")


@pytest.mark.parametrize("mangle", list(Mangle))
@pytest.mark.parametrize("path", ["chat", "response"])
def test_a_usage_may_be_mangled_while_the_books_stay_true(sim: Sim, client: Client, path: str, mangle: Mangle) -> None:
    sim.plan.add(Fault(kind=FaultKind.USAGE, mangle=mangle))
    last = client.post(PATHS[path], STREAM if path == "chat" else RESPONSE).events()[-1]
    usage = last["usage"] if path == "chat" else last["response"]["usage"]
    totals = [usage[name] for name in usage if name.endswith("_tokens")] if isinstance(usage, dict) else []
    match mangle:
        case Mangle.NULL:
            assert usage is None
        case Mangle.STRING | Mangle.LIST:
            assert isinstance(usage, str if mangle is Mangle.STRING else list)
        case Mangle.NEGATIVE:
            assert max(totals) < 0
        case Mangle.ABSURD:
            assert min(totals) >= 10**12
        case Mangle.FLOAT | Mangle.TEXT_COUNTS:
            assert {type(count) for count in totals} == {float if mangle is Mangle.FLOAT else str}
        case Mangle.CACHED_OVER_INPUT:
            details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
            assert details["cached_tokens"] == sim.books.entries[0].counts.input_tokens + 1
    assert sim.books.total() == sim.books.entries[0].counts


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_a_gzip_may_be_broken(sim: Sim, client: Client, body: dict[str, Any]) -> None:
    sim.plan.add(Fault(kind=FaultKind.BROKEN_GZIP))
    reply = client.post(PATHS["chat"], body)
    assert reply.headers["content-encoding"] == "gzip"
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(reply.body)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
def test_bytes_may_not_be_utf_8(sim: Sim, client: Client, body: dict[str, Any]) -> None:
    sim.plan.add(Fault(kind=FaultKind.INVALID_UTF8))
    with pytest.raises(UnicodeDecodeError):
        client.post(PATHS["chat"], body).body.decode()


def test_a_body_of_64_mib_is_still_json(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.HUGE_JSON))
    reply = client.post(PATHS["chat"], CHAT)
    assert len(reply.body) == 64 * 1024 * 1024 == int(reply.headers["content-length"])
    assert reply.json()["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens


def test_an_error_inside_a_stream_is_in_the_endpoints_own_manner(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.ERROR_IN_STREAM, after=3))
    chat = client.post(PATHS["chat"], STREAM)
    assert "error" in chat.events()[-1]
    assert chat.body.endswith(b"[DONE]\n\n")
    response = client.post(PATHS["response"], RESPONSE)
    assert response.events()[-1]["type"] == "error"
    assert b"event: error\n" in response.body
    assert sim.wait_idle()
    assert [entry.billed for entry in sim.books.entries] == [False, False]


def test_a_response_may_end_failed_or_incomplete(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.RESPONSE_FAILED, times=1))
    failed = client.post(PATHS["response"], RESPONSE).events()[-1]
    assert (failed["type"], failed["response"]["usage"]) == ("response.failed", None)
    assert failed["response"]["error"]["code"] == "server_error"
    sim.plan.clear()
    sim.plan.add(Fault(kind=FaultKind.RESPONSE_INCOMPLETE))
    for body in (
        client.post(PATHS["response"], RESPONSE).events()[-1]["response"],
        client.post(PATHS["response"], {**RESPONSE, "stream": False}).json(),
    ):
        assert body["status"] == "incomplete"
        assert body["usage"]["total_tokens"] > 0
    assert [entry.billed for entry in sim.books.entries] == [False, True, True]


def test_usage_may_be_missing_although_asked_for(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.NO_USAGE))
    assert all(event["usage"] is None for event in client.post(PATHS["chat"], STREAM).events())
    assert "usage" not in client.post(PATHS["chat"], CHAT).json()
    assert client.post(PATHS["response"], RESPONSE).events()[-1]["response"]["usage"] is None
    assert all(entry.billed for entry in sim.books.entries)


def test_a_stream_may_end_without_done(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.NO_DONE))
    reply = client.post(PATHS["chat"], STREAM)
    assert b"[DONE]" not in reply.body
    assert reply.events()[-1]["usage"]


def test_usage_may_be_repeated_cumulatively(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.USAGE_REPEATED))
    counts = [event["usage"]["completion_tokens"] for event in client.post(PATHS["chat"], STREAM).events()]
    assert counts == sorted(counts)
    assert counts[-1] == sim.books.entries[0].counts.output_tokens


def test_usage_may_sit_on_the_last_chunk_with_choices(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.USAGE_WITH_CHOICES))
    last = client.post(PATHS["chat"], STREAM).events()[-1]
    assert last["choices"][0]["finish_reason"]
    assert last["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens


def test_a_moderation_chunk_may_follow_the_usage(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.MODERATION_AFTER_USAGE))
    *_, usage, moderation = client.post(PATHS["chat"], STREAM).events()
    assert usage["usage"]
    assert moderation["usage"] is None
    assert "moderation" in moderation


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_lines_may_end_otherwise(sim: Sim, client: Client, line_end: str) -> None:
    sim.plan.add(Fault(kind=FaultKind.LINE_ENDS, line_end=line_end))
    body = client.post(PATHS["chat"], STREAM).body
    assert body.endswith(f"data: [DONE]{line_end}{line_end}".encode())
    assert line_end != "\r" or b"\n" not in body


def test_comments_and_single_bytes_change_nothing_that_is_said(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.COMMENTS))
    sim.plan.add(Fault(kind=FaultKind.ONE_BYTE_WRITES))
    reply = client.post(PATHS["response"], RESPONSE)
    assert reply.body.count(b": keep-alive\n\n") == len(reply.events())
    assert reply.events()[-1]["response"]["usage"]["total_tokens"] == sim.books.entries[0].counts.total_tokens
    assert client.post(PATHS["chat"], CHAT).json()["usage"]


def test_rate_limits_may_follow_the_terminal_event(sim: Sim, client: Client) -> None:
    sim.plan.add(Fault(kind=FaultKind.RATE_LIMITS_AFTER_TERMINAL))
    *_, terminal, limits = client.post(PATHS["response"], RESPONSE).events()
    assert terminal["type"] == "response.completed"
    assert limits["type"] == "response.rate_limits.updated"
