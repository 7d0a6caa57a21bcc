"""`submeter sql`: any question to the ledger, in SQL of one's own or by name.

A named question is one of the `.sql` files of `data/`; without an argument they are listed. Asking never writes to
the ledger.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..data.error import SubmeterError
from ..data.questions import NAME, header, named, peoples_names, query_names
from .costs import prices_of, prices_option
from .invocation import Invocation, ledger_option, pass_invocation
from .output import print_answer, print_csv, print_json, print_table, records, say

if TYPE_CHECKING:
    from ..data.ledger import Ledger, Table

ROWS_SHOWN = 40
"""Of an answer that is shown as a table, as in the duckdb shell."""
FORMATS = ("table", "csv", "json", "parquet")
_COPY = {"parquet": "parquet", "csv": "csv, HEADER", "json": "json"}
_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*\*/"
"""A comment, which may hold another."""
_ASIDE = re.compile(
    rf"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*["]"""
    rf"""|(?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$|--[^\n]*|{_COMMENT}""",
    re.DOTALL,
)
"""What may hold a `$`, a `;` or a `--` that means nothing: texts of every kind, quoted names and comments."""
_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")


_COMMENT_FIRST = re.compile(r"--[^\s=]*\s")
"""How a query begins whose first line is a comment: no option has a blank before its equals sign."""


class _Words(click.Command):
    """Takes `-p NAME VALUE` as well, which older scripts have, and a query that begins with a comment."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        joined: list[str] = []
        rest = iter(args)
        for word in rest:
            joined.append(f" {word}" if _COMMENT_FIRST.match(word) else word)
            if word == "--":
                break
            if word in ("-p", "--param") and (name := next(rest, None)) is not None:
                value = None if "=" in name else next(rest, None)
                joined.append(name if value is None else f"{name}={value}")
        return super().parse_args(ctx, [*joined, *rest])


@click.command(cls=_Words)
@click.argument("query", required=False, metavar="[QUERY | NAME]")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How the answer is printed; parquet goes to a file or a pipe.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--param",
    "-p",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of a $NAME in the query; one that is not given is NULL.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="ROWS",
    help=f"Rows to show, 0 for all. Default: {ROWS_SHOWN} in a table, all in every other format.",
)
@click.option("--all", "every", is_flag=True, help="Without a question: list those that commands ask, too.")
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="In CSV, put an apostrophe before each text that a spreadsheet would take for a formula.",
)
@prices_option
@ledger_option
@pass_invocation
def sql(
    invocation: Invocation,
    query: str | None,
    form: str,
    as_json: bool,
    given: tuple[str, ...],
    limit: int | None,
    every: bool,
    spreadsheet: bool,
    prices: str | None,
) -> None:
    """Ask the ledger, also while the proxy writes to it; without an argument, list the named questions.

    A $prices in the query is what --prices names, by default the public list where it is installed.

    \b
    Example:
        submeter sql "SELECT framework, sum(input_tokens) FROM run_usage GROUP BY framework"
        submeter sql by_model -p framework=chatdev
        submeter sql call_costs --prices prices.toml
        submeter sql "FROM calls" --format parquet > calls.parquet
    """
    if spreadsheet and (as_json or form != "csv"):
        raise not_for_spreadsheets("json" if as_json else form)
    if query is None:
        _print_names("json" if as_json else form, every=every)
        return
    text = text_of(query)
    parameters = parameters_of(text, read_parameters(given))
    form = "json" if as_json else form
    if form == "parquet" and limit:
        raise SubmeterError(
            "--limit goes with tables, CSV and JSON, not with parquet.",
            "That is written by DuckDB itself, whole.",
            "Write the limit into the query: submeter sql 'FROM calls LIMIT 40' --format parquet > calls.parquet",
        )
    ledger = invocation.open_ledger(as_it_is=True)
    if "prices" in parameters and parameters["prices"] is None:
        parameters["prices"] = prices_of(ledger, prices, by_default=True)
        if parameters["prices"] is None:
            say("Note: no prices are named, so nothing has a cost; name a file of them with --prices FILE.")
    if form == "parquet":
        _write_parquet(ledger, text, parameters)
        return
    if limit is None and form == "table":
        limit = ROWS_SHOWN
    _print(ledger.ask(text, parameters, rows_max=limit or None), form, spreadsheet=spreadsheet)


def text_of(query: str) -> str:
    """The SQL of a query given by name or as it is."""
    return named(query) if NAME.fullmatch(query.strip()) else query


def read_parameters(given: Iterable[str]) -> dict[str, str]:
    """Each `NAME=VALUE` as a name and a value; a `SubmeterError` for what is none."""
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (equals and name):
            raise SubmeterError(
                f"-p {one!r} is no parameter.",
                "It is a name and a value, with an equals sign between them.",
                "Such as: submeter sql by_model -p framework=chatdev",
            )
        found[name] = value
    return found


def parameters_of(text: str, given: dict[str, str]) -> dict[str, str | None]:
    """A value for every `$name` of the SQL, None where none was given; a `SubmeterError` for one it does not have."""
    wanted = set(_PARAMETER.findall(_ASIDE.sub(" ", text)))
    if unknown := sorted(set(given) - wanted):
        raise SubmeterError(
            f"The query has no parameter ${unknown[0]}.",
            f"It has: {', '.join(f'${name}' for name in sorted(wanted)) or 'none'}.",
            "Name one of them with: submeter sql QUERY -p NAME=VALUE",
        )
    return {name: given.get(name) for name in sorted(wanted)}


def not_for_spreadsheets(form: str) -> SubmeterError:
    """What `--spreadsheet` is told beside any other form than CSV."""
    return SubmeterError(
        f"--spreadsheet goes with CSV, not with {form}.",
        "No other form has cells that a spreadsheet takes for formulas.",
        "Add: --format csv",
    )


def _print_names(form: str, *, every: bool) -> None:
    from ..data.ledger import Table

    names = query_names() if every else peoples_names()
    rows: list[tuple[str, ...]] = [(name, _first_sentence(name)) for name in names]
    if form == "table":
        print_table(("name", "question"), rows)
    else:
        _print(Table(columns=("name", "question"), types=("VARCHAR", "VARCHAR"), rows=rows), form)


def _first_sentence(name: str) -> str:
    """The first sentence of the comment a query begins with."""
    return re.split(r"(?<=\.) |: one row", header(name), maxsplit=1)[0].rstrip(".") + "."


def _print(table: Table, form: str, *, spreadsheet: bool = False) -> None:
    if form == "json":
        print_json(records(table))
    elif form == "csv":
        print_csv(table, spreadsheet=spreadsheet)
    else:
        print_answer(table)


def _write_parquet(ledger: Ledger, text: str, parameters: dict[str, str | None]) -> None:
    """Write the answer as one Parquet file to stdout."""
    if sys.stdout.isatty():
        raise SubmeterError(
            "Parquet is not for a terminal.",
            "It is a file of bytes.",
            'Write it to one: submeter sql "FROM calls" --format parquet > calls.parquet',
        )
    with tempfile.TemporaryDirectory(prefix="submeter-") as folder:
        path = Path(folder) / "answer.parquet"
        copy_answer(ledger, text, path, "parquet", parameters)
        sys.stdout.buffer.write(path.read_bytes())


def copy_answer(
    ledger: Ledger, text: str, path: Path, form: str, parameters: dict[str, str | None] | None = None
) -> None:
    """Put the answer of one query into a file, 0600, in the old one's place in one step."""
    bare = _ASIDE.sub(lambda found: " " if found[0][0] in "-/" else found[0], text).strip().rstrip("; \n")
    with tempfile.TemporaryDirectory(prefix=".submeter-", dir=path.parent) as folder:
        # In a folder of its own, because it is the only one that the query may write to.
        written = Path(folder).resolve() / path.name
        ledger.ask(bare, parameters, into=written, form=_COPY[form])
        written.chmod(0o600)
        written.replace(path)
