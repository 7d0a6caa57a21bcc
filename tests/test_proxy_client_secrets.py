"""Secrets that are not a framework's own key: minted through the meter, in a query, or a token that changes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from test_proxy_tap import CHAT, CHAT_BODY, JSON, proxied
from wire import RawRequest, exchange, framed, request_bytes

from submeter.data.clock import SystemClock
from submeter.data.keys import fingerprint
from submeter.data.ledger import Ledger
from submeter.data.paths import journal_folder
from submeter.proxy.client_secret import MINTED_MAX, Minted, minted_fingerprint
from submeter.proxy.request_key import request_key_fingerprint

KEY, CHILD = "sk-proj-of-the-server-0123456789", "ek_68af296e8e408191a1120ab6383263c2"
ENVIRONMENT = {"OPENAI_API_KEY_BAES": KEY, "OPENAI_API_KEY_BAES_ID": "key_baes"}
SHAPES: list[Any] = [
    {"value": CHILD, "expires_at": 1, "session": {"type": "realtime", "model": "gpt-realtime"}},
    {"object": "realtime.session", "client_secret": {"value": CHILD, "expires_at": 1}},
    {"object": "chatkit.session", "client_secret": CHILD},
]


async def upstream(request: RawRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Mints where it is asked to, in the shape named by the path, and chats elsewhere."""
    mints = "sessions" in request.target or "secrets" in request.target
    body = json.dumps(SHAPES[0]).encode() if mints else CHAT_BODY
    writer.writelines(framed(200, JSON, body))
    await writer.drain()
    return True


def post(port: int, target: str, secret: str | None, body: Any = CHAT) -> int:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {secret}"} if secret else {})}
    return exchange(port, request_bytes("POST", target, headers=headers, body=json.dumps(body).encode())).status


def rows(ledger: Path) -> list[dict[str, Any]]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    assert_sums_agree(opened)
    table = opened.query("SELECT * FROM calls ORDER BY call_id")
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def key_lines(ledger: Path) -> list[tuple[Any, ...]]:
    lines = [
        json.loads(line) for path in journal_folder(ledger).glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    names = ("key_fingerprint", "framework", "api_key_id")
    return [tuple(line.get(name) for name in names) for line in lines if line["kind"] == "key"]


def at_rest(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_calls_with_a_minted_secret_belong_to_the_key_that_minted_it(tmp_path: Path) -> None:
    with proxied(tmp_path, upstream, environment=ENVIRONMENT) as (port, _, ledger):
        assert post(port, "/v1/realtime/client_secrets", KEY, {}) == 200
        assert post(port, "/v1/chat/completions", CHILD) == 200
        assert post(port, "/v1/chat/completions", "ek_of_somebody_else") == 200
    minting, own, foreign = rows(ledger)
    assert (minting["operation"], minting["endpoint"]) == ("read", "realtime/client_secrets")
    names = ("framework", "api_key_id", "key_fingerprint")
    assert [own[name] for name in names] == ["baes", "key_baes", fingerprint(KEY)]
    assert (foreign["framework"], foreign["api_key_id"]) == (None, None)
    assert (fingerprint(CHILD), "baes", "key_baes") in key_lines(ledger)
    assert CHILD.encode() not in at_rest(tmp_path)


def test_another_proxy_of_the_ledger_knows_the_id_of_a_minted_secret_by_its_key_line(tmp_path: Path) -> None:
    with proxied(tmp_path, upstream, environment=ENVIRONMENT) as (port, _, ledger):
        post(port, "/v1/realtime/client_secrets", KEY, {})
    with proxied(tmp_path, upstream, environment=ENVIRONMENT) as (port, _, ledger):
        post(port, "/v1/chat/completions", CHILD)
    last = rows(ledger)[-1]
    assert (last["key_fingerprint"], last["api_key_id"]) == (fingerprint(CHILD), "key_baes")


def test_a_configured_key_that_an_answer_hands_out_stays_its_own_framework_s(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "OPENAI_API_KEY_CHATDEV": CHILD, "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev"}
    with proxied(tmp_path, upstream, environment=environment) as (port, _, ledger):
        assert post(port, "/v1/realtime/client_secrets", KEY, {}) == 200
        assert post(port, "/v1/chat/completions", CHILD) == 200
    assert [(row["framework"], row["api_key_id"]) for row in rows(ledger)] == [
        ("baes", "key_baes"),
        ("chatdev", "key_chatdev"),
    ]


def test_a_minted_secret_that_never_comes_back_is_no_call(tmp_path: Path) -> None:
    with proxied(tmp_path, upstream, environment=ENVIRONMENT) as (port, _, ledger):
        post(port, "/v1/realtime/sessions", KEY, {})
    assert [(row["operation"], row["standing"]) for row in rows(ledger)] == [("read", None)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_minted_secret_is_found_in_every_shape_of_a_minting_answer_and_in_no_other(shape: Any) -> None:
    assert minted_fingerprint("realtime/sessions", shape) == fingerprint(CHILD)
    assert minted_fingerprint("responses", shape) is None


@pytest.mark.parametrize(
    "shape", [{}, {"value": 5}, {"value": ""}, {"value": "ek_\ud800"}, {"client_secret": {}}, {"client_secret": None}]
)
def test_an_answer_without_a_secret_mints_none(shape: Any) -> None:
    assert minted_fingerprint("realtime/sessions", shape) is None


def test_secrets_that_mint_secrets_belong_to_the_first_key_and_the_oldest_is_forgotten() -> None:
    minted = Minted()
    minted.add("child", minted_by="key")
    minted.add("grandchild", minted_by="child")
    assert [minted.owner(name) for name in ("key", "child", "grandchild")] == ["key", "key", "key"]
    for number in range(MINTED_MAX):
        minted.add(f"n{number}", minted_by="key")
    assert (minted.owner("child"), minted.owner("n0")) == ("child", "key")


@pytest.mark.parametrize("name", ["client_secret", "api-key", "api_key"])
def test_a_secret_in_a_query_is_known_by_its_fingerprint_and_written_nowhere(tmp_path: Path, name: str) -> None:
    assert request_key_fingerprint({}, f"/v1/realtime?model=m&{name}={KEY}") == fingerprint(KEY)
    with proxied(tmp_path, upstream, environment=ENVIRONMENT) as (port, server, ledger):
        post(port, f"/v1/chat/completions?{name}={KEY}", None)
        assert server.requests[0].target == f"/v1/chat/completions?{name}={KEY}"
    [row] = rows(ledger)
    assert (row["framework"], row["path"]) == ("baes", "/v1/chat/completions")
    assert KEY.encode() not in at_rest(tmp_path)


def test_a_header_s_key_stands_before_that_of_a_query() -> None:
    path = f"/v1/realtime?client_secret={CHILD}"
    assert request_key_fingerprint({"authorization": f"Bearer {KEY}"}, path) == fingerprint(KEY)
    assert request_key_fingerprint({}, "/v1/realtime?model=client_secret") is None


def test_tokens_that_change_have_the_run_s_framework_and_the_id_that_is_configured_alone(tmp_path: Path) -> None:
    environment = {"OPENAI_API_KEY_BAES_ID": "key_tokens"}
    with proxied(tmp_path, upstream, environment=environment) as (port, _, ledger):
        for token in ("token-of-10-o-clock", "token-of-11-o-clock"):
            post(port, "/framework/baes/run/r-1/v1/chat/completions", token)
        post(port, "/framework/other/run/r-1/v1/chat/completions", "token-of-12-o-clock")
    assert [(row["framework"], row["run_id"], row["api_key_id"]) for row in rows(ledger)] == [
        ("baes", "r-1", "key_tokens"),
        ("baes", "r-1", "key_tokens"),
        ("other", "r-1", None),
    ]
