"""Doctor looks for work that is on the bill, and that a proxy which was up did not see."""

from __future__ import annotations

from pathlib import Path

import pytest
from metered_world import KEY_ID, NOW_US, SECRET, ask

from submeter.cli.checks import State
from submeter.cli.past_the_meter import check_past_the_meter, first_past
from submeter.data.clock import US_PER_MINUTE, FixedClock
from submeter.data.keys import read_keys
from submeter.proxy import Submeter
from submeter.sim import Key, Sim

MINUTE = US_PER_MINUTE
NAMES = {"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": KEY_ID}


@pytest.mark.parametrize(
    ("billed", "watched", "calls", "first"),
    [
        ([20], [(0, 60)], [], 20),
        ([30, 20], [(0, 60)], [], 20),
        ([20], [(0, 60)], [(20, 20)], None),
        ([20], [(0, 60)], [(14, 14)], None),
        ([20], [(0, 60)], [(13, 13)], 20),
        ([20], [(0, 60)], [(22, 22)], None),
        ([20], [(0, 60)], [(23, 23)], 20),
        ([20], [(0, 60)], [(2, 40)], None),
        ([20], [], [], None),
        ([20], [(15, 60)], [], None),
        ([20], [(14, 20)], [], None),
        ([20], [(14, 21)], [], 20),
        ([], [(0, 60)], [], None),
    ],
)
def test_a_billed_minute_is_past_the_meter_where_a_proxy_was_up_and_no_call_near_it(
    billed: list[int], watched: list[tuple[int, int]], calls: list[tuple[int, int]], first: int | None
) -> None:
    def us(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(begin * MINUTE, end * MINUTE) for begin, end in stretches]

    found = first_past([minute * MINUTE for minute in billed], us(watched), us(calls))
    assert found == (None if first is None else first * MINUTE)


def test_a_call_that_goes_past_a_proxy_that_is_up_is_found_on_the_bill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clock, ring, ledger = FixedClock(NOW_US), read_keys(NAMES), tmp_path / "l.duckdb"
    with Sim(now=lambda: clock.now_us() / 1e6, keys=[Key(secret=SECRET, api_key_id=KEY_ID)]) as sim:
        environment = {"OPENAI_ADMIN_KEY": sim.admin_key, "SUBMETER_USAGE_API_URL": sim.base_url}
        with Submeter(ledger, upstream=sim.url, clock=clock, environment=NAMES) as meter:
            ask(meter.base_url)
            clock.sleep(20 * 60)
            [fine] = check_past_the_meter(ring, ledger, environment, clock)
            ask(sim.base_url)
            clock.sleep(20 * 60)
        clock.sleep(60 * 60)
        [found] = check_past_the_meter(ring, ledger, environment, clock)
    assert fine.state is State.FINE
    assert found.state is State.WRONG
    assert "chatdev's key" in found.said
    assert "--intercept" in (found.next_step or "")
    assert check_past_the_meter(ring, tmp_path / "none.duckdb", environment, clock) == []
    assert check_past_the_meter(ring, ledger, {}, clock) == []
