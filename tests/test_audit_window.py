"""Windows, chains and what is read: every minute of every call in exactly one chain."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.audit.chain import chain_windows, run_window
from submeter.audit.window import READ_MIN_MAX, Window, active_minutes, read_windows, touching, without

MINUTE_US = 60_000_000

activity = st.tuples(st.integers(0, 300), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def chains(activities: list[tuple[int, int]]) -> tuple[Window, ...]:
    """Of calls alone, each active from its first to its last minute."""
    return chain_windows(activities, [])


windows = st.lists(activity, min_size=1, max_size=12).map(chains)


def test_a_call_is_active_from_a_minute_before_its_start_to_a_minute_and_k_after_its_end() -> None:
    assert active_minutes(10 * MINUTE_US, 12 * MINUTE_US + 59_999_999, shift_min=5) == (9, 18)
    assert active_minutes(10 * MINUTE_US + 30, 10 * MINUTE_US + 31, shift_min=0) == (9, 11)


def test_activities_that_overlap_or_touch_are_one_chain_and_a_free_minute_parts_them() -> None:
    assert chains([(10, 12), (12, 14)]) == (Window(start=10, end=15),)
    assert chains([(13, 14), (10, 12)]) == (Window(start=10, end=15),)
    assert chains([(10, 12), (14, 14)]) == (Window(start=10, end=13), Window(start=14, end=15))
    assert chains([(10, 20), (12, 13)]) == (Window(start=10, end=21),)
    assert chains([]) == ()


def test_a_run_window_parts_chains_as_a_call_does_and_joins_what_it_reaches() -> None:
    run = Window(start=20, end=30)
    assert chain_windows([(10, 18)], [run]) == (Window(start=10, end=19), run)
    assert chain_windows([(10, 19)], [run]) == (Window(start=10, end=30),)
    assert chain_windows([], [run, Window(start=30, end=40)]) == (Window(start=20, end=40),)


def test_a_run_is_seen_from_a_minute_before_its_begin_to_a_minute_and_k_after_the_later_of_its_end_and_its_calls() -> (
    None
):
    assert run_window(begin_minute=10, end_minute=20, active=None, shift_min=5) == Window(start=9, end=27)
    assert run_window(begin_minute=10, end_minute=20, active=(8, 30), shift_min=5) == Window(start=8, end=31)
    assert run_window(begin_minute=10, end_minute=20, active=(12, 19), shift_min=5) == Window(start=9, end=27)


def test_marks_by_a_clock_of_which_nothing_is_known_leave_a_minute_more_on_each_side() -> None:
    known = run_window(begin_minute=10, end_minute=20, active=None, shift_min=5)
    unknown = run_window(begin_minute=10, end_minute=20, active=None, shift_min=5, skew_known=False)
    assert (unknown.start, unknown.end) == (known.start - 1, known.end + 1)


def test_a_run_that_ends_before_it_begins_still_has_the_minutes_of_its_begin() -> None:
    assert run_window(begin_minute=10, end_minute=3, active=None, shift_min=5) == Window(start=9, end=17)


def test_an_empty_window_is_no_window() -> None:
    with pytest.raises(ValueError, match="empty"):
        Window(start=5, end=5)


@given(st.lists(activity, max_size=12))
def test_chains_hold_every_activity_and_nothing_else_and_never_touch(activities: list[tuple[int, int]]) -> None:
    found = chains(activities)
    minutes = {minute for first, last in activities for minute in range(first, last + 1)}
    assert {minute for window in found for minute in range(window.start, window.end)} == minutes
    assert all(before.end < after.start for before, after in pairwise(found))


@given(windows, st.integers(0, 90))
def test_reads_tile_the_time_and_break_no_window(wanted: tuple[Window, ...], after: int) -> None:
    until = wanted[-1].end + after
    tiles = read_windows(wanted, until=until)
    assert (tiles[0].start, tiles[-1].end) == (wanted[0].start, until)
    assert all(before.end == later.start for before, later in pairwise(tiles))
    assert all(any(tile.covers(window) for tile in tiles) for window in wanted)


def test_a_long_time_is_read_in_pieces_of_at_most_a_week_unless_one_window_is_longer() -> None:
    day = 1440
    far = [Window(start=n * 5 * day, end=n * 5 * day + 60) for n in range(6)]
    tiles = read_windows(far, until=far[-1].end + 60)
    assert all(tile.end - tile.start <= READ_MIN_MAX for tile in tiles)
    assert all(any(tile.covers(window) for tile in tiles) for window in far)
    gap = [Window(start=0, end=60), Window(start=30 * day, end=30 * day + 60)]
    assert all(tile.end - tile.start <= READ_MIN_MAX for tile in read_windows(gap, until=30 * day + 120))
    assert read_windows([Window(start=0, end=10 * day)], until=10 * day) == (Window(start=0, end=10 * day),)
    assert read_windows([], until=5) == ()


@given(st.lists(activity, max_size=12))
def test_windows_that_touch_are_joined_in_whatever_order_they_come(activities: list[tuple[int, int]]) -> None:
    each = [Window(start=first, end=last + 1) for first, last in activities]
    assert touching(each) == touching(reversed(each)) == chains(activities)


@given(windows, windows)
def test_what_is_left_without_some_windows_is_every_other_minute(
    one: tuple[Window, ...], other: tuple[Window, ...]
) -> None:
    left = {minute for window in without(one, other) for minute in range(window.start, window.end)}
    assert left == {m for w in one for m in range(w.start, w.end)} - {m for w in other for m in range(w.start, w.end)}
