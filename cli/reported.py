"""What a report tells: the runs asked for, their verdicts with the arithmetic, steps, calls, minutes, costs.

Gathered here from questions to the ledger; shown elsewhere. Never here: a number that no question told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.questions import read_sql
from .costs import prices_of, prices_said, run_costs, run_key, runs_with_costs, steps_with_costs
from .explain import explained, last_audit
from .invocation import Invocation
from .reasons import is_known, reason_lines, unit_text
from .runs import RunName, calls_without_run, find_run
from .verdicts import unclaimed_text, waited_text, window_text

if TYPE_CHECKING:
    from ..audit.window import Window
    from ..data.ledger import DuckConnection, Ledger

EXPLAINED_MAX = 12
"""So many runs have their arithmetic told; each takes a look at its whole chain."""
CALLS_MAX = 4_000
"""So many calls are drawn one by one."""
MINUTES_MAX = 1_440
"""A longer window is not drawn minute by minute."""
SUMMED = ("calls", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
BESIDE = ("unknown", "optional", "ambiguous")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which runs to report; nothing named: all."""

    runs: tuple[str, ...]
    framework: str | None
    from_us: int | None
    to_us: int | None
    prices: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """How a run's verdict comes about, in lines."""

    run: str
    verdict: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """One key's minutes of a run's window."""

    run: str
    api_key_id: str
    window: str
    rows: tuple[Row, ...]
    """As `report_minutes.sql` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is shown."""

    runs: tuple[Row, ...]
    """As `list_runs.sql`, with `verdict`, `final`, `timing`, `reason`, and costs where prices hold."""
    arithmetic: tuple[Arithmetic, ...]
    not_explained: int
    """Runs whose arithmetic is left out, because there are too many."""
    steps: tuple[Row, ...]
    """One row for each framework and step: sums over the runs."""
    steps_of: dict[str, tuple[Row, ...]]
    """The steps of each run, where it is one of few."""
    calls: tuple[Row, ...]
    more_calls: bool
    """There are more than `CALLS_MAX`."""
    minutes: tuple[Minutes, ...]
    unknown: tuple[Row, ...]
    astray: tuple[Row, ...]
    """Calls that no run has, by framework."""
    metering: tuple[Row, ...]
    models: tuple[Row, ...]
    """What each model's tokens cost, by the list of prices."""
    prices: str | None
    """Which prices hold, in words."""


def gather(invocation: Invocation, asked: Asked) -> Report:
    """Ask the ledger for all of it. Raises `SubmeterError` where no run is meant.

    But for the arithmetic, all of it is of one state of the ledger.
    """
    ledger = invocation.open_ledger(as_it_is=True)
    prices = prices_of(ledger, asked.prices, by_default=True)
    names = {(run.framework, run.run_id) for run in (find_run(ledger, name) for name in asked.runs)}
    astray = calls_without_run(ledger, asked.framework)
    with ledger.reading() as connection:
        rows = _chosen(connection, asked, names)
        verdicts = _verdicts(connection)
    named = [RunName(name=row["name"], framework=row["framework"], run_id=row["run_id"]) for row in rows]
    few = named if len(named) <= EXPLAINED_MAX else []
    audited = [run for run in named if (run.framework, run.run_id) in verdicts]
    told = [_explain(invocation, ledger, run) for run in audited if run in few]
    wanted = {(run.framework, run.run_id) for run in named}
    listed = json.dumps([{"framework": run.framework, "run_id": run.run_id} for run in named])
    with ledger.reading() as connection:
        verdicts = _verdicts(connection)
        rows = [row for row in _rows(connection, "list_runs", framework=None) if run_key(row) in wanted]
        runs = [row | _verdict(verdicts.get(run_key(row))) for row in rows]
        if prices:
            costs = run_costs(connection, prices, None)
            runs, astray = runs_with_costs(runs, costs), runs_with_costs(astray, costs)
        steps = _steps(connection, named, prices)
        calls = _rows(connection, "report_calls", runs=listed, most=CALLS_MAX + 1)
        unknown = _rows(connection, "unknown", framework=None, run_id=None)
        return Report(
            runs=tuple(runs),
            arithmetic=tuple(arithmetic for arithmetic, _ in told),
            not_explained=0 if few else len(audited),
            steps=tuple(_by_framework(steps)),
            steps_of={run.name: tuple(row for row in steps if row["name"] == run.name) for run in few},
            calls=tuple(calls[:CALLS_MAX]),
            more_calls=len(calls) > CALLS_MAX,
            minutes=tuple(
                _minutes(connection, arithmetic.run, key, window)
                for arithmetic, windows in told
                for key, window in windows
                if window.end - window.start <= MINUTES_MAX
            ),
            unknown=tuple(row for row in unknown if run_key(row) in wanted),
            astray=tuple(astray),
            metering=tuple(_rows(connection, "report_metering", runs=listed)),
            models=tuple(_models(connection, prices, wanted)) if prices else (),
            prices=prices_said(asked.prices) if prices else None,
        )


def _chosen(connection: DuckConnection, asked: Asked, names: set[tuple[str | None, str]]) -> list[Row]:
    rows = _rows(connection, "list_runs", framework=asked.framework.lower() if asked.framework else None)
    if asked.runs:
        rows = [row for row in rows if run_key(row) in names]
    if asked.from_us is not None and asked.to_us is not None:
        start, end = (utc(us).replace(tzinfo=None) for us in (asked.from_us, asked.to_us))
        rows = [row for row in rows if row["started_at"] < end and (row["ended_at"] is None or row["ended_at"] > start)]
    if not rows:
        raise SubmeterError(
            "There is no run to report.",
            "No run of this ledger is of that framework and in that period.",
            "List what there is with: submeter runs",
        )
    return rows


def _verdicts(connection: DuckConnection) -> dict[Any, Row]:
    return {run_key(row): row for row in _rows(connection, "run_verdicts", framework=None)}


def _verdict(found: Row | None) -> Row:
    names = ("verdict", "reason", "final", "timing", "attempt", "audited_at")
    return {name: found[name] if found else None for name in names}


def _explain(invocation: Invocation, ledger: Ledger, run: RunName) -> tuple[Arithmetic, list[tuple[str, Window]]]:
    last = last_audit(ledger, run)
    explanation = explained(invocation, ledger, run, last)
    waited = waited_text(last, last["timing"])
    lines = [waited] if waited else []
    for part in explanation.parts:
        finding = part.finding
        said = f"{finding.verdict} ({finding.reason})" if finding.reason else str(finding.verdict)
        lines.append(f"key {part.api_key_id}, {window_text(part.window)}: {said}")
        if finding.bill_known:
            known = is_known(part.detail, part.window.end_us)
            lines += [unit_text(unit, known=known) for unit in part.detail["units"]]
        else:
            lines.append("the bill is not known: there is no good read of these minutes")
        lines += reason_lines(finding.reason, part.detail)
        if part.detail["runs"]:
            lines.append(f"in the same minutes: {', '.join(part.detail['runs'])}")
    lines += [f"unclaimed: {unclaimed_text(each)}" for each in explanation.unclaimed]
    if explanation.keyless:
        lines.append(f"{explanation.keyless} calls on keys without an id: nothing can be compared with them")
    said = f"{last['verdict']} ({last['reason']})" if last["reason"] else last["verdict"]
    if last["timing"]:
        said += f", read without the waiting times (timing: {last['timing']}), which proves nothing"
    elif not last["final"]:
        said += ", not final"
    at = f"attempt {last['attempt']}, {last['audited_at']:%Y-%m-%d %H:%M} UTC"
    return (
        Arithmetic(run=run.name, verdict=f"{said}; {at}", lines=tuple(lines)),
        [(part.api_key_id, part.window) for part in explanation.parts],
    )


def _minutes(connection: DuckConnection, run: str, api_key_id: str, window: Window) -> Minutes:
    rows = _rows(connection, "report_minutes", api_key_id=api_key_id, from_us=window.start_us, to_us=window.end_us)
    return Minutes(run=run, api_key_id=api_key_id, window=window_text(window), rows=tuple(rows))


def _steps(connection: DuckConnection, runs: Sequence[RunName], prices: str | None) -> list[Row]:
    """The steps of each run, each run's calls without a step last."""
    priced: dict[Any, dict[str | None, Row]] = {}
    if prices:
        for row in _rows(connection, "step_costs", prices=prices, framework=None, run_id=None):
            priced.setdefault(run_key(row), {})[row["step"]] = row
    steps: dict[Any, list[Row]] = {}
    for row in _rows(connection, "steps_of_runs", framework=None):
        steps.setdefault(run_key(row), []).append(row)
    found: list[Row] = []
    for run in runs:
        key = (run.framework, run.run_id)
        rows = steps.get(key, [])
        if prices:
            rows = steps_with_costs(rows, priced.get(key, {}))
        found += [row | {"name": run.name} for row in rows]
    return found


def _by_framework(steps: Sequence[Row]) -> list[Row]:
    """Sums over runs; a sum is not known where that of a run is not."""
    groups: dict[tuple[str | None, str | None], list[Row]] = {}
    for row in steps:
        groups.setdefault((row["framework"], row["step"]), []).append(row)
    columns = [*SUMMED, *BESIDE, *(name for name in ("cost_usd", "unpriced") if steps and name in steps[0])]
    return [
        {"framework": framework, "step": step, "runs": len(rows)} | {name: _sum(rows, name) for name in columns}
        for (framework, step), rows in groups.items()
    ]


def _sum(rows: Sequence[Row], name: str) -> Any:
    if name in BESIDE:
        return sum(row[name] or 0 for row in rows)
    told = [row[name] for row in rows]
    return None if any(value is None for value in told) else sum(told)


def _models(connection: DuckConnection, prices: str, wanted: set[Any]) -> list[Row]:
    """Costs by model, service tier and why there is none, over the calls of the runs."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in _rows(connection, "call_costs", prices=prices, framework=None, run_id=None):
        if run_key(row) in wanted:
            groups.setdefault((row["model"], row["service_tier"], row["priced_as"], row["why"]), []).append(row)
    return [
        {
            "model": model,
            "service_tier": tier,
            "priced_as": priced_as,
            "why": why,
            "calls": len(rows),
            "cost_usd": None if why else float(sum(row["cost_usd"] for row in rows)),
        }
        for (model, tier, priced_as, why), rows in sorted(groups.items(), key=lambda each: repr(each[0]))
    ]


def _rows(connection: DuckConnection, question: str, **parameters: object) -> list[Row]:
    table = connection.table(read_sql(question), parameters)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


__all__ = ["Arithmetic", "Asked", "Minutes", "Report", "gather"]
