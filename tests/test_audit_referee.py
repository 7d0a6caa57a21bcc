"""The referee: seeded worlds whose truth is known, and bugs planted in a copy of the audit, each of which it must see.

`SUBMETER_SEEDS` sets how many worlds are judged here; `bench/referee.py` judges as many as wanted, on several cores.
A failing world is one command: `SUBMETER_SEED=123 pytest tests/test_audit_referee.py -k one_world`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from audit_referee import audit_world
from referee_calls import Bounds
from referee_moment import Judges
from referee_table import Table

TREE = Path(__file__).resolve().parents[1]
SEEDS = int(os.environ.get("SUBMETER_SEEDS", "300"))
ONE = os.environ.get("SUBMETER_SEED")
CAUGHT_WITHIN = 300

Patch = tuple[str, str, str]
"""File, the text in it, and what is planted in its place."""

BUGS: dict[str, tuple[Patch, ...]] = {
    "the old rule: a cut wherever both books are equal so far": (
        (
            "gate.py",
            "        columns.append((difference, low, high))",
            "        columns.append((difference, low, high))\n"
            "    for each in range(until - start + 1):\n"
            "        if not any(column[0][each] for column in columns):\n"
            "            for _, low, high in columns:\n"
            "                low[each] = high[each] = 0",
        ),
    ),
    "errors counted, not their tokens": (
        ("least.py", "return sum(map(abs, map(sub, one, other)))", "return int(one != other)"),
    ),
    "a unit's fields tied: the largest error of any stands for all": (
        ("least.py", "return sum(map(abs, map(sub, one, other)))", "return max(map(abs, map(sub, one, other)))"),
    ),
    "free slack for unknown calls": (
        (
            "case.py",
            "return not any(each.excess(self.window) or",
            "return not any(each.excess({*self.window} - self.explained(each)) or",
        ),
    ),
    "the least over all ends of a chain that goes on": (
        (
            "least.py",
            "_dirty_boxes(start, low, high, end) | _dirty_boxes(start, low, high, other_end)",
            "_dirty_boxes(start, low, high, "
            "tuple(_reach(borders, p, (), more=True).apex for p in (0, 1, 2, 3)[: len(end)]))",
        ),
    ),
    "the end of a chain that goes on taken for its end": (
        (
            "least.py",
            "    end, other_end = borders.lowest_end, borders.highest_end",
            "    end = other_end = borders.differences[-1]",
        ),
    ),
    "settling not waited for": (
        ("history.py", "(read.asked_us - waiting.settle_us) // US_PER_MINUTE", "read.asked_us // US_PER_MINUTE"),
    ),
    "one read taken for confirmed": (("history.py", "if len(found) == waiting.stable_reads:", "if found:"),),
    "batch work added to the bill": (("pair.py", "        if row.batch:", "        if False:"),),
    "models not told apart": (
        ("pair.py", "equal = book & bill", "equal: set[str | None] = set()"),
        ("pair.py", "return one == other or (plain", "return True or (plain"),
    ),
    "an alias not paired with its snapshot": (
        ("pair.py", "return one == other or (plain", "return one == other and (plain"),
    ),
    "a renamed model taken at once": (("case.py", "if self.chain.facts.renamed_holds:", "if True:"),),
    "calls billed before their end forgotten": (
        (
            "gate.py",
            "low[border] -= _most(calls, place, so_far, border, until - start, late=False)",
            "pass",
        ),
    ),
    "calls billed after their end forgotten": (
        ("gate.py", "high[border] += _most(calls, place, so_far, border, until - start, late=True)", "pass"),
    ),
    "a minute fits a call only if it bills nothing else": (
        ("gate.py", "all(map(ge, have, item.amounts))", "have == item.amounts"),
    ),
    "booked in the minute of the call's start": (
        (
            "solve.py",
            "end=row.end_minute,\n        last=row.last_minute,\n        amounts=tuple",
            "end=row.first_minute + 1,\n        last=row.last_minute,\n        amounts=tuple",
        ),
    ),
    "a list of sums cut off where it is too long": (
        (
            "gate.py",
            "        if len(sums) > SUMS_MAX:\n            return None",
            "        sums = set(sorted(sums)[:6])",
        ),
    ),
    "a run's window without the shift": (
        (
            "chain.py",
            "last = max(begin_minute, end_minute) + MARGIN_MIN + shift_min + wider",
            "last = max(begin_minute, end_minute) + MARGIN_MIN + wider",
        ),
    ),
    "a deficit looked for under the neighbours' calls": (
        (
            "case.py",
            "return frozenset(row.end_minute for row in self.booked(solved))",
            "return frozenset(row.end_minute for row in solved.rows if not self.share.owns(row))",
        ),
    ),
    "unknown calls forgotten": (
        ("reconcile.py", "able = able_calls(chain.rows, chain.gaps, chain.facts.optional)", "able = ()"),
    ),
    "a bill that fell forgotten": (("history.py", "    if not higher:", "    if True:"),),
    "a failed read taken for an empty bill": (
        (
            "history.py",
            "if read.good and read.window.overlaps(window)]\n    bill:",
            "if read.window.overlaps(window)]\n    bill:",
        ),
        ("reconcile.py", "if read is not None and not read.good]", "if False]"),
    ),
    "absent cached counts taken for zeros": (
        (
            "solve.py",
            "silent = any(row.cached_silent for row in ours) or any(row.cached_input_tokens is None for row in theirs)",
            "silent = False",
        ),
    ),
    "only the runs in a run's own minutes named beside it": (
        (
            "solve.py",
            "return one_error(self.borders, self.dirty, spot, closed=self.closed)",
            "return frozenset({spot})",
        ),
    ),
}


def test_one_world() -> None:
    if ONE is None:
        return
    assert [said for said in audit_world(int(ONE), Judges()) if said.false] == []


def test_no_verdict_is_false_in_any_world_within_the_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    judges = Judges()
    for seed in range(SEEDS):
        table.add(seed, audit_world(seed, judges))
    with capsys.disabled():
        print("\n" + table.text())
    assert table.false == []
    assert {verdict for verdict, _ in table.verdicts} >= {"verified", "short", "over", "incomplete", "no_activity"}


def test_worlds_beyond_the_bounds_run_too_and_their_false_verdicts_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    judges = Judges()
    with capsys.disabled():
        for name, bounds in {
            "late, shifted, clocks off": Bounds(lag=240, shift=20, skew=10.0),
            "errors of both signs in one model": Bounds(one_sign=False),
        }.items():
            table = Table()
            for seed in range(SEEDS // 6):
                table.add(seed, audit_world(seed, judges, bounds))
            print(f"\nreferee, beyond the bounds ({name}): {table.untrue} of {table.said} verdicts were false")
            assert table.said


def first_seen(patches: Sequence[Patch], tmp_path: Path, bounds: Bounds | None = None) -> int | None:
    """The first seed in which a copy of the audit with these patches is false and the audit itself is not."""
    package = f"planted_{abs(hash(patches))}"
    folder = tmp_path / package
    shutil.copytree(TREE / "audit", folder / "audit", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").symlink_to(TREE / "data")
    for name, text, planted in patches:
        source = (folder / "audit" / name).read_text()
        assert source.count(text) == 1, f"{name} no longer holds {text!r} once"
        (folder / "audit" / name).write_text(source.replace(text, planted))
    sys.path.insert(0, str(tmp_path))
    try:
        planted_judges, judges = Judges(package), Judges()
        for seed in range(CAUGHT_WITHIN):
            if any(said.false for said in audit_world(seed, planted_judges, bounds)) and not any(
                said.false for said in audit_world(seed, judges, bounds)
            ):
                return seed
    finally:
        sys.path.remove(str(tmp_path))
        for module in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[module]
    return None


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen(bug: str, tmp_path: Path) -> None:
    assert first_seen(BUGS[bug], tmp_path) is not None, f"{CAUGHT_WITHIN} worlds did not see: {bug}"


def test_gates_cut_without_a_path_of_one_sign_are_seen_where_errors_have_two(tmp_path: Path) -> None:
    patch = ("least.py", "    if least_amounts(borders) != tuple(map(abs, end)):", "    if False:")
    assert first_seen((patch,), tmp_path, Bounds(one_sign=False)) is not None
