"""The questions that can be asked of a ledger by name: one `.sql` file each, and the text of every other `.sql` here.

A file is a question unless it makes the ledger: `schema`, `macro_...`, `view_...`, `ingest_...`, `migrate_...`. Nothing
here runs SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .error import SubmeterError
from .near import did_you_mean

FOLDER = Path(__file__).parent
NAME = re.compile(r"[a-z][a-z0-9_]*")
MAKING = ("schema", "macro_", "view_", "ingest_", "migrate_")


@cache
def read_sql(name: str) -> str:
    """The text of one `.sql` file of this folder."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def query_names() -> tuple[str, ...]:
    """The names of all questions, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.sql") if not path.stem.startswith(MAKING)))


@cache
def peoples_names() -> tuple[str, ...]:
    """The names of those that people ask: their headers say `Read by people`. The others are asked by commands."""
    return tuple(name for name in query_names() if re.search(r"\bRead by people\b", header(name)))


def header(name: str) -> str:
    """The comment that a `.sql` file begins with, in one line."""
    lines = read_sql(name).splitlines()
    return " ".join(line.removeprefix("--").strip() for line in lines[: _comment_lines(lines)])


def _comment_lines(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))


def named(name: str) -> str:
    """The SQL of a named question. Raises `SubmeterError` for a name that there is not."""
    name = name.strip()
    if name not in query_names():
        if (FOLDER / f"view_{name}.sql").is_file():
            raise SubmeterError(
                f"There is no question named {name!r}, but a view of that name.",
                "A view is asked in SQL; questions that have names are a list of their own (submeter sql).",
                f'Look into it with: submeter sql "FROM {name} LIMIT 10"',
            )
        raise SubmeterError(
            f"There is no question named {name!r}.",
            f"{did_you_mean(name, peoples_names())}There are: {', '.join(peoples_names())}.",
            "List them with: submeter sql",
        )
    return read_sql(name)
