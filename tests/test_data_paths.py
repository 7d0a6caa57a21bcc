"""Where the files of a ledger are."""

from __future__ import annotations

from pathlib import Path

import pytest

from submeter.data.paths import journal_folder, ledger_path, lock_path, reads_folder


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
