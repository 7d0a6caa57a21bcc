"""Worlds made by hand to get a false verdict out of the audit: each clause of its rules at its edge.

None of them may end in a `verified`, `no_activity`, `short` or `over` that is not true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_world import MODEL, World, world

from submeter.audit.report import AuditReport
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Outcome, Result, Usage, settle_line
from submeter.data.journal import new_call_id
from submeter.sim.counts import Counts

MINUTE = 60.0
HOUR = 3600.0
OTHER_MODEL = "gpt-4o-2024-08-06"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def judged(here: World, *runs: str, **request: Any) -> AuditReport:
    here.at(here.second + 75 * MINUTE)
    here.audit(*runs, **request)
    here.at(here.second + 30 * MINUTE)
    return here.audit(*runs, **request)


def verdict(here: World, run: str = "r-1", **request: Any) -> tuple[Verdict, Reason | None]:
    line = judged(here, run, **request).runs[0]
    return line.verdict, line.reason


def begun(here: World, run: str = "r-1") -> None:
    here.mark(run, "begin")


def ended(here: World, run: str = "r-1") -> None:
    here.mark(run, "end")


def counts(tokens: tuple[int, int, int]) -> Counts:
    given, cached, written = tokens
    return Counts(input_text=given - cached, cached_text=cached, output_text=written)


# Minutes and clocks


@pytest.mark.parametrize("second", [0.0, 59.999999, 60.0, 119.999999])
@pytest.mark.parametrize("lasts", [0.0, 0.000001, 60.0])
def test_calls_on_the_very_border_of_a_minute_are_verified_and_one_past_the_meter_there_is_short(
    here: World, second: float, lasts: float
) -> None:
    begun(here)
    here.at(second)
    here.call(run="r-1", lasts=lasts)
    ended(here)
    assert verdict(here) == (Verdict.VERIFIED, None)
    here.at(here.second + HOUR)
    here.at((here.second // MINUTE + 1) * MINUTE + second)
    begun(here, "r-2")
    here.call(run="r-2", lasts=lasts)
    here.call(run="r-2", lasts=lasts, metered=False, tokens=(7, 0, 1))
    ended(here, "r-2")
    assert verdict(here, "r-2") == (Verdict.SHORT, None)


@pytest.mark.parametrize("skew_s", [-60, 60])
@pytest.mark.parametrize("second", [0, 30, 59])
@pytest.mark.parametrize("shift_min", [0, 5])
def test_a_clock_that_is_off_by_a_minute_makes_no_difference(
    here: World, skew_s: int, second: int, shift_min: int
) -> None:
    """Ours, with no `Date` to correct it by: the bill lies a minute before the call, or after it."""
    here.at(10 * MINUTE + second)
    begun(here)
    here.call(run="r-1", lasts=2, tokens=(100, 40, 10), billed=False)
    here.post("baes", counts((100, 40, 10)), ended=here.second + skew_s)
    ended(here)
    assert verdict(here, shift_min=shift_min) == (Verdict.VERIFIED, None)


@pytest.mark.parametrize("late_min", [-3, 3])
def test_a_bill_more_than_a_minute_off_with_no_shift_is_over_and_shown_as_unclaimed(here: World, late_min: int) -> None:
    """The book has a call that its window does not bill; the same tokens stand outside, and are not dropped."""
    here.at(10 * MINUTE)
    here.call(tokens=(11, 0, 1))
    here.at(20 * MINUTE)
    begun(here)
    here.call(run="r-1", lasts=2, billed=False)
    here.post("baes", counts((100, 40, 10)), ended=here.second + late_min * MINUTE)
    ended(here)
    report = judged(here, "r-1", shift_min=0)
    assert report.runs[0].verdict is Verdict.OVER
    assert report.exit_code == 1
    if late_min > 0:
        assert [each.input_tokens for each in report.unclaimed] == [100]


def test_a_run_across_midnight_is_one_window(here: World) -> None:
    here.at(14 * HOUR - 150)  # 23:57:30
    begun(here)
    for number in range(4):
        here.call(run="r-1", lasts=70, tokens=(100 + number, 0, 5))
    ended(here)
    report = judged(here, "r-1")
    assert (report.runs[0].verdict, report.runs[0].parts[0].proof) == (Verdict.VERIFIED, "placed")
    assert report.runs[0].parts[0].window.start // 1440 < report.runs[0].parts[0].window.end // 1440


def test_a_shift_of_a_whole_day_joins_what_it_covers_and_still_counts_every_token(here: World) -> None:
    here.a_run("r-1")
    here.at(here.second + 3 * HOUR)
    here.a_run("r-2")
    here.at(here.second + 26 * HOUR)
    here.audit("r-1", "r-2", shift_min=1440)
    here.at(here.second + HOUR)
    report = here.audit("r-1", "r-2", shift_min=1440)
    assert {line.verdict for line in report.runs} == {Verdict.VERIFIED}
    here.call(metered=False, tokens=(5, 0, 1))


def test_a_run_of_more_than_a_day_is_read_in_several_pages_to_the_last_token(here: World) -> None:
    begun(here)
    for number in range(30):
        here.call(run="r-1", lasts=HOUR, tokens=(100 + number, 0, 5))
    here.call(run="r-1", metered=False, tokens=(5, 0, 1))
    here.call(run="r-1", lasts=HOUR, tokens=(3, 0, 5))
    ended(here)
    report = judged(here, "r-1")
    (line,) = report.runs
    assert line.parts[0].window.end - line.parts[0].window.start > 1440
    assert line.verdict is Verdict.SHORT
    assert {unit["field"]: unit["d"] for unit in line.parts[0].detail["units"]} == {
        "input_tokens": 5,
        "cached_input_tokens": 0,
        "output_tokens": 1,
    }


# What is open, lost or told later


def test_a_call_that_is_open_when_the_bill_is_read_keeps_its_run_pending(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    here.open_call(run="r-1")
    ended(here)
    assert verdict(here) == (Verdict.PENDING, Reason.CALL_OPEN)


def test_a_run_marked_ended_before_its_last_call_is_judged_with_that_call(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    ended(here)
    here.at(here.second + 20 * MINUTE)
    here.call(run="r-1", billed=False, tokens=(60, 0, 6))
    assert verdict(here)[0] is Verdict.OVER


def test_background_work_that_is_told_after_a_final_verdict_opens_it_again_and_settles_it(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    lost = here.call(run="r-1", outcome=Outcome.NO_USAGE, tokens=(60, 6, 4))
    ended(here)
    assert verdict(here)[0] is Verdict.INCOMPLETE
    told = {"input_tokens": 60, "cached_input_tokens": 6, "output_tokens": 4}
    here.journal.append(
        "read",
        {"call_id": lost, "source": "read", "usage": told, "response_status": "completed", **told},
    )
    assert [each.needs_audit for each in here.pending()] == [True]
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED


def test_background_work_told_with_other_counts_than_billed_is_not_verified(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    lost = here.call(run="r-1", outcome=Outcome.NO_USAGE, tokens=(60, 6, 4))
    ended(here)
    assert verdict(here)[0] is Verdict.INCOMPLETE
    told = {"input_tokens": 60, "cached_input_tokens": 6, "output_tokens": 3}
    here.journal.append(
        "read",
        {"call_id": lost, "source": "read", "usage": told, "response_status": "completed", **told},
    )
    assert here.audit("r-1").runs[0].verdict is Verdict.SHORT


def test_a_gap_without_a_call_near_it_is_no_proof_that_nothing_happened(here: World) -> None:
    here.a_run("r-0")
    here.at(here.second + HOUR)
    begun(here)
    at = here.clock.now_us()
    here.journal.append("gap", {"from": at, "to": at + 1, "calls": 1, "lines": 1})
    here.at(here.second + 5)
    here.post("baes", counts((9, 0, 1)), ended=here.second)
    ended(here)
    assert verdict(here) == (Verdict.INCOMPLETE, Reason.GAP)


@pytest.mark.parametrize("skew_min", [-10, 10])
def test_a_gap_in_the_journal_of_a_clock_that_is_minutes_off_explains_the_minutes_it_was_in(
    here: World, skew_min: int
) -> None:
    here.at(20 * MINUTE)
    begun(here)
    for lost in (False, True, False):
        at = here.clock.now_us()
        if lost:
            here.journal.append("gap", {"from": at, "to": at + 1, "calls": 1, "lines": 2})
        else:
            server_date = (at // 1_000_000 + 60 * skew_min) * 1_000_000
            here.call(run="r-1", billed=False, first_byte_at=at, server_date=server_date)
        here.post("baes", counts((100, 40, 10)), ended=here.second + skew_min * MINUTE)
        here.at(here.second + MINUTE)
    ended(here)
    assert verdict(here) == (Verdict.INCOMPLETE, Reason.GAP)


def test_the_unknown_call_of_a_clock_that_is_minutes_off_is_the_one_that_is_named(here: World) -> None:
    """Ours is ten minutes late, so that the part's minutes are not those in which the calls say they began."""
    here.at(20 * MINUTE)
    begun(here)
    lost = ""
    for aborted in (False, True, False):
        at = here.clock.now_us()
        told: dict[str, Any] = {"first_byte_at": at, "server_date": (at // 1_000_000 + 600) * 1_000_000}
        lost_now = here.call(run="r-1", billed=False, outcome=Outcome.ABORTED if aborted else None, **told)
        lost = lost_now if aborted else lost
        here.post("baes", counts((100, 40, 10)), ended=here.second + 600)
        here.at(here.second + 5)
    ended(here)
    assert verdict(here) == (Verdict.INCOMPLETE, None)
    assert here.ledger.query("SELECT DISTINCT call_id, input_tokens FROM inferred").rows == [(lost, 100)]


def test_one_response_that_is_in_the_book_twice_is_over_and_said_to_be_seen_twice(here: World) -> None:
    begun(here)
    here.call(run="r-1", request_id="req_1", response_id="resp_1")
    here.call(run="r-1", request_id="req_1", response_id="resp_1", billed=False)
    ended(here)
    assert verdict(here) == (Verdict.OVER, None)
    flags = here.ledger.query("SELECT DISTINCT flags FROM calls WHERE run_id = 'r-1'").rows
    assert flags == [(["seen_twice"],)]


# Keys


def test_a_key_changed_in_the_middle_of_a_run_leaves_both_of_them_to_be_closed(here: World) -> None:
    begun(here)
    here.know_key("baes")
    here.call(run="r-1")
    here.at(here.second + 30)
    here.journal.append("key", {"key_fingerprint": "fp-new", "framework": "baes", "api_key_id": "key_other"})
    here.call("other", run="r-1", framework="baes")
    here.call("other", metered=False, tokens=(9, 0, 1))
    ended(here)
    line = judged(here, "r-1").runs[0]
    assert {part.api_key_id: part.verdict for part in line.parts} == {
        "key_baes": Verdict.VERIFIED,
        "key_other": Verdict.SHORT,
    }
    assert line.verdict is Verdict.SHORT


def test_a_key_first_seen_in_the_middle_of_a_run_and_never_used_through_the_meter_is_closed_too(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    here.journal.append("key", {"key_fingerprint": "fp-new", "framework": "baes", "api_key_id": "key_other"})
    here.call("other", metered=False, tokens=(9, 0, 1))
    ended(here)
    line = judged(here, "r-1").runs[0]
    assert {part.api_key_id: part.verdict for part in line.parts}["key_other"] is Verdict.SHORT
    assert line.verdict is Verdict.SHORT


# Models


def test_an_uncovered_call_sets_its_own_snapshot_aside_and_no_other_of_the_same_model(here: World) -> None:
    """Two snapshots are two models: a call past the meter on the other one is not set aside with it."""
    begun(here)
    here.call(run="r-1")
    at = here.clock.now_us()
    spoken = replace(
        here.start(new_call_id(at), at, run="r-1"), usage_endpoint="audio_speeches", endpoint="audio/speech"
    )
    result = Result(outcome=Outcome.NO_USAGE, ended_at=at, status_code=200, response_model="gpt-4o-2024-11-20")
    here.journal.append("settle", settle_line(spoken, result))
    here.call(run="r-1", metered=False, model=OTHER_MODEL, tokens=(9, 0, 1))
    ended(here)
    assert verdict(here)[0] is Verdict.SHORT


def test_aliases_that_collide_are_compared_together_and_an_error_in_them_is_still_seen(here: World) -> None:
    begun(here)
    for number, snapshot in enumerate(("gpt-4o-2024-08-06", "gpt-4o-2024-11-20")):
        here.call(run="r-1", model=snapshot, response_model="gpt-4o", tokens=(100 + number, 0, 10))
    ended(here)
    assert verdict(here) == (Verdict.VERIFIED, None)
    here.at(here.second + HOUR)
    begun(here, "r-2")
    here.call(run="r-2", model="gpt-4o-2024-08-06", response_model="gpt-4o")
    here.call(run="r-2", model="gpt-4o-2024-11-20", metered=False, tokens=(9, 0, 1))
    ended(here, "r-2")
    assert verdict(here, "r-2") == (Verdict.SHORT, None)


def test_two_models_that_the_provider_renamed_are_never_paired_by_guess(here: World) -> None:
    begun(here)
    for number, name in enumerate(("house", "garden")):
        here.call(run="r-1", model=f"billed-{name}", response_model=f"told-{name}", tokens=(100 + number, 0, 10))
    ended(here)
    line = judged(here, "r-1").runs[0]
    assert (line.verdict, line.reason) == (Verdict.SHORT, Reason.ALSO_OVER)
    assert {pair["paired_by"] for pair in line.parts[0].detail["models"]} == {"book_only", "bill_only"}


# Counts


def test_cached_tokens_past_the_meter_hide_behind_a_silent_call_only_where_it_is_said(here: World) -> None:
    begun(here)
    here.call(run="r-1", usage_counts=Usage(input_tokens=100, output_tokens=10))
    here.post("baes", Counts(input_text=-50, cached_text=50), ended=here.second)
    ended(here)
    line = judged(here, "r-1").runs[0]
    assert line.verdict is Verdict.VERIFIED
    (uncompared,) = line.parts[0].detail["uncompared"]
    assert (uncompared["field"], uncompared["bill"], uncompared["compared"]) == ("cached_input_tokens", 90, False)


def test_a_bucket_with_a_negative_count_is_no_number(here: World) -> None:
    begun(here)
    here.call(run="r-1")
    here.post("baes", Counts(input_text=-500), ended=here.second)
    ended(here)
    assert verdict(here)[0] is Verdict.UNAVAILABLE


def test_nothing_but_zeros_in_both_books_is_no_proof_on_a_key_that_never_showed_a_token(here: World) -> None:
    begun(here)
    here.call(run="r-1", tokens=(0, 0, 0))
    ended(here)
    assert verdict(here) == (Verdict.DATA_NOT_AVAILABLE, Reason.KEY_UNPROVEN)


def test_a_bill_that_appears_after_no_activity_was_final_is_said_when_it_is_read(here: World) -> None:
    here.a_run("r-0")
    assert verdict(here, "r-0")[0] is Verdict.VERIFIED
    here.at(here.second + HOUR)
    begun(here)
    here.at(here.second + 60)
    ended(here)
    at = here.second
    assert verdict(here)[0] is Verdict.NO_ACTIVITY
    here.post("baes", counts((9, 0, 1)), ended=at)
    here.at(here.second + MINUTE)
    line = here.audit("r-1", force=True).runs[0]
    assert (line.verdict, line.reason) == (Verdict.WARNING, Reason.CHANGED)


def test_a_refused_read_after_good_ones_is_no_verdict_and_no_empty_bill(here: World) -> None:
    begun(here)
    ended(here)
    here.know_key("baes")
    wrong = replace(here.settings, admin_key="sk-admin-wrong")
    here.at(here.second + 75 * MINUTE)
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1", settings=wrong).runs[0].verdict in (Verdict.NOT_PERMITTED, Verdict.NOT_AUDITABLE)


def test_calls_of_two_models_with_their_tokens_exchanged_are_not_verified(here: World) -> None:
    begun(here)
    here.call(run="r-1", billed=False, model=MODEL, tokens=(100, 0, 10))
    here.call(run="r-1", billed=False, model=OTHER_MODEL, tokens=(70, 0, 10))
    here.post("baes", counts((70, 0, 10)), ended=here.second, model=MODEL)
    here.post("baes", counts((100, 0, 10)), ended=here.second, model=OTHER_MODEL)
    ended(here)
    assert verdict(here) == (Verdict.SHORT, Reason.ALSO_OVER)
