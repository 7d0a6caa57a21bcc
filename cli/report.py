"""`submeter report`: what runs were, in the terminal, as one page to keep or send, and as figures for a paper."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.journal import submeter_version
from .costs import prices_option
from .invocation import Invocation, json_option, ledger_option, pass_invocation
from .output import print_json, print_table, say, usd
from .report_extra import without_extra
from .reported import Asked, Report, gather
from .runs import NO_STEP
from .times import moment

_COUNTS = ("calls", "input", "cached", "output", "reasoning", "unknown", "optional", "ambiguous", "unpriced")
_COLUMNS = {
    "input": "input_tokens",
    "cached": "cached_input_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--framework", metavar="F", help="The runs of this framework.")
@click.option("--from", "from_us", callback=moment, metavar="TIME", help="With --to: the runs of a period.")
@click.option("--to", "to_us", callback=moment, metavar="TIME", help="The end of the period, not included.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write one page with pictures: no script, no request to anywhere.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write each picture as SVG and PDF into this folder.",
)
@prices_option
@json_option
@ledger_option
@pass_invocation
def report(
    invocation: Invocation,
    runs: tuple[str, ...],
    framework: str | None,
    from_us: int | None,
    to_us: int | None,
    html: Path | None,
    figures: Path | None,
    prices: str | None,
    as_json: bool,
) -> None:
    """Report runs: verdicts with their arithmetic, tokens by step, what is in no sum, how it was metered, cost.

    Without a RUN all runs, or those of --framework or of the period. --html and --figures need the extra `report`. A
    page holds the names of runs, steps, models and hosts, and no key, prompt or completion.

    \b
    Example:
        submeter report chatdev/r-1
        submeter report --framework chatdev --html chatdev.html --figures figures/
    """
    if (from_us is None) != (to_us is None):
        raise click.UsageError("--from and --to go together.")
    if (html or figures) and not (find_spec("jinja2") and find_spec("vl_convert")):
        raise without_extra("A page or a figure")
    asked = Asked(runs=runs, framework=framework, from_us=from_us, to_us=to_us, prices=prices)
    told = gather(invocation, asked)
    # Files first: a reader of stdout who leaves early, such as `head`, must not cost them.
    if html:
        from .report_page import page

        made = f"{utc(invocation.clock.now_us()):%Y-%m-%d %H:%M} UTC"
        _write(html, page(told, [f"Made by submeter {submeter_version()} at {made} from {invocation.ledger.name}."]))
        say(f"Wrote {html}")
    if figures:
        from .pictures import write_figures
        from .report_pictures import pictures_of

        for path in write_figures(pictures_of(told), figures):
            say(f"Wrote {path}")
    if as_json:
        print_json(_record(told))
    else:
        _print(told)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except FileNotFoundError as error:
        raise SubmeterError(
            f"There is no folder for {path}",
            "The page was not written.",
            f"Make it first: mkdir -p {path.parent}",
        ) from error


def _print(told: Report) -> None:
    from .report_page import outside_text, summary_of, verdict_text

    click.echo(summary_of(told))
    for each in told.arithmetic:
        click.echo(f"\n{each.run}  {each.verdict}")
        for line in each.lines:
            click.echo(f"    {line}")
    click.echo("")
    cost = ["cost_usd", "unpriced"] if told.prices else []
    used = [*_COUNTS[:-1], *cost]
    _table(["run", *used, "verdict"], [[row["name"], *_cells(row, used), verdict_text(row)] for row in told.runs], used)
    click.echo("")
    rows = [
        [row["framework"], NO_STEP if row["step"] is None else row["step"], row["runs"], *_cells(row, used)]
        for row in told.steps
    ]
    _table(["framework", "step", "runs", *used], rows, ["runs", *used])
    click.echo("")
    click.echo(outside_text(told))
    for row in told.metering:
        gaps = f", {row['gap_calls']:,} calls lost in gaps" if row["gap_calls"] else ""
        click.echo(
            f"Metered by submeter {row['version']} ({row['mode']}, pid {row['pid']}) on {row['host']}, upstream"
            f" {row['upstream']}: {row['calls']:,} {'call' if row['calls'] == 1 else 'calls'}{gaps}"
        )
    if told.prices:
        click.echo(f"Cost by {told.prices}; where a price or a count is not known there is none.")


def _table(columns: list[str], rows: list[list[Any]], numbers: list[str]) -> None:
    print_table(columns, rows, counts=numbers)


def _cells(row: dict[str, Any], names: list[str]) -> list[Any]:
    return [usd(row[name]) if name == "cost_usd" else row[_COLUMNS.get(name, name)] for name in names]


def _record(told: Report) -> dict[str, Any]:
    return {
        "runs": list(told.runs),
        "arithmetic": [
            {"run": each.run, "verdict": each.verdict, "lines": list(each.lines)} for each in told.arithmetic
        ],
        "steps": list(told.steps),
        "minutes": [
            {"run": each.run, "api_key_id": each.api_key_id, "window": each.window, "rows": list(each.rows)}
            for each in told.minutes
        ],
        "unknown": list(told.unknown),
        "without_a_run": list(told.astray),
        "metering": list(told.metering),
        "models": list(told.models),
        "prices": told.prices,
    }
