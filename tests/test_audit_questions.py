"""The minute book as SQL makes it: active minutes, skew, standing, silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import BEGIN_S, World, world

from submeter.audit import questions
from submeter.audit.questions import asking
from submeter.audit.unit import BookRow
from submeter.data.call import Flag, Outcome, Standing, Usage
from submeter.data.clock import US_PER_S

FIRST = BEGIN_S // 60
K = 5


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def book(here: World, **more: Any) -> list[BookRow]:
    here.ledger.ingest()
    with asking(here.ledger) as asked:
        return questions.book(asked, ["key_baes"], shift_min=K, **more)["key_baes"]


def minutes(row: BookRow) -> tuple[int, int]:
    """First and last active minute, from the begin of the world."""
    return row.first_minute - FIRST, row.last_minute - FIRST


def test_a_call_is_active_around_its_own_minutes_and_k_after(here: World) -> None:
    here.call(lasts=130.0)
    (row,) = book(here)
    assert minutes(row) == (-1, 2 + 1 + K)
    assert (row.standing, row.calls, row.input_tokens, row.cached_input_tokens) == (Standing.COUNTED, 1, 100, 40)


def test_the_later_of_the_providers_completion_and_the_last_byte_is_the_end(here: World) -> None:
    here.call(lasts=10.0, completed_at=(BEGIN_S + 200) * US_PER_S)
    here.call(lasts=10.0, completed_at=(BEGIN_S - 900) * US_PER_S)
    assert sorted(minutes(row) for row in book(here)) == [(-1, 6), (-1, 9)]


@pytest.mark.parametrize(("skew_s", "moved"), [(0, 0), (7, 0), (-14, 0), (300, 5), (-600, -10)])
def test_our_clock_is_corrected_by_the_skew_of_its_process(here: World, skew_s: int, moved: int) -> None:
    for _ in range(3):
        at = here.clock.now_us()
        here.call(lasts=2.0, first_byte_at=at, server_date=(at // US_PER_S + skew_s) * US_PER_S)
    (row,) = book(here)
    assert (row.calls, minutes(row)) == (3, (moved - 1, moved + 1 + K))


def test_alike_calls_are_one_row_and_apart_only_those_of_equal_counts(here: World) -> None:
    for tokens in ((100, 40, 10), (100, 40, 10), (7, 0, 1)):
        here.call(lasts=1.0, tokens=tokens)
    (row,) = book(here)
    assert (row.calls, row.input_tokens) == (3, 207)
    assert sorted((each.calls, each.input_tokens) for each in book(here, apart=True)) == [(1, 7), (2, 200)]


def test_images_whose_tokens_were_told_are_summed_apart_from_those_that_told_none(here: World) -> None:
    for told in ((50, 4160), (60, 4160), (None, None)):
        counts = Usage(input_tokens=told[0], output_tokens=told[1], images=1)
        here.call(lasts=1.0, tokens=None, usage_endpoint="images", usage_counts=counts)
    rows = book(here)
    assert sorted((row.calls, row.images, row.input_tokens or -1) for row in rows) == [(1, 1, -1), (2, 2, 110)]


def test_unknown_calls_have_no_sums_and_say_what_they_may_have_used(here: World) -> None:
    here.call(lasts=1.0, outcome=Outcome.ABORTED)
    here.call(lasts=1.0, outcome=Outcome.ABORTED, flags=(Flag.HOSTED_TOOL,))
    here.call(lasts=1.0, outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,))
    rows = book(here)
    assert {(row.standing, row.input_tokens) for row in rows} == {(Standing.UNKNOWN, None)}
    background = next(row for row in rows if row.open)
    tool = next(row for row in rows if row.hosted)
    plain = next(row for row in rows if not (row.open or row.hosted))
    assert (plain.any_model, plain.loose, plain.model) == (False, False, "gpt-4o-mini-2024-07-18")
    assert (tool.any_model, tool.loose) == (True, True)
    assert (background.any_model, background.loose) == (False, True)


@pytest.mark.parametrize(
    ("told", "flags", "kind"),
    [
        ({"image_gen": {"input_tokens": 12, "output_tokens": 0}}, (Flag.HOSTED_TOOL,), "image_gen"),
        ({"image_gen": {"input_tokens": 12, "output_tokens": 272}}, (), None),
        ({"image_gen": {"input_tokens": 0, "output_tokens": 0}}, (Flag.HOSTED_TOOL,), None),
        ({"image_gen": {"input_tokens": "many"}}, (Flag.HOSTED_TOOL,), None),
        ({"web_search": {"num_requests": 2}}, (Flag.HOSTED_TOOL,), None),
        (None, (Flag.HOSTED_TOOL,), None),
    ],
)
def test_a_counted_call_whose_hosted_tool_told_tokens_of_images_is_of_their_class(
    here: World, told: object, flags: tuple[Flag, ...], kind: str | None
) -> None:
    here.call(lasts=1.0, tool_usage=told, flags=flags)
    (row,) = book(here)
    assert (row.standing, row.hosted, row.optional_class) == (Standing.COUNTED, bool(flags), kind)


def test_a_call_to_an_endpoint_that_is_not_known_may_be_any_model_only_where_it_named_none(here: World) -> None:
    for model in ("gpt-4o-mini", None):
        here.call(
            lasts=1.0,
            billed=False,
            usage_endpoint=None,
            outcome=Outcome.NO_USAGE,
            flags=(Flag.UNKNOWN_ENDPOINT,),
            request_model=model,
        )
    assert {(row.model, row.any_model) for row in book(here)} == {("gpt-4o-mini", False), (None, True)}


def test_background_work_of_which_nothing_is_told_is_active_until_now_and_for_a_day_at_most(here: World) -> None:
    here.call(lasts=1.0, outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,))
    for minute, until, waits in ((90, 90, True), (24 * 60 - 1, 24 * 60 - 1, True), (26 * 60, 24 * 60, False)):
        here.to(minute)
        (row,) = book(here)
        assert (row.open, minutes(row)) == (waits, (-1, until + 1 + K))


def test_an_open_call_is_active_until_now(here: World) -> None:
    here.open_call()
    here.at(600)
    (row,) = book(here)
    assert (row.open, row.standing, minutes(row)) == (True, Standing.UNKNOWN, (-1, 10 + 1 + K))


def test_a_silent_cached_count_is_counted_as_silent(here: World) -> None:
    here.call(lasts=1.0, usage_counts=Usage(input_tokens=100, output_tokens=10))
    (row,) = book(here)
    assert (row.standing, row.cached_silent, row.cached_input_tokens) == (Standing.COUNTED, 1, None)


def test_the_id_of_a_key_that_is_configured_later_stands_for_its_earlier_calls(here: World) -> None:
    here.call(lasts=1.0, with_id=False)
    assert book(here) == []
    here.journal.append("key", {"key_fingerprint": "fp-baes", "framework": "baes", "api_key_id": "key_baes"})
    assert [row.calls for row in book(here)] == [1]
