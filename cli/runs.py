"""`submeter runs` and `submeter steps`: what each run, and each step of one, used.

Here rows are named and shown; every sum comes from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..data.call import Edge
from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.marks import run_name, split_run
from ..data.near import did_you_mean
from .audit import show_pending
from .costs import prices_of, prices_option, run_costs, runs_with_costs, step_costs, steps_with_costs
from .gate import astray_in
from .invocation import Invocation, json_option, ledger_option, pass_invocation
from .output import cell, duration, print_json, print_table, records, say, total, usd
from .step import read_mark, say_key_of, tell_end, tell_mark

if TYPE_CHECKING:
    from ..data.ledger import Ledger

NO_STEP = "(no step)"
NO_RUN = "(no run)"
_TOLD = ("input_tokens", "cached_input_tokens", "output_tokens")
_BESIDE = ("unknown", "optional", "ambiguous")
"""How many calls a sum does not hold, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunName:
    """One run of the ledger."""

    name: str
    """As users write it: `framework/run_id`."""
    framework: str | None
    run_id: str


@click.group(invoke_without_command=True)
@click.option("--framework", metavar="F", help="Only runs of this framework.")
@click.option("--pending", is_flag=True, help="Which runs wait for an audit, and why each other one does not.")
@prices_option
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def runs(
    context: click.Context,
    invocation: Invocation,
    framework: str | None,
    pending: bool,
    prices: str | None,
    as_json: bool,
) -> None:
    """List runs: age, calls, tokens, unknown calls and the last verdict; last, the calls that no run has.

    Age is the time since the run ended, or began while it is open; a run ends by its mark (submeter runs end), with
    the proxy or command that began it, or 60 minutes after its last call. Beside the sums stand the calls they do not
    hold: unknown (nobody told the usage), optional (it may not be billed) and, where there are any, ambiguous (it could
    be this run's or another's, so that neither has a sum). With --pending the exit code is 3 while a run has no final
    verdict, whether an audit is due for it or not. With --prices, and in JSON where the public list is installed,
    cost_usd is what the counted calls cost; it is absent where one of them has no known cost (unpriced: how many).

    \b
    Example:
        submeter runs --framework chatdev
        submeter runs --pending
        submeter runs begin chatdev/r-1
        submeter runs --prices genai-prices
    """
    if context.invoked_subcommand is not None:
        return
    ledger = invocation.open_ledger(as_it_is=not pending)
    if pending:
        context.exit(show_pending(invocation, ledger, framework, as_json))
    rows = list_runs(ledger, framework)
    astray = calls_without_run(ledger, framework)
    if framework is not None and not rows and not astray:
        raise _no_framework(ledger, framework)
    shown = rows + astray
    if priced := prices_of(ledger, prices, by_default=as_json):
        shown = runs_with_costs(shown, run_costs(ledger, priced, framework.lower() if framework else None))
    if as_json:
        print_json(shown)
        return
    beside = _beside(shown)
    cost = _cost_columns(shown)
    print_table(
        ["run", "age", "calls", "input", "cached", "output", *beside, *cost, "verdict"],
        [
            [
                row["name"],
                _age(invocation, row) if row["run_id"] is not None else None,
                row["calls"],
                *(row[name] for name in (*_TOLD, *beside)),
                *_cost_cells(row, cost),
                row["verdict"],
            ]
            for row in shown
        ],
        counts=("calls", "input", "cached", "output", *beside, *cost),
    )
    say(f"{len(rows)} run{'s' if len(rows) != 1 else ''}{_and_astray(astray)}: {_sum(shown)}")
    if (creates := astray_in(astray)).calls:
        say(
            "Calls take a run from submeter run, from /run/ID in the base URL, or later from submeter metrics import. "
            f"Audit these as they are: {creates.command}"
        )


def _mark_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        ledger_option,
        click.option("--status", metavar="WORD", help="Your own word for how it stands, such as success."),
        click.option("--framework", metavar="F", help="The run's framework; or write the run as F/ID."),
        click.argument("run", metavar="RUN"),
    ):
        command = option(command)
    return command


@runs.command()
@_mark_options
@pass_invocation
def begin(invocation: Invocation, run: str, framework: str | None, status: str | None) -> None:
    """Mark the begin of a run, for an orchestrator that starts its programs itself.

    Calls of its framework that name no run belong to it while it is the one open run of the framework. It lasts until
    its end is marked, or 60 minutes after its last call.

    \b
    Example:
        submeter runs begin chatdev/r-1
    """
    mark = read_mark(invocation, Edge.BEGIN, run, framework, status)
    tell_mark(invocation, mark)
    say_key_of(mark.framework)


@runs.command()
@_mark_options
@pass_invocation
def end(invocation: Invocation, run: str, framework: str | None, status: str | None) -> None:
    """Mark the end of a run, and of a step of it that is open.

    \b
    Example:
        submeter runs end chatdev/r-1 --status success
    """
    tell_end(invocation, read_mark(invocation, Edge.END, run, framework, status))


@click.command()
@click.argument("run", metavar="RUN")
@prices_option
@json_option
@ledger_option
@pass_invocation
def steps(invocation: Invocation, run: str, prices: str | None, as_json: bool) -> None:
    """Show calls and tokens of each step of a run.

    A step without a call has zeros if the meter was up all through it, and `-` otherwise. Beside the sums stand the
    calls they do not hold, as in `submeter runs`; a run with ambiguous calls has no sums.

    --prices FILE adds what they cost. A file of prices (USD per million tokens) looks like this; all but model and
    input may be left out, and a price holds from the day `from` to the day before `to`, UTC:

    \b
        [[prices]]
        model = "gpt-4o-mini"
        input = 0.15
        cached_input = 0.075
        output = 0.60
        from = 2024-07-18

    \b
    Example:
        submeter steps chatdev/r-1
        submeter steps chatdev/r-1 --prices prices.toml
    """
    ledger = invocation.open_ledger(as_it_is=True)
    found = find_run(ledger, run)
    rows = records(ledger.query("list_steps", {"framework": found.framework, "run_id": found.run_id}))
    if priced := prices_of(ledger, prices, by_default=as_json):
        rows = steps_with_costs(rows, step_costs(ledger, priced, found.framework, found.run_id))
    if as_json:
        print_json(rows)
        return
    _print_steps(rows)
    say(f"{found.name}: {_sum(rows)}")


def _print_steps(rows: list[dict[str, Any]]) -> None:
    beside = _beside(rows)
    cost = _cost_columns(rows)
    columns = ["step", "visits", "calls", "input", "cached", "output", "reasoning", *beside, *cost]
    print_table(
        columns,
        [
            [
                NO_STEP if row["step"] is None else row["step"],
                row["visits"],
                row["calls"],
                *(row[name] for name in (*_TOLD, "reasoning_tokens", *beside)),
                *_cost_cells(row, cost),
            ]
            for row in rows
        ],
        counts=columns[1:],
    )


def list_runs(ledger: Ledger, framework: str | None = None) -> list[dict[str, Any]]:
    """Every run of a framework, or of all; one record per run, oldest first."""
    return records(ledger.query("list_runs", {"framework": framework.lower() if framework else None}))


def calls_without_run(ledger: Ledger, framework: str | None = None) -> list[dict[str, Any]]:
    """The calls of a framework, or of all, that no run has: one record for each framework, with the keys of a run's."""
    rows = records(ledger.query("calls_without_run", {"framework": framework.lower() if framework else None}))
    absent = dict.fromkeys(("episodes", "end_source", "status", "covered", "verdict", "audited_at"))
    return [{"name": run_name(row["framework"], NO_RUN), "run_id": None} | row | absent for row in rows]


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
    every = [run_name(row["framework"], row["run_id"]) for row in list_runs(ledger)]
    raise SubmeterError(
        f"There is no run {name!r} in this ledger.",
        f"{did_you_mean(name, every)}No call and no mark of it names one.",
        "List them with: submeter runs",
    )


def _no_framework(ledger: Ledger, framework: str) -> SubmeterError:
    """What to say of a framework that nothing in the ledger names."""
    known = sorted({row["framework"] for row in list_runs(ledger) + calls_without_run(ledger) if row["framework"]})
    return SubmeterError(
        f"There is no run and no call of a framework called {framework}.",
        f"{did_you_mean(framework, known)}Frameworks in this ledger: {', '.join(known) or 'none'}.",
        "See all runs with: submeter runs",
    )


def _age(invocation: Invocation, row: dict[str, Any]) -> str:
    since = row["ended_at"] or row["started_at"]
    if since is None:
        return cell(None)
    now = utc(invocation.clock.now_us()).replace(tzinfo=None)
    age = duration(max(0.0, (now - since).total_seconds()))
    return age if row["ended_at"] else f"open, {age}"


def _beside(rows: list[dict[str, Any]]) -> list[str]:
    """The kinds of calls to show beside the sums: `unknown` always, the others where there are any."""
    return [name for name in _BESIDE if name == "unknown" or any(row[name] for row in rows)]


def _cost_columns(rows: list[dict[str, Any]]) -> list[str]:
    """What to show of costs: nothing where no prices hold, and how many calls have none only where there are any."""
    priced = [row for row in rows if "cost_usd" in row]
    unpriced = ["unpriced"] if any(row["unpriced"] for row in priced) else []
    return ["cost_usd", *unpriced] if priced else []


def _cost_cells(row: dict[str, Any], columns: list[str]) -> list[Any]:
    return [usd(row[name]) if name == "cost_usd" else row[name] for name in columns]


def _and_astray(astray: list[dict[str, Any]]) -> str:
    calls = sum(row["calls"] for row in astray)
    return f" and {calls:,} call{'s' if calls != 1 else ''} without one" if calls else ""


def _sum(rows: list[dict[str, Any]]) -> str:
    """Tokens in and out of all rows, and what they do not hold."""
    told = [row[name] for row in rows for name in ("input_tokens", "output_tokens") if row[name] is not None]
    beside = {name: sum(row[name] or 0 for row in rows) for name in _BESIDE}
    if any(row.get("run_id", "") is None for row in rows):
        # A call that could be of several runs stands with each of them, and once among those without a run.
        beside["ambiguous"] = sum(row["ambiguous"] for row in rows if row["run_id"] is None)
    said = total(sum(told) if told else None, **beside)
    unseen = sum(row["calls"] is None and not row["ambiguous"] for row in rows)
    return f"{said}, {unseen} without a meter" if unseen else said
