"""`submeter metrics`: the users' own `metrics.json` files."""

from __future__ import annotations

from pathlib import Path

import click

from ..data.error import SubmeterError
from ..data.journal import Journal
from ..data.marks import Mark, run_name
from ..data.metrics import find_metrics, read_metrics
from .invocation import FINE, WRONG_USAGE, Invocation, ledger_option, pass_invocation
from .output import say


@click.group()
def metrics() -> None:
    """Read the metrics.json files of an experiment.

    \b
    Example:
        submeter metrics import runs/
    """


@metrics.command("import")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@ledger_option
@pass_invocation
@click.pass_context
def import_(context: click.Context, invocation: Invocation, folder: Path) -> None:
    """Take runs and steps from <framework>/<run_id>/metrics.json under DIR.

    Calls without a label of their own then get run and step by the time they started. Labelled calls are never moved,
    and importing twice is the same as once. Exit code 2 where a file cannot be imported; the others are.

    \b
    Example:
        submeter metrics import runs/
    """
    runs: list[list[Mark]] = []
    broken: list[SubmeterError] = []
    for path in find_metrics(folder):
        try:
            runs.append(read_metrics(path))
        except SubmeterError as error:
            broken.append(error)
    if runs:
        _write(invocation, runs)
    for marks in runs:
        named = sum(mark.kind == "step" and mark.edge == "begin" for mark in marks)
        say(f"{run_name(marks[0].framework, marks[0].run_id)}: {named} step{'' if named == 1 else 's'}")
    for each in broken:
        say(str(each))
    say(f"Imported {len(runs)} runs; {len(broken)} files could not be.")
    context.exit(WRONG_USAGE if broken else FINE)


def _write(invocation: Invocation, runs: list[list[Mark]]) -> None:
    with Journal.open(invocation.ledger, mode="metrics", clock=invocation.clock) as journal:
        journal.begin()
        for marks in runs:
            for mark in marks:
                journal.append(mark.kind, mark.line())
    if invocation.ledger.exists():
        invocation.open_ledger()
