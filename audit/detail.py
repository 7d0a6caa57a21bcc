"""The long form of a verdict: both books, d per unit, reads, versions; what goes into `audits.detail`.

Names follow DESIGN.md section 6. Lists are bounded, each beside its whole count, because a journal line is. Nothing is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ..data.call import Standing
from ..data.journal import submeter_version
from .judge import Judged
from .named_calls import UnknownCall
from .questions import RunName
from .reconcile import CorridorBreak, Finding, Part
from .report import run_text
from .settings import AuditSettings
from .unit import Unit

UNITS_MAX = 60
LISTED_MAX = 40
DETAIL_BYTES_MAX = 48 * 1024
"""So that the whole journal line stays under its 64 KiB."""


def part_detail(
    judged: Judged,
    *,
    settings: AuditSettings,
    runs: Sequence[RunName],
    unknown: Sequence[UnknownCall],
) -> dict[str, Any]:
    """Everything that a part's verdict rests on, as JSON."""
    part, finding = judged.part, judged.finding
    return {
        "submeter": submeter_version(),
        "settings": {
            "shift_min": part.shift_min,
            "settle_min": part.settle_us // 60_000_000,
            "interval_min": settings.interval_min,
            "stable_reads": part.stable_reads,
        },
        "bill_known": finding.bill_known,
        "units": [_unit(unit) for unit in _most_telling(finding.comparison.units)],
        "units_count": len(finding.comparison.units),
        "models": [
            {
                "usage_endpoint": pair.usage_endpoint,
                "model": pair.model,
                "book": sorted(name or "" for name in pair.book_models),
                "bill": sorted(pair.bill_models),
                "paired_by": pair.paired_by,
            }
            for pair in finding.comparison.pairs[:LISTED_MAX]
        ],
        "calls": {standing.value: _calls(part, standing) for standing in Standing},
        "joint": [run_text(run) for run in runs] if len(runs) > 1 else [],
        "runs": [run_text(run) for run in runs[:LISTED_MAX]],
        "unknown": {
            "calls": sum(call.calls for call in finding.unknown),
            "listed": [_unknown(call) for call in unknown[:LISTED_MAX]],
        },
        "gaps": [
            {"first_minute": gap.first_minute, "last_minute": gap.last_minute, "calls": gap.calls}
            for gap in part.gaps[:LISTED_MAX]
        ],
        "uncovered": _uncovered(part),
        "uncompared": [_unit(unit) for unit in finding.uncompared[:LISTED_MAX]],
        "set_aside": [
            {
                "because": aside.because,
                "usage_endpoint": aside.usage_endpoint,
                "model": aside.model,
                "rows": aside.rows,
                "input_tokens": aside.input_tokens,
                "output_tokens": aside.output_tokens,
                "images": aside.images,
            }
            for aside in finding.comparison.aside[:LISTED_MAX]
        ],
        "shown": _shown(part),
        "placement": {"outcome": part.placed.outcome, "late_min": part.placed.late_min} if part.placed else None,
        "corridor": [_break(each) for each in finding.breaks[:LISTED_MAX]],
        "reads": {
            endpoint.value: {
                "good": len(history.reads),
                "counted": [read.read_id for read in finding.counted_reads[endpoint]],
                "holes": history.reads[-1].holes if history.reads else None,
            }
            for endpoint, history in part.histories.items()
        },
        "failed_reads": _failed(part),
        "latest_reads": {endpoint.value: read_id for endpoint, read_id in judged.latest_reads.items()},
        "book_state": judged.book_state,
        "changed_since": part.changed_since,
    }


def bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """The detail as it fits in a journal line: its longest lists halved until it does, and `shortened` says so."""
    while len(orjson.dumps(detail)) > DETAIL_BYTES_MAX:
        name, value = max(detail.items(), key=lambda item: len(orjson.dumps(item[1])))
        if isinstance(value, list) and value:
            value = value[: len(value) // 2]
        elif isinstance(value, dict) and isinstance(value.get("listed"), list) and value["listed"]:
            value = {**value, "listed": value["listed"][: len(value["listed"]) // 2]}
        else:
            value = None
        detail = {**detail, name: value, "shortened": True}
    return detail


def _unit(unit: Unit) -> dict[str, Any]:
    return {
        "usage_endpoint": unit.pair.usage_endpoint,
        "model": unit.pair.model,
        "field": unit.field,
        "book": unit.book,
        "bill": unit.bill,
        "d": unit.difference,
        "compared": not unit.uncompared,
    }


def _most_telling(units: Sequence[Unit]) -> list[Unit]:
    """Units that differ first, then the largest; as many as fit."""
    return sorted(units, key=lambda unit: (unit.difference == 0, -max(unit.book, unit.bill)))[:UNITS_MAX]


def _calls(part: Part, standing: Standing) -> int:
    return sum(row.calls for row in part.book if row.standing is standing)


def _unknown(call: UnknownCall) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "started_at": call.started_us,
        "run": run_text(call.run) if call.run else None,
        "step": call.step,
        "outcome": call.outcome,
        "usage_endpoint": call.usage_endpoint,
        "model": call.model,
    }


def _uncovered(part: Part) -> list[dict[str, Any]]:
    calls: dict[tuple[str, str], int] = {}
    for row in part.book:
        if row.standing is Standing.UNCOVERED:
            name = (row.endpoint or row.usage_endpoint or "", row.model or "")
            calls[name] = calls.get(name, 0) + row.calls
    return [{"endpoint": name, "model": model, "calls": n} for (name, model), n in sorted(calls.items())][:LISTED_MAX]


def _shown(part: Part) -> dict[str, Any]:
    """What is told and decides nothing: cache writes and requests of both sides."""
    bill = [row for history in part.histories.values() for row in history.bill if not row.batch]
    counted = [row for row in part.book if row.standing is Standing.COUNTED]
    writes = [row.cache_write_tokens for row in counted if row.cache_write_tokens is not None]
    billed_writes = [row.cache_write_tokens for row in bill if row.cache_write_tokens is not None]
    requests = [row.num_model_requests for row in bill if row.num_model_requests is not None]
    return {
        "cache_write_tokens": {
            "book": sum(writes) if writes else None,
            "bill": sum(billed_writes) if billed_writes else None,
        },
        "requests": {"book": sum(row.calls for row in counted), "bill": sum(requests) if requests else None},
    }


def _break(each: CorridorBreak) -> dict[str, Any]:
    return {**_unit(each.unit), "minute": each.minute}


def _failed(part: Part) -> dict[str, dict[str, Any]]:
    return {
        endpoint.value: {
            "problem": history.latest.problem,
            "status_code": history.latest.status_code,
            "message": history.latest.message,
            "request_id": history.latest.request_id,
        }
        for endpoint, history in part.histories.items()
        if history.latest is not None and not history.latest.good
    }


def failure(part: Part) -> tuple[str | None, str | None]:
    """The provider's own words on the latest failed read, and its request id."""
    for history in part.histories.values():
        if history.latest is not None and not history.latest.good:
            return history.latest.message or str(history.latest.problem), history.latest.request_id
    return None, None


def next_read_us(part: Part, finding: Finding, *, now_us: int) -> int | None:
    """When another read could bring this part further; None: final, or something must end first."""
    if finding.final or part.run_open or any(row.open for row in part.book):
        return None
    settled_us = part.window.end_us + part.settle_us
    times = [part.window.end_us]
    for history in part.histories.values():
        alike = [read for read in history.reads if read.state == history.reads[-1].state]
        counted: list[int] = []
        for read in alike:
            if not counted or read.asked_at - counted[-1] >= part.interval_us:
                counted.append(read.asked_at)
        if len(counted) >= part.stable_reads - 1:
            times.append(settled_us)
        if counted:
            times.append(counted[-1] + part.interval_us)
    return max([now_us, *times])
