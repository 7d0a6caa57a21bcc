"""Cuts: what lies before one is closed, whatever comes after; and where there may be none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from audit_world import World, world
from hypothesis import given
from hypothesis import strategies as st

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.cut import cut
from submeter.audit.span import Window
from submeter.audit.unit import BillRow, BookRow
from submeter.audit.unknown import Gap
from submeter.audit.verdict import Verdict
from submeter.data.call import Standing

K = 5
SPAN = Window(start=100, end=200)


def booked(minute: int, until: int | None = None, tokens: int = 10, **fields: object) -> BookRow:
    """Calls open from `minute` to `until`."""
    row = BookRow(
        first_minute=minute - 1,
        last_minute=(minute if until is None else until) + 1 + K,
        standing=Standing.COUNTED,
        usage_endpoint="completions",
        endpoint=None,
        model="m",
        open=False,
        loose=False,
        any_model=False,
        calls=1,
        input_tokens=tokens,
        cached_input_tokens=0,
        cached_silent=0,
        cache_write_tokens=None,
        output_tokens=1,
        images=None,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def billed(minute: int, tokens: int = 10, output: int = 1) -> BillRow:
    return BillRow(
        usage_endpoint=UsageEndpoint.COMPLETIONS,
        minute=minute,
        model="m",
        batch=False,
        input_tokens=tokens,
        cached_input_tokens=0,
        cache_write_tokens=None,
        output_tokens=output,
        images=None,
        num_model_requests=1,
    )


def parts(book: list[BookRow], bill: list[BillRow], *, gaps: tuple[Gap, ...] = (), known_until: int = 200) -> list[int]:
    """The borders found between a run in minutes 101 to 110 and one in 120 to 130."""
    found = cut(
        SPAN,
        book=book,
        gaps=gaps,
        bill=bill,
        known_until=known_until,
        runs=[(101, 110), (120, 130)],
        shift_min=K,
    )
    assert (found[0].start, found[-1].end) == (SPAN.start, SPAN.end)
    return [part.end for part in found[:-1]]


def test_two_closed_runs_are_cut_after_the_first_and_before_the_second() -> None:
    assert parts([booked(105), booked(125)], [billed(106), billed(125)]) == [111]


def test_a_bill_that_is_late_moves_the_cut_behind_it() -> None:
    assert parts([booked(105), booked(125)], [billed(112), billed(125)]) == [113]


def test_there_is_no_cut_before_book_and_bill_are_equal() -> None:
    assert parts([booked(105), booked(125)], [billed(106, tokens=11), billed(125, tokens=9)]) == []


@pytest.mark.parametrize(
    ("between", "cut_at"),
    [
        (booked(110, 120, tokens=0, output_tokens=0), []),
        (booked(109, 111, tokens=0, output_tokens=0), [112]),
        (booked(110, 120, standing=Standing.UNCOVERED), []),
        (booked(110, 111, standing=Standing.UNKNOWN, input_tokens=None), [118]),
        (booked(112, 119, standing=Standing.UNKNOWN, input_tokens=None), [111]),
        (booked(104, 126, standing=Standing.UNKNOWN, input_tokens=None), []),
    ],
)
def test_no_cut_goes_through_an_open_call_or_an_active_unknown_one(between: BookRow, cut_at: list[int]) -> None:
    book, bill = [booked(105), booked(125)], [billed(106), billed(125)]
    assert parts([*book, between], bill) == cut_at


def test_no_cut_goes_through_a_gap() -> None:
    gap = Gap(first_minute=108, last_minute=124, calls=1)
    assert parts([booked(105), booked(125)], [billed(106), billed(125)], gaps=(gap,)) == []


def test_a_bill_after_the_last_call_stays_with_that_call() -> None:
    assert parts([booked(105)], [billed(105), billed(112, tokens=3)]) == []


def test_a_difference_in_the_second_run_leaves_the_first_one_closed() -> None:
    assert parts([booked(105), booked(125)], [billed(106), billed(125, tokens=99)]) == [111]
    assert parts([booked(105), booked(125)], [billed(106)]) == [111]


def test_only_known_minutes_are_cut_and_what_follows_may_be_empty_yet() -> None:
    assert parts([booked(105)], [billed(106)], known_until=111) == [111]
    assert parts([booked(105)], [billed(106)], known_until=110) == []


def test_a_run_alone_on_its_key_is_one_part() -> None:
    book, bill = [booked(105), booked(108)], [billed(105), billed(108)]
    assert cut(SPAN, book=book, gaps=(), bill=bill, known_until=120, runs=[(101, 110)], shift_min=K) == (SPAN,)


calls = st.lists(st.tuples(st.integers(101, 190), st.integers(0, 5), st.integers(1, 9)), max_size=8)


@given(calls, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.integers(0, 2))
def test_whatever_is_cut_is_equal_before_the_cut_and_whole_on_both_sides(
    made: list[tuple[int, int, int]], late: list[int], missing: int
) -> None:
    book = [booked(begin, begin + lasts, tokens) for begin, lasts, tokens in made]
    bill = [billed(begin + lasts + shift, tokens) for (begin, lasts, tokens), shift in zip(made, late, strict=False)][
        missing:
    ]
    runs = [(begin, begin + lasts) for begin, lasts, _ in made]
    found = cut(SPAN, book=book, gaps=(), bill=bill, known_until=SPAN.end, runs=runs, shift_min=K)
    for part in found[:-1]:
        before = [each for each in made if each[0] + each[1] < part.end]
        assert all(each in before or each[0] >= part.end for each in made)
        assert sum(tokens for *_, tokens in before) == sum(r.input_tokens or 0 for r in bill if r.minute < part.end)


def test_a_bypass_in_the_second_of_two_runs_on_one_key_leaves_the_first_verified(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.at(here.second + 120)
        here.mark("r-2", "begin")
        here.call(run="r-2")
        here.call(run="r-2", metered=False, tokens=(7, 0, 1))
        here.mark("r-2", "end")
        assert verdicts(here) == {"r-1": Verdict.VERIFIED, "r-2": Verdict.SHORT}


def test_a_run_is_verified_while_its_key_goes_on_being_used(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.at(here.second + 60)
        here.mark("r-2", "begin")
        for _ in range(30):
            here.at(here.second + 240)
            here.call(run="r-2")
        here.audit("r-1")
        here.at(here.second + 240)
        for _ in range(8):
            here.at(here.second + 240)
            here.call(run="r-2")
        report = here.audit("r-1", "r-2")
        said = {line.name: line.verdict for line in report.runs}
        assert said == {"baes/r-1": Verdict.VERIFIED, "baes/r-2": Verdict.PENDING}


def verdicts(here: World) -> dict[str, Verdict]:
    here.at(here.second + 4200)
    here.audit("r-1", "r-2")
    here.at(here.second + 1800)
    return {line.run[1]: line.verdict for line in here.audit("r-1", "r-2").runs if line.run}
