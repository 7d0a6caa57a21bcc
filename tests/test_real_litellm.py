"""litellm as a client: whole answers, streams that ask for usage and streams that do not, sync and async."""

from __future__ import annotations

import os
from pathlib import Path

from client_rooms import python_with
from test_proxy_tap import calls
from test_real_clients import CLIENTS, KEYS, SECRET, run_client

from submeter.proxy import Submeter
from submeter.sim import Sim

MUTE = {"mute", "mute_choices", "async_mute"}


def test_litellm_s_calls_are_the_rows_and_the_books_and_its_mute_streams_tell_it_nothing(tmp_path: Path) -> None:
    python = python_with("litellm")
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=12) as sim, Submeter(ledger, upstream=sim.url) as meter:
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": f"{meter.url}/run/r-1/step/2/v1",
            "OPENAI_API_KEY": SECRET,
            # Its prices come with it; it would ask the network for newer ones.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        seen = run_client([str(python), str(CLIENTS / "litellm_python.py")], environment, tmp_path)
    assert len(seen) == len(sim.received) == len(sim.books.entries) == 13
    assert {call["kind"] for call in seen if call["told"] is None} == MUTE
    rows = {row["request_id"]: row for row in calls(ledger)}
    assert len(rows) == 13
    for entry in sim.books.entries:
        row = rows[entry.request_id]
        assert (row["outcome"], row["standing"], row["flags"]) == ("metered", "counted", [])
        assert (row["run_id"], row["step"], row["response_id"]) == ("r-1", "2", entry.response_id)
        assert row["input_tokens"] == entry.counts.input_tokens
        if entry.usage_endpoint == "completions":
            assert row["output_tokens"] == entry.counts.output_tokens
    by_response = {row["response_id"]: row for row in rows.values()}
    for call in seen:
        row = by_response[call["id"]]
        assert row["usage_source"] == ("requested" if call["kind"] in MUTE else "reported")
        assert call["told"] in (None, [row["input_tokens"], row["output_tokens"] or 0]), call["kind"]
