"""Spans, windows and what is read: every minute of every call in exactly one window."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.audit.span import READ_MIN_MAX, Window, active_minutes, read_windows, spans
from submeter.audit.unclaimed import without

MINUTE_US = 60_000_000

activity = st.tuples(st.integers(0, 300), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
windows = st.lists(activity, min_size=1, max_size=12).map(spans)


def test_a_call_is_active_from_a_minute_before_its_start_to_a_minute_and_k_after_its_end() -> None:
    assert active_minutes(10 * MINUTE_US, 12 * MINUTE_US + 59_999_999, shift_min=5) == (9, 18)
    assert active_minutes(10 * MINUTE_US + 30, 10 * MINUTE_US + 31, shift_min=0) == (9, 11)


def test_activities_that_overlap_or_touch_are_one_span_and_a_free_minute_parts_them() -> None:
    assert spans([(10, 12), (12, 14)]) == (Window(start=10, end=15),)
    assert spans([(13, 14), (10, 12)]) == (Window(start=10, end=15),)
    assert spans([(10, 12), (14, 14)]) == (Window(start=10, end=13), Window(start=14, end=15))
    assert spans([(10, 20), (12, 13)]) == (Window(start=10, end=21),)
    assert spans([]) == ()


def test_an_empty_window_is_no_window() -> None:
    with pytest.raises(ValueError, match="empty"):
        Window(start=5, end=5)


@given(st.lists(activity, max_size=12))
def test_spans_hold_every_activity_and_nothing_else_and_never_touch(activities: list[tuple[int, int]]) -> None:
    found = spans(activities)
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


@given(windows, windows)
def test_what_is_left_without_some_windows_is_every_other_minute(
    one: tuple[Window, ...], other: tuple[Window, ...]
) -> None:
    left = {minute for window in without(one, other) for minute in range(window.start, window.end)}
    assert left == {m for w in one for m in range(w.start, w.end)} - {m for w in other for m in range(w.start, w.end)}
