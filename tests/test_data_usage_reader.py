"""The rule of whole reads: what is asked next, which minutes are empty, and what no good read can hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from submeter.data.usage_pages import BadRead, Problem, UsageEndpoint
from submeter.data.usage_reader import PAGES_MAX, PageReader, Question, replay

BEGIN = 29_360_760
"""Minutes; the window's first."""
COMPLETIONS = UsageEndpoint.COMPLETIONS


def row(tokens: int = 1, **fields: Any) -> dict[str, Any]:
    return {"api_key_id": "key_a", "model": "m", "input_tokens": tokens, "output_tokens": 2, **fields}


def bucket(minute: int, *results: dict[str, Any]) -> dict[str, Any]:
    start = 60 * (BEGIN + minute)
    return {"start_time": start, "end_time": start + 60, "results": list(results)}


def page(*buckets: dict[str, Any], more: str | None = None) -> bytes:
    return json.dumps({"data": buckets, "has_more": more is not None, "next_page": more}).encode()


def reader(minutes: int = 10) -> PageReader:
    window = {"window_start": 60 * BEGIN, "window_end": 60 * (BEGIN + minutes)}
    return PageReader(COMPLETIONS, api_key_id="key_a", **window)


def taken(*pages: bytes, minutes: int = 10) -> PageReader:
    made = reader(minutes)
    for body in pages:
        made.take(body)
    return made


def asked(made: PageReader) -> tuple[int, str | None] | None:
    """The minute of the window and the cursor that are asked for next."""
    return None if made.question is None else (made.question.start // 60 - BEGIN, made.question.cursor)


def minutes_of(made: PageReader) -> list[tuple[int, int | None]]:
    return [(each.minute - BEGIN, each.input_tokens) for each in made.rows]


def empties(*minutes: int) -> list[dict[str, Any]]:
    return [bucket(minute) for minute in minutes]


def test_a_window_whose_every_minute_is_listed_is_whole_after_one_answer() -> None:
    made = taken(page(*empties(0, 1, 2, 3), more="p"), page(bucket(4, row(7)), *empties(5, 6, 7, 8, 9)))
    assert (asked(made), made.holes, minutes_of(made)) == (None, 0, [(4, 7)])


def test_the_pages_of_one_answer_are_asked_for_by_its_cursors_and_from_its_own_begin() -> None:
    made = taken(page(*empties(0, 1), more="a"))
    assert made.question == Question(start=60 * BEGIN, cursor="a")
    made = taken(page(*empties(0, 1)), page(*empties(2, 3), more="a"))
    assert asked(made) == (2, "a")


def test_an_answer_that_stops_early_is_asked_again_from_where_it_stopped() -> None:
    made = taken(page(*empties(0, 1, 2)))
    assert asked(made) == (3, None)
    made.take(page(bucket(3, row(5)), *empties(4, 5, 6, 7, 8, 9)))
    assert (asked(made), made.holes, minutes_of(made)) == (None, 0, [(3, 5)])


def test_a_minute_left_out_in_the_middle_is_asked_again_with_all_that_follows() -> None:
    made = taken(page(*empties(0, 1), bucket(3, row(9)), *empties(4, 5, 6, 7, 8, 9)))
    assert asked(made) == (2, None)
    made.take(page(bucket(2, row(4)), bucket(3, row(9)), *empties(4, 5, 6, 7, 8, 9)))
    assert (asked(made), made.holes, minutes_of(made)) == (None, 0, [(2, 4), (3, 9)])


def test_minutes_are_empty_where_an_answer_began_exactly_there_and_lists_later_ones() -> None:
    made = taken(page(*empties(0, 1), bucket(5, row(9))), page(bucket(5, row(9)), *empties(6, 7, 8, 9)))
    assert (asked(made), made.holes, minutes_of(made)) == (None, 3, [(5, 9)])


def test_all_the_rest_is_empty_where_an_answer_began_there_and_lists_nothing() -> None:
    assert (asked(taken(page())), taken(page()).holes) == (None, 10)
    made = taken(page(bucket(0, row())), page())
    assert (asked(made), made.holes, minutes_of(made)) == (None, 9, [(0, 1)])


def test_an_answer_that_lists_nothing_on_its_first_page_may_list_something_on_its_next() -> None:
    made = taken(page(more="a"))
    assert (asked(made), made.holes) == ((0, "a"), 0)
    made.take(page(bucket(8, row())))
    assert (asked(made), made.holes) == ((9, None), 8)


def test_an_answer_is_not_believed_on_what_it_passes_over_further_on() -> None:
    made = taken(page(*empties(0), bucket(4), bucket(9)))
    assert (asked(made), made.holes) == ((1, None), 0)


@pytest.mark.parametrize(
    "second",
    [
        page(bucket(5, row(8)), *empties(6, 7, 8, 9)),
        page(bucket(5), *empties(6, 7, 8, 9)),
        page(*empties(6, 7, 8, 9)),
        page(*empties(2), bucket(6)),
        page(),
        page(bucket(5, row(9), row(1, model="n")), *empties(6, 7, 8, 9)),
    ],
)
def test_a_minute_that_two_answers_tell_of_differently_makes_no_good_read(second: bytes) -> None:
    made = taken(page(*empties(0, 1), bucket(5, row(9)), *empties(6, 7, 8, 9)))
    with pytest.raises(BadRead) as bad:
        made.take(second)
    assert bad.value.problem is Problem.CONTRADICTED


def test_an_answer_that_stops_before_a_minute_says_nothing_of_it() -> None:
    made = taken(page(*empties(0, 1), bucket(5, row(9))), page(*empties(2, 3)))
    assert asked(made) == (4, None)
    made.take(page(*empties(4), bucket(5, row(9)), *empties(6, 7, 8, 9)))
    assert (asked(made), minutes_of(made)) == (None, [(5, 9)])


def test_rows_of_one_minute_may_come_in_another_order_and_an_empty_bucket_may_be_left_out() -> None:
    one, other = row(9), row(1, model="n")
    made = taken(page(*empties(0, 1), bucket(5, one, other), *empties(6, 8, 9)))
    made.take(page(bucket(5, other, one), *empties(6)))
    made.take(page(*empties(9)))
    assert (asked(made), made.holes, len(made.rows)) == (None, 3 + 2, 2)


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        ([page(*empties(0)), page(*empties(0, 1))], Problem.BUCKET_OUTSIDE),
        ([page(*empties(0)), page(*empties(1, 1))], Problem.BUCKET_REPEATED),
        ([page(*empties(0)), page(*empties(2, 1))], Problem.BUCKET_DISORDERED),
        ([page(*empties(0), more="a"), page(*empties(1), more="a")], Problem.CURSOR_REPEATED),
        ([page(*empties(0)), page(bucket(1, row(api_key_id="key_b")))], Problem.OTHER_KEY),
    ],
)
def test_every_answer_of_a_read_is_held_to_the_same_rule(pages: list[bytes], problem: Problem) -> None:
    with pytest.raises(BadRead) as bad:
        taken(*pages)
    assert bad.value.problem is problem


def test_a_cursor_may_come_again_in_another_answer() -> None:
    made = taken(page(*empties(0), more="a"), page(*empties(1)), page(*empties(2), more="a"))
    assert asked(made) == (2, "a")


def test_pages_without_an_end_are_no_good_read() -> None:
    made = taken(*(page(more=f"page_{number}") for number in range(PAGES_MAX - 1)))
    with pytest.raises(BadRead) as bad:
        made.take(page(more="page_last"))
    assert bad.value.problem is Problem.TOO_MANY_PAGES


def test_holes_without_an_end_are_no_good_read() -> None:
    made = taken(*(page(*empties(minute)) for minute in range(PAGES_MAX - 1)), minutes=2 * PAGES_MAX)
    with pytest.raises(BadRead) as bad:
        made.take(page(*empties(PAGES_MAX - 1)))
    assert bad.value.problem is Problem.TOO_MANY_HOLES


def test_rows_of_all_keys_are_read_where_no_key_was_asked_for() -> None:
    made = PageReader(COMPLETIONS, api_key_id=None, window_start=60 * BEGIN, window_end=60 * (BEGIN + 1))
    made.take(page(bucket(0, row(1), row(2, api_key_id="key_b"), row(3, api_key_id=None))))
    assert [each.api_key_id for each in made.rows] == ["key_a", "key_b", None]


def test_nothing_is_taken_after_the_last_page() -> None:
    with pytest.raises(ValueError, match="nothing was asked"):
        taken(page(), page())


# A read again, from its pages alone

WINDOW = {"window_start": 60_000_000 * BEGIN, "window_end": 60_000_000 * (BEGIN + 10)}


def played(pages: Iterable[bytes], **more: int) -> PageReader:
    times = {**WINDOW, "asked_at": WINDOW["window_end"], **more}
    return replay(COMPLETIONS, api_key_id="key_a", pages=pages, **times)


WHOLE = (page(*empties(0, 1), more="a"), page(bucket(2, row())), page(*empties(3, 4, 5, 6, 7, 8, 9)))


def test_a_read_is_gone_through_again_from_its_pages_alone() -> None:
    made = played(WHOLE)
    assert (made.holes, minutes_of(made)) == (0, [(2, 1)])


@pytest.mark.parametrize(
    ("pages", "more", "problem"),
    [
        ((), {}, Problem.NOT_KEPT),
        (WHOLE[:1], {}, Problem.NOT_KEPT),
        (WHOLE[:2], {}, Problem.HOLE_NOT_ASKED),
        ((*WHOLE, page()), {}, Problem.NOT_KEPT),
        ((WHOLE[0], WHOLE[2], WHOLE[1]), {}, Problem.HOLE_NOT_ASKED),
        (WHOLE, {"asked_at": WINDOW["window_end"] - 1}, Problem.BAD_WINDOW),
        (WHOLE, {"window_start": WINDOW["window_start"] + 1}, Problem.BAD_WINDOW),
        (WHOLE, {"window_end": WINDOW["window_start"]}, Problem.BAD_WINDOW),
    ],
)
def test_a_read_whose_pages_or_window_do_not_make_one_is_not_good(
    pages: tuple[bytes, ...], more: dict[str, int], problem: Problem
) -> None:
    with pytest.raises(BadRead) as bad:
        played(pages, **more)
    assert bad.value.problem is problem


# Servers of every kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Knows the true bill; lists empty minutes or not, in pages of some size, and may stop early or leave some out."""

    bill: dict[int, int]
    minutes: int
    fills: bool
    page_size: int
    cut: int
    """An answer stops after so many buckets, 1 or more."""
    left_out: Callable[[int, int], bool]
    """Whether an answer that begins at a minute leaves another, later one out."""

    def answer(self, question: Question) -> bytes:
        first = question.start // 60 - BEGIN
        listed = [
            minute
            for minute in range(first, self.minutes)
            if (self.fills or minute in self.bill) and (minute == first or not self.left_out(first, minute))
        ][: self.cut]
        at = int(question.cursor or 0)
        shown = [
            bucket(minute, *([row(self.bill[minute])] if minute in self.bill else []))
            for minute in listed[at : at + self.page_size]
        ]
        later = at + self.page_size
        return page(*shown, more=str(later) if later < len(listed) else None)


@pytest.mark.parametrize("seed", range(200))
def test_a_good_read_tells_the_true_bill_of_a_server_that_cuts_answers_short_or_leaves_empty_minutes_out(
    seed: int,
) -> None:
    chance = random.Random(seed)
    minutes = chance.randint(1, 60)
    fills = chance.random() < 0.5
    bill = {minute: chance.randint(1, 99) for minute in range(minutes) if chance.random() < 0.3}
    server = Server(
        bill=bill,
        minutes=minutes,
        fills=fills,
        page_size=chance.randint(1, 20),
        cut=chance.randint(1, 30),
        # A server that leaves minutes out of one answer, and that is seen through because it fills those it begins at.
        left_out=lambda first, minute: fills and (first * 7 + minute * 13 + seed) % 5 == 0 and minute not in bill,
    )
    made = reader(minutes)
    pages = []
    while made.question is not None:
        pages.append(server.answer(made.question))
        made.take(pages[-1])
    assert minutes_of(made) == sorted(bill.items())
    assert made.holes + len({minute for body in pages for minute in listed_in(body)}) == minutes
    again = replay(
        COMPLETIONS,
        api_key_id="key_a",
        window_start=60_000_000 * BEGIN,
        window_end=60_000_000 * (BEGIN + minutes),
        asked_at=60_000_000 * (BEGIN + minutes),
        pages=pages,
    )
    assert (again.rows, again.holes) == (made.rows, made.holes)


def listed_in(body: bytes) -> list[int]:
    return [each["start_time"] for each in json.loads(body)["data"]]
