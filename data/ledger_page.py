"""The part of docs/ledger.md that is made from the ledger itself: its views, column by column, and its questions.

python -m submeter.data.ledger_page docs/ledger.md      # writes that part anew; a test holds the page to it
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from .clock import SystemClock
from .ledger import Ledger
from .questions import header, peoples_names
from .view_columns import VIEWS, comment_on

BEGIN = "<!-- Made by: python -m submeter.data.ledger_page docs/ledger.md -->"
END = "<!-- Made until here. -->"
_COLUMNS = (
    "SELECT column_name, data_type FROM duckdb_columns()"
    " WHERE database_name = current_database() AND table_name = $view ORDER BY column_index"
)


def made_part(ledger: Ledger) -> str:
    """Every view with its columns, and every question that people ask.

    Raises `KeyError` for a column that nobody explains.
    """
    parts = [BEGIN, ""]
    for view in VIEWS:
        parts += [f"### `{view}`", "", _said_of(view), "", "| column | type | it holds |", "|---|---|---|"]
        for column, kind in ledger.query(_COLUMNS, {"view": view}).rows:
            comment = comment_on(view, column)
            if comment is None:
                raise KeyError(f"{view}.{column} is explained nowhere: add it to data/view_columns.py")
            parts.append(f"| `{column}` | {kind} | {comment} |")
        parts.append("")
    parts += ["## Questions with a name", "", "| | |", "|---|---|"]
    parts += [f"| `submeter sql {name}` | {_in_a_cell(_question(name))} |" for name in peoples_names()]
    return "\n".join([*parts, "", END])


def with_made_part(page: str, ledger: Ledger) -> str:
    """The page with that part made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + made_part(ledger) + after


def _said_of(view: str) -> str:
    """The header of a view's file, as prose, without who reads it."""
    return re.sub(r" ?(?:Law|Read by)\b.*$", "", header(f"view_{view}")).strip()


def _question(name: str) -> str:
    return re.split(r"(?<=\.) ", header(name), maxsplit=1)[0]


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(path: Path) -> None:
    """Write that part of a page anew."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "submeter.duckdb", clock=SystemClock())
        ledger.ingest()
        path.write_text(with_made_part(path.read_text(encoding="utf-8"), ledger), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
