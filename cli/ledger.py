"""`submeter ledger`: housekeeping of the ledger file, which the journals can always make anew."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..data.clock import utc
from ..data.error import SubmeterError
from ..data.sidecar import TURN_WAIT_S
from ..data.system import words
from .invocation import CANNOT_TELL, DIFFER, FINE, Invocation, json_option, ledger_option, pass_invocation
from .output import print_csv, print_json, print_pairs, say
from .sql import copy_answer, not_for_spreadsheets

if TYPE_CHECKING:
    from ..data.ledger import CheckReport, Ledger

EXPORTED = ("calls", "runs", "steps", "step_usage", "run_usage", "minute_usage", "unknown_calls", "run_audit")
"""The views that people read."""


@click.group()
def ledger() -> None:
    """Look after the ledger file.

    The journals beside it are the source of truth; the ledger is built from them alone.

    \b
    Example:
        submeter ledger check
        submeter ledger snapshot for-the-notebook.duckdb
    """


@ledger.command()
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def ingest(context: click.Context, invocation: Invocation, as_json: bool) -> None:
    """Carry every new line of every journal into the ledger; commands and proxies do this by themselves.

    Exit code 3 where another program holds the ledger.

    \b
    Example:
        submeter ledger ingest
    """
    turn = invocation.closed_ledger().ingest(turn_wait_s=TURN_WAIT_S)
    told = {"lines": turn.lines, "rows": turn.rows, "problems": len(turn.problems), "held_by": turn.held_by}
    if as_json:
        print_json(told)
    else:
        print_pairs(told)
    if turn.held:
        say(f"{invocation.ledger} is held; the rest waits in the journals.")
        context.exit(CANNOT_TELL)


@ledger.command()
@json_option
@ledger_option
@pass_invocation
@click.pass_context
def check(context: click.Context, invocation: Invocation, as_json: bool) -> None:
    """Set the ledger against its journals, read again from their first byte.

    Every line that cannot be read is located; holes in the numbering, gaps and differences are listed. Exit code 1
    where there is anything to list.

    \b
    Example:
        submeter ledger check
    """
    report = invocation.open_ledger().check()
    if as_json:
        print_json({**asdict(report), "clean": report.clean})
    else:
        _show(report)
    context.exit(FINE if report.clean else DIFFER)


@ledger.command()
@click.option(
    "--keep-rows",
    is_flag=True,
    help="Carry over what the old ledger alone knows, where journals or pages of the Usage API are gone.",
)
@ledger_option
@pass_invocation
def rebuild(invocation: Invocation, keep_rows: bool) -> None:
    """Build the ledger anew from its journals, and put it in the old one's place in one step.

    The old one stays until the new one is whole. Where it holds rows that no journal tells of any more, nothing is
    changed and those journals are named; --keep-rows carries such rows over. A file that is no ledger is left alone.

    \b
    Example:
        submeter ledger rebuild
        submeter ledger rebuild --keep-rows
    """
    turn = invocation.closed_ledger().rebuild(keep_rows=keep_rows)
    if turn.kept:
        say(f"Carried over {turn.kept:,} rows that no journal tells of any more.")
    say(f"{invocation.ledger} is built anew: {turn.rows:,} calls out of {turn.lines:,} lines of journal.")
    if turn.problems:
        say(f"{len(turn.problems)} places could not be read; locate them with: submeter ledger check")


@ledger.command()
@click.argument("to", type=click.Path(path_type=Path), metavar="PATH")
@click.option("--force", is_flag=True, help="Replace an earlier snapshot.")
@ledger_option
@pass_invocation
def snapshot(invocation: Invocation, to: Path, force: bool) -> None:
    """Copy the ledger, whole and closed, for a notebook or another machine.

    A file that is there is left alone; with --force an earlier snapshot is replaced, and nothing else ever.

    \b
    Example:
        submeter ledger snapshot for-the-notebook.duckdb
    """
    invocation.open_ledger().snapshot(to, force=force)
    say(f"{to} is a copy of {invocation.ledger} as it is now.")


@ledger.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "form",
    type=click.Choice(("parquet", "csv", "json")),
    default="parquet",
    show_default=True,
    help="The kind of file.",
)
@click.option("--force", is_flag=True, help="Replace files of these names.")
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="In CSV, put an apostrophe before each text that a spreadsheet would take for a formula.",
)
@ledger_option
@pass_invocation
def export(invocation: Invocation, folder: Path, form: str, force: bool, spreadsheet: bool) -> None:
    """Write each view that people read into a file of its own; a file that is there is left alone without --force.

    \b
    Example:
        submeter ledger export exported --format csv
    """
    if spreadsheet and form != "csv":
        raise not_for_spreadsheets(form)
    there = [path for view in EXPORTED if (path := folder / f"{view}.{form}").exists()]
    if there and not force:
        raise SubmeterError(
            f"Nothing was written to {folder}",
            f"{there[0].name} is there{f', and {len(there) - 1} more' if there[1:] else ''}.",
            "Choose another folder, or replace them: submeter ledger export DIR --force",
        )
    opened = invocation.open_ledger(as_it_is=True)
    with opened.reading():
        pass  # It answers; only then is a folder made.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for view in EXPORTED:
            if spreadsheet and form == "csv":
                _write_csv(opened, view, folder / f"{view}.csv")
            else:
                copy_answer(opened, f"FROM {view}", folder / f"{view}.{form}", form)
    except OSError as error:
        raise SubmeterError(
            f"The export cannot be written: {folder}",
            f"{words(error)}.",
            "Choose another place: submeter ledger export DIR",
        ) from error
    say(f"Wrote {', '.join(f'{view}.{form}' for view in EXPORTED)} to {folder}.")


def _write_csv(opened: Ledger, view: str, path: Path) -> None:
    """A view as `submeter sql --format csv --spreadsheet` prints it, in the old file's place in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "x", encoding="utf-8", newline="", opener=_private) as file:
            print_csv(opened.ask(f"FROM {view}"), file, spreadsheet=True)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _show(report: CheckReport) -> None:
    """The findings, each with its place."""
    print_pairs(
        {
            "journals": report.journals,
            "lines": report.lines,
            "calls": report.rows,
            "bytes waiting": report.bytes_waiting,
        }
    )
    for problem in report.problems:
        click.echo(f"unreadable  {problem.path}, byte {problem.offset}: {problem.reason}")
    for hole in report.holes:
        known = "announced by a gap" if hole.announced else "not announced: the file was changed"
        click.echo(f"hole        {hole.path}: {hole.lines} lines from number {hole.first_seq} on are missing, {known}")
    for gap in report.gaps:
        times = f"{utc(gap.from_at):%Y-%m-%d %H:%M:%S} to {utc(gap.to_at):%H:%M:%S} UTC"
        click.echo(f"gap         {gap.path}: {gap.calls} calls were not written, {times}")
    for difference in report.differences:
        click.echo(f"difference  {difference}")
    for problem in report.unfinished:
        click.echo(f"unfinished  {problem.path}, byte {problem.offset}: {problem.reason}")
    for problem in report.repaired:
        click.echo(f"repaired    {problem.path}, byte {problem.offset}: {problem.reason}")
    for path in report.unended:
        click.echo(f"unended     {path}: no stop line: killed, stopped on a full disk, or running on another host")
    if report.clean:
        say("The ledger is what its journals say, and they are whole.")
    elif report.only_record:
        say(
            "Do not delete this ledger: what its journals no longer tell has no other record. Put back what is gone, or"
        )
        say("build it anew with those rows carried over: submeter ledger rebuild --keep-rows")
    elif report.differences:
        say("Build it anew with: submeter ledger rebuild")
