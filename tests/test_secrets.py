"""No secret where it does not belong: not in an id, a path, an error, or what other machines are shown."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from submeter.data.clock import FixedClock, SystemClock
from submeter.data.error import SubmeterError
from submeter.data.journal import Journal
from submeter.data.keys import KeyRing, read_keys
from submeter.data.marks import MarkBook
from submeter.data.masking import looks_secret, masked
from submeter.proxy.control_client import TOKEN_VARIABLE, read_health
from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.labels import split_path
from submeter.proxy.listen import Listen
from submeter.proxy.meter import Meter
from submeter.proxy.recorder import Recorder
from submeter.proxy.serve import ProxyServer
from submeter.proxy.upstream_url import parse_upstream

TOKEN = "a-token-of-more-than-a-few-letters"
KEY = "sk-proj-0123456789_abcdefghijklmnop"


@pytest.mark.parametrize(
    "value",
    [KEY, "sk-x", "sk_live_1", "sess-abc", "ek_68af", "Bearer abc", "ghp_0123", "A1" * 20],
)
def test_a_value_of_a_secret_s_form_is_no_id(value: str) -> None:
    assert looks_secret(value)
    with pytest.raises(SubmeterError) as refused:
        read_keys({"OPENAI_API_KEY_CHATDEV": "sk-another", "OPENAI_API_KEY_CHATDEV_ID": value})
    assert "OPENAI_API_KEY_CHATDEV_ID" in refused.value.what
    assert value not in str(refused.value)


def test_a_secret_is_no_id_of_a_framework_without_a_key_either() -> None:
    with pytest.raises(SubmeterError, match="OPENAI_API_KEY_BAES_ID holds what looks like a secret"):
        read_keys({"OPENAI_API_KEY_BAES_ID": KEY})
    assert read_keys({"OPENAI_API_KEY_USAGE_TRACKING_ID": "", "OPENAI_API_KEY_BAES_ID": ""}).keys == ()


def test_a_key_s_own_secret_is_not_its_id_whatever_its_form() -> None:
    with pytest.raises(SubmeterError, match="looks like a secret"):
        read_keys({"OPENAI_API_KEY_CHATDEV": "mine", "OPENAI_API_KEY_CHATDEV_ID": "mine"})


@pytest.mark.parametrize("value", ["key_0123456789abcdefABCDEF0123456789abcdefABCDEF", "key_a", "my key", "demo"])
def test_what_is_no_secret_by_its_form_stays_an_id(value: str) -> None:
    (key,) = read_keys({"OPENAI_API_KEY_CHATDEV": "sk-another", "OPENAI_API_KEY_CHATDEV_ID": value}).keys
    assert key.api_key_id == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"/v1/keys/{KEY}/x", "/v1/keys/sk-***/x"),
        (f"{KEY} {KEY}", "sk-*** sk-***"),
        ("invalid_key: ek_0123456789abcdef (x)", "invalid_key: ek_*** (x)"),
        ("task-0123456789abcdef risk-0123456789abcdef sess_0123456789abcdef", None),
        ("/v1/models/gpt-4o-mini-2024-07-18", None),
    ],
)
def test_a_key_in_a_text_is_cut_to_its_beginning(text: str, shown: str | None) -> None:
    assert masked(text) == (text if shown is None else shown)


def test_a_key_in_a_path_is_not_in_the_journal(tmp_path: Path) -> None:
    clock = FixedClock(1_795_000_000_000_000)
    with Journal.open(tmp_path / "submeter.duckdb", mode="proxy", clock=clock) as journal:
        recorder = Recorder(journal=journal, clock=clock, keys=KeyRing(), marks=MarkBook(), upstream="http://x")
        path = split_path(f"/v1/models/{KEY}?key={KEY}")
        start, _ = recorder.start(
            method="GET",
            path=path,
            headers={"authorization": f"Bearer {KEY}"},
            endpoint=find_endpoint("GET", path.path),
        )
        journal.begin()
        assert start.path == "/v1/models/sk-***"
        assert path.path == f"/v1/models/{KEY}?key={KEY}", "what goes on is untouched"
    assert KEY.encode() not in journal.path.read_bytes()


def test_a_key_in_an_error_s_code_is_not_in_the_reading() -> None:
    meter = Meter(
        find_endpoint("POST", "/v1/chat/completions"),
        status_code=401,
        content_type="application/json",
        content_encoding=None,
    )
    meter.feed(orjson.dumps({"error": {"type": "invalid_request_error", "code": KEY, "param": KEY, "message": KEY}}))
    meter.finish()
    assert meter.reading().error == "invalid_request_error: sk-*** (sk-***)"


@pytest.mark.parametrize("remote", [False, True])
def test_other_machines_are_shown_no_key_ids(remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server = ProxyServer(
        ledger=tmp_path / "submeter.duckdb",
        listen=Listen(host="0.0.0.0" if remote else "127.0.0.1", port=0, remote=remote, token=TOKEN),
        upstream=parse_upstream("http://127.0.0.1:9"),
        clock=SystemClock(),
        keys=read_keys({"OPENAI_API_KEY_CHATDEV": "sk-another", "OPENAI_API_KEY_CHATDEV_ID": "key_chatdev"}),
    )
    server.start()
    try:
        health = read_health(server.url)
    finally:
        server.stop(0)
    assert health is not None
    assert ("key_chatdev" in str(health)) is not remote
