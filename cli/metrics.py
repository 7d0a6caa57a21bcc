"""`submeter metrics`: the users' own `metrics.json` files, taken in, filled and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..data.error import SubmeterError
from ..data.journal import Journal, submeter_version
from ..data.marks import Mark, run_name
from ..data.metrics import MetricsFile, find_metrics, is_part, marks_of, open_metrics, run_times, write_metrics
from ..data.metrics_judge import judge_runs, published_run
from ..data.metrics_update import Filled, RunTold, fill, status
from ..data.questions import read_sql
from .costs import cost_of, prices_of, prices_option, prices_said, run_costs
from .invocation import DIFFER, FINE, WRONG_USAGE, Invocation, json_option, ledger_option, pass_invocation
from .judged import FROM_STEPS, print_judged, say_judged
from .output import print_json, print_table, say

if TYPE_CHECKING:
    from ..data.ledger import DuckConnection

Told = TypeVar("Told")


@click.group()
def metrics() -> None:
    """Take in, fill and judge the metrics.json files of an experiment.

    \b
    Example:
        submeter metrics import runs/
        submeter metrics update runs/
        submeter metrics judge runs/
    """


@metrics.command("import")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@ledger_option
@pass_invocation
@click.pass_context
def import_(context: click.Context, invocation: Invocation, folder: Path) -> None:
    """Take runs and steps from <framework>/<run_id>/metrics.json under DIR.

    Calls without a label of their own then get run and step by the time they started, calls that have a run and no
    step get the step. Labelled calls are never moved, and importing twice is the same as once. A call in the time of
    two runs of one framework is given to neither, and submeter runs says so. Exit code 2 where a file cannot be
    imported; the others are.

    \b
    Example:
        submeter metrics import runs/
    """
    runs, broken = _each(folder, lambda path: _taken_in(open_metrics(path)))
    if runs:
        _write(invocation, [marks for marks, _ in runs])
    for marks, from_steps in runs:
        named = sum(mark.kind == "step" and mark.edge == "begin" for mark in marks)
        said = f"{run_name(marks[0].framework, marks[0].run_id)}: {named} step{'' if named == 1 else 's'}"
        if from_steps:
            said += f"; {FROM_STEPS}"
        say(said)
    for each in broken:
        say(str(each))
    say(f"Imported {len(runs)} runs; {len(broken)} files could not be.")
    context.exit(WRONG_USAGE if broken else FINE)


@metrics.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@prices_option
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def update(context: click.Context, invocation: Invocation, folder: Path, prices: str | None, as_json: bool) -> None:
    """Fill <framework>/<run_id>/metrics.json under DIR from the ledger.

    Totals at once, with the status `pending`; the verdict as soon as an audit has reached one. The token fields leave
    the steps, whose exact counts stand under `usage_api_reconciliation.submeter`, as do all values replaced. Every
    other byte stays, and the same again changes nothing. A number that is not known is left out, never 0: where nobody
    told it, or calls could be of another run too. COST_USD and cost_breakdown come from --prices, or from the public
    list where it is installed. Exit code 2 where a file cannot be filled; the others are.

    \b
    Example:
        submeter metrics update runs/
        submeter metrics update runs/ --prices prices.toml
    """
    files, broken = _each(folder, open_metrics)
    ledger = invocation.open_ledger()
    rows: list[dict[str, Any]] = []
    priced = prices_of(ledger, prices, by_default=True)
    with ledger.reading() as connection:
        costs = run_costs(connection, priced, None) if priced else {}
        totals = {(row["framework"], row["run_id"]): row for row in _rows(connection, "list_runs", framework=None)}
        told = {
            name: RunTold(
                totals=totals[name],
                steps=_rows(connection, "list_steps", framework=name[0], run_id=name[1]),
                audits=_rows(connection, "metrics_audits", framework=name[0], run_id=name[1]),
                cost=cost_of(totals[name], costs.get(name)) if priced else None,
                prices=prices_said(prices) if priced else None,
            )
            for name in ((file.framework, file.run_id) for file in files)
            if name in totals
        }
    for file in files:
        try:
            rows.append(_fill(file, told.get((file.framework, file.run_id))))
        except SubmeterError as error:
            broken.append(error)
    if as_json:
        print_json(rows)
    else:
        counts = ("tokens in", "tokens out", "calls", "cached", "unknown", "optional", "ambiguous")
        print_table(["run", "file", "status", *counts], [list(row.values()) for row in rows], counts=counts)
    for each in broken:
        say(str(each))
    filled = Counter(row["file"] for row in rows)
    said = ", ".join(f"{what.value} {filled[what.value]}" for what in Filled)
    say(f"Looked at {len(rows)} files: {said}; {len(broken)} could not be filled.")
    context.exit(WRONG_USAGE if broken else FINE)


@metrics.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--only", type=click.Choice(["flawed", "sound"]), help="Print only runs with a flaw, or without any.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How it is printed; names are whole in csv and json.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def judge(context: click.Context, folder: Path, only: str | None, form: str, as_json: bool) -> None:
    """Judge published runs anew, from their metrics.json files alone.

    Looks for windows that hold part of a neighbour's run (contaminated) or overlap a neighbour's window, for reads of
    zeros among others that are not, and for reads less than 10 minutes after a run's end. With --json also says what
    can no longer be known of each run. No ledger and no key is needed. Exit code 1 where a run is contaminated,
    overlaps a neighbour or has a read of zeros.

    \b
    Example:
        submeter metrics judge runs/
        submeter metrics judge runs/ --only flawed --format csv > flawed.csv
    """
    runs, broken = _each(folder, lambda path: published_run(open_metrics(path)))
    judged = judge_runs(runs)
    print_judged(
        [each for each in judged if only is None or bool(each.flaws) == (only == "flawed")],
        "json" if as_json else form,
    )
    say_judged(judged)
    for error in broken:
        say(str(error))
    spoilt = any(each.spoilt for each in judged)
    context.exit(DIFFER if spoilt else WRONG_USAGE if broken else FINE)


def _each(folder: Path, read: Callable[[Path], Told]) -> tuple[list[Told], list[SubmeterError]]:
    """What `read` makes of the file of every run under a folder, and what is wrong with the others.

    Raises `SubmeterError` where there are but parts of runs.
    """
    found: list[Told] = []
    broken: list[SubmeterError] = []
    paths = find_metrics(folder)
    if all(map(is_part, paths)):
        raise SubmeterError(
            f"There is no run under {folder}, only a part of one.",
            f"{paths[0]} is of a sprint; its run's own metrics.json lies in a folder above.",
            "Name the folder that holds the runs, such as runs/, and run the same command again.",
        )
    for path in paths:
        if is_part(path):
            say(f"Passed over, since it is of a part of a run: {path}")
            continue
        try:
            found.append(read(path))
        except SubmeterError as error:
            broken.append(error)
    return found, broken


def _taken_in(file: MetricsFile) -> tuple[list[Mark], bool]:
    """The marks of one file, and whether its run's time is that of its steps."""
    return marks_of(file), run_times(file).from_steps


def _rows(connection: DuckConnection, question: str, **parameters: object) -> list[dict[str, Any]]:
    table = connection.table(read_sql(question), parameters)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _fill(file: MetricsFile, told: RunTold | None) -> dict[str, Any]:
    """Fill one file; its row for the table."""
    name = run_name(file.framework, file.run_id)
    if told is None or told.silent:
        become = Filled.NOT_IN_LEDGER if told is None else Filled.NOT_METERED
    else:
        try:
            content = fill(file.content, told, name=name, version=submeter_version())
        except (ValueError, RecursionError) as error:
            raise SubmeterError(
                f"This file cannot be filled: {file.path}",
                f"It cannot be taken apart without changing it: {error}.",
                "Mend or move it, then run this again: submeter metrics update DIR",
            ) from error
        become = Filled.SAME if content == file.content else Filled.CHANGED
        if become is Filled.CHANGED:
            write_metrics(file, content)
    known = told if told is not None and not told.silent else None
    columns = ("input_tokens", "output_tokens", "counted", "cached_input_tokens", "unknown", "optional", "ambiguous")
    return {"run": name, "file": become.value, "status": status(known) if known else None} | {
        column: known.totals[column] if known else None for column in columns
    }


def _write(invocation: Invocation, runs: list[list[Mark]]) -> None:
    with Journal.open(invocation.ledger, mode="metrics", clock=invocation.clock) as journal:
        journal.begin()
        for marks in runs:
            for mark in marks:
                journal.append(mark.kind, mark.line())
    if invocation.ledger.exists():
        invocation.open_ledger()
