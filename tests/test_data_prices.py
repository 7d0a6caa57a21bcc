"""A list of prices, and what calls cost by it: exact amounts, and none where a price or a count is not known."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ledger_play import NOON_US, Play

from submeter.data.call import Flag, Usage
from submeter.data.error import SubmeterError
from submeter.data.prices import Price, prices_json, read_prices

MINI = Price(
    model="gpt-4o-mini", input=Decimal("0.15"), cached_input=Decimal("0.075"), output=Decimal("0.60"), cache_write=None
)
WHOLE = Usage(input_tokens=1_000, cached_input_tokens=200, output_tokens=50)


def written(folder: Path, text: str, name: str = "prices.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def costs(play: Play, *prices: Price) -> list[tuple[Any, ...]]:
    play.ledger.ingest()
    told = {"prices": prices_json(prices), "framework": None, "run_id": None}
    table = play.ledger.query("call_costs", told)
    at = [table.columns.index(name) for name in ("priced_as", "cost_usd", "why")]
    return [tuple(row[place] for place in at) for row in table.rows]


def cost(folder: Path, price: Price, counts: Usage = WHOLE, **said: Any) -> tuple[Any, ...]:
    """Price, cost and reason of one call."""
    play = Play(folder / "ledger")
    play.call(counts=counts, **{"response_model": "gpt-4o-mini-2024-07-18"} | said)
    (row,) = costs(play, price)
    return row


def test_a_file_in_toml_and_one_in_json_say_the_same_and_no_amount_is_a_float(tmp_path: Path) -> None:
    toml = written(
        tmp_path,
        '[[prices]]\nmodel = "m"\ninput = 0.1\ncached_input = 0.01\noutput = 3\nfrom = 2026-01-01\nto = 2026-02-01\n'
        'service_tier = "flex"\nabove_input_tokens = 272000\n',
    )
    told = {
        "model": "m",
        "input": 0.1,
        "cached_input": 0.01,
        "output": 3,
        "from": "2026-01-01",
        "to": "2026-02-01",
        "service_tier": "flex",
        "above_input_tokens": 272000,
    }
    as_json = written(tmp_path, json.dumps({"prices": [told]}), "prices.json")
    wanted = Price(
        model="m",
        input=Decimal("0.1"),
        cached_input=Decimal("0.01"),
        output=Decimal(3),
        begins=date(2026, 1, 1),
        ends=date(2026, 2, 1),
        service_tier="flex",
        above_input_tokens=272_000,
    )
    assert read_prices(toml) == read_prices(as_json) == (wanted,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "neither TOML nor JSON"),
        ('{"prices": []}', "no list `prices`"),
        ('{"prices": [{"input": 1}]}', "price 1 names no model"),
        ('{"prices": [{"model": "m"}]}', "price 1 (m) has no input"),
        ('{"prices": [{"model": "m", "input": -1}]}', "input is -1"),
        ('{"prices": [{"model": "m", "input": NaN}]}', "input is no number"),
        ('{"prices": [{"model": "m", "input": true}]}', "input is no number"),
        ('{"prices": [{"model": "m", "input": "1"}]}', "input is no number"),
        ('{"prices": [{"model": "m", "input": 0.0000001}]}', "more than 6 decimals"),
        ('{"prices": [{"model": "m", "input": 1, "ouput": 2}]}', "has a 'ouput'"),
        ('{"prices": [{"model": "m", "input": 1, "from": "2026-13-01"}]}', "not a day"),
        ('{"prices": [{"model": "m", "input": 1, "from": "2026-01-02", "to": "2026-01-02"}]}', "ends before it begins"),
        ('{"prices": [{"model": "m", "input": 1}, {"model": "m", "input": 2, "from": "2026-01-02"}]}', "two prices"),
    ],
)
def test_a_file_that_is_no_list_of_prices_is_refused_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SubmeterError) as told:
        read_prices(written(tmp_path, text))
    assert why in told.value.why


def test_a_call_costs_what_its_tokens_cost_to_the_last_decimal(tmp_path: Path) -> None:
    wanted = (800 * Decimal("0.15") + 200 * Decimal("0.075") + 50 * Decimal("0.60")) / 1_000_000
    assert cost(tmp_path, MINI) == ("gpt-4o-mini", wanted, None)


def test_the_largest_counts_that_there_are_do_not_overflow(tmp_path: Path) -> None:
    dear = Price(model="gpt-4o-mini", input=Decimal("99999999.999999"), output=Decimal("99999999.999999"))
    large = Usage(input_tokens=10**9, output_tokens=10**9)
    assert cost(tmp_path, dear, large)[1] == 2 * 10**9 * Decimal("99999999.999999") / 1_000_000


@pytest.mark.parametrize(
    ("price", "counts", "said", "why"),
    [
        (MINI, WHOLE, {"response_model": "gpt-9"}, "no_price"),
        (MINI, WHOLE, {"response_model": "gpt-4o-mini-audio-preview"}, "no_price"),
        (MINI, WHOLE, {"service_tier": "flex"}, "no_price"),
        (MINI, Usage(input_tokens=9, output_tokens=1), {}, "unknown_count"),
        (Price(model="gpt-4o-mini", input=Decimal(1), output=Decimal(1)), WHOLE, {}, "no_price"),
        (Price(model="gpt-4o-mini", input=Decimal(1), cached_input=Decimal(1)), WHOLE, {}, "no_price"),
        (
            MINI,
            Usage(input_tokens=9, cached_input_tokens=0, cache_write_tokens=5, output_tokens=1),
            {},
            "no_price",
        ),
        (
            MINI,
            Usage(input_tokens=9, cached_input_tokens=0, output_tokens=1, input_audio_tokens=3),
            {},
            "other_units",
        ),
        (MINI, Usage(images=2), {"usage_endpoint": "images"}, "other_units"),
        (MINI, Usage(), {"usage_endpoint": "audio_speeches"}, "other_units"),
        (MINI, WHOLE, {"flags": (Flag.HOSTED_TOOL,)}, "hosted_tool"),
        (MINI, WHOLE, {"tool_usage": {"web_search": {"num_requests": 1}}}, "hosted_tool"),
    ],
)
def test_what_is_not_known_has_no_cost_and_says_why(
    tmp_path: Path, price: Price, counts: Usage, said: dict[str, Any], why: str
) -> None:
    assert cost(tmp_path, price, counts, **said)[1:] == (None, why)


def test_tool_usage_of_zeros_costs_nothing_beside_the_tokens(tmp_path: Path) -> None:
    told = {"web_search": {"num_requests": 0}, "image_gen": {"input_tokens": 0}}
    assert cost(tmp_path, MINI, tool_usage=told)[2] is None


def test_an_embedding_has_no_output_and_needs_no_price_of_it(tmp_path: Path) -> None:
    price = Price(model="text-embedding-3-small", input=Decimal("0.02"))
    said = {"response_model": "text-embedding-3-small", "usage_endpoint": "embeddings"}
    assert cost(tmp_path, price, Usage(input_tokens=500), **said)[1] == Decimal("0.00001")


def test_a_price_holds_from_its_first_day_to_the_day_before_its_last_in_utc(tmp_path: Path) -> None:
    play = Play(tmp_path, now_us=NOON_US - 12 * 3600 * 1_000_000 - 1)
    for _ in range(2):  # The first starts a microsecond before 2026-11-22, the second after it.
        play.call(counts=WHOLE, response_model="gpt-4o-mini")
    old = Price(model="gpt-4o-mini", input=Decimal(1), cached_input=Decimal(1), output=Decimal(0), ends=DAY)
    new = Price(model="gpt-4o-mini", input=Decimal(2), cached_input=Decimal(2), output=Decimal(0), begins=DAY)
    assert [row[1] for row in costs(play, old, new)] == [Decimal("0.001"), Decimal("0.002")]
    assert [row[2] for row in costs(play, new)] == ["no_price", None]


DAY = date(2026, 11, 22)


def test_a_whole_name_goes_before_the_name_without_its_day_and_a_higher_threshold_before_a_lower(
    tmp_path: Path,
) -> None:
    play = Play(tmp_path)
    play.call(counts=WHOLE, response_model="m-2026-01-01")
    play.call(counts=WHOLE, response_model="m-2026-02-02")
    play.call(counts=Usage(input_tokens=272_001, output_tokens=0), response_model="m-2026-02-02")
    play.call(counts=Usage(input_tokens=272_000, output_tokens=0), response_model="m-2026-02-02")
    of_day = Price(model="m-2026-01-01", input=Decimal(1), cached_input=Decimal(1), output=Decimal(0))
    plain = Price(model="m", input=Decimal(5), cached_input=Decimal(0), output=Decimal(0))
    high = Price(model="m", input=Decimal(10), cached_input=Decimal(0), output=Decimal(0), above_input_tokens=272_000)
    assert [row[0:2] for row in costs(play, plain, high, of_day)] == [
        ("m-2026-01-01", Decimal("0.001")),
        ("m", Decimal("0.004")),
        ("m", Decimal("2.72001")),
        ("m", Decimal("1.36")),
    ]


def test_a_sum_with_a_call_of_no_known_cost_is_absent_and_says_how_many_there_are(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call(counts=WHOLE, response_model="gpt-4o-mini")
    play.call(step="2", counts=WHOLE, response_model="gpt-4o-mini")
    play.call(step="2", counts=WHOLE, response_model="gpt-9")
    play.call(step="2", operation="read", counts=WHOLE, response_model="gpt-4o-mini")
    play.call(run_id="r-2", counts=Usage(), response_model="gpt-4o-mini")
    play.ledger.ingest()
    told = {"prices": prices_json([MINI]), "framework": None}
    runs = play.ledger.query("run_costs", told)
    assert [row[:4] for row in runs.rows] == [("chatdev", "r-1", None, 1)]
    steps = play.ledger.query("step_costs", told | {"run_id": None})
    assert [row[2:5] for row in steps.rows] == [("1", 0.000165, 0), ("2", None, 1)]


def test_moderations_are_free_and_so_in_no_list_of_costs(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.call(counts=Usage(), usage_endpoint="moderations")
    assert costs(play, MINI) == []
