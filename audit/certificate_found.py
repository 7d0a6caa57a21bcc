"""What was found in one chain, as a certificate has it: pairs, minute book, gates, least amount, and the run's verdict.

Whoever makes a certificate writes it down, whoever checks one derives it again and compares: `contradictions` says in
words what is not the same. Pure.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson

from ..data.call import Standing
from .certificate_facts import pair_record
from .finding import ChainFinding, Finding, Unit
from .least import least_amounts
from .report import run_text
from .solve import Solved, billed_by_minute
from .unit import RunName

CONTRADICTIONS_MAX = 9
"""So many are said of one chain."""


def finding_of(found: ChainFinding, run: RunName) -> Finding:
    """What was found of one run in its chain."""
    return next(each for each in found.findings if each.share.run == run)


def found_record(found: ChainFinding, run: RunName) -> dict[str, Any]:
    """Everything that follows from one chain, as it is after JSON."""
    finding = finding_of(found, run)
    record = {
        "window": asdict(finding.share.window),
        "verdict": finding.verdict,
        "reason": finding.reason,
        "proof": finding.proof,
        "final": finding.final,
        "closed": finding.closed,
        "joint": [run_text(each) for each in finding.joint],
        "named": [run_text(each) for each in finding.named],
        "because": list(finding.because),
        "units": [_unit(unit) for unit in finding.units],
        "runs": [{"run": run_text(each.run), **asdict(each.window)} for each in found.chain.shares if each.run],
        "known_until": found.until,
        "pairs": [pair_record(pair) for pair in found.chain.facts.pairs],
        "models": [_model(found, solved) for solved in found.solved],
        "may_be_billed_beside": _able(found),
        "uncovered_calls": sum(row.calls for row in found.chain.rows if row.standing is Standing.UNCOVERED),
        "set_aside": _set_aside(found),
        "placement": None if found.placed is None else found.placed.outcome,
    }
    told: dict[str, Any] = orjson.loads(orjson.dumps(record))
    return told


def _unit(unit: Unit) -> dict[str, Any]:
    return {
        "usage_endpoint": unit.pair.usage_endpoint,
        "model": unit.pair.model,
        "field": unit.field,
        "book": unit.book,
        "others": unit.others,
        "bill": unit.bill,
        "difference": unit.difference,
        "compared": unit.compared,
    }


def _model(found: ChainFinding, solved: Solved) -> dict[str, Any]:
    """One model of the chain, as far as it is known: lists hold one number a field."""
    explained = found.explained[solved.pair]
    return {
        "usage_endpoint": solved.pair.usage_endpoint,
        "model": solved.pair.model,
        "fields": list(solved.fields),
        "cached_not_told": solved.silent,
        "minutes": _minutes(solved),
        "total": list(solved.total),
        "gates": _gates(solved),
        "least": list(least_amounts(solved.borders)) if solved.closed else None,
        "dirty": [
            {"minute": each.minute, "field": solved.fields[each.place], "more": each.more}
            for each in sorted(solved.dirty, key=lambda each: (each.minute, each.place, each.more))
        ],
        "explained_minutes": sum(minute in explained for minute in range(solved.borders.start, solved.borders.until)),
    }


def _minutes(solved: Solved) -> dict[str, dict[str, list[int]]]:
    """The minute book: what was billed in each minute, what ended in it, and bill - book after it (D)."""
    borders = solved.borders
    billed = billed_by_minute(solved.bill, solved.fields, borders.until)
    booked: dict[int, list[int]] = {}
    for row in solved.rows:
        if row.end_minute < borders.until:
            sums = booked.setdefault(row.end_minute, [0] * len(solved.fields))
            for place, field in enumerate(solved.fields):
                sums[place] += row.amount(field)
    nothing = [0] * len(solved.fields)
    return {
        str(minute): {
            "bill": list(billed.get(minute, nothing)),
            "book": booked.get(minute, nothing),
            "difference": list(borders.differences[minute + 1 - borders.start]),
        }
        for minute in sorted({*billed, *booked})
    }


def _gates(solved: Solved) -> dict[str, Any]:
    """How many borders have a gate that is wider than one value, and the SHA-256 of all of them."""
    gates = solved.borders.gates
    text = "\n".join(f"{gate.low} {gate.high}" for gate in gates)
    return {
        "borders": len(gates),
        "wide": sum(gate.low != gate.high for gate in gates),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _able(found: ChainFinding) -> Counter[str]:
    """How many calls may have been billed beside the book, by why."""
    calls: Counter[str] = Counter()
    for each in found.able:
        calls[str(each.because)] += each.calls
    return calls


def _set_aside(found: ChainFinding) -> list[dict[str, Any]]:
    """The bill rows that are not compared, and why not."""
    rows = [
        {
            "because": because,
            "usage_endpoint": row.usage_endpoint,
            "model": row.model,
            "minute": row.minute,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
        }
        for because, row in found.aside
    ]
    return sorted(rows, key=repr)


def contradictions(told: Any, derived: Any) -> list[str]:
    """In words what a document says of a chain and does not follow."""
    found: list[str] = []
    for where, said, follows in _differing(told, derived, ()):
        if len(found) == CONTRADICTIONS_MAX:
            return [*found, "and more."]
        found.append(f"{where or 'it'} is {follows}, not {said}.")
    return found


def _differing(told: Any, derived: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Each place that differs: where, what is told, what follows."""
    if isinstance(told, dict) and isinstance(derived, dict) and told.keys() == derived.keys():
        for name in derived:
            yield from _differing(told[name], derived[name], (*path, name))
    elif isinstance(told, list) and isinstance(derived, list) and len(told) == len(derived):
        for number, (one, other) in enumerate(zip(told, derived, strict=True)):
            yield from _differing(one, other, (*path, str(number)))
    elif type(told) is not type(derived) or told != derived:
        yield ".".join(path), _short(told), _short(derived)


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode() if not isinstance(value, str) else value
    return text if len(text) <= 200 else f"{text[:200]}..."
