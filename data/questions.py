"""The questions that can be asked of a ledger by name: one `.sql` file each, and the text of every other `.sql` here.

A file is a question unless it makes the ledger: `schema`, `macro_...`, `view_...`, `ingest_...`, `migrate_...`. Nothing
here runs SQL.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from .error import SubmeterError

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


def named(name: str) -> str:
    """The SQL of a named question. Raises `SubmeterError` for a name that there is not."""
    name = name.strip()
    if name not in query_names():
        raise SubmeterError(
            f"There is no question named {name!r}.",
            f"There are: {', '.join(query_names())}.",
            "List them with: submeter sql",
        )
    return read_sql(name)
