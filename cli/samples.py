"""What is compared: a value of each metric for each run, or each step of one, and why a run has none.

A run is left out of a figure, by name and with the reason, where it has not ended, its books differ, calls of it are
unknown, or it could not be told from another. Never here: a statistic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..audit.verdict import AGREE, DIFFER
from ..data.error import SubmeterError
from ..data.metrics import MetricsFile, open_metrics, step_name
from ..data.metrics_judge import judge_runs, published_run
from ..data.questions import read_sql
from .costs import cost_of, run_costs, run_key, steps_with_costs

if TYPE_CHECKING:
    from pathlib import Path

    from ..data.ledger import DuckConnection, Ledger

METRICS = (
    "api_calls",
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "cached_tokens",
    "reasoning_tokens",
    "execution_time",
    "cost_usd",
)
"""In the order in which they are shown; execution_time in seconds."""
NO_FRAMEWORK = "(no framework)"
_COLUMNS = {
    "api_calls": "counted",
    "tokens_in": "input_tokens",
    "tokens_out": "output_tokens",
    "cached_tokens": "cached_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
"""Metrics and the columns of the ledger."""
_MEMBERS = {
    "api_calls": "API_CALLS",
    "tokens_in": "TOK_IN",
    "tokens_out": "TOK_OUT",
    "cached_tokens": "CACHED_TOKENS",
    "reasoning_tokens": "REASONING_TOKENS",
    "execution_time": "T_WALL_seconds",
    "cost_usd": "COST_USD",
}
"""Metrics and the members of a file's `aggregate_metrics`."""
NOT_TOLD = "not told"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One run, or one step of one."""

    framework: str
    run: str
    """`framework/run_id`."""
    step: str | None = None
    """None: the run as a whole."""
    verified: bool
    """A final audit of ours found that its books agree; what a file claims without one is no such thing."""
    values: Mapping[str, float]
    """By metric; one that is not known is not in it."""
    left_out: Mapping[str, str]
    """Why each other metric has no value."""


def ledger_subjects(
    ledger: Ledger, frameworks: Sequence[str], *, prices: str | None, by_step: bool, only_verified: bool
) -> list[Subject]:
    """The runs of a ledger, or their steps. Raises `SubmeterError` for a framework that no run is of."""
    with ledger.reading() as connection:
        verdicts = {run_key(row): row for row in _rows(connection, "run_verdicts", framework=None)}
        runs = _rows(connection, "list_runs", framework=None)
        _check_frameworks(frameworks, {row["framework"] for row in runs})
        wanted = {framework.lower() for framework in frameworks}
        chosen = [row for row in runs if not wanted or row["framework"] in wanted]
        whole = {run_key(row): _spoilt(row, verdicts.get(run_key(row)), only_verified) for row in chosen}
        if by_step:
            return _steps(connection, chosen, whole, verdicts, prices)
        costs = run_costs(connection, prices, None) if prices else {}
    return [
        _subject(
            row,
            None,
            whole[run_key(row)],
            verdicts.get(run_key(row)),
            took_s=(row["ended_at"] - row["started_at"]).total_seconds()
            if row["ended_at"] and row["episodes"] == 1
            else None,
            cost=cost_of(row, costs.get(run_key(row)))["cost_usd"] if prices else None,
        )
        for row in chosen
    ]


def _steps(
    connection: DuckConnection,
    runs: list[dict[str, Any]],
    whole: Mapping[Any, str | None],
    verdicts: Mapping[Any, Row],
    prices: str | None,
) -> list[Subject]:
    costs: dict[Any, dict[str | None, Row]] = {}
    if prices:
        for row in _rows(connection, "step_costs", prices=prices, framework=None, run_id=None):
            costs.setdefault(run_key(row), {})[row["step"]] = row
    steps: dict[Any, list[dict[str, Any]]] = {}
    for row in _rows(connection, "steps_of_runs", framework=None):
        steps.setdefault(run_key(row), []).append(row)
    found = []
    for run in runs:
        key = run_key(run)
        rows = steps.get(key, [])
        if prices:
            rows = steps_with_costs(rows, costs.get(key, {}))
        for row in rows:
            if row["step"] is None:
                continue
            named = row | {"name": run["name"], "ambiguous": row["run_ambiguous"]}
            found.append(
                _subject(
                    named, row["step"], whole[key], verdicts.get(key), took_s=row["took_s"], cost=row.get("cost_usd")
                )
            )
    return found


def _check_frameworks(asked: Iterable[str], there: set[str | None]) -> None:
    for framework in asked:
        if framework.lower() not in there:
            known = ", ".join(sorted(name for name in there if name)) or "none"
            raise SubmeterError(
                f"No run is of a framework {framework!r}.",
                f"Runs are of: {known}.",
                "List them with: submeter runs",
            )


def _spoilt(run: Row, verdict: Row | None, only_verified: bool) -> str | None:
    """Why a whole run is left out of every figure; None: it is not."""
    if run["ended_at"] is None:
        return "not ended"
    found = [] if verdict is None or verdict["timing"] else [verdict["verdict"], verdict["final_verdict"]]
    differ = [name for name in found if name in DIFFER]
    if differ:
        return f"verdict {differ[0]}"
    if only_verified and not _verified(verdict):
        return f"verdict {found[0]}" if found and found[0] not in AGREE else "not verified"
    return None


def _verified(verdict: Row | None) -> bool:
    return verdict is not None and bool(verdict["final"]) and not verdict["timing"] and verdict["verdict"] in AGREE


def _subject(
    row: Row, step: str | None, spoilt: str | None, verdict: Row | None, *, took_s: float | None, cost: float | None
) -> Subject:
    values: dict[str, float] = {}
    left_out: dict[str, str] = {}
    doubt = _doubt(row)
    for metric in METRICS:
        value: float | None
        if metric == "execution_time":
            value, why = took_s, "no one time: begun again, or its end is not told"
        elif metric == "cost_usd":
            value, why = (None, doubt) if doubt else (cost, "no known cost")
        else:
            value, why = (None, doubt) if doubt else (_counted(row, metric), NOT_TOLD)
        if spoilt or value is None:
            left_out[metric] = spoilt or why
        else:
            values[metric] = float(value)
    return Subject(
        framework=row["framework"] or NO_FRAMEWORK,
        run=row["name"],
        step=step,
        verified=_verified(verdict),
        values=values,
        left_out=left_out,
    )


def _doubt(row: Row) -> str:
    """Why no sum of a run or step is the whole of what it used; empty: it is."""
    if row["ambiguous"]:
        return "ambiguous calls"
    if row["calls"] is None:
        return "not metered"
    return "unknown calls" if row["unknown"] else "optional calls" if row["optional"] else ""


def _counted(row: Row, metric: str) -> int | None:
    if metric == "tokens_total":
        both = [_counted(row, name) for name in ("tokens_in", "tokens_out")]
        return None if None in both else sum(count for count in both if count is not None)
    if metric in ("tokens_in", "tokens_out") and row["counted"] == 0:
        return 0
    found: int | None = row[_COLUMNS[metric]]
    return found


def file_subjects(
    paths: Iterable[Path], frameworks: Sequence[str], *, by_step: bool
) -> tuple[list[Subject], list[SubmeterError]]:
    """The runs that `metrics.json` files tell of, or their steps, and what is wrong with the other files.

    Left out are those that `submeter metrics judge` finds a flaw in, or that an audit warned of.
    """
    files: list[MetricsFile] = []
    runs, broken = [], []
    for path in paths:
        try:
            file = open_metrics(path)
            runs.append(published_run(file))
            files.append(file)
        except SubmeterError as error:
            broken.append(error)
    _check_frameworks(frameworks, {file.framework for file in files})
    wanted = {framework.lower() for framework in frameworks}
    found: list[Subject] = []
    for file, judged in zip(files, judge_runs(runs), strict=True):
        if wanted and file.framework not in wanted:
            continue
        flaws = " and ".join(flaw.value.replace("_", " ") for flaw in judged.flaws)
        spoilt = f"judged {flaws}" if flaws else _warned(file.told)
        if judged.run.ended_us is None and not spoilt:
            spoilt = "not ended"
        found += _of_file(file, spoilt, by_step=by_step)
    return found, broken


def _warned(told: Row) -> str:
    """Why a file that `submeter metrics update` filled is left out; empty: it is not."""
    ours = _object(_object(told.get("usage_api_reconciliation")).get("submeter"))
    if not ours:
        return ""
    if ours.get("verdict") in DIFFER and not ours.get("timing"):
        return f"verdict {ours['verdict']}"
    totals = _object(ours.get("totals"))
    return next((f"{word} calls" for word in ("ambiguous", "unknown", "optional") if totals.get(word)), "")


def _of_file(file: MetricsFile, spoilt: str, *, by_step: bool) -> list[Subject]:
    name = f"{file.framework}/{file.run_id}"
    ours = _object(_object(file.told.get("usage_api_reconciliation")).get("submeter"))
    verified = bool(ours.get("final")) and ours.get("verdict") in AGREE and not ours.get("timing") and not spoilt
    if not by_step:
        told = _object(file.told.get("aggregate_metrics"))
        values = {metric: _number(told.get(member)) for metric, member in _MEMBERS.items()}
        return [_from_file(file.framework, name, None, values, spoilt, verified)]
    counts = {each.get("step"): each for each in _list(ours.get("steps")) if isinstance(each, dict)}
    found = []
    for step in _list(file.told.get("steps")):
        if not isinstance(step, dict) or (step_id := step_name(step)) is None:
            continue
        exact = counts.get(str(step_id), {})
        values = {metric: _number(exact.get(column)) for metric, column in _COLUMNS.items()}
        values["execution_time"] = _number(step.get("duration_seconds"))
        found.append(_from_file(file.framework, name, str(step_id), values, spoilt, verified))
    return found


def _from_file(
    framework: str, run: str, step: str | None, told: dict[str, float | None], spoilt: str, verified: bool
) -> Subject:
    tokens = [told.get(name) for name in ("tokens_in", "tokens_out")]
    if None not in tokens:
        told["tokens_total"] = sum(count for count in tokens if count is not None)
    if not told.get("cost_usd") and any(tokens):
        # Their tool writes 0.0 and never fills it in (users-and-peers, section 0): tokens are not free.
        told["cost_usd"] = None
    values = {} if spoilt else {metric: value for metric in METRICS if (value := told.get(metric)) is not None}
    left_out = {metric: spoilt or NOT_TOLD for metric in METRICS if metric not in values}
    return Subject(framework=framework, run=run, step=step, verified=verified, values=values, left_out=left_out)


def _rows(connection: DuckConnection, question: str, **parameters: object) -> list[dict[str, Any]]:
    table = connection.table(read_sql(question), parameters)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _object(value: object) -> Row:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and value == value else None  # type: ignore[arg-type]
