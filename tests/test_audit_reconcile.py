"""The eleven rules, each with its nearest wrong neighbour, and the laws that hold for every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.audit.bucket import Problem, UsageEndpoint
from submeter.audit.history import Attempt, GoodRead, History
from submeter.audit.placement import Placed, Placement
from submeter.audit.reconcile import Finding, Part, Proof, reconcile
from submeter.audit.span import Window
from submeter.audit.unit import AsideBecause, BillRow, BookRow, PairedBy
from submeter.audit.unknown import Gap
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Standing

MINUTE_US = 60_000_000
WINDOW = Window(start=1000, end=1020)
MODEL = "gpt-4o-mini-2024-07-18"
SETTLED_US = (WINDOW.end + 60) * MINUTE_US
COMPLETIONS, EMBEDDINGS, IMAGES = UsageEndpoint


def booked(first: int = 1001, last: int = 1008, **fields: object) -> BookRow:
    row = BookRow(
        first_minute=first,
        last_minute=last,
        standing=Standing.COUNTED,
        usage_endpoint="completions",
        endpoint="chat/completions",
        model=MODEL,
        open=False,
        loose=False,
        any_model=False,
        calls=1,
        input_tokens=100,
        cached_input_tokens=40,
        cached_silent=0,
        cache_write_tokens=None,
        output_tokens=10,
        images=None,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def unknown(first: int = 1001, last: int = 1008, **fields: object) -> BookRow:
    nothing = {"input_tokens": None, "cached_input_tokens": None, "output_tokens": None, "images": None}
    return booked(first, last, **{"standing": Standing.UNKNOWN, **nothing, **fields})


def billed(minute: int = 1003, **fields: object) -> BillRow:
    row = BillRow(
        usage_endpoint=COMPLETIONS,
        minute=minute,
        model=MODEL,
        batch=False,
        input_tokens=100,
        cached_input_tokens=40,
        cache_write_tokens=None,
        output_tokens=10,
        images=None,
        num_model_requests=1,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def embedded(minute: int = 1003, tokens: int = 7) -> BillRow:
    return billed(
        minute,
        usage_endpoint=EMBEDDINGS,
        model="text-embedding-3-small",
        input_tokens=tokens,
        cached_input_tokens=None,
        output_tokens=None,
    )


def histories(*bills: Sequence[BillRow], at: Sequence[int] | None = None) -> dict[UsageEndpoint, History]:
    """Good reads of these bills, oldest first; by default 30 minutes apart and the last when the window has settled."""
    times = at or [SETTLED_US - 30 * MINUTE_US * (len(bills) - 1 - index) for index in range(len(bills))]
    found = {}
    for endpoint in UsageEndpoint:
        states: dict[str, list[BillRow]] = {}
        reads = []
        for index, (bill, asked_at) in enumerate(zip(bills, times, strict=True)):
            rows = [row for row in bill if row.usage_endpoint is endpoint]
            state = repr(sorted(map(repr, rows)))
            states[state] = rows
            reads.append(GoodRead(read_id=f"{endpoint}-{index}", asked_at=asked_at, state=state))
        latest = Attempt(read_id=reads[-1].read_id, asked_at=reads[-1].asked_at, good=True) if reads else None
        found[endpoint] = History(usage_endpoint=endpoint, latest=latest, reads=tuple(reads), states=states)
    return found


def part(book: Sequence[BookRow], bill: Sequence[BillRow], **fields: object) -> Part:
    made = Part(api_key_id="key_a", window=WINDOW, histories=histories(bill, bill), book=book, key_proven=True)
    return replace(made, **fields)  # type: ignore[arg-type]


def judged(book: Sequence[BookRow], bill: Sequence[BillRow], **fields: object) -> tuple[Verdict, Reason | None]:
    finding = reconcile(part(book, bill, **fields))
    return finding.verdict, finding.reason


def failing(problem: Problem, on: UsageEndpoint = COMPLETIONS) -> dict[UsageEndpoint, History]:
    good = histories([billed()], [billed()])
    attempt = Attempt(read_id="late", asked_at=SETTLED_US + 1, good=False, problem=problem)
    return {**good, on: replace(good[on], latest=attempt)}


# Rule 1


def test_a_latest_read_that_was_refused_is_not_permitted_however_good_the_earlier_ones_were() -> None:
    verdict, _ = judged([booked()], [], histories=failing(Problem.NOT_PERMITTED))
    assert verdict is Verdict.NOT_PERMITTED


@pytest.mark.parametrize("problem", [p for p in Problem if p is not Problem.NOT_PERMITTED])
@pytest.mark.parametrize("endpoint", list(UsageEndpoint))
def test_a_latest_read_that_is_not_good_is_unavailable_on_any_endpoint(
    problem: Problem, endpoint: UsageEndpoint
) -> None:
    verdict, _ = judged([booked()], [], histories=failing(problem, endpoint))
    assert verdict is Verdict.UNAVAILABLE


def test_a_failed_read_with_a_good_one_after_it_changes_nothing() -> None:
    assert judged([booked()], [billed()])[0] is Verdict.VERIFIED


def test_one_endpoint_that_was_never_read_keeps_a_part_pending() -> None:
    two = histories([billed()], [billed()])
    del two[IMAGES]
    assert judged([booked()], [], histories=two) == (Verdict.PENDING, Reason.NOT_READ)


# Rule 2


def test_an_open_run_is_pending() -> None:
    assert judged([booked()], [billed()], run_open=True) == (Verdict.PENDING, Reason.RUN_OPEN)


def test_an_open_call_is_pending() -> None:
    book = [booked(), unknown(open=True)]
    assert judged(book, [billed()]) == (Verdict.PENDING, Reason.CALL_OPEN)
    assert judged([booked(), unknown()], [billed()])[0] is Verdict.VERIFIED


# Rule 3


def test_a_minute_that_fell_is_a_warning_until_the_new_bill_is_confirmed() -> None:
    more, less = [billed(input_tokens=101)], [billed()]
    assert judged([booked()], [], histories=histories(more, more, less)) == (Verdict.WARNING, Reason.FELL)
    assert judged([booked()], [], histories=histories(more, less, less))[0] is Verdict.VERIFIED


def test_a_minute_that_rose_is_only_not_confirmed() -> None:
    more, less = [billed()], [billed(input_tokens=99)]
    assert judged([booked()], [], histories=histories(less, less, more)) == (Verdict.PENDING, Reason.NOT_CONFIRMED)


def test_tokens_that_moved_to_another_minute_fell_where_they_were() -> None:
    reads = histories([billed(1003)], [billed(1003)], [billed(1004)])
    assert judged([booked()], [], histories=reads) == (Verdict.WARNING, Reason.FELL)


def test_a_fall_is_said_before_the_window_has_settled() -> None:
    early = [(WINDOW.end + minutes) * MINUTE_US for minutes in (1, 20)]
    reads = histories([billed()], [billed(output_tokens=9)], at=early)
    assert judged([booked()], [], histories=reads) == (Verdict.WARNING, Reason.FELL)


def test_a_changed_bill_after_a_final_verdict_is_said_once_and_until_it_is_confirmed() -> None:
    said = {"changed_since": "audit-1", "change_said": True}
    now, before = [billed()], [billed(input_tokens=90)]
    assert judged([booked()], now, changed_since="audit-1") == (Verdict.WARNING, Reason.CHANGED)
    assert judged([booked()], [], histories=histories(before, before, now), **said) == (
        Verdict.WARNING,
        Reason.CHANGED,
    )
    assert judged([booked()], now, **said)[0] is Verdict.VERIFIED


# Rule 4


def test_before_the_window_has_settled_an_empty_bill_is_no_data_yet_and_any_other_pending() -> None:
    early = [(WINDOW.end + minutes) * MINUTE_US for minutes in (29, 59)]
    empty = histories([], [], at=early)
    assert judged([booked()], [], histories=empty) == (Verdict.DATA_NOT_AVAILABLE, Reason.NOT_SETTLED)
    assert judged([], [], histories=empty) == (Verdict.PENDING, Reason.NOT_SETTLED)
    reads = histories([billed()], [billed()], at=early)
    assert judged([booked()], [], histories=reads) == (Verdict.PENDING, Reason.NOT_SETTLED)


def test_the_last_read_counts_from_the_very_microsecond_of_settling() -> None:
    for late_by_us, verdict in ((0, Verdict.VERIFIED), (-1, Verdict.PENDING)):
        last = SETTLED_US + late_by_us
        reads = histories([billed()], [billed()], at=[last - 30 * MINUTE_US, last])
        assert judged([booked()], [], histories=reads)[0] is verdict


def test_a_read_sooner_than_the_interval_does_not_confirm() -> None:
    for apart_us, verdict in ((30 * MINUTE_US, Verdict.VERIFIED), (30 * MINUTE_US - 1, Verdict.PENDING)):
        reads = histories([billed()], [billed()], at=[SETTLED_US, SETTLED_US + apart_us])
        assert judged([booked()], [], histories=reads)[0] is verdict


def test_a_different_read_between_two_equal_ones_does_not_let_them_confirm() -> None:
    odd = [billed(), billed(1004, model="gpt-4o", input_tokens=1)]
    at = [SETTLED_US + minutes * MINUTE_US for minutes in (0, 15, 30)]
    reads = histories([billed()], odd, [billed()], at=at)
    assert judged([booked()], [], histories=reads) == (Verdict.WARNING, Reason.FELL)
    reads = histories(odd, [billed()], odd, at=at)
    assert judged([booked()], [], histories=reads)[0] is not Verdict.VERIFIED


def test_as_many_reads_must_agree_as_are_asked_for() -> None:
    assert judged([booked()], [billed()], stable_reads=3) == (Verdict.PENDING, Reason.NOT_CONFIRMED)
    three = histories([billed()], [billed()], [billed()])
    assert judged([booked()], [], histories=three, stable_reads=3)[0] is Verdict.VERIFIED


def test_each_endpoint_must_be_confirmed() -> None:
    mixed = histories([billed()], [billed()]) | {IMAGES: histories([billed()])[IMAGES]}
    assert judged([booked()], [], histories=mixed) == (Verdict.PENDING, Reason.NOT_CONFIRMED)


# Rules 5 and 6


def test_no_call_and_no_bill_is_no_activity_only_on_a_key_that_has_shown_tokens() -> None:
    assert judged([], []) == (Verdict.NO_ACTIVITY, None)
    assert judged([], [], key_proven=False) == (Verdict.DATA_NOT_AVAILABLE, Reason.KEY_UNPROVEN)


def test_no_call_but_a_bill_is_short() -> None:
    assert judged([], [billed()])[0] is Verdict.SHORT


def test_calls_that_cannot_be_compared_are_not_auditable() -> None:
    for standing in (Standing.UNCOVERED, Standing.UNBILLED):
        book = [unknown(standing=standing, usage_endpoint=None, endpoint="moderations", model="omni")]
        assert judged(book, [], key_proven=False)[0] is Verdict.NOT_AUDITABLE
        assert judged(book, [billed()])[0] is Verdict.SHORT


def test_an_empty_bill_clears_an_unknown_call_only_on_a_key_that_has_shown_tokens() -> None:
    assert judged([unknown()], [])[0] is Verdict.VERIFIED
    assert judged([unknown()], [], key_proven=False) == (Verdict.DATA_NOT_AVAILABLE, Reason.KEY_UNPROVEN)


def test_an_empty_minute_book_with_a_gap_is_not_no_activity() -> None:
    gap = Gap(first_minute=1002, last_minute=1004, calls=3)
    assert judged([], [], gaps=(gap,))[0] is Verdict.VERIFIED
    assert reconcile(part([], [], gaps=(gap,))).unknown[0].calls == 3


# Rule 7


def test_equal_books_in_the_corridor_are_verified() -> None:
    finding = reconcile(part([booked()], [billed()]))
    assert (finding.verdict, finding.proof, finding.final) == (Verdict.VERIFIED, Proof.CORRIDOR, True)
    assert reconcile(part([booked()], [billed()], placed=Placed(outcome=Placement.PLACED))).proof is Proof.PLACED


@pytest.mark.parametrize("field", ["input_tokens", "cached_input_tokens", "output_tokens"])
@pytest.mark.parametrize("by", [1, -1])
def test_one_token_in_any_field_is_a_difference(field: str, by: int) -> None:
    bill = [billed(**{field: getattr(billed(), field) + by})]
    assert judged([booked()], bill)[0] is (Verdict.SHORT if by > 0 else Verdict.OVER)


def test_one_token_on_another_endpoint_is_a_difference() -> None:
    assert judged([booked()], [billed(), embedded(tokens=1)])[0] is Verdict.SHORT
    image = billed(usage_endpoint=IMAGES, model="gpt-image-1", images=1, input_tokens=None, output_tokens=None)
    assert judged([booked()], [billed(), image])[0] is Verdict.SHORT


@pytest.mark.parametrize(("minute", "holds"), [(1000, False), (1001, True), (1008, True), (1009, False)])
def test_a_bill_outside_the_active_minutes_breaks_the_corridor(minute: int, holds: bool) -> None:
    expected = (Verdict.VERIFIED, None) if holds else (Verdict.WARNING, Reason.TIMING)
    assert judged([booked(1001, 1008)], [billed(minute)]) == expected


def test_two_calls_billed_together_in_the_minute_of_the_first_break_the_corridor() -> None:
    book = [booked(1001, 1003), booked(1010, 1012)]
    assert judged(book, [billed(1002), billed(1011)])[0] is Verdict.VERIFIED
    double = billed(1002, input_tokens=200, cached_input_tokens=80, output_tokens=20)
    finding = reconcile(part(book, [double]))
    assert (finding.verdict, finding.reason) == (Verdict.WARNING, Reason.TIMING)
    assert {each.minute for each in finding.breaks} == {1002}


def test_an_impossible_placement_is_a_warning_unless_tokens_of_one_call_may_be_spread() -> None:
    assert judged([booked()], [billed()], placed=Placed(outcome=Placement.IMPOSSIBLE)) == (
        Verdict.WARNING,
        Reason.TIMING,
    )
    assert judged([booked(loose=True)], [billed()], placed=Placed(outcome=Placement.IMPOSSIBLE))[0] is Verdict.VERIFIED
    assert judged([booked()], [billed()], placed=Placed(outcome=Placement.NOT_DECIDED))[0] is Verdict.VERIFIED


def test_a_silent_cached_count_excuses_a_larger_bill_on_cached_and_nothing_else() -> None:
    silent = booked(cached_input_tokens=None, cached_silent=1)
    finding = reconcile(part([silent], [billed()]))
    assert finding.verdict is Verdict.VERIFIED
    assert [unit.field for unit in finding.uncompared] == ["cached_input_tokens"]
    assert judged([silent], [billed(input_tokens=101)])[0] is Verdict.SHORT
    assert judged([booked()], [billed(cached_input_tokens=41)])[0] is Verdict.SHORT


def test_a_silent_cached_count_does_not_excuse_a_smaller_bill() -> None:
    book = [booked(), booked(cached_input_tokens=None, cached_silent=1)]
    bill = [billed(input_tokens=200, output_tokens=20, cached_input_tokens=39)]
    assert judged(book, bill)[0] is Verdict.OVER


def test_a_silent_cached_count_leaves_the_lower_side_of_the_corridor_standing() -> None:
    book = [booked(1001, 1003), booked(1010, 1012, cached_input_tokens=None, cached_silent=1)]
    assert judged(book, [billed(1002), billed(1011)])[0] is Verdict.VERIFIED
    late = [billed(1002, cached_input_tokens=0), billed(1011, cached_input_tokens=80)]
    assert judged(book, late) == (Verdict.WARNING, Reason.TIMING)


def test_batch_rows_are_set_aside_in_the_open() -> None:
    finding = reconcile(part([booked()], [billed(), billed(batch=True)]))
    assert finding.verdict is Verdict.VERIFIED
    assert [aside.because for aside in finding.comparison.aside] == [AsideBecause.BATCH]
    assert judged([booked()], [billed(batch=True)]) == (Verdict.OVER, Reason.KEY_NOT_VISIBLE)


def test_a_model_used_only_where_nothing_can_be_compared_is_set_aside_and_no_other() -> None:
    spoken = unknown(standing=Standing.UNCOVERED, usage_endpoint="audio_speeches", model="gpt-4o-mini-tts")
    bill = [billed(), billed(model="gpt-4o-mini-tts")]
    finding = reconcile(part([booked(), spoken], bill))
    assert finding.verdict is Verdict.VERIFIED
    assert [aside.because for aside in finding.comparison.aside] == [AsideBecause.UNCOVERED_MODEL]
    used_both_ways = replace(spoken, model=MODEL)
    assert judged([booked(), used_both_ways], [billed(), billed()])[0] is Verdict.SHORT


# Models


def test_an_alias_pairs_with_its_snapshot_and_two_snapshots_do_not_pair() -> None:
    finding = reconcile(part([booked(model="gpt-4o-mini")], [billed()]))
    assert (finding.verdict, finding.comparison.pairs[0].paired_by) == (Verdict.VERIFIED, PairedBy.ALIAS)
    book = [booked(model="gpt-4o-2024-08-06"), booked(model="gpt-4o-2024-11-20", input_tokens=50)]
    bill = [billed(model="gpt-4o-2024-08-06", input_tokens=50), billed(model="gpt-4o-2024-11-20")]
    assert judged(book, bill) == (Verdict.SHORT, Reason.ALSO_OVER)


def test_the_one_model_left_on_each_side_is_renamed_and_reported() -> None:
    book = [booked(), booked(model="house-model")]
    finding = reconcile(part(book, [billed(), billed(model="other-name")]))
    assert finding.verdict is Verdict.VERIFIED
    assert {pair.paired_by for pair in finding.comparison.pairs} == {PairedBy.EQUAL, PairedBy.RENAMED}


def test_two_models_left_on_one_side_are_not_renamed() -> None:
    bill = [billed(model="one", input_tokens=60, cached_input_tokens=40), billed(model="two", input_tokens=40)]
    assert judged([booked(model="house-model")], bill)[0] is not Verdict.VERIFIED


def test_equal_totals_in_swapped_models_are_no_agreement() -> None:
    book = [booked(), booked(model="gpt-4o-2024-08-06", input_tokens=70)]
    bill = [billed(input_tokens=70), billed(model="gpt-4o-2024-08-06")]
    assert judged(book, bill) == (Verdict.SHORT, Reason.ALSO_OVER)


# Rules 8 to 11


def test_an_empty_bill_of_a_full_book_says_that_the_key_is_not_visible() -> None:
    assert judged([booked()], []) == (Verdict.OVER, Reason.KEY_NOT_VISIBLE)
    assert judged([booked()], [], key_proven=False) == (Verdict.OVER, Reason.KEY_NOT_VISIBLE)
    assert judged([booked()], [billed(input_tokens=1, cached_input_tokens=0, output_tokens=0)]) == (Verdict.OVER, None)


def test_an_unknown_call_of_that_model_in_those_minutes_makes_a_larger_bill_incomplete() -> None:
    bill = [billed(), billed(1005, input_tokens=30, cached_input_tokens=0, output_tokens=3)]
    assert judged([booked(), unknown(1004, 1006)], bill)[0] is Verdict.INCOMPLETE
    assert judged([booked(), unknown(1010, 1012)], bill)[0] is Verdict.SHORT
    assert judged([booked(), unknown(1004, 1006, model="gpt-4o-2024-08-06")], bill)[0] is Verdict.SHORT
    assert judged([booked(), unknown(1004, 1006, usage_endpoint="embeddings")], bill)[0] is Verdict.SHORT
    assert judged([booked()], bill)[0] is Verdict.SHORT


@pytest.mark.parametrize("model", [None, "gpt-4o-mini", MODEL])
def test_an_unknown_call_may_have_used_its_model_under_any_name_and_any_model_without_one(model: str | None) -> None:
    bill = [billed(), billed(1005)]
    assert judged([booked(), unknown(1004, 1006, model=model)], bill)[0] is Verdict.INCOMPLETE


def test_an_unknown_call_with_a_hosted_tool_may_have_used_any_model_of_any_endpoint() -> None:
    bill = [billed(), embedded(1005)]
    assert judged([booked(), unknown(1004, 1006, any_model=True)], bill)[0] is Verdict.INCOMPLETE
    assert judged([booked(), unknown(1004, 1006)], bill)[0] is Verdict.SHORT


def test_an_unknown_call_of_an_unheard_model_may_be_the_one_model_that_the_bill_alone_knows() -> None:
    bill = [billed(), billed(1005, model="other-name")]
    assert judged([booked(), unknown(1004, 1006, model="house-model")], bill)[0] is Verdict.INCOMPLETE
    two = [unknown(1004, 1006, model="house-model"), unknown(1004, 1006, model="garden-model")]
    assert judged([booked(), *two], bill)[0] is Verdict.SHORT


def test_an_unknown_call_does_not_excuse_a_bill_that_is_also_too_small() -> None:
    book = [booked(), booked(model="gpt-4o-2024-08-06"), unknown()]
    bill = [billed(input_tokens=130), billed(model="gpt-4o-2024-08-06", input_tokens=99)]
    assert judged(book, bill) == (Verdict.SHORT, Reason.ALSO_OVER)


def test_a_gap_explains_like_an_unknown_call_of_any_model() -> None:
    gap = Gap(first_minute=1004, last_minute=1012, calls=1)
    assert judged([booked()], [billed(), embedded(1005)], gaps=(gap,))[0] is Verdict.INCOMPLETE
    assert judged([booked()], [billed(), embedded(1015)], gaps=(gap,))[0] is Verdict.SHORT


# Laws

amounts = st.integers(min_value=0, max_value=3)
minutes = st.integers(min_value=WINDOW.start, max_value=WINDOW.end - 1)
models = st.sampled_from([MODEL, "gpt-4o-2024-08-06"])


@st.composite
def book_rows(draw: st.DrawFn) -> BookRow:
    first = draw(minutes)
    kind = draw(st.sampled_from([booked, booked, booked, unknown]))
    row = kind(first, min(WINDOW.end - 1, first + draw(amounts)), model=draw(models))
    if kind is unknown:
        return row
    return replace(row, input_tokens=draw(amounts), output_tokens=draw(amounts), cached_input_tokens=0)


@st.composite
def bill_rows(draw: st.DrawFn) -> BillRow:
    return billed(
        draw(minutes),
        model=draw(models),
        input_tokens=draw(amounts),
        output_tokens=draw(amounts),
        cached_input_tokens=0,
    )


books = st.lists(book_rows(), max_size=6)
bills = st.lists(bill_rows(), max_size=6)


@given(books, bills, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing_to_a_verdict(book: list[BookRow], bill: list[BillRow], random: object) -> None:
    shuffled_book, shuffled_bill = list(book), list(bill)
    random.shuffle(shuffled_book)  # type: ignore[attr-defined]
    random.shuffle(shuffled_bill)  # type: ignore[attr-defined]
    assert judged(book, bill) == judged(shuffled_book, shuffled_bill)


@given(books, bills)
def test_rows_split_in_two_say_what_they_said_whole(book: list[BookRow], bill: list[BillRow]) -> None:
    split_book = [half for row in book for half in _halves(row)]
    split_bill = [half for row in bill for half in _bill_halves(row)]
    assert judged(book, bill) == judged(split_book, split_bill)


@given(books, bills)
def test_swapped_books_swap_short_and_over(book: list[BookRow], bill: list[BillRow]) -> None:
    known = [row for row in book if row.standing is Standing.COUNTED]
    swapped_book = [booked(row.minute, row.minute, model=row.model, **_amounts(row)) for row in bill]
    swapped_bill = [billed(row.first_minute, model=row.model, **_amounts(row)) for row in known]
    here, there = reconcile(part(known, bill)), reconcile(part(swapped_book, swapped_bill))
    assert _differences(here) == {unit: -d for unit, d in _differences(there).items()}
    more, less = _signs(here)
    assert (more, less) == tuple(reversed(_signs(there)))
    if more and less:
        assert here.reason is Reason.ALSO_OVER
        assert there.reason is Reason.ALSO_OVER
    elif more:
        assert (here.verdict, there.verdict) == (Verdict.SHORT, Verdict.OVER)


@given(books, bills)
def test_verified_means_equal_in_every_unit(book: list[BookRow], bill: list[BillRow]) -> None:
    finding = reconcile(part(book, bill))
    renamed = any(pair.paired_by is PairedBy.RENAMED for pair in finding.comparison.pairs)
    if finding.verdict in (Verdict.VERIFIED, Verdict.NO_ACTIVITY) and not renamed:
        for model in (MODEL, "gpt-4o-2024-08-06"):
            for name in ("input_tokens", "output_tokens"):
                ours = sum(getattr(row, name) or 0 for row in book if row.model == model)
                assert ours == sum(getattr(row, name) for row in bill if row.model == model)


def test_verified_is_said_in_one_place() -> None:
    source = Path(__file__).resolve().parents[1] / "audit"
    said = [
        path.name for path in source.glob("*.py") for _ in range(path.read_text().count("verdict=Verdict.VERIFIED"))
    ]
    assert said == ["reconcile.py"]


def _halves(row: BookRow) -> list[BookRow]:
    if row.standing is not Standing.COUNTED:
        return [row]
    nothing = replace(row, input_tokens=0, output_tokens=0, cached_input_tokens=0)
    return [replace(row, input_tokens=0), replace(nothing, input_tokens=row.input_tokens)]


def _bill_halves(row: BillRow) -> list[BillRow]:
    return [replace(row, input_tokens=0), replace(row, output_tokens=0, cached_input_tokens=0)]


def _amounts(row: BookRow | BillRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in ("input_tokens", "output_tokens", "cached_input_tokens")}


def _differences(finding: Finding) -> dict[tuple[frozenset[str | None], str], int]:
    return {
        (unit.pair.book_models | unit.pair.bill_models, unit.field): unit.d
        for unit in finding.comparison.units
        if unit.d
    }


def _signs(finding: Finding) -> tuple[bool, bool]:
    differences = _differences(finding).values()
    return any(d > 0 for d in differences), any(d < 0 for d in differences)
