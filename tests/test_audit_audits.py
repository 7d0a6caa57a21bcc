"""Whole audits: journals as the proxy writes them, bills served by the simulator over HTTP, one clock for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, MODEL, World, world

from submeter.audit.report import Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Outcome, Result, Usage, settle_line
from submeter.data.error import SubmeterError
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger
from submeter.sim.counts import Counts

MINUTE = 60.0
HOUR = 3600.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def settle(here: World) -> None:
    """Long enough after the last call that the next read may be the last."""
    here.at(here.second + 70 * MINUTE)


def twice(here: World, *runs: str, **request: Any) -> tuple[Verdict, Reason | None]:
    """The verdict on the first run after two reads that may confirm."""
    settle(here)
    here.audit(*runs, **request)
    here.at(here.second + 30 * MINUTE)
    line = here.audit(*runs, **request).runs[0]
    return line.verdict, line.reason


def test_a_run_read_at_30_minutes_is_verified_by_its_second_read(here: World) -> None:
    here.a_run()
    end = here.second
    here.at(end + 30 * MINUTE)
    first = here.audit("baes/r-1")
    assert (first.runs[0].verdict, first.exit_code) == (Verdict.PENDING, 3)
    here.at(end + 70 * MINUTE)
    second = here.audit("baes/r-1")
    assert (second.runs[0].verdict, second.exit_code, second.runs[0].attempt) == (Verdict.VERIFIED, 0, 2)
    assert second.runs[0].parts[0].proof == "placed"
    assert second.summary == "Processed 1 run: verified 1, errors 0"
    units = {unit["field"]: (unit["book"], unit["bill"], unit["d"]) for unit in second.runs[0].parts[0].detail["units"]}
    assert units == {
        "input_tokens": (303, 303, 0),
        "cached_input_tokens": (123, 123, 0),
        "output_tokens": (33, 33, 0),
    }


def test_before_any_data_a_run_says_so_and_exits_3(here: World) -> None:
    here.sim.lag = 7200.0
    here.a_run()
    here.at(here.second + 10 * MINUTE)
    report = here.audit("r-1")
    assert (report.runs[0].verdict, report.exit_code) == (Verdict.DATA_NOT_AVAILABLE, 3)


def test_right_after_its_end_a_run_is_pending_although_all_it_used_is_billed(here: World) -> None:
    here.sim.lag = 0.0
    here.a_run()
    here.at(here.second + MINUTE)
    report = here.audit("r-1")
    assert (report.runs[0].verdict, report.runs[0].reason) == (Verdict.PENDING, Reason.NOT_READ)
    assert (report.runs[0].parts[0].detail["bill_known"], report.exit_code) == (False, 3)


def test_a_call_past_the_meter_is_short_by_exactly_its_tokens(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", metered=False, tokens=(77, 7, 3))
    here.mark("r-1", "end")
    assert twice(here, "r-1") == (Verdict.SHORT, None)
    report = here.audit("r-1")
    assert report.exit_code == 1


def test_a_run_all_of_whose_calls_went_past_the_meter_is_short_by_its_frameworks_configured_key(here: World) -> None:
    here.mark("r-1", "begin", framework="ghspec")
    here.call("ghspec", metered=False)
    here.mark("r-1", "end", framework="ghspec")
    settle(here)
    report = here.audit("r-1")
    assert (report.runs[0].verdict, report.runs[0].reason) == (Verdict.NOT_AUDITABLE, Reason.NO_KEY)
    assert (report.exit_code, report.reads) == (3, 0)
    here.settings = replace(here.settings, framework_key_ids={"ghspec": "key_ghspec"})
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1").runs[0].verdict is Verdict.SHORT


def test_an_aborted_call_that_was_billed_is_incomplete_and_one_that_was_not_is_verified(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", outcome=Outcome.ABORTED)
    here.mark("r-1", "end")
    assert twice(here, "r-1")[0] is Verdict.INCOMPLETE
    here.mark("r-2", "begin")
    here.call(run="r-2")
    here.call(run="r-2", outcome=Outcome.ABORTED, billed=False)
    here.mark("r-2", "end")
    assert twice(here, "r-2")[0] is Verdict.VERIFIED


def test_a_call_billed_on_no_key_of_ours_is_over(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", billed=False, tokens=(5, 0, 1))
    here.mark("r-1", "end")
    assert twice(here, "r-1") == (Verdict.OVER, None)


def test_a_key_with_the_wrong_id_is_over_and_says_why(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", billed=False)
    here.mark("r-1", "end")
    assert twice(here, "r-1") == (Verdict.OVER, Reason.KEY_NOT_VISIBLE)


def test_a_run_without_a_call_is_no_activity_once_its_key_has_shown_tokens(here: World) -> None:
    here.mark("r-0", "begin")
    here.know_key("baes")
    here.at(60)
    here.mark("r-0", "end")
    assert twice(here, "r-0") == (Verdict.DATA_NOT_AVAILABLE, Reason.KEY_UNPROVEN)
    here.a_run("r-1")
    assert twice(here, "r-1")[0] is Verdict.VERIFIED
    report = here.audit("r-0")
    assert (report.runs[0].verdict, report.exit_code) == (Verdict.NO_ACTIVITY, 0)


def test_a_call_on_a_key_without_an_id_makes_its_run_not_auditable_at_best(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call("other", run="r-1", framework="baes", with_id=False)
    here.mark("r-1", "end")
    assert twice(here, "r-1") == (Verdict.NOT_AUDITABLE, Reason.KEY_WITHOUT_ID)


def test_two_runs_back_to_back_on_one_key_are_one_chain_and_each_is_verified(here: World) -> None:
    here.a_run("r-1")
    here.a_run("r-2")
    settle(here)
    here.audit("r-1", "r-2")
    here.at(here.second + 30 * MINUTE)
    report = here.audit("r-1", "r-2")
    assert [line.verdict for line in report.runs] == [Verdict.VERIFIED, Verdict.VERIFIED]
    assert [line.parts[0].detail["chain"]["runs"] for line in report.runs] == [2, 2]
    assert not any(line.parts[0].joint for line in report.runs)


def test_runs_of_two_keys_at_the_same_time_do_not_leak(here: World) -> None:
    here.mark("r-1", "begin")
    here.mark("r-1", "begin", framework="chatdev")
    here.call("baes", run="r-1")
    here.call("chatdev", run="r-1", tokens=(9, 1, 1))
    here.call("chatdev", run="r-1", metered=False, tokens=(3, 1, 1))
    here.mark("r-1", "end")
    here.mark("r-1", "end", framework="chatdev")
    settle(here)
    here.audit("baes/r-1", "chatdev/r-1")
    here.at(here.second + 30 * MINUTE)
    report = here.audit("baes/r-1", "chatdev/r-1")
    assert [line.verdict for line in report.runs] == [Verdict.VERIFIED, Verdict.SHORT]


def test_a_bill_between_two_runs_is_unclaimed_and_exits_1(here: World) -> None:
    here.a_run("r-1")
    here.at(here.second + 30 * MINUTE)
    here.call(metered=False, tokens=(70, 0, 7))
    here.at(here.second + 30 * MINUTE)
    here.a_run("r-2")
    settle(here)
    here.audit("r-1", "r-2")
    here.at(here.second + 30 * MINUTE)
    report = here.audit("r-1", "r-2")
    assert [line.verdict for line in report.runs] == [Verdict.VERIFIED, Verdict.VERIFIED]
    assert [(each.input_tokens, each.output_tokens) for each in report.unclaimed] == [(70, 7)]
    assert report.exit_code == 1
    assert "unclaimed minutes 1" in report.summary
    alone = here.audit("r-1")
    assert [each.input_tokens for each in alone.unclaimed] == [70]


def test_a_bill_more_than_an_hour_past_the_last_window_is_nobodys_business(here: World) -> None:
    here.a_run("r-1")
    here.at(here.second + 100 * MINUTE)
    here.call(metered=False)
    assert twice(here, "r-1")[0] is Verdict.VERIFIED
    assert here.audit("r-1").exit_code == 0


def test_a_refused_admin_key_is_not_permitted_and_keeps_the_providers_words(here: World) -> None:
    here.a_run()
    settle(here)
    wrong = replace(here.settings, admin_key="sk-admin-wrong")
    report = here.audit("r-1", settings=wrong)
    line = report.runs[0]
    assert (line.verdict, report.exit_code) == (Verdict.NOT_PERMITTED, 3)
    assert line.message
    assert "sk-admin-wrong" not in line.message
    assert line.parts[0].request_id


def test_a_failed_attempt_leaves_the_final_verdict_standing_beside_it(here: World) -> None:
    here.a_run()
    assert twice(here, "r-1")[0] is Verdict.VERIFIED
    wrong = replace(here.settings, admin_key="sk-admin-wrong")
    report = here.audit("r-1", settings=wrong)
    assert (report.runs[0].verdict, report.reads) == (Verdict.VERIFIED, 0)
    here.at(here.second + MINUTE)
    report = here.audit("r-1", settings=wrong, force=True)
    assert (report.runs[0].verdict, report.runs[0].earlier_final) == (Verdict.NOT_PERMITTED, Verdict.VERIFIED)
    here.at(here.second + MINUTE)
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED


def test_a_bill_that_changes_after_the_final_verdict_is_said_when_it_is_read_again(here: World) -> None:
    here.a_run()
    number = len(here.sim.books) - 1
    assert twice(here, "r-1")[0] is Verdict.VERIFIED
    here.sim.books.correct(number, Counts(output_text=4), visible_from=0)
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED
    here.at(here.second + MINUTE)
    report = here.audit("r-1", force=True)
    assert (report.runs[0].verdict, report.runs[0].reason) == (Verdict.WARNING, Reason.CHANGED)
    here.at(here.second + 30 * MINUTE)
    assert here.audit("r-1").runs[0].verdict is Verdict.SHORT


def test_a_journal_that_arrives_later_reopens_a_final_verdict(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    late = here.clock.now_us()
    here.call(run="r-1", metered=False, tokens=(50, 0, 5))
    here.mark("r-1", "end")
    assert twice(here, "r-1")[0] is Verdict.SHORT
    with Journal.open(here.path, mode="proxy", clock=here.clock) as other:
        other.begin(upstream="https://api.openai.com")
        result = Result(
            outcome=Outcome.METERED,
            ended_at=late + 5_000_000,
            status_code=200,
            response_model=MODEL,
            usage_counts=Usage(input_tokens=50, cached_input_tokens=0, output_tokens=5),
        )
        other.append("settle", settle_line(here.start("019a2a00-0000-7000-8000-000000000001", late, run="r-1"), result))
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED


def test_an_open_call_and_an_open_run_are_pending(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    settle(here)
    assert here.audit("r-1").runs[0].verdict is Verdict.PENDING
    here.open_call(run="r-1")
    here.mark("r-1", "end")
    here.at(here.second + HOUR)
    line = here.audit("r-1").runs[0]
    assert (line.verdict, line.reason) == (Verdict.PENDING, Reason.CALL_OPEN)


def test_a_period_judges_calls_without_a_run_on_every_key_and_the_runs_in_it(here: World) -> None:
    here.a_run("r-1")
    here.at(here.second + HOUR)
    here.call("chatdev")
    here.at(here.second + HOUR)
    period: dict[str, Any] = {"from_us": BEGIN_S * 1_000_000, "to_us": here.clock.now_us()}
    settle(here)
    here.audit(**period)
    here.at(here.second + 30 * MINUTE)
    report = here.audit(**period)
    assert [(line.name, line.verdict) for line in report.runs] == [
        ("baes/r-1", Verdict.VERIFIED),
        ("key_baes", Verdict.VERIFIED),
        ("key_chatdev", Verdict.VERIFIED),
    ]
    assert (report.unlabelled, report.exit_code) == (1, 0)


@pytest.mark.parametrize("metered", [True, False])
def test_a_call_without_a_run_is_verified_with_its_period_and_one_past_the_meter_makes_it_short(
    here: World, metered: bool
) -> None:
    here.call("chatdev", tokens=(9, 1, 1))
    here.at(here.second + MINUTE)
    here.call("chatdev", tokens=(70, 0, 7), metered=metered)
    period: dict[str, Any] = {"from_us": BEGIN_S * 1_000_000, "to_us": here.clock.now_us(), "framework": "chatdev"}
    settle(here)
    here.audit(**period)
    here.at(here.second + 30 * MINUTE)
    report = here.audit(**period)
    said = [(line.name, line.verdict) for line in report.runs]
    assert said == [("key_chatdev", Verdict.VERIFIED if metered else Verdict.SHORT)]
    assert report.exit_code == (0 if metered else 1)


@pytest.mark.parametrize("with_id", [True, False])
def test_a_period_with_a_call_on_a_key_without_an_id_is_not_verified_as_a_whole(here: World, with_id: bool) -> None:
    here.call("chatdev")
    here.call("other", with_id=with_id)
    period: dict[str, Any] = {"from_us": BEGIN_S * 1_000_000, "to_us": here.clock.now_us()}
    settle(here)
    here.audit(**period)
    here.at(here.second + 30 * MINUTE)
    report = here.audit(**period)
    assert report.exit_code == (0 if with_id else 3)
    keyless = [(line.name, line.verdict, line.keyless) for line in report.runs if line.keyless]
    assert keyless == ([] if with_id else [("calls on keys without an id", Verdict.NOT_AUDITABLE, 1)])


def test_a_period_that_has_not_ended_is_pending(here: World) -> None:
    here.call("chatdev")
    period: dict[str, Any] = {"from_us": BEGIN_S * 1_000_000, "to_us": (BEGIN_S + 10 * 3600) * 1_000_000}
    settle(here)
    here.audit(**period)
    here.at(here.second + 30 * MINUTE)
    report = here.audit(**period)
    assert [(line.verdict, line.reason) for line in report.runs] == [(Verdict.PENDING, Reason.RUN_OPEN)]


def test_pending_takes_what_is_due_and_says_why_it_passes_over_the_rest(here: World) -> None:
    here.a_run("old")
    here.at(here.second + 25 * HOUR)
    here.a_run("done")
    assert twice(here, "done")[0] is Verdict.VERIFIED
    here.a_run("due")
    here.at(here.second + 31 * MINUTE)
    here.a_run("young")
    here.mark("going", "begin")
    here.call(run="going")
    said = {each.run[1]: each.waiting for each in here.pending()}
    assert said == {
        "old": Waiting.TOO_OLD,
        "done": Waiting.FINAL,
        "due": Waiting.NEVER_READ,
        "young": Waiting.TOO_YOUNG,
        "going": Waiting.NOT_ENDED,
    }
    report = here.audit(pending=True)
    assert [line.name for line in report.runs] == ["baes/due"]
    assert {each.run[1]: each.waiting for each in here.pending()}["due"] is Waiting.NOT_DUE


def test_a_run_that_has_begun_is_never_dropped_for_its_age(here: World) -> None:
    here.a_run("due")
    here.at(here.second + 31 * MINUTE)
    here.audit(pending=True)
    here.at(here.second + 100 * HOUR)
    assert here.pending()[0].needs_audit
    assert here.audit(pending=True).runs[0].verdict is Verdict.VERIFIED
    assert not here.pending()[0].needs_audit
    assert here.audit(pending=True).summary == "Processed 0 runs: errors 0"
    assert here.audit(pending=True).exit_code == 0


def test_with_an_interval_of_0_verdicts_say_that_their_timing_is_a_test(here: World) -> None:
    here.sim.lag = 0.0
    here.a_run()
    here.at(here.second + 8 * MINUTE)
    quick = replace(here.settings, interval_min=0)
    here.audit("r-1", settings=quick)
    report = here.audit("r-1", settings=quick)
    assert (report.runs[0].verdict, report.timing) == (Verdict.VERIFIED, "test")
    rows = here.ledger.query("SELECT DISTINCT timing FROM audits").rows
    assert rows == [("test",)]
    assert here.audit("r-1").runs[0].verdict is Verdict.PENDING


def test_what_was_read_is_in_the_ledger_and_survives_a_rebuild(here: World) -> None:
    here.a_run()
    assert twice(here, "r-1")[0] is Verdict.VERIFIED
    before = here.ledger.query("SELECT * FROM usage_buckets ORDER BY ALL").rows
    assert before
    verdicts = here.ledger.query("SELECT scope, verdict, final FROM audits ORDER BY audited_at, scope").rows
    assert ("run", "verified", True) in verdicts
    here.path.unlink()
    here.ledger = Ledger(here.path, clock=here.clock)
    here.ledger.ingest()
    assert here.ledger.query("SELECT * FROM usage_buckets ORDER BY ALL").rows == before
    assert here.audit("r-1").reads == 0


def test_a_read_whose_page_is_gone_counts_again_once_the_same_page_is_kept(here: World) -> None:
    here.a_run()
    settle(here)
    here.audit("r-1")
    here.at(here.second + 30 * MINUTE)
    pages = here.path.with_name(here.path.name + ".journal") / "reads"
    for page in pages.iterdir():
        assert page.stat().st_mode & 0o777 == 0o600
        page.unlink()
    assert here.audit("r-1").runs[0].verdict is Verdict.VERIFIED
    assert {len(page.name) for page in pages.iterdir()} == {len(f"{64 * '0'}.json.gz")}


def test_an_unknown_or_ambiguous_run_is_said_in_three_lines(here: World) -> None:
    here.a_run("r-1")
    here.a_run("r-1", key="chatdev")
    for name, what in (("nope", "no run called"), ("r-1", "More than one run")):
        with pytest.raises(SubmeterError, match=what) as caught:
            here.audit(name)
        assert len(str(caught.value).splitlines()) == 3
