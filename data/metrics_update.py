"""Fills a `metrics.json` from the ledger: its totals at once, the audit's verdict when there is one.

Only these members change: the token totals, AEI and COST_USD of `aggregate_metrics`, `cost_breakdown`, the four token
fields of `steps[]` (which leave), `usage_api_verification`, `verification_status` and `usage_api_reconciliation`. What
stood there is kept under `usage_api_reconciliation.submeter.replaced`. Every other byte stays.

A number that is not known is left out of the file: never null, never 0. It is not known where nobody told it, and
where calls could be of this run or of another (`ambiguous`).

Pure. Never here: a bucket shared out between runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .audit_words import CLOSED, VERDICTS, reason_words
from .clock import US_PER_S, utc
from .json_edit import edited, items, member, members, root, with_members, without_members
from .metrics import step_name

STEP_FIELDS = ("tokens_in", "tokens_out", "api_calls", "cached_tokens")
STATUS = {
    "verified": "verified",
    "no_activity": "verified",
    "pending": "pending",
    "data_not_available": "data_not_available",
    "short": "warning",
    "over": "warning",
    "incomplete": "warning",
    "warning": "warning",
    "not_auditable": "warning",
    "unavailable": "failed",
    "not_permitted": "failed",
}
UNPROVEN = "pending"
"""The word for a verdict that was reached without the waiting times."""
Row = Mapping[str, Any]


class Filled(StrEnum):
    """What became of a file."""

    CHANGED = "changed"
    SAME = "same"
    NOT_IN_LEDGER = "not in the ledger"
    NOT_METERED = "nothing metered"
    """The ledger knows the run, but no proxy was up for it and no audit looked: nothing is known of its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTold:
    """What the ledger says of one run: rows of `list_runs`, `list_steps` and `metrics_audits`, by column names."""

    totals: Row
    steps: Sequence[Row]
    audits: Sequence[Row]
    """Of the run and of the parts that its verdicts rest on, oldest first; `detail` is JSON text."""
    cost: Row | None = None
    """What it cost: a row of `run_costs`, whose amounts are NULL where one is not known. None: no prices hold."""
    prices: str | None = None
    """Which prices these are, in words."""

    @property
    def verdicts(self) -> list[Row]:
        return [row for row in self.audits if row["scope"] == "run"]

    @property
    def silent(self) -> bool:
        """Nothing is known of its tokens."""
        return self.totals["calls"] is None and not self.ambiguous and not self.verdicts

    @property
    def ambiguous(self) -> int:
        """How many calls could be of it or of another run; with any, none of its totals is known."""
        return self.totals.get("ambiguous") or 0


def status(told: RunTold) -> str:
    """The users' word for the latest verdict; `pending` before there is any, or where it proves nothing."""
    if not told.verdicts:
        return "pending"
    last = told.verdicts[-1]
    return UNPROVEN if last["timing"] else STATUS[last["verdict"]]


def efficiency(autonomy: object, tokens_in: int | None) -> float | None:
    """AEI = AUTR / ln(1 + TOK_IN), and 0.0 at TOK_IN 0. None: one of them is not known."""
    if tokens_in is None:
        return None
    if tokens_in == 0:
        return 0.0
    return autonomy / math.log(1 + tokens_in) if type(autonomy) in (int, float) else None  # type: ignore[operator]


def fill(content: bytes, told: RunTold, *, name: str, version: str) -> bytes:
    """The file's content with what the ledger says of its run. The same again gives the same bytes.

    Raises `ValueError` where the content is not a JSON object.
    """
    text = content.decode("utf-8")
    old = json.loads(text)
    aggregate = old.get("aggregate_metrics")
    autonomy = aggregate.get("AUTR") if isinstance(aggregate, dict) else None
    totals = told.totals
    sums = {
        "TOK_IN": totals["input_tokens"],
        "TOK_OUT": totals["output_tokens"],
        "API_CALLS": None if told.ambiguous else totals["counted"],
        "CACHED_TOKENS": totals["cached_input_tokens"],
        "AEI": efficiency(autonomy, totals["input_tokens"]),
        "COST_USD": told.cost["cost_usd"] if told.cost else None,
    }
    word, message = status(told), verification_message(told)
    values: dict[str, Any] = {
        "usage_api_verification": {"verified": word == "verified", "error": None if word == "verified" else message},
        "verification_status": word,
        "usage_api_reconciliation": _reconciliation(told, word, message, name, version, replaced(old, sums)),
    }
    breakdown = cost_breakdown(told)
    if breakdown is not None:
        values = {"cost_breakdown": breakdown} | values
    known = _known(sums)
    text = _cleared(text, old, [name for name in sums if name not in known], priced=breakdown is not None)
    start = root(text)
    edits = []
    if isinstance(aggregate, dict):
        place = member(text, start, "aggregate_metrics")
        assert place is not None
        edits += with_members(text, place.value_starts, known)
    else:
        values = {"aggregate_metrics": known} | values
    edits += with_members(text, start, values)
    return edited(text, edits).encode("utf-8")


def cost_breakdown(told: RunTold) -> dict[str, Any] | None:
    """What its cost is made of, in the users' words; None where it is not known.

    A model is named where one price list entry served all calls; `cache_write_cost` stands where there was any.
    """
    cost = told.cost
    if cost is None or cost["cost_usd"] is None:
        return None
    written = {"cache_write_cost": cost["cache_write_usd"]} if cost["cache_write_usd"] else {}
    models: Sequence[str] = cost["priced_as"] or []
    return {
        "uncached_input_cost": cost["uncached_input_usd"],
        "cached_input_cost": cost["cached_input_usd"],
        **written,
        "output_cost": cost["output_usd"],
        "cache_savings": cost["saved_usd"],
        **({"model": models[0]} if len(models) == 1 else {}),
    }


def _cleared(text: str, old: Row, unknown: Collection[str], *, priced: bool) -> str:
    """The text without what is not known: these totals, the cost, and the tokens of steps."""
    start = root(text)
    edits = without_members(text, start, () if priced else ("cost_breakdown",))
    aggregate = member(text, start, "aggregate_metrics")
    if aggregate is not None and isinstance(old["aggregate_metrics"], dict):
        edits += without_members(text, aggregate.value_starts, unknown)
    steps = member(text, start, "steps")
    if steps is not None and isinstance(old["steps"], list):
        for item in items(text, steps.value_starts):
            if text[item] == "{" and members(text, item):
                edits += without_members(text, item, STEP_FIELDS)
    return edited(text, edits)


def _known(numbers: Row) -> dict[str, Any]:
    """These numbers without those that nobody knows."""
    return {name: number for name, number in numbers.items() if number is not None}


def replaced(old: Row, sums: Row) -> dict[str, Any]:
    """What stood in the file before it was first filled; step tokens that came in since are added."""
    before = old.get("usage_api_reconciliation")
    ours = before.get("submeter") if isinstance(before, dict) else None
    kept = ours.get("replaced") if isinstance(ours, dict) else None
    if isinstance(kept, dict):
        found = dict(kept)
    else:
        tops = ("cost_breakdown", "usage_api_verification", "verification_status", "usage_api_reconciliation")
        found = {name: old[name] for name in tops if name in old}
        aggregate = old.get("aggregate_metrics")
        if isinstance(aggregate, dict):
            found["aggregate_metrics"] = {name: aggregate[name] for name in sums if name in aggregate}
    tokens = _step_tokens(old.get("steps"))
    if tokens:
        earlier = found.get("steps")
        named = {each["step"] for each in tokens}
        kept_steps = [each for each in earlier if each.get("step") not in named] if isinstance(earlier, list) else []
        found["steps"] = [*kept_steps, *tokens]
    return found


def verification_message(told: RunTold) -> str:
    """The verdict in words, and what the totals beside it do not hold."""
    totals = told.totals
    unknown, tokens_in, tokens_out = (totals[name] for name in ("unknown", "input_tokens", "output_tokens"))
    if not told.verdicts:
        said = "Pending: not audited yet; the totals are the ledger's"
    else:
        last = told.verdicts[-1]
        said = VERDICTS[last["verdict"]]
        said += f" ({last['reason']}: {reason_words(last['reason'])})" if last["reason"] else ""
        said += f"; {CLOSED}" if json.loads(last["detail"] or "{}").get("closed") else ""
        before = next((row["verdict"] for row in reversed(told.verdicts[:-1]) if row["final"]), None)
        if STATUS[last["verdict"]] == "failed" and before:
            said += f"; the final verdict before it was {before}"
        if last["timing"]:
            said = f"Pending: read without the waiting times (timing {last['timing']}), which proves nothing; {said}"
        joint = sorted({run for part in _parts(told, last) for run in part["detail"].get("joint") or ()})
        if joint:
            said += f"; it is one of these runs, and cannot be told which: {', '.join(joint)}"
    if told.ambiguous:
        said += f"; {told.ambiguous:,} call{'' if told.ambiguous == 1 else 's'} could be of this run or of another"
        said += " that went on at the same time, so its totals are not known"
    elif tokens_in is not None or tokens_out is not None:
        said += f": {_number(tokens_in)} in, {_number(tokens_out)} out"
    else:
        said += "; no call of it told its tokens"
    if unknown:
        said += f"; the usage of {unknown:,} call{'' if unknown == 1 else 's'} is unknown and not in these totals"
    optional = totals.get("optional")
    if optional:
        said += f"; {optional:,} call{'' if optional == 1 else 's'} may not be billed: not in these totals"
    return said


def _reconciliation(told: RunTold, word: str, message: str, name: str, version: str, before: Row) -> dict[str, Any]:
    verdicts = told.verdicts
    last = verdicts[-1] if verdicts else None
    at = _moment(last["audited_us"]) if last else None
    final = next((row for row in reversed(verdicts) if row["final"]), None)
    return {
        "verification_status": word,
        "attempts": [_attempt(told, row) for row in verdicts],
        "verification_message": message,
        "verified_at": at if word == "verified" else None,
        "reconciled_at": at,
        "submeter": {
            "version": version,
            "run": name,
            "verdict": last["verdict"] if last else None,
            "reason": last["reason"] if last else None,
            "final": last["final"] if last else None,
            "proof": last["proof"] if last else None,
            "timing": last["timing"] if last else None,
            "final_verdict": final["verdict"] if final else None,
            "final_at": _moment(final["audited_us"]) if final else None,
            "totals": _totals(told, told.totals),
            **({"prices": told.prices} if told.prices else {}),
            "steps": [
                {"step": row["step"]} | _known({"visits": row["visits"]}) | _totals(told, row) for row in told.steps
            ],
            "audit": _audit(last) if last else None,
            "parts": [_audit(part) for part in _parts(told, last, parsed=False)] if last else [],
            "replaced": before,
        },
    }


TOTAL_COLUMNS = (
    "calls",
    "creates",
    "counted",
    "unknown",
    "optional",
    "ambiguous",
    "uncovered",
    "unbilled",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "covered",
)


def _totals(told: RunTold, row: Row) -> dict[str, Any]:
    """What is known of a run or a step: all of it, or how many calls it cannot be known for."""
    columns = ("ambiguous", "covered") if told.ambiguous else TOTAL_COLUMNS
    return _known({column: row.get(column) for column in columns})


def _audit(row: Row) -> dict[str, Any]:
    return {
        "audit_id": row["audit_id"],
        "audited_at": _moment(row["audited_us"]),
        "api_key_id": row["api_key_id"],
        "window": _window(row),
        "verdict": row["verdict"],
        "reason": row["reason"],
        "final": row["final"],
        "attempt": row["attempt"],
        "proof": row["proof"],
        "detail": _without_unknown(json.loads(row["detail"])) if row["detail"] else None,
    }


def _without_unknown(detail: Any) -> Any:
    """A verdict's long form without the members that are null there: a number that is not known is left out."""
    match detail:
        case dict():
            return {name: _without_unknown(value) for name, value in detail.items() if value is not None}
        case list():
            return [_without_unknown(value) for value in detail]
        case _:
            return detail


def _attempt(told: RunTold, row: Row) -> dict[str, Any]:
    """One audit of the run in the users' form. Totals are what the Usage API said; left out where that is not known, or
    is of several runs."""
    units = _bill(told, row)
    calls = _billed_calls(told, row) if units is not None else None
    totals = {
        "total_tokens_in": _sum(units, "input_tokens"),
        "total_tokens_out": _sum(units, "output_tokens"),
        "total_api_calls": calls,
        "total_cached_tokens": _sum(units, "cached_input_tokens"),
    }
    return {"timestamp": _moment(row["audited_us"]), **_known(totals), "query_window": _window(row)}


def _bill(told: RunTold, row: Row) -> list[Row] | None:
    """The billed units of all parts; None unless every part is there whole, was read well and is this run's alone: a
    bill of minutes in which other calls of the key ended, or other runs went on, is theirs too."""
    parts = _parts(told, row)
    detail = json.loads(row["detail"] or "{}")
    if not parts or len(parts) != detail.get("parts_count") or STATUS[row["verdict"]] == "failed":
        return None
    units: list[Row] = []
    for part in parts:
        said = part["detail"]
        listed = said.get("units")
        whole = isinstance(listed, list) and len(listed) == said.get("units_count")
        if not whole or not said.get("bill_known") or said.get("joint") or said.get("runs"):
            return None
        if any(unit.get("others") for unit in listed):
            return None
        units += listed
    return units


def _billed_calls(told: RunTold, row: Row) -> int | None:
    counts = [((part["detail"].get("shown") or {}).get("requests") or {}).get("bill") for part in _parts(told, row)]
    known = [count for count in counts if type(count) is int]
    return sum(known) if known and len(known) == len(counts) else None


def _sum(units: Sequence[Row] | None, field: str) -> int | None:
    return None if units is None else sum(unit["bill"] for unit in units if unit["field"] == field)


def _parts(told: RunTold, verdict: Row, *, parsed: bool = True) -> list[Row]:
    """The parts that a verdict of the run rests on, each with its detail parsed."""
    detail = json.loads(verdict["detail"] or "{}")
    wanted = [each["audit_id"] for each in detail.get("parts") or () if isinstance(each, dict)]
    found = {row["audit_id"]: row for row in told.audits if row["scope"] == "part"}
    rows = [found[audit_id] for audit_id in wanted if audit_id in found]
    return [{**row, "detail": json.loads(row["detail"] or "{}")} for row in rows] if parsed else rows


def _step_tokens(steps: object) -> list[dict[str, Any]]:
    if not isinstance(steps, list):
        return []
    return [
        {"step": place if (name := step_name(step)) is None else name}
        | {field: step[field] for field in STEP_FIELDS if field in step}
        for place, step in enumerate(steps, 1)
        if isinstance(step, dict) and any(field in step for field in STEP_FIELDS)
    ]


def _window(row: Row) -> dict[str, int] | None:
    start, end = row["window_start_us"], row["window_end_us"]
    return None if start is None or end is None else {"start": start // US_PER_S, "end": end // US_PER_S}


def _moment(us: int) -> str:
    return utc(us).isoformat()


def _number(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
