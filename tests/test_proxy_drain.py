"""An answer whose client left, read to its end where that was asked for (`--drain`), and cut where it was not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lane_play import Lane, Wire, lane_to, play

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.proxy.desk import DrainLimits

USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
RESPONSE = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [], "usage": USAGE}
ASKED = b'{"model":"m","input":"x"}'
POST = b"POST /run/r-1/v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(ASKED) + ASKED
BODY = json.dumps(RESPONSE).encode()
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
BEGUN = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","model":"m"}}\n\n'
DONE = b"event: response.completed\ndata: " + json.dumps({"type": "response.completed", "response": RESPONSE}).encode()
LIMITS = DrainLimits()


class Scene:
    """A client that asks and leaves, and an upstream that says its rest after that."""

    def __init__(self, first: bytes, rest: bytes, *, ends: bool = False) -> None:
        """`ends`: the upstream closes the connection behind the rest."""
        self._first, self._rest, self._ends = first, rest, ends
        self._left = asyncio.Event()
        self.heard = b""
        """What the upstream was sent behind the whole request, to the end of its connection."""

    async def part(self, wire: Wire) -> None:
        await wire.hear_request()
        wire.say(self._first)
        await self._left.wait()
        with contextlib.suppress(ConnectionError):
            wire.say(self._rest)
            if self._ends:
                return
            self.heard = await wire.hear_all()

    async def leave(self, lane: Lane) -> None:
        """Ask, see what comes at first, and leave; return when the lane has seen it."""
        client = await lane.connect()
        client.say(POST)
        if self._first:
            await client.hear_bytes(len(self._first))
        else:
            await lane.until(lambda: bool(lane.connections))
            await lane.connections[0].reader.read(0)
        client.writer.close()
        await lane.until(lambda: not any(_is_client(one) for one in lane.server._open))
        self._left.set()


def _is_client(held: object) -> bool:
    return type(held).__name__ == "NearSide"


@contextlib.asynccontextmanager
async def left(folder: Path, scene: Scene, limits: DrainLimits | None) -> AsyncIterator[Lane]:
    async with lane_to(folder, scene.part, drain=limits) as lane:
        await scene.leave(lane)
        await lane.until(lambda: bool(lane.lines()) and not lane.server._open)
        yield lane


def told(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["outcome"], line.get("input_tokens"), line.get("flags")


@pytest.mark.parametrize(
    ("first", "rest", "ends"),
    [(JSON + BODY[:20], BODY[20:], False), (b"", JSON + BODY, False), (STREAM + BEGUN, DONE + b"\n\n", True)],
    ids=["in the middle", "before any answer", "a stream"],
)
def test_the_usage_of_an_answer_whose_client_left_is_known_and_counted(
    tmp_path: Path, first: bytes, rest: bytes, ends: bool
) -> None:
    async def scene() -> None:
        async with left(tmp_path, Scene(first, rest, ends=ends), LIMITS) as lane:
            [line] = lane.lines()
            assert told(line) == ("aborted", 12, ["drained"])
            assert line["error"] == "the client left; its answer was read to the end"

    play(scene())
    ledger = Ledger(tmp_path / "submeter.duckdb", clock=SystemClock())
    ledger.ingest()
    assert ledger.query("SELECT standing, output_tokens, run_id FROM calls").rows == [("counted", 5, "r-1")]


def test_without_it_the_upstream_is_cut_at_once_and_the_call_is_unknown(tmp_path: Path) -> None:
    async def scene() -> None:
        scene = Scene(JSON + BODY[:20], BODY[20:])
        async with left(tmp_path, scene, None) as lane:
            [line] = lane.lines()
            assert told(line) == ("aborted", None, None)
            assert line["error"] == "the client left"

    play(scene())


@pytest.mark.parametrize(
    "limits", [DrainLimits(seconds=0.0), DrainLimits(bytes_max=len(BODY) - 21)], ids=["time", "bytes"]
)
def test_an_answer_past_a_ceiling_is_that_of_any_client_that_left(tmp_path: Path, limits: DrainLimits) -> None:
    async def scene() -> None:
        rest = b"" if limits.seconds == 0 else BODY[20:]
        async with left(tmp_path, Scene(JSON + BODY[:20], rest), limits) as lane:
            assert told(lane.lines()[0]) == ("aborted", None, None)

    play(scene())


def test_an_answer_that_just_fits_under_the_ceiling_is_read(tmp_path: Path) -> None:
    async def scene() -> None:
        scene = Scene(JSON + BODY[:20], BODY[20:])
        async with left(tmp_path, scene, DrainLimits(bytes_max=len(BODY) - 20)) as lane:
            assert told(lane.lines()[0]) == ("aborted", 12, ["drained"])

    play(scene())


@pytest.mark.parametrize("rest", [BODY[20:-1], BODY[20:-1] + b"]"], ids=["cut", "garbage"])
def test_an_answer_that_breaks_after_its_client_left_tells_no_usage(tmp_path: Path, rest: bytes) -> None:
    async def scene() -> None:
        async with left(tmp_path, Scene(JSON + BODY[:20], rest, ends=True), LIMITS) as lane:
            [line] = lane.lines()
            assert (line["outcome"], line.get("input_tokens")) == ("aborted", None)
            assert ("drained" in (line.get("flags") or [])) == (len(rest) == len(BODY) - 20)

    play(scene())


def test_a_refusal_that_was_read_to_its_end_is_a_refusal(tmp_path: Path) -> None:
    refused = b"HTTP/1.1 429 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"

    async def scene() -> None:
        async with left(tmp_path, Scene(refused, b"{}"), LIMITS) as lane:
            assert told(lane.lines()[0]) == ("refused", None, ["drained"])

    play(scene())


@pytest.mark.parametrize(
    "raw",
    [
        POST[:-1],
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["half a request", "a read"],
)
def test_what_bills_nothing_or_is_not_whole_is_cut_at_once(tmp_path: Path, raw: bytes) -> None:
    closed = asyncio.Event()

    async def part(wire: Wire) -> None:
        await wire.hear()
        asked.set()
        await wire.hear_all()
        closed.set()

    async def scene() -> None:
        async with lane_to(tmp_path, part, drain=LIMITS) as lane:
            client = await lane.connect()
            client.say(raw)
            await asked.wait()
            client.writer.close()
            await closed.wait()
            assert told(lane.lines()[0]) == ("aborted", None, None)

    asked = asyncio.Event()
    play(scene())


def test_a_stop_cuts_what_is_being_drained(tmp_path: Path) -> None:
    async def scene() -> None:
        scene = Scene(JSON + BODY[:20], b"")
        async with lane_to(tmp_path, scene.part, drain=LIMITS) as lane:
            await scene.leave(lane)
            assert len(lane.server._open) == 1
            assert lane.lines() == []
        [line] = lane.lines()
        assert told(line) == ("aborted", None, None)
        assert line["error"] == "the proxy was stopped"

    play(scene())


def test_what_a_client_did_not_read_is_read_on_when_it_leaves(tmp_path: Path) -> None:
    filler = b"x" * 8_000_000
    body = b'{"filler":"' + filler + b'",' + BODY[1:]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def part(wire: Wire) -> None:
        await wire.hear_request()
        wire.say(head, body)
        await wire.hear_all()

    async def scene() -> None:
        async with lane_to(tmp_path, part, drain=LIMITS) as lane:
            client = await lane.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.say(POST)
            await lane.until(lambda: any(_is_full(one) for one in lane.server._open))
            client.reset()
            await lane.until(lambda: bool(lane.lines()))
            assert told(lane.lines()[0]) == ("aborted", 12, ["drained"])

    play(scene())


def _is_full(held: object) -> bool:
    return bool(getattr(held, "_full", False))
