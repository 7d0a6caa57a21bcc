"""A token cannot be found by trying, however short it is."""

from __future__ import annotations

import pytest

from submeter.data.clock import FixedClock
from submeter.proxy.control import Control
from submeter.proxy.guesses import ADDRESSES_MAX, WRONG_A_MINUTE_MAX, Guesses

NOW_US = 1_795_000_020_000_000


def control(clock: FixedClock, token: str | None = "abcde") -> Control:
    return Control(clock=clock, apply=lambda mark: mark, follow=lambda mark: mark, health=dict, token=token)


def status(asked: Control, token: str | None, address: str) -> int | None:
    refused = asked.token_refused(token, address)
    return None if refused is None else refused[0]


def test_who_guesses_is_not_heard_for_the_rest_of_the_minute_and_others_are() -> None:
    clock = FixedClock(NOW_US)
    asked = control(clock)
    assert {status(asked, f"guess-{number}", "10.0.0.9") for number in range(WRONG_A_MINUTE_MAX)} == {401}
    assert status(asked, "abcde", "10.0.0.9") == 429
    assert status(asked, "abcde", "10.0.0.8") is None
    clock.sleep(60)
    assert status(asked, "abcde", "10.0.0.9") is None


@pytest.mark.parametrize("here", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_client_without_any_token_and_this_machine_s_own_are_never_shut_out(here: str) -> None:
    asked = control(FixedClock(NOW_US))
    for _ in range(2 * WRONG_A_MINUTE_MAX):
        assert status(asked, None, "10.0.0.9") == 401
        assert status(asked, "wrong", here) == 401
        status(asked, "wrong", "::ffff:10.0.0.7")
    assert status(asked, "abcde", "10.0.0.9") is None
    assert status(asked, "abcde", here) is None
    assert status(asked, "abcde", "::ffff:10.0.0.7") == 429


def test_a_control_path_is_shut_by_the_same_count() -> None:
    asked = control(FixedClock(NOW_US))
    wrong = {"host": "localhost", "x-submeter-token": "wrong"}
    for _ in range(WRONG_A_MINUTE_MAX):
        asked.refused(wrong, "10.0.0.9")
    refused = asked.refused({**wrong, "x-submeter-token": "abcde"}, "10.0.0.9")
    assert refused is not None
    assert refused.status_code == 429


def test_a_listener_without_a_token_counts_nothing() -> None:
    assert status(control(FixedClock(NOW_US), token=None), "anything", "10.0.0.9") is None


def test_only_so_many_addresses_are_remembered() -> None:
    guesses = Guesses(FixedClock(NOW_US))
    for number in range(ADDRESSES_MAX + 10):
        guesses.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guesses._wrong) == ADDRESSES_MAX
