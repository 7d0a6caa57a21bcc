"""The real openai SDKs, pointed by OPENAI_BASE_URL alone, against the pretend OpenAI: rows equal its books."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from client_rooms import SDK, node_with, python_with
from laws import assert_sums_agree
from sdk_paths import sdk_post_paths

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.proxy import Submeter
from submeter.proxy.endpoint import find_endpoint
from submeter.sim import Key, Sim

CLIENTS = Path(__file__).resolve().parent / "clients"
SECRET = "sk-sim-of-the-client-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_client"),)
CLIENT_S_MAX = 120


def run_client(command: list[str], environment: dict[str, str], cwd: Path) -> list[dict[str, Any]]:
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=CLIENT_S_MAX)
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


def check_rows_against_books(ledger: Path, sim: Sim, seen: list[dict[str, Any]]) -> None:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    table = opened.query("SELECT * FROM calls ORDER BY call_id")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert_sums_agree(opened)
    by_request = {row["request_id"]: row for row in rows}
    assert len(by_request) == len(rows) == len(sim.received)
    creates = {row["request_id"] for row in rows if row["operation"] == "create"}
    assert creates == {entry.request_id for entry in sim.books.entries}
    for entry in sim.books.entries:
        row = by_request[entry.request_id]
        if entry.usage_endpoint == "completions":
            assert row["input_tokens"] == entry.counts.input_tokens
            assert row["output_tokens"] == entry.counts.output_tokens
            silent = entry.cached_silent or row["endpoint"] == "completions"
            assert row["cached_input_tokens"] == (None if silent else entry.counts.cached_tokens)
            assert row["standing"] == "counted"
        if entry.usage_endpoint == "embeddings":
            assert (row["input_tokens"], row["standing"]) == (entry.counts.input_tokens, "counted")
    told = {row["response_id"]: row for row in rows if row["operation"] == "create" and row["response_id"]}
    for call in seen:
        row = by_request[call["request_id"]] if call["request_id"] else told[call["id"]]
        assert (None if row["usage"] is None else json.loads(row["usage"])) == call["usage"], call["kind"]


@pytest.mark.parametrize("label", ["", "/run/r-1/step/1"])
def test_the_python_sdk_s_usages_are_the_rows_and_the_books(tmp_path: Path, label: str) -> None:
    python = python_with(SDK)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=7) as sim, Submeter(ledger, upstream=sim.url) as meter:
        environment = {**os.environ, "OPENAI_BASE_URL": f"{meter.url}{label}/v1", "OPENAI_API_KEY": SECRET}
        seen = run_client([str(python), str(CLIENTS / "openai_python.py")], environment, tmp_path)
    assert len(seen) == 20
    check_rows_against_books(ledger, sim, seen)


def test_the_node_sdk_s_usages_are_the_rows_and_the_books(tmp_path: Path) -> None:
    node, room = node_with("openai")
    script = room / "openai_node.mjs"
    shutil.copy(CLIENTS / "openai_node.mjs", script)
    ledger = tmp_path / "submeter.duckdb"
    with Sim(keys=KEYS, seed=8) as sim, Submeter(ledger, upstream=sim.url) as meter:
        environment = {**os.environ, "OPENAI_BASE_URL": meter.base_url, "OPENAI_API_KEY": SECRET}
        seen = run_client([node, str(script)], environment, tmp_path)
    assert len(seen) == 14
    check_rows_against_books(ledger, sim, seen)


def test_every_path_that_the_newest_sdk_can_post_to_stands_in_the_meter_s_table() -> None:
    """By its own template: a new verb that an `{id}` would take for its own is missing, too."""
    paths = sdk_post_paths(python_with(SDK).parents[1])
    assert "/responses" in paths
    assert len(paths) > 100
    templates = {re.sub(r"\{[a-z_]+\}", "{id}", path).strip("/") for path in paths}
    missing = {
        name
        for name in templates
        if not name.startswith("organization/") and find_endpoint("POST", f"/v1/{name}").name != name
    }
    assert missing == set()
