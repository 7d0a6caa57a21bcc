"""The referee: seeded worlds whose truth is known, and bugs planted in a copy of the audit, each of which it must see.

`SUBMETER_SEEDS` sets how many worlds are judged (10,000 for the claim in the README; a few hundred here). A failing
world is one command: `SUBMETER_SEED=123 pytest tests/test_audit_referee.py -k one_world`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_referee import Judges, Said, audit_world
from referee_world import Bounds

TREE = Path(__file__).resolve().parents[1]
SEEDS = int(os.environ.get("SUBMETER_SEEDS", "300"))
ONE = os.environ.get("SUBMETER_SEED")
CAUGHT_WITHIN = 300

Patch = tuple[str, str, str]
"""File, the text in it, and what is planted in its place."""

BUGS: dict[str, tuple[Patch, ...]] = {
    "absent cached counts taken for zeros": (("unit.py", "(self.difference > 0 and self.book_silent > 0)", "False"),),
    "the last bucket of a page taken for empty": (
        (
            "../data/usage_reader.py",
            "for bucket in page.buckets:",
            "for bucket in [*page.buckets[:-1], *((each[0], ()) for each in page.buckets[-1:])]:",
        ),
    ),
    "only the first page read": (
        ("../data/usage_reader.py", "self._go_on(page, page.cursor)", "self.question = None"),
    ),
    "a failed read taken for an empty bill": (
        ("history.py", "good = [read for read in seen if read.attempt.good]", "good = list(seen)"),
        ("history.py", "latest=seen[-1].attempt if seen else None", "latest=None"),
    ),
    "a call active only in the minute of its start": (
        ("span.py", "minute_of(max(begin_us, end_us)) + MARGIN_MIN + shift_min", "minute_of(begin_us)"),
    ),
    "settling not waited for": (
        ("reconcile.py", "part.window.end_us + part.settle_us", "part.window.end_us - 3600 * 1_000_000"),
    ),
    "one read taken for confirmed": (("history.py", "if len(counted) == stable_reads:", "if counted:"),),
    "models not told apart": (
        ("unit.py", "equal = book & bill", "equal: set[str | None] = set()"),
        ("unit.py", "plain = plain_name(one)", "return True"),
    ),
    "unknown calls forgotten": (("reconcile.py", "unknown=unknown_calls(part.book, part.gaps)", "unknown=()"),),
    "batch added to the bill": (
        ("unit.py", "if row.batch:", "if False:"),
        ("reconcile.py", "for row in history.bill if not row.batch", "for row in history.bill"),
    ),
    "a difference inferred and counted": (("reconcile.py", "verdict=Verdict.INCOMPLETE", "verdict=Verdict.VERIFIED"),),
    "only the first part of a run judged": (("report.py", "for part in parts]", "for part in parts[:1]]"),),
}


def judged(seeds: range, judges: Judges, bounds: Bounds | None = None) -> Iterator[tuple[int, Said]]:
    for seed in seeds:
        yield from ((seed, said) for said in audit_world(seed, judges, bounds))


def test_one_world() -> None:
    if ONE is None:
        return
    bad = [said for said in audit_world(int(ONE), Judges()) if said.false or said.stuck or said.unexplained]
    assert bad == []


def test_no_verdict_that_may_never_be_wrong_is_wrong_in_any_world_within_the_bounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    confusion: Counter[tuple[str, str]] = Counter()
    false, stuck, unexplained = [], [], []
    behind = 0
    for seed, said in judged(range(SEEDS), Judges()):
        if said.last:
            counts[said.verdict, said.cause] += 1
            confusion.update((said.cause, kind) for kind in said.kinds)
        behind += said.verdict == "verified" and said.behind_the_cut
        if said.unexplained:
            unexplained.append((seed, said))
        if said.false:
            false.append((seed, said))
        if said.stuck:
            stuck.append((seed, said))
    with capsys.disabled():
        print(f"\nreferee: {SEEDS} worlds, verdicts by true cause:")
        for (verdict, cause), number in sorted(counts.items()):
            print(f"  {verdict:20} {cause:40} {number}")
        print("referee: explanations offered, by true cause:")
        for (cause, kind), number in sorted(confusion.items()):
            print(f"  {cause:40} {kind:20} {number}")
        print(
            f"referee: {behind} runs verified whose own call past the meter was billed behind the cut, in a later part"
        )
    assert false == []
    assert stuck == []
    assert unexplained == []
    assert {kind for _, kind in confusion} >= {"bypass", "unknown", "key_id", "another_ledger"}
    assert {verdict for verdict, _ in counts} >= {"verified", "short", "over", "incomplete", "no_activity"}


def test_worlds_outside_the_bounds_run_too_and_their_false_verdicts_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bounds = Bounds(lag_s_max=4 * 3600.0, shift_max=20, skew_s_max=600.0)
    said = [each for _, each in judged(range(SEEDS // 3), Judges(), bounds)]
    false = Counter(each.verdict for each in said if each.false)
    with capsys.disabled():
        print(f"\nreferee: outside the bounds {sum(false.values())} of {len(said)} verdicts were false: {dict(false)}")
    assert said


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"planted_{sorted(BUGS).index(bug)}"
    folder = tmp_path / package
    shutil.copytree(TREE / "audit", folder / "audit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TREE / "data", folder / "data", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text, planted in BUGS[bug]:
        source = (folder / "audit" / name).read_text()
        assert source.count(text) == 1, f"{name} no longer holds {text!r} once"
        (folder / "audit" / name).write_text(source.replace(text, planted))
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        seen = next(
            (seed for seed, said in judged(range(CAUGHT_WITHIN), Judges(package)) if said.false or said.stuck), None
        )
    finally:
        for module in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[module]
    assert seen is not None, f"{CAUGHT_WITHIN} worlds did not see: {bug}"
