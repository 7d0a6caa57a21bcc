"""A part's verdict in words."""

from __future__ import annotations

from typing import Any

import pytest

from submeter.cli.reasons import is_known, minutes_text, reason_lines, unit_text

MINUTE = 1_761_645_600 // 60
UNIT = {"usage_endpoint": "completions", "model": "m", "field": "input_tokens", "compared": True, "others": 0, "d": 0}


@pytest.mark.parametrize(
    ("reason", "detail", "told"),
    [
        ("neighbour", {"named": ["baes/r-2", "baes/r-3"]}, "baes/r-2, baes/r-3"),
        (
            "open_call",
            {"open_calls": [{"run": "baes/r-2", "first_minute": MINUTE - 1, "calls": 1}]},
            "baes/r-2 since 2025-10-28 10:00 UTC",
        ),
        (
            "open_call",
            {"open_calls": [{"run": None, "first_minute": MINUTE, "calls": 1}]},
            "a call without a run since 2025-10-28 10:01 UTC",
        ),
        (
            "renamed",
            {"models": [{"book": ["ours"], "bill": ["theirs"], "paired_by": "renamed"}]},
            "(ours in the book, theirs in the bill)",
        ),
        ("unlabelled", {"ambiguous": 1_204}, "(1,204 calls)"),
        ("fell", {"fell_since": MINUTE * 60_000_000}, "(seen at 2025-10-28 10:00 UTC)"),
        ("changed", {"changed_since": MINUTE * 60_000_000}, "(that verdict is of 2025-10-28 10:00 UTC)"),
    ],
)
def test_a_reason_names_the_runs_the_names_the_numbers_and_the_time_it_is_about(
    reason: str, detail: dict[str, Any], told: str
) -> None:
    (line,) = reason_lines(reason, detail)
    assert line.startswith("why: ")
    assert line.endswith(told)


def test_a_verdict_that_is_plain_has_no_lines() -> None:
    assert reason_lines(None, {}) == []


def test_all_runs_it_reaches_are_named_and_where_it_may_lie_and_that_it_stands_as_it_is() -> None:
    spot = {"kind": "excess", "usage_endpoint": "completions", "model": "m"}
    spots = [
        {**spot, "field": "input_tokens", "minute": MINUTE},
        {**spot, "field": "output_tokens", "minute": MINUTE + 1},
        {**spot, "kind": "deficit", "field": "input_tokens", "minute": MINUTE + 5},
    ]
    detail = {"joint": ["baes/r-1", "baes/r-2"], "spots": spots, "spots_count": 9, "closed": True}
    assert reason_lines("also_over", detail)[1:] == [
        "closed: asked for 7 days: it stands as it is",
        "joint: it is one of these runs, and cannot be told which: baes/r-1, baes/r-2",
        "more in the bill: completions m input_tokens, output_tokens, may lie in 2025-10-28 10:00 to 2025-10-28 10:01 "
        "UTC",
        "more in the book: completions m input_tokens, may lie in 2025-10-28 10:05 UTC",
        "and 6 more places",
    ]


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ({"book": 5, "bill": 5}, "book = bill = 5"),
        (
            {"book": 5, "bill": 5, "others": 2},
            "book 5, other calls of this key 2, bill of these minutes 5, no difference",
        ),
        ({"book": 5, "bill": 9, "others": 2, "d": 2}, "book 5, other calls of this key 2, bill 9, d +2"),
        ({"book": 5, "bill": 7, "compared": False}, "book 5, bill 7, uncompared (some answers did not say)"),
    ],
)
def test_a_unit_shows_its_book_the_other_calls_of_the_key_and_the_bill(unit: dict[str, Any], told: str) -> None:
    assert unit_text(UNIT | unit, known=True) == f"completions m input_tokens: {told}"


def test_nothing_is_said_of_a_difference_before_every_minute_is_confirmed() -> None:
    assert unit_text(UNIT | {"book": 5, "bill": 5}, known=False).endswith("book 5, bill so far 5")
    assert is_known({"chain": {"known_until": 60}}, 60)
    assert not is_known({"chain": {"known_until": 59}}, 60)
    assert not is_known({}, 60)


def test_all_that_may_explain_an_excess_is_told() -> None:
    assert reason_lines(None, {"because": ["unknown"]}) == [
        "why: the usage of a call in these minutes is not known, and it may be the difference"
    ]
    told = reason_lines("gap", {"because": ["gap", "hosted"]})
    assert [line.partition(":")[0] for line in told] == ["why", "or"]


def test_minutes_are_told_as_stretches() -> None:
    assert minutes_text([MINUTE, MINUTE + 1, MINUTE + 2, MINUTE + 9]) == (
        "2025-10-28 10:00 to 2025-10-28 10:02, 2025-10-28 10:09 UTC"
    )
