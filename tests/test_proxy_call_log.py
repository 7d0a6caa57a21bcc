"""What the proxy says of calls that have ended: silence for plain ones, a line for the rest."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_proxy_tap import CHAT_BODY, JSON
from wire import Answer, framed, serving

from submeter.cli.proxy_log import LogFormat, Logged, ProxyLog
from submeter.data.call import Flag, Operation, Outcome
from submeter.data.clock import FixedClock
from submeter.proxy.call_log import call_record, call_text, is_plain

NOW_US = 1_795_000_000_000_000
SECRET = "sk-of-the-log-0123456789abcdef"


def line(**given: Any) -> dict[str, Any]:
    settled = {
        "call_id": "c-1",
        "started_at": NOW_US,
        "ended_at": NOW_US + 1_500_000,
        "method": "POST",
        "path": "/v1/chat/completions",
        "operation": Operation.CREATE,
        "usage_endpoint": "completions",
        "outcome": Outcome.METERED,
        "status_code": 200,
        "input_tokens": 12,
        "output_tokens": 5,
    }
    return {name: value for name, value in (settled | given).items() if value is not None}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({}, True),
        ({"outcome": Outcome.REFUSED, "status_code": 401}, False),
        ({"outcome": Outcome.FAILED, "status_code": 500}, False),
        ({"outcome": Outcome.ABORTED}, False),
        ({"outcome": Outcome.UNREADABLE}, False),
        ({"outcome": Outcome.NO_USAGE, "input_tokens": None, "output_tokens": None}, False),
        ({"output_tokens": None}, False),
        ({"flags": (Flag.CACHED_OVER_INPUT,)}, False),
        ({"flags": (Flag.HOSTED_TOOL,)}, True),
        ({"flags": (Flag.WARM_UP,), "outcome": Outcome.NO_USAGE}, True),
        ({"usage_endpoint": None, "outcome": Outcome.NO_USAGE}, True),
        ({"usage_endpoint": None, "outcome": Outcome.NO_USAGE, "flags": (Flag.UNKNOWN_ENDPOINT,)}, False),
        ({"usage_endpoint": "embeddings", "output_tokens": None}, True),
        ({"usage_endpoint": "images", "images": 1}, True),
        ({"usage_endpoint": "images"}, False),
        ({"operation": Operation.READ, "outcome": Outcome.NO_USAGE}, True),
        ({"operation": Operation.READ, "outcome": Outcome.REFUSED, "status_code": 404}, False),
    ],
)
def test_a_call_is_plain_where_it_was_read_without_doubt_or_had_nothing_to_tell(
    given: dict[str, Any], plain: bool
) -> None:
    assert is_plain(line(**given)) is plain


def test_a_line_says_what_happened_in_words() -> None:
    said = call_text(
        line(
            outcome=Outcome.REFUSED,
            status_code=401,
            framework="chatdev",
            run_id="r-1",
            step="2",
            input_tokens=None,
            output_tokens=None,
            error="invalid_api_key\nof two lines",
            flags=(Flag.NEVER_SENT,),
        )
    )
    assert said == (
        "2026-11-18T11:06:41Z refused 401 POST /v1/chat/completions chatdev/r-1 step 2 [never_sent]: "
        "invalid_api_key of two lines"
    )
    assert "12 + 5 tokens" in call_text(line())


def test_a_record_holds_what_is_known_and_no_key() -> None:
    told = call_record(line(key_fingerprint="0123456789abcdef", api_key_id="key_1"))
    assert told["event"] == "call"
    assert (told["outcome"], told["duration_ms"], told["input_tokens"]) == ("metered", 1500, 12)
    assert not {"key_fingerprint", "api_key_id", "error"} & set(told)


@pytest.mark.parametrize(("logged", "lines"), [("problems", 1), ("calls", 2), ("none", 0)])
def test_what_is_written_is_what_was_asked_for(logged: str, lines: int, capfd: pytest.CaptureFixture[str]) -> None:
    log = ProxyLog(Logged(logged), LogFormat.JSON, FixedClock(NOW_US))
    log.call(line())
    log.call(line(outcome=Outcome.ABORTED))
    log.close()
    said = [json.loads(text) for text in capfd.readouterr().err.splitlines()]
    assert [one["outcome"] for one in said] == ["metered", "aborted"][2 - lines :]
    assert (log.calls, log.problems) == (2, 1)


def test_lines_show_what_a_terminal_would_obey(capfd: pytest.CaptureFixture[str]) -> None:
    log = ProxyLog(Logged.CALLS, LogFormat.TEXT, FixedClock(NOW_US))
    log.call(line(run_id="r-\x1b]0;x\x07", framework="a"))
    log.close()
    [said] = capfd.readouterr().err.splitlines()
    assert "\x1b" not in said
    assert "a/r-" in said


def test_nobody_waits_for_a_reader_that_does_not_read_and_what_is_left_out_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr("submeter.cli.proxy_log.STDERR", writing)
    monkeypatch.setattr("submeter.cli.proxy_log.LINES_WAITING_MAX", 10)
    log = ProxyLog(Logged.CALLS, LogFormat.JSON, FixedClock(NOW_US))
    for _ in range(2_000):
        log.call(line())
    assert log.calls == 2_000
    said = b""
    while b"dropped" not in said:
        said += os.read(reading, 65_536)
    log.close()
    events = [json.loads(text) for text in said.splitlines() if text.endswith(b"}")]
    assert next(event["lines"] for event in events if event["event"] == "dropped") > 0
    os.close(reading)
    os.close(writing)


def test_a_proxy_says_that_it_starts_what_went_wrong_and_that_it_stops(tmp_path: Path) -> None:
    refused = b'{"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}'
    answers = [framed(200, JSON, CHAT_BODY), framed(401, JSON, refused)]

    async def answer(request: Any, reader: Any, writer: Any) -> bool:
        for piece in answers.pop(0):
            writer.write(piece)
        return True

    answering: Answer = answer
    with serving(answering) as upstream:
        words = ["proxy", "--listen", "127.0.0.1:0", "--json", "--log-format", "json", "--upstream", upstream.url]
        proxy = subprocess.Popen(
            [sys.executable, "-m", "submeter.cli.main", *words, "--ledger", str(tmp_path / "l.duckdb")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        )
        assert proxy.stdout is not None
        port = int(json.loads(proxy.stdout.readline())["url"].rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for _ in range(2):
            headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
            connection.request("POST", "/run/r-1/v1/chat/completions", b'{"model": "gpt-4o-mini"}', headers)
            connection.getresponse().read()
        connection.close()
        proxy.send_signal(signal.SIGTERM)
        _, talk = proxy.communicate(timeout=120)
    events = [json.loads(text) for text in talk.decode().splitlines()]
    assert [event["event"] for event in events] == ["start", "call", "stopping", "stop"]
    assert (events[1]["outcome"], events[1]["status_code"], events[1]["run_id"]) == ("refused", 401, "r-1")
    assert (events[3]["calls"], events[3]["problems"]) == (2, 1)
    assert SECRET not in talk.decode()
