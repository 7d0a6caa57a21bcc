"""`submeter runs` and `submeter steps`: what each run, and each step of one, used.

Here rows are named and shown; every sum comes from the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.marks import run_name, split_run
from .audit import show_pending
from .invocation import Invocation, json_option, ledger_option, pass_invocation
from .output import cell, duration, print_json, print_table, records, say, total

if TYPE_CHECKING:
    from ..data.ledger import Ledger

NO_STEP = "(no step)"
_TOLD = ("input_tokens", "cached_input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunName:
    """One run of the ledger."""

    name: str
    """As users write it: `framework/run_id`."""
    framework: str | None
    run_id: str


@click.command()
@click.option("--framework", metavar="F", help="Only runs of this framework.")
@click.option("--pending", is_flag=True, help="Which runs wait for an audit, and why each other one does not.")
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def runs(context: click.Context, invocation: Invocation, framework: str | None, pending: bool, as_json: bool) -> None:
    """List runs: age, calls, tokens, unknown calls and the last verdict.

    Age is the time since the run ended, or began while it is open. With --pending the exit code is 3 while a run
    has no final verdict, whether an audit is due for it or not.

    \b
    Example:
        submeter runs --framework chatdev
        submeter runs --pending
    """
    ledger = invocation.open_ledger(as_it_is=not pending)
    if pending:
        context.exit(show_pending(invocation, ledger, framework, as_json))
    rows = list_runs(ledger, framework)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["run", "age", "calls", "input", "cached", "output", "unknown", "verdict"],
        [
            [
                row["name"],
                _age(invocation, row),
                row["calls"],
                *(row[name] for name in _TOLD),
                row["unknown"],
                row["verdict"],
            ]
            for row in rows
        ],
        counts=("calls", "input", "cached", "output", "unknown"),
    )
    say(f"{len(rows)} run{'s' if len(rows) != 1 else ''}: {_sum(rows)}")


@click.command()
@click.argument("run", metavar="RUN")
@json_option
@ledger_option
@pass_invocation
def steps(invocation: Invocation, run: str, as_json: bool) -> None:
    """Show calls and tokens of each step of a run.

    A step without a call has zeros if the meter was up all through it, and `-` otherwise.

    \b
    Example:
        submeter steps chatdev/r-1
    """
    ledger = invocation.open_ledger(as_it_is=True)
    found = find_run(ledger, run)
    rows = records(ledger.query("list_steps", {"framework": found.framework, "run_id": found.run_id}))
    if as_json:
        print_json(rows)
        return
    _print_steps(rows)
    say(f"{found.name}: {_sum(rows)}")


def _print_steps(rows: list[dict[str, Any]]) -> None:
    columns = ["step", "visits", "calls", "input", "cached", "output", "reasoning", "unknown"]
    print_table(
        columns,
        [
            [
                NO_STEP if row["step"] is None else row["step"],
                row["visits"],
                row["calls"],
                *(row[name] for name in (*_TOLD, "reasoning_tokens")),
                row["unknown"],
            ]
            for row in rows
        ],
        counts=columns[1:],
    )


def list_runs(ledger: Ledger, framework: str | None = None) -> list[dict[str, Any]]:
    """Every run of a framework, or of all; one record per run, oldest first."""
    return records(ledger.query("list_runs", {"framework": framework.lower() if framework else None}))


def find_run(ledger: Ledger, name: str) -> RunName:
    """The run written `framework/run_id`, or by its run id alone where that is unique; a `SubmeterError` else."""
    rows = ledger.query("run_names", {"name": name, "run_id": split_run(name)[1]}).rows
    known = [
        RunName(name=run_name(framework, run_id), framework=framework, run_id=run_id) for framework, run_id in rows
    ]
    found = [run for run in known if name in (run.name, run.run_id)]
    exact = [run for run in found if run.name == name]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if found:
        raise SubmeterError(
            f"There is more than one run {name!r}.",
            f"They are: {', '.join(run.name for run in found)}.",
            f"Name it whole, such as: submeter steps {found[0].name}",
        )
    raise SubmeterError(
        f"There is no run {name!r} in this ledger.",
        "No call and no mark of it names one.",
        "List them with: submeter runs",
    )


def _age(invocation: Invocation, row: dict[str, Any]) -> str:
    since = row["ended_at"] or row["started_at"]
    if since is None:
        return cell(None)
    now = utc(invocation.clock.now_us()).replace(tzinfo=None)
    age = duration(max(0.0, (now - since).total_seconds()))
    return age if row["ended_at"] else f"open, {age}"


def _sum(rows: list[dict[str, Any]]) -> str:
    """Tokens in and out of all rows, and what they do not hold."""
    told = [row[name] for row in rows for name in ("input_tokens", "output_tokens") if row[name] is not None]
    said = total(sum(told) if told else None, sum(row["unknown"] for row in rows if row["unknown"] is not None))
    unseen = sum(row["calls"] is None for row in rows)
    return f"{said}, {unseen} without a meter" if unseen else said
