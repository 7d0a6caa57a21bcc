"""Published runs judged anew from their files."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from submeter.data.metrics import find_metrics, open_metrics
from submeter.data.metrics_judge import Flaw, Judgement, judge_runs, published_run

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"

BEGUN_S = 1_761_646_800


def attempt(after_end_s: int = 3600, tokens: int | None = 500, **window: Any) -> dict[str, Any]:
    at = BEGUN_S + 600 + after_end_s
    return {
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        "total_tokens_in": tokens,
        "total_tokens_out": tokens,
        "total_api_calls": tokens,
        "total_cached_tokens": 0 if tokens is not None else None,
        "query_window": window or {"start": BEGUN_S - 300, "end": BEGUN_S + 900, "buffer_seconds": 300},
    }


def published(
    folder: Path, run_id: str, attempts: object, *, framework: str = "ghspec", after_s: int = 0, **more: Any
) -> None:
    """A run of ten minutes that began `after_s` after the first one, its attempts' windows moved with it."""
    begun, ended = (datetime.fromtimestamp(BEGUN_S + after_s + lasted, UTC).isoformat() for lasted in (0, 600))
    told = {"run_id": run_id, "start_timestamp": begun, "end_timestamp": ended} | more
    told["usage_api_reconciliation"] = {"verification_status": "verified", "attempts": attempts}
    path = folder / framework / run_id / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(orjson.dumps(told))


def judged(folder: Path) -> dict[str, Judgement]:
    found = judge_runs([published_run(open_metrics(path)) for path in find_metrics(folder)])
    return {each.run.run_id: each for each in found}


def later(after_s: int) -> dict[str, Any]:
    return attempt(start=BEGUN_S + after_s - 300, end=BEGUN_S + after_s + 900)


def test_a_run_alone_in_its_window_and_read_late_has_no_flaw(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt(), attempt(7200)])
    one = judged(tmp_path)["a"]
    assert (one.flaws, one.spoilt, one.neighbours) == ((), False, ())
    assert one.unknowable == ("which calls it is made of, and whether any went to another key: no call was recorded",)


def test_a_window_that_holds_part_of_a_neighbours_run_is_contaminated_on_both_sides(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt()])
    published(tmp_path, "b", [later(780)], after_s=780)
    both = judged(tmp_path)
    assert [(each.flaws, each.neighbours[0].run_s) for each in both.values()] == [((Flaw.CONTAMINATED,), 120.0)] * 2
    assert both["a"].neighbours[0].name == "ghspec/b"
    assert "how many of its tokens are those of ghspec/b, 120 s" in both["a"].unknowable[0]


def test_windows_that_overlap_beside_both_runs_are_told_from_contaminated_ones(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt()])
    published(tmp_path, "b", [later(1000)], after_s=1000)
    one = judged(tmp_path)["a"]
    assert one.flaws == (Flaw.OVERLAPPING,)
    assert (one.neighbours[0].shared_s, one.neighbours[0].run_s, one.spoilt) == (200.0, 0.0, True)


def test_windows_that_touch_share_nothing(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt()])
    published(tmp_path, "b", [later(1200)], after_s=1200)
    assert {each.flaws for each in judged(tmp_path).values()} == {()}


def test_a_run_of_another_framework_is_no_neighbour(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt()])
    published(tmp_path, "b", [attempt()], framework="baes")
    assert {each.flaws for each in judged(tmp_path).values()} == {()}


def test_a_neighbour_that_was_never_read_contaminates_too(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt()])
    published(tmp_path, "b", [], after_s=300)
    both = judged(tmp_path)
    assert both["a"].flaws == (Flaw.CONTAMINATED,)
    assert both["b"].unknowable[0] == "whether its totals are the provider's: no read is told"


def test_a_read_of_zeros_among_good_ones_is_a_flaw_and_an_absent_total_is_no_zero(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt(), attempt(tokens=0), attempt(tokens=None)])
    one = judged(tmp_path)["a"]
    assert one.flaws == (Flaw.ZERO_READ,)
    assert (len(one.zero_reads), one.spoilt) == (1, True)


def test_where_all_reads_are_zeros_nobody_can_say_why(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt(tokens=0), attempt(tokens=0)])
    one = judged(tmp_path)["a"]
    assert one.flaws == ()
    assert "whether it used nothing or every read failed" in one.unknowable[0]


def test_a_read_within_ten_minutes_of_the_end_is_early_and_ten_minutes_are_not(tmp_path: Path) -> None:
    published(tmp_path, "a", [attempt(599, tokens=400), attempt(600), attempt(4000)])
    one = judged(tmp_path)["a"]
    assert (one.flaws, len(one.early_reads), one.early_unequal, one.spoilt) == ((Flaw.EARLY_READ,), 1, 1, False)


def test_steps_that_share_a_minute_are_counted(tmp_path: Path) -> None:
    steps = [{"step": n, "start_timestamp": 600 + n * 90, "end_timestamp": 690 + n * 90} for n in range(3)]
    published(tmp_path, "a", [attempt()], steps=steps)
    run = judged(tmp_path)["a"].run
    assert (run.step_borders, run.shared_minutes) == (2, 2)


@pytest.mark.parametrize("attempts", [None, {}, [None, 5], [{"timestamp": "then", "query_window": 3}], [{}]])
def test_reads_that_say_nothing_are_unknown_and_never_zero(tmp_path: Path, attempts: object) -> None:
    published(tmp_path, "a", attempts)
    one = judged(tmp_path)["a"]
    assert (one.flaws, one.run.window) == ((), None)
    assert len(one.unknowable) >= 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
def test_the_published_runs_hold_five_contaminated_ones_and_four_reads_of_zeros() -> None:
    found = judged(SHARED)
    assert len(found) == 23
    assert {each.run.status for each in found.values()} == {"verified"}
    assert sorted(name[:8] for name, each in found.items() if Flaw.CONTAMINATED in each.flaws) == [
        "0da2a226",
        "10ed5741",
        "347086b1",
        "3d5a06c9",
        "451e137c",
    ]
    assert sorted(name[:8] for name, each in found.items() if each.zero_reads) == [
        "10ed5741",
        "347086b1",
        "46651451",
        "5504cc3e",
    ]
    assert not any(each.early_reads for each in found.values())
    assert {each.run.step_borders for each in found.values()} == {5}
