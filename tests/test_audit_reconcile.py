"""The eleven rules, each with its nearest wrong neighbour, and the laws that hold for every chain."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from audit_chain import (
    LATER,
    MINUTE_US,
    MODEL,
    NEXT,
    OTHER_MODEL,
    RUN,
    K,
    Tokens,
    billed,
    booked,
    chained,
    first_finding,
    found,
    pictured,
    said,
    shared,
    unknown,
)

from submeter.audit.bucket import Problem, UsageEndpoint
from submeter.audit.finding import Proof
from submeter.audit.history import Waiting
from submeter.audit.placement import Placed, Placement
from submeter.audit.reconcile import judge_chain
from submeter.audit.unit import BillRow, BookRow
from submeter.audit.unknown import Because, Gap
from submeter.data.call import Standing

DAY = 24 * 60
LESS, MORE = (99, 40, 10), (101, 40, 10)

# Rule 1: reads that failed


def test_a_latest_read_that_was_refused_is_not_permitted_however_good_the_earlier_ones_were() -> None:
    assert said([booked()], [billed()], [billed()], Problem.NOT_PERMITTED) == "not_permitted"
    assert said([booked()], Problem.NOT_PERMITTED, [billed()], [billed()]) == "verified"


@pytest.mark.parametrize("endpoint", list(UsageEndpoint))
@pytest.mark.parametrize("problem", [problem for problem in Problem if problem is not Problem.NOT_PERMITTED])
def test_a_latest_read_that_is_not_good_is_unavailable_on_any_endpoint(
    problem: Problem, endpoint: UsageEndpoint
) -> None:
    assert said([booked()], [billed()], [billed()], problem, failing=endpoint) == "unavailable"


# Rule 2: what still runs


def test_a_run_that_has_not_ended_is_pending() -> None:
    assert said([booked()], [billed()], shares=[shared(open=True)]) == "pending (run_open)"


def test_an_open_call_of_the_run_keeps_it_pending_and_one_that_ended_without_usage_does_not() -> None:
    assert said([booked(), unknown(open=True)], [billed()]) == "pending (call_open)"
    assert said([booked(), unknown()], [billed()]) == "verified"


def test_an_open_call_of_another_run_does_not_hold_up_a_run_that_is_clear_of_it() -> None:
    waiting = unknown(1020, open=True, run=NEXT)
    shares = [shared(), shared(1004, 1020, NEXT)]
    assert said([booked(), waiting], [billed()], shares=shares) == "verified"


# Rule 3: bills that fell or changed


def test_a_minute_that_fell_is_a_warning_until_reads_over_a_day_agree() -> None:
    bills = [[billed(tokens=MORE)], [billed()], [billed()], [billed()]]
    assert said([booked()], *bills, at=[LATER, LATER + 30, LATER + 60, LATER + 29 + DAY]) == "warning (fell)"
    assert said([booked()], *bills, at=[LATER, LATER + 30, LATER + 60, LATER + 30 + DAY]) == "verified"


def test_a_minute_that_rose_is_only_not_confirmed() -> None:
    assert said([booked()], [billed(tokens=LESS)], [billed()]) == "pending (not_confirmed)"


def test_a_bill_that_was_shown_once_and_then_no_more_is_not_no_activity() -> None:
    assert said([], [billed()], [], []) == "warning (fell)"
    assert said([], [], [], []) == "no_activity"


def test_a_minute_that_fell_beside_a_run_keeps_it_from_being_judged_by_the_bill_that_fell() -> None:
    rows = [booked(), booked(1010, run=NEXT)]
    shares = [shared(1009, 1010, NEXT), shared()]
    whole = [billed(), billed(1010)]
    assert said(rows, whole, [billed(1010)], [billed(1010)], shares=shares) == "pending (not_confirmed)"
    assert said(rows, whole, shares=shares) == "verified"


def test_after_a_final_verdict_a_changed_bill_is_a_warning_until_it_is_confirmed_anew() -> None:
    final = shared(final_us=(LATER + 31) * MINUTE_US)
    before, now = [billed(tokens=LESS)], [billed()]
    assert said([booked()], before, before, now, shares=[final]) == "warning (changed)"
    assert said([booked()], before, before, now, now, shares=[final]) == "verified"
    assert said([booked()], before, before, now, shares=[shared()]) == "pending (not_confirmed)"


def test_a_final_run_whose_chain_is_no_longer_known_says_changed_and_not_pending() -> None:
    rows = [booked(), booked(1010, run=NEXT)]
    shares = [shared(1009, 1010, NEXT, final_us=(LATER + 31) * MINUTE_US), shared()]
    whole, less = [billed(), billed(1010)], [billed(1010)]
    assert said(rows, whole, whole, less, less, shares=shares) == "warning (changed)"
    assert said(rows, whole, whole, shares=shares) == "verified"


# Rule 4: what is not known yet


def test_minutes_that_no_good_read_holds_are_pending() -> None:
    assert said([booked()], [billed()], read_until=1005) == "pending (not_read)"
    two = chained([booked()], [billed()])
    del two.histories[UsageEndpoint.IMAGES]  # type: ignore[attr-defined]
    assert judge_chain(two).findings[0].reason == "not_read"


def test_before_the_window_has_settled_an_empty_bill_is_no_data_yet_and_any_other_pending() -> None:
    early = [1020, 1050]
    assert said([booked()], [], [], at=early) == "data_not_available (not_settled)"
    assert said([booked()], [billed()], [billed()], at=early) == "pending (not_settled)"
    assert said([], [], [], at=early) == "pending (not_settled)"


def test_one_read_confirms_nothing_and_two_half_an_hour_apart_do() -> None:
    assert said([booked()], [billed()], [billed()], at=[LATER, LATER + 29]) == "pending (not_confirmed)"
    assert said([booked()], [billed()], [billed()], at=[LATER, LATER + 30]) == "verified"
    assert said([booked()], [], [], at=[LATER, LATER + 1], waiting=Waiting(stable_reads=1)) == "over (key_not_visible)"


def test_an_excess_that_an_open_call_may_be_waits_for_it_by_name() -> None:
    waiting = unknown(1003, open=True, run=NEXT)
    finding = first_finding(
        [booked(), waiting], [billed(), billed(1004)], shares=[shared(), shared(1003, 1003, NEXT, open=True)]
    )
    assert (finding.verdict, finding.reason, finding.named) == ("pending", "open_call", (NEXT,))


def until(minute: int) -> dict[str, object]:
    """Two reads that know the bill before this minute and no further."""
    return {"at": [minute + 30, minute + 60]}


NEIGHBOURS = [shared(1000, 1001), shared(1005, 1006, NEXT)]


def test_an_excess_that_the_next_runs_bill_may_yet_decide_waits_and_names_that_run() -> None:
    # One call more is billed than was ended: it is the hidden one, or the next run's own, billed early.
    rows = [booked(), booked(1006, run=NEXT, first_minute=1000)]
    bill = [billed(), billed(1003)]
    finding = first_finding(rows, bill, shares=NEIGHBOURS, **until(1008))
    assert (finding.verdict, finding.reason, finding.named) == ("pending", "neighbour", (NEXT,))
    assert said(rows, bill, shares=NEIGHBOURS) == "verified"


def test_an_excess_that_no_end_of_the_chain_explains_is_short_at_once() -> None:
    rows = [booked(), booked(1006, run=NEXT)]
    bill = [billed(), billed(1000, (7, 0, 1))]
    assert said(rows, bill, shares=NEIGHBOURS, **until(1008)) == "short"
    assert said(rows, [billed()], shares=NEIGHBOURS, **until(1008)) == "verified"


def test_a_sure_deficit_beside_an_excess_that_some_end_has_waits_for_the_end() -> None:
    # Nothing of the run was billed; what its neighbour will show decides whether there is an excess, too.
    rows = [booked(), booked(1005, run=NEXT, first_minute=1000)]
    finding = first_finding(rows, [billed(1002)], shares=NEIGHBOURS, **until(1008))
    assert (finding.verdict, finding.reason) == ("pending", "neighbour")


# Rule 5: nothing was called


def test_no_call_and_no_bill_is_no_activity_on_a_key_that_once_showed_its_bill() -> None:
    assert said([], []) == "no_activity"
    assert said([], [], facts={"proven": False}) == "data_not_available (key_unproven)"
    assert said([], [billed()]) == "short"


def test_no_proof_is_asked_of_a_key_where_a_run_has_no_call_while_it_counts_on_another() -> None:
    elsewhere = [shared(counts_elsewhere=True)]
    assert said([], [], facts={"proven": False}, shares=elsewhere) == "no_activity"
    assert said([], [billed()], facts={"proven": False}, shares=elsewhere) == "short"


def test_refused_calls_alone_are_no_activity() -> None:
    refused = booked(standing=Standing.UNBILLED, input_tokens=None, cached_input_tokens=None, output_tokens=None)
    assert said([refused], []) == "no_activity"
    assert said([refused], [billed()]) == "short"


def test_a_bill_in_the_window_that_a_neighbours_book_explains_is_still_no_activity() -> None:
    late = booked(1000, run=NEXT)
    shares = [shared(1002, 1003), shared(1000, 1000, NEXT)]
    assert said([late], [billed(1003)], shares=shares) == "no_activity"
    assert said([late], [billed(1003, MORE)], shares=shares) == "short"


def test_calls_that_could_be_its_own_bar_no_activity() -> None:
    nobodys = booked(run=None)
    assert said([nobodys], [billed()], shares=[shared(ambiguous=1)]) == "warning (unlabelled)"
    assert said([nobodys], [billed()]) == "no_activity"


def test_a_pair_that_is_only_guessed_bars_no_activity() -> None:
    rows = [booked(1001, run=NEXT)]
    shares = [shared(1001, 1002), shared(1000, 1001, NEXT)]
    assert said(rows, [billed(1002, model="house-model")], shares=shares) == "warning (renamed)"
    assert said(rows, [billed(1002)], shares=shares) == "no_activity"


# Rule 6: nothing that could be compared


def test_uncovered_calls_alone_are_not_auditable_and_a_bill_beside_them_is_short() -> None:
    spoken = booked(standing=Standing.UNCOVERED, usage_endpoint="audio_speeches", model="tts-1", input_tokens=None)
    assert said([spoken], []) == "not_auditable"
    assert said([spoken, booked()], [billed()]) == "verified"
    assert said([spoken], [billed()]) == "short"


# Rule 7: clear


def test_equal_books_are_verified_and_one_token_either_way_is_not() -> None:
    assert said([booked()], [billed()]) == "verified"
    assert said([booked()], [billed(tokens=MORE)]) == "short"
    assert said([booked()], [billed(tokens=LESS)]) == "over"


@pytest.mark.parametrize("place", range(3))
def test_each_field_is_compared(place: int) -> None:
    more = tuple(count + (number == place) for number, count in enumerate((100, 40, 10)))
    assert said([booked()], [billed(tokens=more)]) == "short"  # type: ignore[arg-type]
    assert said([booked(tokens=more)], [billed()]) == "over"  # type: ignore[arg-type]


def test_images_are_compared_and_the_image_models_tokens_are_set_aside() -> None:
    shown = billed(usage_endpoint=UsageEndpoint.IMAGES, model="gpt-image-1", images=1, input_tokens=None)
    tokens = billed(model="gpt-image-1")
    assert said([pictured()], [shown, tokens]) == "verified"
    assert said([pictured(images=2)], [shown, tokens]) == "over"
    assert said([], [tokens]) == "short"


IMAGE_MODEL = "gpt-image-1"
TOLD = pictured(input_tokens=50, output_tokens=4160)


def images_bill(images: int, *tokens: Tokens) -> list[BillRow]:
    shown = billed(usage_endpoint=UsageEndpoint.IMAGES, model=IMAGE_MODEL, images=images, input_tokens=None)
    return [shown, *(billed(tokens=each, model=IMAGE_MODEL) for each in tokens)]


@pytest.mark.parametrize(
    ("rows", "bill", "verdict"),
    [
        ([TOLD, pictured()], images_bill(2, (50, 0, 4160)), "verified"),
        ([TOLD, pictured()], images_bill(2, (50, 0, 4160), (60, 0, 1056)), "incomplete"),
        ([TOLD, pictured()], images_bill(2, (50, 0, 4100)), "over"),
        ([TOLD, pictured()], images_bill(3, (50, 0, 4160)), "short"),
        ([TOLD, TOLD], images_bill(2, (100, 0, 8320), (60, 0, 1056)), "short"),
        ([pictured()], images_bill(1, (60, 0, 1056)), "incomplete"),
        ([pictured()], images_bill(1), "verified"),
    ],
)
def test_beside_image_calls_that_told_no_tokens_those_that_were_told_are_compared_once_they_are_known_to_be_billed(
    rows: list[BookRow], bill: list[BillRow], verdict: str
) -> None:
    assert said(rows, bill, facts={"optional": {"image_tokens": True}}) == verdict


def test_tokens_beside_image_calls_that_told_none_are_set_aside_where_they_are_not_known_to_be_billed() -> None:
    bill = images_bill(2, (50, 0, 4160), (60, 0, 1056))
    assert said([TOLD, pictured()], bill) == "incomplete (optional)"
    assert said([TOLD, pictured()], bill, facts={"optional": {"image_tokens": False}}) == "verified"


def test_a_call_billed_in_its_last_active_minute_is_verified_and_a_minute_later_it_is_not() -> None:
    share = [shared(1000, 1001)]
    assert said([booked(1001)], [billed(1001 + 1 + K)], shares=share) == "verified"
    # A second run holds the later minute, so that the chain reaches it.
    shares = [*share, shared(1008, 1009, NEXT)]
    assert said([booked(1001)], [billed(1001 + 1 + K)], shares=shares) == "verified"
    assert said([booked(1001)], [billed(1001 + 2 + K)], shares=shares) == "over (key_not_visible)"


def test_the_proof_is_the_placement_where_one_was_found_and_else_the_amount() -> None:
    assert first_finding([booked()], [billed()]).proof is Proof.AMOUNT
    placed = found([booked()], [billed()], place=lambda _: Placed(outcome=Placement.PLACED)).findings[0]
    assert (placed.verdict, placed.proof) == ("verified", Proof.PLACED)


def test_calls_that_cannot_be_placed_are_a_timing_warning_unless_some_are_loose() -> None:
    def nowhere(_: object) -> Placed:
        return Placed(outcome=Placement.IMPOSSIBLE)

    assert found([booked()], [billed()], place=nowhere).findings[0].reason == "timing"
    assert found([booked(loose=True)], [billed()], place=nowhere).findings[0].verdict == "verified"


def test_a_run_with_calls_that_could_be_anothers_is_never_verified() -> None:
    assert said([booked()], [billed()], shares=[shared(ambiguous=1)]) == "warning (unlabelled)"


def test_a_renamed_model_is_a_warning_until_the_pair_holds() -> None:
    bill = [billed(model="house-model-2")]
    assert said([booked()], bill) == "warning (renamed)"
    assert said([booked()], bill, facts={"renamed_holds": True}) == "verified"


def test_cached_tokens_are_left_out_where_a_call_does_not_state_them_and_named() -> None:
    silent = booked(cached_input_tokens=None, cached_silent=1)
    finding = first_finding([silent], [billed()])
    assert finding.verdict == "verified"
    assert [unit.field for unit in finding.uncompared] == ["cached_input_tokens"]
    assert said([silent], [billed(tokens=(100, 40, 11))]) == "short"


def test_batch_work_is_set_aside() -> None:
    assert said([booked()], [billed(), billed(tokens=(7, 0, 7), batch=True)]) == "verified"
    assert said([booked()], [billed(), billed(tokens=(7, 0, 7))]) == "short"


# Rule 8: a key that shows nothing


def test_a_bill_that_shows_nothing_of_the_run_is_over_because_the_key_is_not_visible() -> None:
    assert said([booked()], []) == "over (key_not_visible)"
    assert said([booked(), booked(1002)], [billed()]) == "over"


# Rule 9: what unknown calls may be


def test_an_excess_where_an_unknown_call_of_the_model_was_active_is_incomplete() -> None:
    assert said([booked(), unknown(1002)], [billed(), billed(1002, (5, 0, 1))]) == "incomplete"
    assert said([booked()], [billed(), billed(1002, (5, 0, 1))]) == "short"


def test_an_unknown_call_of_another_model_explains_nothing() -> None:
    other = unknown(1002, model=OTHER_MODEL, models=frozenset({OTHER_MODEL}))
    assert said([booked(), other], [billed(), billed(1002, (5, 0, 1))]) == "short"


def test_an_unknown_call_explains_no_minute_in_which_it_was_not_active() -> None:
    shares = [shared(1000, 1012)]
    late, early = unknown(1011), billed(1005, (5, 0, 1))
    assert said([booked(), late], [billed(), early], shares=shares) == "short"
    assert said([booked(), unknown(1005)], [billed(), early], shares=shares) == "incomplete"


def test_an_unknown_call_is_known_by_the_undated_name_and_by_what_its_name_was_seen_to_answer_as() -> None:
    extra = billed(1002, (5, 0, 1))
    undated = unknown(1002, model="gpt-4o-mini", models=frozenset({"gpt-4o-mini"}))
    assert said([booked(), undated], [billed(), extra]) == "incomplete"
    moving = unknown(1002, model="mini-latest", models=frozenset({"mini-latest", MODEL}))
    assert said([booked(), moving], [billed(), extra]) == "incomplete"
    never_seen = unknown(1002, model="mini-latest", models=frozenset({"mini-latest"}))
    assert said([booked(), never_seen], [billed(), extra]) == "incomplete"
    snapshot = unknown(1002, model=OTHER_MODEL, models=frozenset({OTHER_MODEL}))
    assert said([booked(), snapshot], [billed(), extra]) == "short"


def test_an_excess_explained_beside_a_deficit_is_over() -> None:
    rows = [booked(), booked(1012, model=OTHER_MODEL), unknown(1002)]
    bill = [billed(), billed(1002, (5, 0, 1))]
    assert said(rows, bill, shares=[shared(1000, 1012)]) == "over"
    assert said(rows, [*bill, billed(1012, model=OTHER_MODEL)], shares=[shared(1000, 1012)]) == "incomplete"


def test_what_an_unknown_endpoint_a_gap_or_a_hosted_tool_may_be_is_the_reason() -> None:
    bill = [billed(), billed(1002, (5, 0, 1))]
    elsewhere = unknown(1002, usage_endpoint=None, model=None, models=frozenset(), any_model=True)
    assert said([booked(), elsewhere], bill) == "incomplete (unknown_endpoint)"
    gap = Gap(first_minute=1001, last_minute=1004, calls=1)
    assert said([booked()], bill, gaps=[gap]) == "incomplete (gap)"
    assert said([booked(hosted=True, loose=True)], bill) == "incomplete (hosted)"
    assert said([booked(loose=True)], bill) == "short"


def drawn_bill(images: int, model: str = "gpt-image-1") -> list[BillRow]:
    return [
        billed(),
        billed(1002, usage_endpoint=UsageEndpoint.IMAGES, model=model, images=images, input_tokens=None),
    ]


def test_images_that_a_hosted_tool_drew_are_no_leak_and_beside_a_plain_call_they_are() -> None:
    hosted = booked(hosted=True, loose=True)
    assert said([hosted], drawn_bill(1)) == "incomplete (hosted)"
    assert said([booked()], drawn_bill(1)) == "short"
    assert said([hosted, pictured()], drawn_bill(2)) == "short", "images of a model that a call names are its own"
    drew = booked(hosted=True, loose=True, optional_class="image_gen")
    assert said([drew, pictured()], drawn_bill(2)) == "incomplete (hosted)"
    assert said([drew, pictured()], drawn_bill(1)) == "verified"
    assert said([drew, pictured(images=2)], drawn_bill(1)) == "over"


def test_the_least_known_reason_is_said_first() -> None:
    elsewhere = unknown(1002, usage_endpoint=None, model=None, models=frozenset(), any_model=True)
    finding = first_finding([booked(), unknown(1002), elsewhere], [billed(), billed(1002, (5, 0, 1))])
    assert finding.because == (Because.UNKNOWN_ENDPOINT, Because.UNKNOWN)


# Rules 10 and 11: whose error it is


APART = [shared(1000, 1001), shared(1009, 1010, NEXT)]


def test_an_excess_in_minutes_of_one_run_alone_is_its_own_and_the_other_is_verified() -> None:
    rows = [booked(), booked(1010, run=NEXT)]
    short, clean = found(rows, [billed(), billed(1002, (5, 0, 1)), billed(1010)], shares=APART).findings
    assert (short.verdict, short.joint, clean.verdict) == ("short", (), "verified")


def test_an_excess_in_minutes_of_two_runs_is_joint_and_names_both() -> None:
    shares = [shared(1000, 1001), shared(1003, 1004, NEXT)]
    rows = [booked(), booked(1004, run=NEXT)]
    both = found(rows, [billed(), billed(1004), billed(1004, (5, 0, 1))], shares=shares).findings
    assert [(each.verdict, each.joint) for each in both] == [("short", (RUN, NEXT))] * 2


def test_an_error_that_may_have_wandered_names_the_run_it_came_from() -> None:
    # Equal calls in every run: an excess of the first may look like one of the last, whose window does not hold it.
    runs = [("baes", f"r-{number}") for number in range(4)]
    shares = [shared(1000 + 3 * number, 1001 + 3 * number, run) for number, run in enumerate(runs)]
    rows = [booked(1001 + 3 * number, run=run) for number, run in enumerate(runs)]
    bill = [billed(1000), *(billed(1001 + 3 * number) for number in range(4))]
    findings = found(rows, bill, shares=shares).findings
    assert findings[0].verdict == "short"
    for finding in findings:
        assert finding.verdict in ("short", "verified")
        assert finding.verdict == "verified" or not finding.joint or runs[0] in finding.joint


def test_a_deficit_under_calls_of_one_run_alone_is_its_own() -> None:
    rows = [booked(), booked(1002), booked(1010, run=NEXT)]
    over, clean = found(rows, [billed(), billed(1010)], shares=APART).findings
    assert (over.verdict, over.joint, clean.verdict) == ("over", (), "verified")


def test_a_deficit_in_a_minute_in_which_calls_of_two_runs_ended_is_joint() -> None:
    shares = [shared(1000, 1001), shared(1001, 1002, NEXT)]
    rows = [booked(), booked(run=NEXT)]
    both = found(rows, [billed()], shares=shares).findings
    assert [(each.verdict, each.joint) for each in both] == [("over", (RUN, NEXT))] * 2


def test_a_deficit_of_a_neighbour_bars_no_run_none_of_whose_calls_ended_there() -> None:
    shares = [shared(1002, 1003), shared(1000, 1001, NEXT)]
    rows = [booked(1003, (7, 0, 1)), booked(1001, run=NEXT)]
    assert said(rows, [billed(1003, (7, 0, 1))], shares=shares) == "verified"


def test_an_excess_of_one_model_beside_a_deficit_of_another_is_short_also_over() -> None:
    assert said([booked(), booked(model=OTHER_MODEL)], [billed(tokens=MORE)]) == "short (also_over)"


def test_calls_without_a_run_are_judged_as_a_period() -> None:
    nobodys = booked(run=None)
    period = [shared(run=None)]
    assert said([nobodys], [billed()], shares=period) == "verified"
    assert said([nobodys], [billed(tokens=MORE)], shares=period) == "short"


def test_an_excess_that_a_period_shares_with_a_run_names_the_run() -> None:
    rows = [booked(1001), booked(1004, run=None)]
    shares = [shared(1004, 1005, None), shared(1000, 1001)]
    finding = first_finding(rows, [billed(), billed(1004), billed(1003)], shares=shares)
    assert (finding.verdict, finding.joint) == ("short", (RUN,))


def test_an_excess_outside_every_run_is_unplaced_and_one_inside_is_not() -> None:
    nobodys = booked(1020, run=None, first_minute=1008)
    outside = found([booked(), nobodys], [billed(), billed(1020), billed(1024, (5, 0, 1))])
    assert [each.minutes for each in outside.unplaced] == [(1024,)]
    assert outside.findings[0].verdict == "verified"
    inside = found([booked(), nobodys], [billed(), billed(1020), billed(1002, (5, 0, 1))])
    assert inside.unplaced == ()


# Optional amounts


def warm_up(minute: int = 1002) -> object:
    return booked(minute, (30, 0, 0), standing=Standing.OPTIONAL, optional_class="warm_up")


def test_an_optional_amount_whose_class_is_not_known_leaves_its_run_incomplete_and_not_final() -> None:
    rows = [booked(), warm_up()]
    for bill in ([billed()], [billed(), billed(1002, (30, 0, 0))]):
        finding = first_finding(rows, bill)  # type: ignore[arg-type]
        assert (finding.verdict, finding.reason, finding.final) == ("incomplete", "optional", False)


@pytest.mark.parametrize("is_billed", [False, True])
def test_once_its_class_is_known_an_optional_amount_is_counted_or_not(is_billed: bool) -> None:
    rows = [booked(), warm_up()]
    facts = {"optional": {"warm_up": is_billed}}
    shown = [billed(), billed(1002, (30, 0, 0))]
    assert said(rows, shown if is_billed else [billed()], facts=facts) == "verified"  # type: ignore[arg-type]
    assert said(rows, [billed()] if is_billed else shown, facts=facts) != "verified"  # type: ignore[arg-type]


def test_what_is_wrong_under_every_book_is_said_and_names_the_runs_of_every_book() -> None:
    rows = [booked(), booked(1004), warm_up()]
    assert said(rows, [billed()]).startswith("over")  # type: ignore[arg-type]


# Final


def test_verified_is_final_and_over_only_a_day_after_the_window() -> None:
    assert first_finding([booked()], [billed()]).final
    over = [booked(), booked(1002)]
    assert not first_finding(over, [billed()], at=[1100, 1130]).final
    assert first_finding(over, [billed()], at=[1100, 1009 + DAY + 1]).final


def test_what_cannot_be_told_is_closed_seven_days_after_the_first_read() -> None:
    rows = [booked()]
    week = LATER + 7 * DAY
    bill = [billed(model="house-model-2")]
    for now, closed in ((week - 1, False), (week, True)):
        finding = first_finding(rows, bill, bill, bill, now_us=now * MINUTE_US)
        assert (finding.reason, finding.final, finding.closed) == ("renamed", closed, closed)


def test_who_comes_back_after_a_week_with_two_reads_has_one_more_before_a_run_is_closed() -> None:
    bill = [billed(model="house-model-2")]
    finding = first_finding([booked()], bill, bill, now_us=(LATER + 8 * DAY) * MINUTE_US)
    assert not finding.closed


def test_a_run_that_goes_on_is_never_closed() -> None:
    week = (LATER + 9 * DAY) * MINUTE_US
    assert not first_finding([booked()], [billed()], shares=[shared(open=True)], now_us=week).closed


# Laws


def test_the_order_of_rows_and_bills_changes_nothing() -> None:
    rng = random.Random(3)
    rows = [booked(1001), booked(1002, (7, 0, 1)), unknown(1003), booked(1004, run=NEXT), booked(model=OTHER_MODEL)]
    bill = [billed(1001), billed(1003, (7, 0, 1)), billed(1005, MORE), billed(model=OTHER_MODEL)]
    shares = [shared(), shared(1003, 1004, NEXT)]
    first = found(rows, bill, shares=shares).findings
    for _ in range(10):
        rng.shuffle(rows)
        rng.shuffle(bill)
        again = found(rows, bill, shares=shares).findings
        assert [replace(each, units=()) for each in again] == [replace(each, units=()) for each in first]


def test_calls_summed_in_one_row_are_judged_as_the_same_calls_apart() -> None:
    twice = booked(calls=2, input_tokens=200, cached_input_tokens=80, output_tokens=20)
    for bill in ([billed(), billed(1003)], [billed()], [billed(), billed(1003, MORE)]):
        assert said([twice], bill) == said([booked(), booked()], bill)


def test_a_model_is_named_as_the_bill_names_it() -> None:
    unit = first_finding([booked(model="gpt-4o-mini")], [billed()]).units[0]
    assert (unit.pair.model, unit.book, unit.bill, unit.difference) == (MODEL, 100, 100, 0)
