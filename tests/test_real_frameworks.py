"""Agent frameworks and tools as they are published, pointed at the meter: what they used is the rows and the books.

Each is installed in an environment of its own and given the one variable or option that `docs/clients.md` names for it.
Two run with every test; `SUBMETER_TESTS=deep` runs them all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client_rooms import SDK, node_with, python_with
from test_proxy_tap import calls
from test_real_clients import CLIENTS, KEYS, SECRET

from submeter.proxy import Submeter
from submeter.sim import Sim
from submeter.sim.models import find
from submeter.sim.script import Scripted, read_script

DEEP = os.environ.get("SUBMETER_TESTS") == "deep"
CLIENT_S_MAX = 240
CHAT, RESPONSES, EMBEDDINGS = "chat/completions", "responses", "embeddings"
CLIENTS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "clients.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """One client and what is expected of it."""

    name: str
    """As the clients' page has it."""
    variable: str
    """The only variable that points it."""
    command: Callable[[], list[str]]
    endpoints: frozenset[str]
    """Endpoints of the calls that it makes."""
    quick: bool = False
    """Whether it runs with every test."""


def python(script: str, *packages: str) -> Callable[[], list[str]]:
    return lambda: [str(python_with(*packages)), str(CLIENTS / script)]


def node(script: str, *packages: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        program, room = node_with(*packages)
        shutil.copy(CLIENTS / script, room / script)
        return [program, str(room / script)]

    return command


BASE_URL, API_BASE = "OPENAI_BASE_URL", "OPENAI_API_BASE"
FRAMEWORKS = (
    Framework(
        name="openai-agents",
        variable=BASE_URL,
        command=python("agents_python.py", "openai-agents"),
        endpoints=frozenset({CHAT, RESPONSES}),
        quick=True,
    ),
    Framework(
        name="openai (Python)",
        variable=BASE_URL,
        command=python("parse_python.py", SDK),
        endpoints=frozenset({CHAT, RESPONSES}),
        quick=True,
    ),
    Framework(
        name="instructor",
        variable=BASE_URL,
        command=python("instructor_python.py", "instructor"),
        endpoints=frozenset({CHAT}),
    ),
    Framework(
        name="pydantic-ai",
        variable=BASE_URL,
        command=python("pydantic_ai_python.py", "pydantic-ai-slim[openai]"),
        endpoints=frozenset({CHAT, RESPONSES}),
    ),
    Framework(
        name="LangGraph, LangChain",
        variable=BASE_URL,
        command=python("langgraph_python.py", "langgraph", "langchain-openai"),
        endpoints=frozenset({CHAT, RESPONSES, EMBEDDINGS}),
    ),
    Framework(
        name="langchain-openai 0.1",
        variable=API_BASE,
        command=python("old_langchain_python.py", "langchain-openai<0.2"),
        endpoints=frozenset({CHAT}),
    ),
    Framework(
        name="LlamaIndex",
        variable=API_BASE,
        command=python("llamaindex_python.py", "llama-index-llms-openai", "llama-index-embeddings-openai"),
        endpoints=frozenset({CHAT, RESPONSES, EMBEDDINGS}),
    ),
    Framework(
        name="AutoGen",
        variable=BASE_URL,
        command=python("autogen_python.py", "autogen-agentchat", "autogen-ext[openai]"),
        endpoints=frozenset({CHAT}),
    ),
    Framework(
        name="crewAI", variable=BASE_URL, command=python("crewai_python.py", "crewai"), endpoints=frozenset({CHAT})
    ),
    Framework(
        name="Vercel AI",
        variable=BASE_URL,
        command=node("vercel_node.mjs", "ai", "@ai-sdk/openai", "zod"),
        endpoints=frozenset({CHAT, RESPONSES}),
    ),
)
deep = pytest.mark.skipif(not DEEP, reason="SUBMETER_TESTS=deep runs this client too")


def surroundings(home: Path) -> dict[str, str]:
    """An environment in which nothing points at OpenAI, and nothing of a client reports home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUBMETER_"))}
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "DO_NOT_TRACK": "1"}
    return {**kept, **quiet, "HOME": str(home), "XDG_DATA_HOME": str(home)}


def check(ledger: Path, sim: Sim) -> list[dict[str, Any]]:
    """The rows of the calls that create work: the simulator's entries, one each, to the token, and nothing unknown."""
    rows = calls(ledger)
    strange = [(row["path"], row["standing"], row["outcome"]) for row in rows if row["standing"] == "unknown"]
    assert strange == []
    creates = {row["request_id"]: row for row in rows if row["operation"] == "create"}
    assert len(creates) == sum(row["operation"] == "create" for row in rows)
    assert set(creates) == {entry.request_id for entry in sim.books.entries}
    for entry in sim.books.entries:
        row = creates[entry.request_id]
        assert row["standing"] == "counted"
        assert row["input_tokens"] == entry.counts.input_tokens
        if entry.usage_endpoint == "completions":
            assert row["output_tokens"] == entry.counts.output_tokens
    return list(creates.values())


@pytest.mark.parametrize(
    "framework", [pytest.param(one, id=one.name, marks=() if one.quick else deep) for one in FRAMEWORKS]
)
def test_what_a_framework_used_is_the_rows_and_the_books(tmp_path: Path, framework: Framework) -> None:
    ledger = tmp_path / "submeter.duckdb"
    command = framework.command()
    with Sim(keys=KEYS, seed=21) as sim, Submeter(ledger, upstream=sim.url) as meter:
        pointed = {framework.variable: f"{meter.url}/run/r-1/v1", "OPENAI_API_KEY": SECRET}
        environment = {**surroundings(tmp_path), **pointed}
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=CLIENT_S_MAX
        )
        assert done.returncode == 0, done.stderr
    rows = check(ledger, sim)
    assert {row["endpoint"] for row in rows} == framework.endpoints
    assert {row["run_id"] for row in rows} == {"r-1"}
    told = json.loads(done.stdout.splitlines()[-1])["told"]
    # A stream that did not ask for its usage tells its client none.
    heard = [row for row in rows if row["endpoint"] != EMBEDDINGS and row["usage_source"] != "requested"]
    assert told in (None, sum(row["input_tokens"] + row["output_tokens"] for row in heard))


@deep
def test_a_codex_session_is_the_rows_and_the_books(tmp_path: Path) -> None:
    program, room = node_with("@openai/codex")
    codex = room / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    ledger = tmp_path / "submeter.duckdb"
    script = (Scripted(say="Hello from the simulator.", times=0),)
    with Sim(keys=KEYS, seed=22, script=script) as sim, Submeter(ledger, upstream=sim.url) as meter:
        option = f'openai_base_url="{meter.url}/run/r-1/v1"'
        command = [program, str(codex), "exec", "--skip-git-repo-check", "-m", "gpt-5.5", "-c", option, "say hello"]
        environment = {**surroundings(tmp_path), "CODEX_HOME": str(tmp_path), "CODEX_API_KEY": SECRET}
        done = subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=CLIENT_S_MAX,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
    assert "Hello from the simulator." in done.stdout
    rows = calls(ledger)
    standings = [row["standing"] for row in rows if row["operation"] == "create"]
    # The session's first message generates nothing: it is a warm-up, and not billed here.
    assert sorted(standings) == sorted("counted" if entry.billed else "optional" for entry in sim.books.entries)
    billed = [entry for entry in sim.books.entries if entry.billed]
    counted = [row for row in rows if row["standing"] == "counted"]
    assert len(billed) == len(counted) > 0
    assert sorted((row["input_tokens"], row["output_tokens"]) for row in counted) == sorted(
        (entry.counts.input_tokens, entry.counts.output_tokens) for entry in billed
    )


def page() -> dict[str, str]:
    """The lines of the clients' page, by client."""
    lines = [line for line in CLIENTS_PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split("|")[1].strip(): line for line in lines}


def test_the_clients_page_says_what_points_each_client_that_is_tried_here() -> None:
    told = page()
    assert [one.name for one in FRAMEWORKS if f"`{one.variable}`" not in told[one.name].split("|")[2]] == []
    assert "-c openai_base_url=" in told["Codex"]


def test_the_script_on_the_clients_page_is_one() -> None:
    text = CLIENTS_PAGE.read_text(encoding="utf-8")
    entries = read_script(text.partition("```json\n")[2].partition("```")[0])
    assert (entries[0].when, entries[0].times) == ("which programming language", 0)
    assert entries[1].calls == (("read_meter", '{"room": "kitchen"}'),)
    assert entries[2].say == '{"rooms": 3}'


@deep
def test_every_model_that_the_newest_sdk_knows_is_served() -> None:
    names = subprocess.run(
        [str(python_with(SDK)), str(CLIENTS / "model_names.py")], capture_output=True, text=True, timeout=60
    )
    assert names.returncode == 0, names.stderr
    assert [name for name in json.loads(names.stdout) if find(name) is None] == []


@deep
def test_the_newest_sdk_finds_nothing_in_the_simulator_s_answers_that_its_types_do_not_allow(tmp_path: Path) -> None:
    command = [str(python_with(SDK)), str(CLIENTS / "strict_python.py")]
    with Sim(keys=KEYS, seed=23) as sim:
        environment = {**surroundings(tmp_path), "OPENAI_BASE_URL": sim.base_url, "OPENAI_API_KEY": SECRET}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CLIENT_S_MAX)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
