"""Real clients whose streams do not ask for usage: they see none of it, and the rows equal the simulator's books."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from client_rooms import SDK, node_with, python_with
from test_proxy_tap import calls
from test_real_clients import CLIENTS, KEYS, SECRET, run_client

from submeter.proxy import Submeter
from submeter.sim import Sim


def command(client: str) -> list[str]:
    match client:
        case "node":
            node, room = node_with("openai")
            script = room / "mute_node.mjs"
            shutil.copy(CLIENTS / "mute_node.mjs", script)
            return [node, str(script)]
        case "langchain":
            return [str(python_with("langchain-openai")), str(CLIENTS / "mute_langchain.py")]
        case _:
            return [str(python_with(SDK)), str(CLIENTS / "mute_python.py")]


@pytest.mark.parametrize("client", ["python", "node", "langchain"])
def test_a_client_that_asks_for_no_usage_sees_none_and_is_metered_to_the_token(tmp_path: Path, client: str) -> None:
    ledger = tmp_path / "submeter.duckdb"
    run = command(client)
    with Sim(keys=KEYS, seed=9) as sim, Submeter(ledger, upstream=sim.url) as meter:
        environment = {**os.environ, "OPENAI_BASE_URL": meter.base_url, "OPENAI_API_KEY": SECRET}
        seen = run_client(run, environment, tmp_path)
    assert len(seen) == 3
    assert [call["told"] for call in seen] == [[], [], []]
    rows = {call["request_id"]: call for call in calls(ledger)}
    assert len(rows) == len(sim.books.entries) == 3
    for entry in sim.books.entries:
        row = rows[entry.request_id]
        assert (row["input_tokens"], row["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)
        assert (row["standing"], row["usage_source"], row["flags"]) == ("counted", "requested", [])
