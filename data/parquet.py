"""A table as one Parquet file, written by DuckDB beside any ledger. Never here: what is in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb

from .foreign_sql import quoted


def parquet_bytes(columns: Mapping[str, str], rows: Iterable[Sequence[object]]) -> bytes:
    """The file's bytes. `columns`: names and their types in SQL; None in a row is NULL."""
    listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    holders = ", ".join("?" for _ in columns)
    with tempfile.TemporaryDirectory(prefix="submeter-") as folder, duckdb.connect() as connection:
        path = Path(folder).resolve() / "table.parquet"
        connection.execute(f"CREATE TABLE written ({listed})")
        for row in rows:
            connection.execute(f"INSERT INTO written VALUES ({holders})", list(row))
        connection.execute(f"COPY written TO {quoted(path)} (FORMAT parquet)")
        return path.read_bytes()
