"""kill -9 of the proxy at random bytes of responses under load, judged by what the clients saw completed.

A few kills by default; all 200 with `SUBMETER_KILLS=200`, another sequence with `SUBMETER_SEED`. A failure names both.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from kill_world import SECRET, Manner, Trap, World
from laws import assert_calls_are_whole, assert_sums_agree
from proxy_process import LOG, Proxy, proxy_before
from wire import serving

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger

KILLS = int(os.environ.get("SUBMETER_KILLS", "200" if os.environ.get("SUBMETER_TESTS") == "deep" else "5"))
SEED = int(os.environ.get("SUBMETER_SEED", "1"))
CLIENTS = 12
TRAP_S_MAX = 20.0


async def kill_again_and_again(world: World, proxy: Proxy, chance: random.Random) -> Counter[str]:
    """`KILLS` times: let some calls pass, set a trap, wait for the shot, start the proxy again. What was shot at."""
    shots: Counter[str] = Counter()
    for _ in range(KILLS):
        due = world.completed + chance.randint(1, 3 * CLIENTS)
        async with asyncio.timeout(TRAP_S_MAX):
            while world.completed < due:
                await asyncio.sleep(0.002)
        trap = world.trap = Trap(
            manner=chance.choice(list(Manner)),
            held=chance.random() < 0.5,
            near_end=chance.random() < 0.5,
            # One in five at the very last byte: that is where a row and what the client sees could part.
            fraction=min(1.0, 1.25 * chance.random()),
            pause_s=chance.choice((0, 0.006 * chance.random())),
            shoot=proxy.kill,
        )
        async with asyncio.timeout(TRAP_S_MAX):
            while not trap.sprung:
                await asyncio.sleep(0.002)
        world.trap = None
        shots[f"{trap.manner} {'held' if trap.held else 'passing'}"] += 1
        code = await asyncio.to_thread(proxy.end)
        assert code == -signal.SIGKILL
        await asyncio.to_thread(proxy.start)
    due = world.completed + 3 * CLIENTS
    async with asyncio.timeout(TRAP_S_MAX):
        while world.completed < due:
            await asyncio.sleep(0.002)
    world.ended = True
    return shots


async def load(world: World, proxy: Proxy) -> Counter[str]:
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(world.client(lambda: proxy.port, random.Random(f"{SEED} client {number}")))
        killing = group.create_task(kill_again_and_again(world, proxy, random.Random(f"{SEED} kills")))
    return killing.result()


def test_every_call_that_a_client_completed_is_one_exact_row_through_kills_at_random_bytes(tmp_path: Path) -> None:
    ledger = tmp_path / "submeter.duckdb"
    world = World(random.Random(f"{SEED} upstream"))
    try:
        with serving(world.answer) as upstream, proxy_before(ledger, upstream.url, SECRET) as proxy:
            shots = asyncio.run(load(world, proxy))
            assert proxy.end(signal.SIGTERM) == 0
        figures = judge(world, Ledger(ledger, clock=SystemClock()))
        print(json.dumps({"seed": SEED, "kills": KILLS, "shots": dict(sorted(shots.items())), **figures}))
        assert b"failed" not in (tmp_path / LOG).read_bytes()
    except BaseException as error:
        error.add_note(
            f"Again: SUBMETER_SEED={SEED} SUBMETER_KILLS={KILLS} python -m pytest tests/{Path(__file__).name}"
        )
        raise


def judge(world: World, ledger: Ledger) -> dict[str, Any]:
    """The verdict: rows against the clients' record and the upstream's book."""
    ledger.ingest()
    table = ledger.query("SELECT * FROM calls WHERE operation = 'create' ORDER BY call_id")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    by_response = Counter(row["response_id"] for row in rows if row["response_id"])
    assert by_response.most_common(1)[0][1] == 1, "a response has two rows"
    asked = [row for row in rows if row["method"] != "WS"]
    by_request = Counter(row["request_id"] for row in asked if row["request_id"])
    assert by_request.most_common(1)[0][1] == 1, "a request id has two rows"
    by_step = Counter(row["step"] for row in asked)
    assert by_step.most_common(1)[0][1] == 1, "an attempt has two rows"

    told = {row["response_id"]: row for row in rows}
    book = {entry.response_id: entry for entry in world.sent}
    for call in world.calls:
        if call.completed:
            assert call.response_id is not None
            row, entry = told[call.response_id], book[call.response_id]
            assert entry.call == call.number
            assert (row["outcome"], row["standing"]) == ("metered", "counted"), row
            assert (row["request_id"], json.loads(row["usage"])) == (entry.request_id, entry.usage)
            assert call.manner is Manner.SOCKET or row["step"] == str(call.number)
    for row in rows:
        if row["standing"] == "counted":
            assert (row["input_tokens"], row["output_tokens"]) == book[row["response_id"]].totals
        else:
            assert row["outcome"] in ("lost", "aborted", "failed"), row
    over_http = {call.number for call in world.calls if call.manner is not Manner.SOCKET}
    assert world.reached & over_http <= {int(step) for step in by_step}, "a call that reached the upstream has no row"
    on_sockets = world.reached - over_http
    assert len(rows) - len(asked) >= len(on_sockets), "a response that was asked for on a socket has no row"

    assert_sums_agree(ledger)
    assert_calls_are_whole(ledger)
    everything = "SELECT * FROM calls ORDER BY call_id"
    before = ledger.query(everything).rows
    report = ledger.check()
    assert report.clean, report
    ledger.rebuild()
    assert ledger.query(everything).rows == before
    assert ledger.check().clean
    assert len(report.unfinished) <= KILLS
    return {
        "calls": len(world.calls),
        "completed": world.completed,
        "reached": len(world.reached),
        "rows": len(rows),
        "outcomes": dict(sorted(Counter(row["outcome"] for row in rows).items())),
        "metered, but not seen to the end": sum(row["outcome"] == "metered" for row in rows) - world.completed,
        "torn lines": len(report.unfinished),
        "journals": report.journals,
    }
