"""What a scraper is told: right sums, few labels, and nothing that nobody told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from submeter.data.call import DISTRUSTED
from submeter.proxy.counters import MODELS_MAX, OTHER, Counters
from submeter.proxy.live import Seen
from submeter.proxy.prometheus import prometheus_answer

HEALTH = {"calls_open": 2, "lines_waiting": 0}


def line(**said: Any) -> dict[str, Any]:
    return {"framework": "chatdev", "request_model": "m", "operation": "create", "outcome": "metered"} | said


def samples(counters: Counters, ledger: dict[str, Any] | None = None) -> dict[tuple[str, ...], float]:
    """What a scraper reads: each sample by its name and the values of its labels."""
    body = prometheus_answer(Seen(calls=counters.calls, tokens=counters.tokens), HEALTH, ledger).body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def test_calls_are_counted_by_outcome_and_tokens_by_type() -> None:
    counters = Counters()
    counters.note(line(response_model="m-1", input_tokens=100, cached_input_tokens=40, output_tokens=7))
    counters.note(line(response_model="m-1", input_tokens=1, output_tokens=2))
    counters.note(line(outcome="refused"))
    told = samples(counters)
    assert told[("submeter_calls_total", "chatdev", "m-1", "create", "metered")] == 2
    assert told[("submeter_calls_total", "chatdev", "m", "create", "refused")] == 1
    assert told[("submeter_tokens_total", "chatdev", "m-1", "input")] == 101
    assert told[("submeter_tokens_total", "chatdev", "m-1", "cached_input")] == 40
    assert told[("submeter_calls_open",)] == 2
    assert [key for key in told if "reasoning" in key] == [], "nobody told any"
    assert [key for key in told if key[0] == "submeter_tokens_total" and key[2] == "m"] == []


def test_polls_and_counts_that_cannot_be_believed_are_in_no_sum_of_tokens() -> None:
    counters = Counters()
    counters.note(line(operation="read", input_tokens=50, output_tokens=5))
    counters.note(line(input_tokens=50, flags=[str(DISTRUSTED[0])]))
    assert counters.tokens == {}
    assert sum(counters.calls.values()) == 2


def test_models_that_strangers_make_up_do_not_grow_the_labels_for_ever() -> None:
    counters = Counters()
    for number in range(MODELS_MAX + 500):
        counters.note(line(request_model=f"made-up-{number}", framework=None if number % 2 else f"made-up-{number}"))
    assert len({key[:2] for key in counters.calls}) <= 2 * MODELS_MAX
    assert sum(calls for key, calls in counters.calls.items() if key[1] == OTHER) == 500
    assert sum(counters.calls.values()) == MODELS_MAX + 500


def test_the_ledger_s_standings_sums_and_verdicts_are_there_once_it_was_looked_at() -> None:
    framework = {
        "framework": None,
        "counted": 3,
        "unknown": 1,
        "optional": 0,
        "unbilled": 0,
        "uncovered": 0,
        "input_tokens": 300,
        "cached_input_tokens": None,
        "output_tokens": 9,
        "reasoning_tokens": None,
    }
    ledger = {"frameworks": [framework], "verdicts": {"verified": 2}, "as_of": datetime(2026, 11, 29)}
    told = samples(Counters(), ledger)
    assert told[("submeter_ledger_calls", "", "unknown")] == 1
    assert told[("submeter_ledger_tokens", "", "input")] == 300
    assert ("submeter_ledger_tokens", "", "reasoning") not in told
    assert told[("submeter_runs", "verified")] == 2
    assert told[("submeter_ledger_as_of_seconds",)] == 1795910400
    assert not any(key[0].startswith(("submeter_ledger", "submeter_runs")) for key in samples(Counters()))
