"""Where the files of a ledger are."""

from __future__ import annotations

from pathlib import Path

import pytest

from submeter.data.error import SubmeterError
from submeter.data.paths import check_ledger_path, journal_folder, ledger_path, lock_path, reads_folder


def test_a_ledger_is_the_one_given_else_the_one_named_else_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMETER_LEDGER", "/data/named.duckdb")
    assert ledger_path("given.duckdb") == Path("given.duckdb")
    assert ledger_path() == Path("/data/named.duckdb")
    monkeypatch.delenv("SUBMETER_LEDGER")
    assert ledger_path() == Path("submeter.duckdb")


def test_everything_of_a_ledger_lies_beside_it() -> None:
    ledger = Path("/data/exp.duckdb")
    assert journal_folder(ledger) == Path("/data/exp.duckdb.journal")
    assert reads_folder(ledger) == Path("/data/exp.duckdb.journal/reads")
    assert lock_path(ledger) == Path("/data/exp.duckdb.lock")


def test_a_folder_is_no_ledger_and_neither_is_a_name_that_the_system_does_not_take(tmp_path: Path) -> None:
    for path in (Path(), Path("/"), tmp_path, tmp_path / ("a" * 300), Path("a\0b")):
        with pytest.raises(SubmeterError, match="There can be no ledger"):
            check_ledger_path(path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "l.duckdb", tmp_path / "file", tmp_path / "file" / "l.duckdb", tmp_path / "none" / "l"):
        check_ledger_path(path)
