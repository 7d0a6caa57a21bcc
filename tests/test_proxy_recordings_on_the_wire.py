"""Every recorded exchange through the real proxy on raw sockets: same bytes, and the labelled usage in the ledger."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from wire import RawRequest, framed, read_response, request_bytes, serving

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.proxy import Submeter

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "public.jsonl.gz"
EXCHANGES = 3852
CONNECTIONS = 8
SEED = 20261122


def recorded() -> list[dict[str, Any]]:
    with gzip.open(RECORDINGS) as lines:
        return [json.loads(line) for line in lines]


def body_of(message: dict[str, Any]) -> bytes:
    if message.get("body") is not None:
        return str(message["body"]).encode()
    return base64.b64decode(message.get("body_b64") or b"")


def request_of(index: int, exchange: dict[str, Any]) -> bytes:
    request = exchange["request"]
    headers = {name: value for name, value in request["headers"].items() if name != "authorization"}
    headers["Authorization"] = "Bearer sk-recorded-0000000000000000"
    headers["X-Replay"] = str(index)
    return request_bytes(
        request["method"], f"/run/recordings/step/{index}{request['path']}", headers=headers, body=body_of(request)
    )


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")
def test_every_recorded_body_passes_unchanged_and_its_usage_is_in_the_ledger(tmp_path: Path) -> None:
    exchanges = recorded()
    assert len(exchanges) == EXCHANGES
    chance = random.Random(SEED)
    cuts = [
        None if chance.random() < 0.4 else [chance.randint(0, len(body_of(e["response"]))) for _ in range(7)]
        for e in exchanges
    ]

    async def answer(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        index = int(request.header("x-replay") or -1)
        response = exchanges[index]["response"]
        headers = {k: v for k, v in response["headers"].items() if k not in ("transfer-encoding", "content-length")}
        for piece in framed(response["status"], headers, body_of(response), cuts=cuts[index]):
            writer.write(piece)
            await writer.drain()
        return True

    received: dict[int, bytes] = {}

    async def client(port: int, work: list[int]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
        for index in work:
            writer.write(request_of(index, exchanges[index]))
            response = await read_response(reader, method=exchanges[index]["request"]["method"])
            assert response.whole, exchanges[index]["source"]
            assert response.status == exchanges[index]["response"]["status"], exchanges[index]["source"]
            received[index] = response.body
        writer.close()

    async def clients(port: int) -> None:
        work = [list(range(first, EXCHANGES, CONNECTIONS)) for first in range(CONNECTIONS)]
        await asyncio.gather(*(client(port, indexes) for indexes in work))

    ledger = tmp_path / "submeter.duckdb"
    with serving(answer) as upstream, Submeter(ledger, upstream=upstream.url) as meter:
        asyncio.run(clients(int(meter.url.rsplit(":", 1)[1])))

    changed = [e["source"] for i, e in enumerate(exchanges) if received[i] != body_of(e["response"])]
    assert changed == []
    table = Ledger(ledger, clock=SystemClock()).query(
        "SELECT step, usage, status_code FROM calls WHERE run_id = 'recordings'"
    )
    rows = {int(step): (usage, status) for step, usage, status in table.rows}
    assert len(table.rows) == len(rows) == EXCHANGES
    wrong = []
    for index, exchange in enumerate(exchanges):
        usage, status = rows[index]
        got = None if usage is None else json.loads(usage)
        if got != exchange["expected"]["usage"] or status != exchange["response"]["status"]:
            wrong.append((exchange["source"], got, exchange["expected"]["usage"]))
    assert wrong == []
    assert_sums_agree(Ledger(ledger, clock=SystemClock()))
