"""Background responses, batches, broken streams: a later read tells their usage, once, and is itself never counted."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_play import Play
from test_proxy_tap import JSON, SECRET, calls, chat, proxied, sse
from wire import RawRequest, exchange, framed, request_bytes

from submeter.data.call import Flag, Operation, Outcome
from submeter.proxy import Submeter
from submeter.sim import Key, Sim

KEY = Key(secret=SECRET, api_key_id="key_a")
USAGE = {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34}
TOLD = "SELECT standing, input_tokens, usage_source, response_status FROM calls WHERE operation = 'create'"


def get(target: str, method: str = "GET", body: bytes = b"") -> bytes:
    return request_bytes(method, target, headers={"Authorization": f"Bearer {SECRET}"}, body=body)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


@pytest.mark.parametrize("how", ["poll", "stream", "cancel"])
def test_a_background_response_is_counted_once_by_whichever_read_tells_it(tmp_path: Path, how: str) -> None:
    now = [1_790_000_000.0]
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=[KEY], seed=3, now=lambda: now[0]) as sim:
        with Submeter(ledger, upstream=sim.url) as meter:
            port = port_of(meter.url)
            queued = exchange(
                port, chat("/step/1/v1/responses", body={"model": "gpt-4o-mini", "input": "x", "background": True})
            )
            name = json.loads(queued.body)["id"]
            exchange(port, get(f"/v1/responses/{name}"), method="GET")
        assert [(call["standing"], call["outcome"]) for call in calls(ledger)] == [
            ("unknown", "no_usage"),
            (None, "no_usage"),
        ]
        now[0] += 60
        # Another proxy on the same ledger, as after a restart.
        with Submeter(ledger, upstream=sim.url) as meter:
            port = port_of(meter.url)
            for _ in range(3):
                match how:
                    case "poll":
                        exchange(port, get(f"/v1/responses/{name}"), method="GET")
                    case "stream":
                        exchange(port, get(f"/v1/responses/{name}?stream=true&starting_after=2"), method="GET")
                    case _:
                        exchange(port, get(f"/v1/responses/{name}/cancel", "POST"))
        [entry] = sim.books.entries
    create, *reads = calls(ledger)
    assert (create["standing"], create["usage_source"], create["step"]) == ("counted", "read", "1")
    assert (create["input_tokens"], create["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)
    assert {(read["operation"], read["standing"]) for read in reads} == {("read", None)}
    assert create["response_status"] == "completed"


def test_a_batch_is_told_by_its_retrieval_when_it_has_ended(tmp_path: Path) -> None:
    states = itertools.cycle(["validating", "in_progress", "completed"])

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        batch = {"id": "batch_0123456789", "object": "batch", "status": next(states), "created_at": 1_790_000_000}
        batch["usage"] = USAGE if batch["status"] == "completed" else {"input_tokens": 0, "output_tokens": 0}
        headers = {**JSON, "x-request-id": f"req_{request.target}_{batch['status']}"}
        writer.write(framed(200, headers, json.dumps(batch).encode())[0])
        return True

    with proxied(tmp_path, answer) as (port, _, ledger):
        exchange(port, chat("/v1/batches", body={"input_file_id": "file-1", "endpoint": "/v1/responses"}))
        for _ in range(2):
            exchange(port, get("/v1/batches/batch_0123456789"), method="GET")
    batch, *reads = calls(ledger)
    assert (batch["operation"], batch["batch_id"], batch["standing"]) == ("create", "batch_0123456789", "uncovered")
    assert (batch["usage_source"], batch["input_tokens"], json.loads(batch["usage"])) == ("read", 30, USAGE)
    assert [(read["operation"], read["input_tokens"]) for read in reads] == [("read", None), ("read", 30)]


def test_metadata_edits_and_lists_of_stored_completions_are_never_counted(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=[KEY], seed=3) as sim:
        # Made past the proxy: this ledger did not see it being created.
        made = exchange(
            port_of(sim.url),
            chat(body={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "store": True}),
        )
        name = json.loads(made.body)["id"]
        with Submeter(ledger, upstream=sim.url) as meter:
            port = port_of(meter.url)
            exchange(port, get(f"/v1/chat/completions/{name}"), method="GET")
            exchange(port, chat(f"/v1/chat/completions/{name}", body={"metadata": {"a": "b"}}))
            exchange(port, get("/v1/chat/completions"), method="GET")
    assert [(call["operation"], call["standing"]) for call in calls(ledger)] == [("read", None)] * 3


def test_a_stream_that_broke_off_is_told_by_a_later_read(tmp_path: Path) -> None:
    stored = {"id": "resp_0123456789abcdef", "object": "response", "status": "completed", "usage": USAGE}

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if request.head.startswith(b"GET"):
            writer.write(framed(200, JSON, json.dumps(stored).encode())[0])
            return True
        begun = {"type": "response.created", "response": {**stored, "status": "in_progress", "usage": None}}
        for piece in framed(200, {"Content-Type": "text/event-stream"}, sse(begun), cuts=[])[:-1]:
            writer.write(piece)
        await writer.drain()
        return False

    with proxied(tmp_path, answer) as (port, _, ledger):
        assert not exchange(port, chat("/v1/responses", body={"model": "m", "stream": True})).whole
        assert [call["standing"] for call in calls(ledger)] == ["unknown"]
        exchange(port, get(f"/v1/responses/{stored['id']}"), method="GET")
    create, _ = calls(ledger)
    assert (create["outcome"], create["standing"], create["input_tokens"], create["usage_source"]) == (
        "failed",
        "counted",
        30,
        "read",
    )


def settle_lines(play: Play) -> list[Any]:
    """A create and its reads, to be written in any order and by any process."""
    create = play.start(flags=(Flag.BACKGROUND,))
    play.wait(5)
    reads = [play.start(None, None, operation=Operation.READ, method="GET") for _ in range(2)]
    return [create, *reads]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("at_once", [True, False])
def test_the_order_in_which_lines_come_in_makes_no_difference(
    tmp_path: Path, order: tuple[int, ...], at_once: bool
) -> None:
    play = Play(tmp_path)
    journals = [play.journal, play.open_journal(), play.open_journal()]
    starts = settle_lines(play)
    for which in order:
        said: dict[str, Any] = {"response_id": "resp_1", "response_status": "completed"}
        if which == 0:
            said = {"response_id": "resp_1", "response_status": "queued", "input_tokens": None, "output_tokens": None}
            said["outcome"] = Outcome.NO_USAGE
        play.settle(starts[which], journal=journals[which], **said)
        if not at_once:
            play.ledger.ingest()
    path = "SELECT count(*) FROM additions"
    # These reads name no id in their path, so they tell nothing.
    assert play.told(path) == [(0,)]
    assert play.told(TOLD) == [("unknown", None, None, "queued")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("at_once", [True, False])
def test_a_create_is_told_once_in_whatever_order_lines_come_in(
    tmp_path: Path, order: tuple[int, ...], at_once: bool
) -> None:
    play = Play(tmp_path)
    journals = [play.journal, play.open_journal(), play.open_journal()]
    create, *reads = settle_lines(play)
    starts = [create, *(replace(read, path="/v1/responses/resp_1") for read in reads)]
    for which in order:
        said: dict[str, Any] = {"response_id": "resp_1", "response_status": "completed", "input_tokens": 10 + which}
        if which == 0:
            said = {"response_id": "resp_1", "response_status": "queued", "input_tokens": None, "output_tokens": None}
            said["outcome"] = Outcome.NO_USAGE
        play.wait(1).settle(starts[which], journal=journals[which], **said)
        if not at_once:
            play.ledger.ingest()
    first = next(which for which in order if which)
    assert play.told(TOLD) == [("counted", 10 + first, "read", "completed")]
    assert play.told("SELECT count(*) FROM additions") == [(2,)]
    play.ledger.rebuild()
    assert play.told(TOLD) == [("counted", 10 + first, "read", "completed")]
    assert play.told("SELECT count(*) FROM additions") == [(2,)]
