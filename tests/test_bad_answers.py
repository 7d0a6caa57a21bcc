"""Every way an answer can be bad, through the real proxy: the bytes pass, and a row says what happened."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from laws import assert_sums_agree
from wire import RawResponse, exchange, request_bytes

from submeter.data.clock import SystemClock
from submeter.data.ledger import Ledger
from submeter.proxy import Submeter
from submeter.sim import Key, Sim
from submeter.sim.faults import Fault, FaultKind, Mangle

SECRET = "sk-sim-bad-answers-0001"
KEYS = (Key(secret=SECRET, api_key_id="key_bad"),)
HUGE_BYTES = 64 * 1024 * 1024


@contextmanager
def spoilt(tmp_path: Path, *faults: Fault) -> Iterator[tuple[Sim, int, int, Path]]:
    """A spoilt provider behind a proxy: the sim, its port, the proxy's port, the ledger."""
    ledger = tmp_path / "submeter.duckdb"
    with (
        Sim(keys=KEYS, seed=5, faults=list(faults), silent_cached=0.0) as sim,
        Submeter(ledger, upstream=sim.url) as meter,
    ):
        yield sim, sim.port, int(meter.url.rsplit(":", 1)[1]), ledger


def ask(port: int, *, stream: bool = False, path: str = "/v1/chat/completions") -> RawResponse:
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello there"}]}
    if path == "/v1/responses":
        body = {"model": "gpt-4o-mini", "input": "hello there"}
    if stream:
        body |= (
            {"stream": True} if path == "/v1/responses" else {"stream": True, "stream_options": {"include_usage": True}}
        )
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    return exchange(port, request_bytes("POST", path, headers=headers, body=json.dumps(body).encode()))


def the_call(ledger: Path) -> dict[str, Any]:
    opened = Ledger(ledger, clock=SystemClock())
    opened.ingest()
    assert_sums_agree(opened)
    table = opened.query("SELECT * FROM calls")
    [row] = table.rows
    return dict(zip(table.columns, row, strict=True))


@pytest.mark.parametrize(
    ("mangle", "flag", "usage_kept"),
    [
        (Mangle.STRING, "usage_malformed", False),
        (Mangle.LIST, "usage_malformed", False),
        (Mangle.NEGATIVE, "count_negative", True),
        (Mangle.ABSURD, "count_absurd", True),
        (Mangle.FLOAT, "count_malformed", True),
        (Mangle.TEXT_COUNTS, "count_malformed", True),
        (Mangle.CACHED_OVER_INPUT, "cached_over_input", True),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_usage_that_cannot_be_is_kept_flagged_and_never_summed(
    tmp_path: Path, mangle: Mangle, flag: str, usage_kept: bool, stream: bool
) -> None:
    with spoilt(tmp_path, Fault(kind=FaultKind.USAGE, mangle=mangle)) as (_, _, port, ledger):
        assert ask(port, stream=stream).status == 200
    call = the_call(ledger)
    assert flag in call["flags"]
    assert (call["usage"] is not None) == usage_kept
    assert call["standing"] == "unknown"


def test_a_usage_of_null_is_not_a_zero(tmp_path: Path) -> None:
    with spoilt(tmp_path, Fault(kind=FaultKind.USAGE, mangle=Mangle.NULL)) as (_, _, port, ledger):
        ask(port)
    call = the_call(ledger)
    assert (call["outcome"], call["standing"], call["usage"], call["input_tokens"]) == (
        "no_usage",
        "unknown",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "stream", "outcome", "standing"),
    [
        (FaultKind.NOT_JSON, False, "unreadable", "unknown"),
        (FaultKind.BROKEN_GZIP, False, "unreadable", "unknown"),
        (FaultKind.TRUNCATED_LENGTH, False, "failed", "unknown"),
        (FaultKind.TRUNCATED_CHUNKED, True, "failed", "unknown"),
        (FaultKind.RESET, True, "failed", "unknown"),
        (FaultKind.CLOSE_BEFORE_HEADERS, False, "failed", "unknown"),
        (FaultKind.ERROR_IN_STREAM, True, "failed", "unknown"),
        (FaultKind.NO_USAGE, True, "no_usage", "unknown"),
        (FaultKind.NO_DONE, True, "metered", "counted"),
        (FaultKind.USAGE_REPEATED, True, "metered", "counted"),
        (FaultKind.USAGE_WITH_CHOICES, True, "metered", "counted"),
        (FaultKind.MODERATION_AFTER_USAGE, True, "metered", "counted"),
        (FaultKind.LINE_ENDS, True, "metered", "counted"),
        (FaultKind.COMMENTS, True, "metered", "counted"),
        (FaultKind.ONE_BYTE_WRITES, True, "metered", "counted"),
        (FaultKind.INVALID_UTF8, False, "metered", "counted"),
    ],
)
def test_a_bad_answer_is_a_row_that_says_what_happened(
    tmp_path: Path, kind: FaultKind, stream: bool, outcome: str, standing: str
) -> None:
    with spoilt(tmp_path, Fault(kind=kind)) as (sim, _, port, ledger):
        response = ask(port, stream=stream)
        assert sim.wait_idle()
    call = the_call(ledger)
    assert (call["outcome"], call["standing"]) == (outcome, standing)
    if outcome != "failed":
        # The row of a stream is written before the chunk with `[DONE]` goes on; line ends may still follow it.
        assert 0 <= len(response.body) - call["response_bytes"] <= (len("\n\n") if stream else 0)
    [entry] = sim.books.entries
    if standing == "counted":
        assert (call["input_tokens"], call["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)
    else:
        assert (call["input_tokens"], call["output_tokens"]) == (None, None)


@pytest.mark.parametrize(
    ("kind", "outcome", "status"),
    [
        (FaultKind.RESPONSE_FAILED, "failed", "failed"),
        (FaultKind.RESPONSE_INCOMPLETE, "metered", "incomplete"),
        (FaultKind.RATE_LIMITS_AFTER_TERMINAL, "metered", "completed"),
    ],
)
def test_every_terminal_event_of_a_response_counts(tmp_path: Path, kind: FaultKind, outcome: str, status: str) -> None:
    with spoilt(tmp_path, Fault(kind=kind)) as (sim, _, port, ledger):
        ask(port, stream=True, path="/v1/responses")
    call = the_call(ledger)
    assert (call["outcome"], call["response_status"]) == (outcome, status)
    if outcome == "metered":
        [entry] = sim.books.entries
        assert (call["input_tokens"], call["output_tokens"]) == (entry.counts.input_tokens, entry.counts.output_tokens)


def test_64_mib_of_json_pass_and_are_read_without_being_held(tmp_path: Path) -> None:
    with spoilt(tmp_path, Fault(kind=FaultKind.HUGE_JSON, size=HUGE_BYTES)) as (sim, _, port, ledger):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        response = ask(port)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(response.body) >= HUGE_BYTES
    call = the_call(ledger)
    [entry] = sim.books.entries
    assert (call["outcome"], call["input_tokens"]) == ("metered", entry.counts.input_tokens)
    assert call["response_bytes"] == len(response.body)
    # This process also plays the provider and the client, each of which does hold the body.
    assert grown_kib < 6 * HUGE_BYTES // 1024
