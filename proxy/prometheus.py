"""What a proxy and its ledger hold, as Prometheus reads it: `/_submeter/metrics`, in its text form.

The proxy's own counters begin with the proxy and are of this moment; what is of the ledger is as old as it says. No
label is a run or a step, of which there is no end. Never here: what is counted (`counters`), and the ledger itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from .counters import TOKENS
from .live import Seen
from .refusal import Answer

_STANDINGS = ("counted", "unknown", "optional", "unbilled", "uncovered")


def prometheus_answer(seen: Seen, told: Mapping[str, Any], ledger: Mapping[str, Any] | None) -> Answer:
    """The answer to a scraper. `told`: the proxy's health; `ledger`: the figures of the last look, if there was one."""
    from prometheus_client import CollectorRegistry  # Only who is scraped needs it.
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

    class Collected:
        def collect(self) -> Iterator[Any]:
            yield from _of_the_proxy(seen, told)
            if ledger is not None:
                yield from _of_the_ledger(ledger)

    registry = CollectorRegistry()
    registry.register(Collected())
    return Answer(
        status_code=200,
        body=generate_latest(registry),
        content_type=CONTENT_TYPE_PLAIN_0_0_4,
        more=("Cache-Control: no-store",),
    )


def _of_the_proxy(seen: Seen, told: Mapping[str, Any]) -> Iterator[Any]:
    yield _family(
        "counter",
        "submeter_calls",
        "Calls that ended since this proxy began, reads and refused ones too.",
        ("framework", "model", "operation", "outcome"),
        seen.calls,
    )
    yield _family(
        "counter",
        "submeter_tokens",
        f"Tokens that answers to creates reported since this proxy began ({', '.join(TOKENS)}); "
        "cached_input is inside input, reasoning inside output.",
        ("framework", "model", "type"),
        seen.tokens,
    )
    for name, what in (("calls_open", "Calls that go on."), ("lines_waiting", "Journal lines not written yet.")):
        yield _family("gauge", f"submeter_{name}", what, (), {(): told[name]})


def _of_the_ledger(ledger: Mapping[str, Any]) -> Iterator[Any]:
    frameworks = ledger["frameworks"]
    yield _family(
        "gauge",
        "submeter_ledger_calls",
        "Creates in the ledger by standing; only counted ones are summed.",
        ("framework", "standing"),
        {(row["framework"] or "", standing): row[standing] for row in frameworks for standing in _STANDINGS},
    )
    yield _family(
        "gauge",
        "submeter_ledger_tokens",
        "Tokens of the counted calls in the ledger; a type that no call told is left out.",
        ("framework", "type"),
        {
            (row["framework"] or "", kind): row[name]
            for row in frameworks
            for kind, name in TOKENS.items()
            if row[name] is not None
        },
    )
    yield _family(
        "gauge",
        "submeter_runs",
        "Runs in the ledger by their last verdict; none: never audited.",
        ("verdict",),
        {(verdict,): runs for verdict, runs in ledger["verdicts"].items()},
    )
    yield _family(
        "gauge",
        "submeter_ledger_as_of_seconds",
        "When the ledger was looked at for these figures, in seconds since 1970.",
        (),
        {(): ledger["as_of"].replace(tzinfo=UTC).timestamp()},
    )


def _family(kind: str, name: str, what: str, labels: Sequence[str], values: Mapping[Any, float]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
