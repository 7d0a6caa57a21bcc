"""What calls cost, for every command that says it: which prices hold, and the sums of runs and steps by them.

Never here: what a call costs (`macro_call_costs.sql`), and a guess. Where a price or a count is not known there is no
cost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..data.prices import prices_json, read_prices
from .report_extra import without_extra

if TYPE_CHECKING:
    from ..data.ledger import DuckConnection, Ledger

PUBLIC = "genai-prices"
NONE = "none"
VARIABLE = "SUBMETER_PRICES"
COLUMNS = ("cost_usd", "unpriced")
AMOUNTS = ("cost_usd", "uncached_input_usd", "cached_input_usd", "cache_write_usd", "output_usd", "saved_usd")
Command = TypeVar("Command", bound=Callable[..., None])
Row = Mapping[str, Any]


def prices_option(command: Command) -> Command:
    """Add `--prices`."""
    return click.option(
        "--prices",
        metavar="FILE",
        envvar=VARIABLE,
        help="What tokens cost: a TOML or JSON file of dated prices, or the word genai-prices for the public list "
        f"(extra report), or none. Default: the variable {VARIABLE}.",
    )(command)


def prices_of(ledger: Ledger, chosen: str | None, *, by_default: bool) -> str | None:
    """The prices to count with, as `call_costs` takes them; None: none are to be.

    Where none was chosen and `by_default`, the public list holds if it is installed.
    """
    if chosen == NONE or (chosen is None and not (by_default and find_spec("genai_prices"))):
        return None
    if chosen in (None, PUBLIC):
        if not find_spec("genai_prices"):
            raise without_extra("The public list of prices")
        from .listed_prices import listed_prices

        return prices_json(listed_prices(row[0] for row in ledger.query("models").rows))
    assert chosen is not None
    return prices_json(read_prices(Path(chosen).expanduser()))


def prices_said(chosen: str | None) -> str:
    """Which prices these are, in words."""
    if chosen in (None, PUBLIC):
        return f"the public list, genai-prices {version('genai-prices')}"
    return f"the prices of {os.path.basename(chosen or '')}"


def runs_with_costs(rows: list[dict[str, Any]], costs: Mapping[Any, Row]) -> list[dict[str, Any]]:
    """Rows of runs with `cost_usd`, and how many of their calls have no known cost (`unpriced`)."""
    # Calls that no run has are summed also where they could be of several.
    return [
        row
        | _columns(_cost(row, costs.get(run_key(row)), doubtful=bool(row["ambiguous"]) and row["run_id"] is not None))
        for row in rows
    ]


def cost_of(run: Row, told: Row | None) -> Row:
    """What a run cost, with all that `run_costs` says of it; every amount None where it is not known."""
    # Calls that no run has are summed also where they could be of several.
    return _cost(run, told, doubtful=run["run_id"] is not None and bool(run["ambiguous"]))


def steps_with_costs(rows: list[dict[str, Any]], costs: Mapping[Any, Row]) -> list[dict[str, Any]]:
    """Rows of one run's steps with the same; a run with ambiguous calls has no sums, so no step of it has."""
    doubtful = any(row["ambiguous"] for row in rows)
    return [row | _columns(_cost(row, costs.get(row["step"]), doubtful=doubtful)) for row in rows]


def _columns(cost: Row) -> dict[str, Any]:
    return {column: cost[column] for column in COLUMNS}


def _cost(row: Row, told: Row | None, *, doubtful: bool) -> Row:
    if row["calls"] is None or doubtful:
        return dict.fromkeys((*AMOUNTS, "unpriced", "priced_as"))
    if told is not None:
        return told
    # Nothing was priced: that is 0 where nothing was used, and not known where only unknown calls were.
    known = not row["unknown"] and not row["optional"]
    return dict.fromkeys(AMOUNTS, 0.0 if known else None) | {"unpriced": 0, "priced_as": None}


def run_key(row: Row) -> tuple[str | None, str | None]:
    """Which run a row is of; a run id of None: the framework's calls that no run has."""
    return row["framework"], row["run_id"]


def run_costs(asked: Ledger | DuckConnection, prices: str, framework: str | None) -> dict[Any, Row]:
    """The rows of `run_costs` by run."""
    return {run_key(row): row for row in _rows(asked, "run_costs", prices=prices, framework=framework)}


def step_costs(asked: Ledger | DuckConnection, prices: str, framework: str | None, run_id: str) -> dict[Any, Row]:
    """The rows of `step_costs` of one run by step."""
    rows = _rows(asked, "step_costs", prices=prices, framework=framework, run_id=run_id)
    return {row["step"]: row for row in rows if row["framework"] == framework}


def _rows(asked: Ledger | DuckConnection, question: str, **parameters: object) -> list[dict[str, Any]]:
    from ..data.ledger import Ledger
    from ..data.questions import read_sql

    table = (
        asked.query(question, parameters) if isinstance(asked, Ledger) else asked.table(read_sql(question), parameters)
    )
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
