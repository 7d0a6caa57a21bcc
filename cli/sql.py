"""`submeter sql`: any question to the ledger, in SQL of one's own or by name.

A named question is one of the `.sql` files of `data/`; without an argument they are listed. Asking never writes to
the ledger.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..data.error import SubmeterError
from ..data.questions import NAME, named, query_names
from .invocation import Invocation, ledger_option, pass_invocation
from .output import print_answer, print_csv, print_json, records

if TYPE_CHECKING:
    from ..data.ledger import Ledger, Table

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


@click.command()
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
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="The value of a $NAME in the query; one that is not given is NULL.",
)
@click.option(
    "--spreadsheet",
    is_flag=True,
    help="In CSV, put an apostrophe before each text that a spreadsheet would take for a formula.",
)
@ledger_option
@pass_invocation
def sql(
    invocation: Invocation,
    query: str | None,
    form: str,
    as_json: bool,
    given: tuple[tuple[str, str], ...],
    spreadsheet: bool,
) -> None:
    """Ask the ledger, also while the proxy writes to it; without an argument, list the named questions.

    \b
    Example:
        submeter sql "SELECT framework, sum(input_tokens) FROM run_usage GROUP BY framework"
        submeter sql list_steps -p framework chatdev -p run_id r-1
        submeter sql "FROM calls" --format parquet > calls.parquet
    """
    if spreadsheet and (as_json or form != "csv"):
        raise not_for_spreadsheets("json" if as_json else form)
    if query is None:
        _print_names("json" if as_json else form)
        return
    text = text_of(query)
    parameters = parameters_of(text, dict(given))
    ledger = invocation.open_ledger(as_it_is=True)
    if form == "parquet" and not as_json:
        _write_parquet(ledger, text, parameters)
    else:
        _print(ledger.ask(text, parameters), "json" if as_json else form, spreadsheet=spreadsheet)


def text_of(query: str) -> str:
    """The SQL of a query given by name or as it is."""
    return named(query) if NAME.fullmatch(query.strip()) else query


def parameters_of(text: str, given: dict[str, str]) -> dict[str, str | None]:
    """A value for every `$name` of the SQL, None where none was given; a `SubmeterError` for one it does not have."""
    wanted = set(_PARAMETER.findall(_ASIDE.sub(" ", text)))
    if unknown := sorted(set(given) - wanted):
        raise SubmeterError(
            f"The query has no parameter ${unknown[0]}.",
            f"It has: {', '.join(f'${name}' for name in sorted(wanted)) or 'none'}.",
            "Name one of them with: submeter sql QUERY -p NAME VALUE",
        )
    return {name: given.get(name) for name in sorted(wanted)}


def not_for_spreadsheets(form: str) -> SubmeterError:
    """What `--spreadsheet` is told beside any other form than CSV."""
    return SubmeterError(
        f"--spreadsheet goes with CSV, not with {form}.",
        "No other form has cells that a spreadsheet takes for formulas.",
        "Add: --format csv",
    )


def _print_names(form: str) -> None:
    from ..data.ledger import Table

    rows: list[tuple[str, ...]] = [(name, _first_sentence(named(name))) for name in query_names()]
    _print(Table(columns=("name", "question"), types=("VARCHAR", "VARCHAR"), rows=rows), form)


def _first_sentence(text: str) -> str:
    """The first sentence of the comment a query begins with."""
    header = " ".join(line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--"))
    return re.split(r"(?<=\.) |: one row", header, maxsplit=1)[0].rstrip(".") + "."


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
