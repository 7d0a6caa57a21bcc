"""The long form of a verdict: both books, d per unit, reads, versions; what goes into `audits.detail`.

Words as in docs/design/audit.md. Lists are bounded, each beside its whole count, because a journal line is. Nothing is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ..data.call import Standing
from ..data.journal import submeter_version
from .chain import Chain, Share
from .finding import ChainFinding, Finding, Spot, Unit
from .history import History
from .named_calls import UnknownCall
from .pair import AsideBecause
from .report import run_text
from .settings import AuditSettings
from .unit import BillRow, BookRow
from .unknown import Because
from .verdict import Reason

UNITS_MAX = 60
LISTED_MAX = 40
DETAIL_BYTES_MAX = 48 * 1024
"""So that the whole journal line stays under its 64 KiB."""


def part_detail(
    found: ChainFinding,
    finding: Finding,
    *,
    settings: AuditSettings,
    unknown: Sequence[UnknownCall],
) -> dict[str, Any]:
    """Everything that a part's verdict rests on, as JSON."""
    chain, share = found.chain, finding.share
    own = [row for row in chain.rows if share.owns(row)]
    others = [other.run for other in chain.shares if other is not share and other.window.overlaps(share.window)]
    able = [each for each in found.able if share.window.meets(each.first_minute, each.last_minute)]
    aside = [(why, row) for why, row in found.aside if row.minute in share.window]
    return {
        "submeter": submeter_version(),
        "settings": {
            "shift_min": chain.shift_min,
            "settle_min": chain.waiting.settle_us // 60_000_000,
            "interval_min": settings.interval_min,
            "stable_reads": chain.waiting.stable_reads,
        },
        "bill_known": finding.bill_known,
        "chain": {
            "start": chain.window.start_us,
            "end": chain.window.end_us,
            "known_until": found.until * 60_000_000,
            "runs": len(chain.shares),
        },
        "units": [_unit(unit) for unit in _most_telling(finding.units)],
        "units_count": len(finding.units),
        "models": [
            {
                "usage_endpoint": solved.pair.usage_endpoint,
                "model": solved.pair.model,
                "book": sorted(name or "" for name in solved.pair.book_models),
                "bill": sorted(solved.pair.bill_models),
                "paired_by": solved.pair.paired_by,
            }
            for solved in found.solved[:LISTED_MAX]
        ],
        "calls": {standing.value: _calls(own, standing) for standing in Standing},
        "ambiguous": share.ambiguous,
        "joint": [run_text(run) for run in finding.joint[:LISTED_MAX]],
        "named": [run_text(run) for run in finding.named[:LISTED_MAX]],
        "because": list(finding.because),
        "open_calls": [
            {"run": run_text(row.run) if row.run else None, "first_minute": row.first_minute, "calls": row.calls}
            for row in chain.rows
            if row.open and share.window.meets(row.first_minute, row.last_minute)
        ][:LISTED_MAX],
        "closed": finding.closed,
        "runs": [run_text(run) for run in others[:LISTED_MAX] if run is not None],
        "spots": [_spot(spot) for spot in finding.spots[:LISTED_MAX]],
        "spots_count": len(finding.spots),
        "unknown": {
            # Image calls that told no tokens are counted, by their images.
            "calls": sum(each.calls for each in able if each.because in _UNTOLD and each.calls_at is None),
            "listed": [_unknown(call) for call in unknown[:LISTED_MAX]],
        },
        "gaps": [
            {"first_minute": gap.first_minute, "last_minute": gap.last_minute, "calls": gap.calls}
            for gap in chain.gaps[:LISTED_MAX]
            if share.window.meets(gap.first_minute, gap.last_minute)
        ],
        "uncovered": _uncovered(own),
        "uncompared": [_unit(unit) for unit in finding.uncompared[:LISTED_MAX]],
        "set_aside": _set_aside(aside),
        "shown": _shown(found, share),
        "placement": {"outcome": found.placed.outcome, "late_min": found.placed.late_min} if found.placed else None,
        "reads": {
            endpoint.value: {
                "good": sum(read.good and read.window.overlaps(share.window) for read in history.reads),
                "counted": list(found.minutes[endpoint].counted[-LISTED_MAX:]),
                "holes": max((read.holes for read in history.reads if read.good), default=None),
            }
            for endpoint, history in chain.histories.items()
        },
        "failed_reads": _failed(chain, share),
        "latest_reads": {
            endpoint.value: read_id
            for endpoint, history in chain.histories.items()
            if (read_id := _latest_good(history, share)) is not None
        },
        "fell_since": min(
            (each.fell_us for each in found.minutes.values() if each.fell_us is not None),
            default=None,
        )
        if finding.reason is Reason.FELL
        else None,
        "changed_since": share.final_us if finding.reason is Reason.CHANGED else None,
    }


_UNTOLD = frozenset({Because.UNKNOWN, Because.UNKNOWN_ENDPOINT, Because.GAP})


def _latest_good(history: History, share: Share) -> str | None:
    return next(
        (read.read_id for read in reversed(history.reads) if read.good and read.window.overlaps(share.window)), None
    )


def _spot(spot: Spot) -> dict[str, Any]:
    return {
        "usage_endpoint": spot.pair.usage_endpoint,
        "model": spot.pair.model,
        "field": spot.field,
        "minute": spot.minute,
        "kind": "excess" if spot.more else "deficit",
    }


def _set_aside(aside: Sequence[tuple[AsideBecause, BillRow]]) -> list[dict[str, Any]]:
    """Bill rows that are compared with nothing, summed by reason and model."""
    groups: dict[tuple[AsideBecause, str, str], list[BillRow]] = {}
    for because, row in aside:
        groups.setdefault((because, row.usage_endpoint, row.model), []).append(row)
    return [
        {
            "because": because,
            "usage_endpoint": endpoint,
            "model": model,
            "rows": len(rows),
            "input_tokens": sum(row.input_tokens or 0 for row in rows),
            "output_tokens": sum(row.output_tokens or 0 for row in rows),
            "images": sum(row.images or 0 for row in rows),
        }
        for (because, endpoint, model), rows in sorted(groups.items())
    ][:LISTED_MAX]


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
        "others": unit.others,
        "bill": unit.bill,
        "d": unit.difference,
        "compared": unit.compared,
    }


def _most_telling(units: Sequence[Unit]) -> list[Unit]:
    """Units that differ first, then the largest; as many as fit."""
    return sorted(units, key=lambda unit: (unit.difference == 0, -max(unit.book, unit.bill)))[:UNITS_MAX]


def _calls(rows: Sequence[BookRow], standing: Standing) -> int:
    return sum(row.calls for row in rows if row.standing is standing)


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


def _uncovered(rows: Sequence[BookRow]) -> list[dict[str, Any]]:
    calls: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.standing is Standing.UNCOVERED:
            name = (row.endpoint or row.usage_endpoint or "", row.model or "")
            calls[name] = calls.get(name, 0) + row.calls
    return [{"endpoint": name, "model": model, "calls": n} for (name, model), n in sorted(calls.items())][:LISTED_MAX]


def _shown(found: ChainFinding, share: Share) -> dict[str, Any]:
    """What is told and decides nothing: cache writes and requests of both sides."""
    bill = [
        row
        for minutes in found.minutes.values()
        for row in minutes.bill
        if not row.batch and row.minute in share.window
    ]
    counted = [row for row in found.chain.rows if row.standing is Standing.COUNTED and share.owns(row)]
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


def _failed(chain: Chain, share: Share) -> dict[str, dict[str, Any]]:
    latest = {endpoint: history.latest(share.window) for endpoint, history in chain.histories.items()}
    return {
        endpoint.value: {
            "problem": read.problem,
            "status_code": read.status_code,
            "message": read.message,
            "request_id": read.request_id,
        }
        for endpoint, read in latest.items()
        if read is not None and not read.good
    }


def failure(chain: Chain, share: Share) -> tuple[str | None, str | None]:
    """The provider's own words on the latest failed read, and its request id."""
    for history in chain.histories.values():
        read = history.latest(share.window)
        if read is not None and not read.good:
            return read.message or str(read.problem), read.request_id
    return None, None
