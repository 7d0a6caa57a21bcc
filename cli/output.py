"""How data is printed: tables for people, JSON and CSV for programs. All of it goes to stdout, all talk to stderr.

What the provider did not say is `-` in a table, `null` in JSON and empty in CSV; it is never 0. A sum is never printed
without the number of calls whose usage is unknown.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

import click
import orjson

from ..data.harmless import harmless, no_formula
from .fitted import fitted
from .harmless_text import drawn

if TYPE_CHECKING:
    from ..data.ledger import Table

ABSENT = "-"
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL")
_PIPE_COLUMNS = 4_000
"""Width where no terminal sets one: wide enough that no cell is ever cut."""
_GAP = "   "


def say(text: str) -> None:
    """Talk to the user, on stderr."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """One JSON document; times are UTC in RFC 3339, absent is null."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(_json(value, options) + "\n")


def records(table: Table) -> list[dict[str, Any]]:
    """The rows of a table for JSON, each by its column names; a JSON column is given as what it holds.

    The second column of one name, say `calls`, is `calls_1`: a JSON object would hold but one of them.
    """
    verbatim = [kind == "JSON" for kind in table.types]
    columns = _told_apart(table.columns)
    return [
        {
            name: orjson.Fragment(value) if is_json and isinstance(value, str) else value
            for name, value, is_json in zip(columns, row, verbatim, strict=True)
        }
        for row in table.rows
    ]


def print_csv(table: Table, file: TextIO | None = None, *, spreadsheet: bool = False) -> None:
    """RFC 4180, with a header; absent is empty. For a `spreadsheet` no text begins as a formula does."""
    writer = csv.writer(sys.stdout if file is None else file)
    for row in (table.columns, *table.rows):
        cells = [_csv_cell(value) for value in row]
        writer.writerow([no_formula(value) if spreadsheet and isinstance(value, str) else value for value in cells])


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    counts: Iterable[str] = (),
    numbers: Iterable[str] = (),
    title: str | None = None,
) -> None:
    """A table for people. Columns in `counts` and `numbers` are set right, `counts` grouped by thousands."""
    grouped = set(counts)
    right = grouped | set(numbers)
    cells = [
        [harmless(cell(value, grouped=name in grouped)) for name, value in zip(columns, row, strict=True)]
        for row in rows
    ]
    columns = [harmless(name) for name in columns]
    plain = None if title or sys.stdout.isatty() else _plain_table(columns, cells, right)
    if plain is not None:
        click.echo(plain, nl=False)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for name in columns:
        shown.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row_cells in cells:
        shown.add_row(*map(Text, row_cells))
    console = Console(file=drawn(sys.stdout), highlight=False)
    if console.is_terminal:
        console.print(shown)
        return
    wide = Console(file=io.StringIO(), highlight=False, width=_PIPE_COLUMNS)
    with wide.capture() as printed:
        wide.print(shown)
    for line in printed.get().splitlines():
        click.echo(line.rstrip())


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> str | None:
    """A table as rich lays it out where no terminal is: rich takes a millisecond a row, and a ledger has thousands.

    None where a text is not plain ASCII on one line, or all is wider than a pipe's line: that is left to rich.
    """
    if not columns or not all(text.isascii() and text.isprintable() for row in (columns, *rows) for text in row):
        return None
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sum(widths) + len(_GAP) * len(widths) > _PIPE_COLUMNS:
        return None
    rule = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    lines = [
        _GAP.join(
            [
                text.rstrip().rjust(width) if name in right else text.ljust(width)
                for name, text, width in zip(columns, row, widths, strict=True)
            ]
        ).rstrip()
        for row in (columns, *rows)
    ]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def print_answer(table: Table) -> None:
    """The answer to any question as a table for people, its numbers as they are; what of it is not shown is said.

    On a screen it is cut to the screen's width; where it goes to a file or a pipe no cell is.
    """
    numbers = [name for name, kind in zip(table.columns, table.types, strict=True) if kind.startswith(_NUMBERS)]
    columns: Sequence[str] = table.columns
    rows: Sequence[Sequence[Any]] = table.rows
    said = []
    if table.left_out:
        said.append(f"{len(rows) + table.left_out:,} rows, {len(rows):,} shown (--limit 0 shows all)")
    if sys.stdout.isatty():
        cells = [[harmless(cell(value)) for value in row] for row in rows]
        width = shutil.get_terminal_size().columns
        fits = fitted([harmless(name) for name in columns], cells, width=width, gap=len(_GAP))
        columns, rows = fits.columns, fits.rows
        if fits.left_out:
            shown = len(table.columns) - fits.left_out
            said.append(f"{len(table.columns):,} columns, {shown:,} shown (--json, or --format csv, has all)")
    print_table(columns, rows, numbers=numbers)
    for line in said:
        say(line)


def cell(value: Any, *, grouped: bool = False) -> str:
    """One value as a table shows it."""
    match value:
        case None:
            return ABSENT
        case bool():
            return "yes" if value else "no"
        case int() if grouped:
            return f"{value:,}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case timedelta():
            return duration(value.total_seconds())
        case list() | tuple():
            return " ".join(cell(part) for part in value) or ABSENT
        case _:
            return str(value)


def usd(amount: float | None) -> str:
    """An amount of US dollars, to a millionth; what is not known is `-`."""
    return ABSENT if amount is None else f"{amount:,.6f}"


def duration(seconds: float) -> str:
    """A stretch of time in its two largest units, such as `2 h 05 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


def total(tokens: int | None, unknown: int, *, optional: int = 0, ambiguous: int = 0) -> str:
    """A sum and what it does not hold, such as `1,204 tokens, 2 unknown`; calls of no other kind are not named."""
    said = "unknown tokens" if tokens is None else f"{tokens:,} tokens"
    beside = [f"{count:,} {name}" for count, name in ((optional, "optional"), (ambiguous, "ambiguous")) if count]
    return ", ".join([said, f"{unknown:,} unknown", *beside])


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Names and values, a line each."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        click.echo(f"{name:<{width}}  {cell(value, grouped=True)}")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, bool | list | dict):
        return _json(value)
    return harmless(value) if isinstance(value, str) else value


def _json(value: Any, options: int = 0) -> str:
    """JSON in which an integer has all of its digits, also beyond the 64 bits that orjson writes."""
    try:
        return orjson.dumps(value, default=str, option=options).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(_digits_kept(value), default=str, option=options).decode()


def _digits_kept(value: Any) -> Any:
    match value:
        case int() if not -(2**63) <= value < 2**64:
            return orjson.Fragment(str(value))
        case list() | tuple():
            return [_digits_kept(part) for part in value]
        case dict():
            return {str(key): _digits_kept(part) for key, part in value.items()}
        case _:
            return value


def _told_apart(columns: Sequence[str]) -> list[str]:
    """The names of columns, each once."""
    taken = set(columns)
    names: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in names or (number and name in taken):
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names
