"""What the reads of a key prove, minute by minute: confirmed, unread, fallen, changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from audit_chain import MINUTE_US, billed

from submeter.audit.bucket import UsageEndpoint
from submeter.audit.history import History, Minutes, Read, Waiting, differs_since, minutes_of, rows_by_minute
from submeter.audit.unit import BillRow
from submeter.audit.window import Window

HELD = Window(start=1000, end=1003)
SETTLED = 1061
"""A minute from which on 1000 has settled."""
DAY = 24 * 60
ONE, TWO = [billed(1000)], [billed(1000), billed(1000, (1, 0, 1), model="other")]


def history(*reads: tuple[float, Sequence[BillRow] | None] | tuple[float, Sequence[BillRow] | None, Window]) -> History:
    """Reads by minute and bill; without a bill it failed."""
    made, rows = [], {}
    for number, each in enumerate(reads):
        minute, bill = each[0], each[1]
        window = each[2] if len(each) == 3 else Window(start=990, end=1010)
        made.append(Read(read_id=f"{number}", asked_us=int(minute * MINUTE_US), window=window, good=bill is not None))
        if bill is not None:
            rows[f"{number}"] = rows_by_minute(bill)
    return History(usage_endpoint=UsageEndpoint.COMPLETIONS, reads=tuple(made), rows=rows)


def proved(*reads: tuple[float, Sequence[BillRow] | None], waiting: Waiting | None = None) -> Minutes:
    return minutes_of(history(*reads), Window(start=1000, end=1001), waiting or Waiting())


def confirmed(*reads: tuple[float, Sequence[BillRow] | None]) -> bool:
    return bool(proved(*reads).confirmed)


# Confirmed


def test_two_equal_reads_half_an_hour_apart_confirm_a_minute_once_it_has_settled() -> None:
    assert confirmed((SETTLED - 30, ONE), (SETTLED, ONE))
    assert not confirmed((SETTLED - 30, ONE), (SETTLED - 0.01, ONE))
    assert not confirmed((SETTLED - 29.99, ONE), (SETTLED, ONE))
    assert not confirmed((SETTLED, ONE))


def test_a_read_that_differs_between_two_equal_ones_breaks_them() -> None:
    assert not confirmed((SETTLED - 60, ONE), (SETTLED - 30, TWO), (SETTLED, ONE))
    assert not confirmed((SETTLED - 60, ONE), (SETTLED - 10, []), (SETTLED, ONE))
    assert confirmed((SETTLED - 60, []), (SETTLED - 30, ONE), (SETTLED, ONE))


def test_reads_too_close_to_the_counted_one_are_passed_over_not_counted() -> None:
    assert confirmed((SETTLED - 30, ONE), (SETTLED - 20, ONE), (SETTLED - 10, ONE), (SETTLED, ONE))
    assert not confirmed((SETTLED - 25, ONE), (SETTLED - 20, ONE), (SETTLED - 10, ONE), (SETTLED, ONE))


def test_an_empty_minute_is_confirmed_as_any_other() -> None:
    assert confirmed((SETTLED - 30, []), (SETTLED, []))


def test_a_read_that_failed_proves_nothing_and_takes_nothing_away() -> None:
    assert not confirmed((SETTLED - 30, None), (SETTLED, ONE))
    assert confirmed((SETTLED - 30, ONE), (SETTLED - 10, None), (SETTLED, ONE), (SETTLED + 5, None))


def test_the_order_and_the_split_of_equal_rows_is_part_of_no_proof_but_every_count_is() -> None:
    assert confirmed((SETTLED - 30, TWO), (SETTLED, TWO[::-1]))
    assert not confirmed((SETTLED - 30, TWO), (SETTLED, [TWO[0], billed(1000, (1, 0, 2), model="other")]))


def test_each_minute_is_confirmed_by_the_reads_that_hold_it() -> None:
    early = Window(start=990, end=1001)
    minutes = minutes_of(history((SETTLED, ONE, early), (SETTLED + 40, ONE)), HELD, Waiting())
    assert minutes.confirmed == {1000}
    assert not minutes.unread
    assert minutes_of(history((SETTLED, ONE, early)), HELD, Waiting()).unread == {1001, 1002}


def test_a_later_minute_settles_later() -> None:
    minutes = minutes_of(history((SETTLED - 30, ONE), (SETTLED + 1, ONE)), HELD, Waiting())
    assert minutes.confirmed == {1000, 1001}


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_as_many_reads_are_asked_for_as_the_settings_say(reads: int) -> None:
    waiting = Waiting(stable_reads=reads)
    enough = [(SETTLED + 30.0 * number, ONE) for number in range(reads)]
    assert proved(*enough, waiting=waiting).confirmed
    assert not proved(*enough[1:], waiting=waiting).confirmed
    assert proved(*enough, waiting=waiting).counted == tuple(f"{number}" for number in range(reads))


def test_the_bill_is_that_of_the_latest_good_read_of_each_minute() -> None:
    late = Window(start=1001, end=1010)
    both = [billed(1000), billed(1001)]
    minutes = minutes_of(history((SETTLED, both), (SETTLED + 30, [billed(1001, (7, 0, 1))], late)), HELD, Waiting())
    assert minutes.bill == (billed(1000), billed(1001, (7, 0, 1)))
    assert minutes.asked_us == SETTLED * MINUTE_US


# Fell


def test_a_unit_that_was_higher_before_has_fallen_and_one_that_rose_has_not() -> None:
    assert proved((SETTLED, ONE), (SETTLED + 30, [])).fell == {1000}
    assert proved((SETTLED, []), (SETTLED + 30, ONE)).fell == set()
    assert proved((SETTLED, ONE), (SETTLED + 30, [billed(1000, (101, 40, 9))])).fell == {1000}


def test_tokens_that_move_to_another_model_fell_in_their_own() -> None:
    assert proved((SETTLED, ONE), (SETTLED + 30, [billed(1000, model="other")])).fell == {1000}


def test_batch_work_that_becomes_less_is_no_fall() -> None:
    batch = billed(1000, batch=True)
    assert proved((SETTLED, [*ONE, batch]), (SETTLED + 30, ONE), (SETTLED + 60, ONE)).fell == set()


def test_a_fall_is_believed_once_good_reads_over_a_day_since_agree() -> None:
    fall = SETTLED + 30
    assert proved((SETTLED, ONE), (fall, []), (fall + DAY - 0.01, [])).fell == {1000}
    assert proved((SETTLED, ONE), (fall, []), (fall + DAY, [])).fell == set()
    assert proved((SETTLED, TWO), (fall, []), (fall + 10, ONE), (fall + DAY, ONE)).fell == {1000}
    assert proved((SETTLED, ONE), (fall, []), (fall + DAY + 5, ONE)).fell == set()


def test_a_minute_that_fell_is_not_confirmed_until_the_fall_is_believed() -> None:
    fall = SETTLED + 30
    assert not confirmed((SETTLED, ONE), (fall, []), (fall + 30, []), (fall + 60, []))
    assert confirmed((SETTLED, ONE), (fall, []), (fall + 30, []), (fall + DAY, []))


# Changed


def test_a_window_differs_since_a_moment_if_its_latest_good_read_shows_other_rows() -> None:
    then = int((SETTLED + 1) * MINUTE_US)
    assert differs_since(history((SETTLED, ONE), (SETTLED + 30, TWO)), HELD, then)
    assert not differs_since(history((SETTLED, ONE), (SETTLED + 30, ONE)), HELD, then)
    assert not differs_since(history((SETTLED, ONE), (SETTLED + 30, None)), HELD, then)
    assert not differs_since(history((SETTLED, ONE), (SETTLED + 30, [*ONE, billed(1007)])), HELD, then)
    assert not differs_since(history((SETTLED + 30, TWO)), HELD, then)
