"""The referee through the whole product: journals in, the ledger's audits asked, every verdict set against the truth.

`SUBMETER_LEDGER_SEEDS` sets how many worlds are judged here; `bench/referee.py --ledger` judges as many as wanted, on
several cores. `SUBMETER_LEDGER_SEED=123` judges the worlds of one ledger, from that seed on.
"""

from __future__ import annotations

import os

import pytest
from ledger_referee import play
from referee_table import Table

SEEDS = int(os.environ.get("SUBMETER_LEDGER_SEEDS", "20"))
FIRST = int(os.environ.get("SUBMETER_LEDGER_SEED", "0"))
IN_ONE_LEDGER = 120


def test_no_verdict_that_the_ledger_keeps_is_false_in_any_world_within_the_bounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table()
    for first in range(FIRST, FIRST + SEEDS, IN_ONE_LEDGER):
        table.merge(play(first, min(IN_ONE_LEDGER, FIRST + SEEDS - first)).judged.table)
    with capsys.disabled():
        print("\n" + table.text())
    assert table.false == []
    assert {verdict for verdict, _ in table.verdicts} >= {"verified", "short"}
