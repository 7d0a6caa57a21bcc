"""How data is printed: absent is never zero, and no sum stands without what it does not hold."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from submeter.cli.output import cell, duration, print_json, print_table, total


def test_absent_is_a_dash_and_zero_is_zero() -> None:
    assert cell(None) == "-"
    assert cell(None, grouped=True) == "-"
    assert cell(0, grouped=True) == "0"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1_234_567, "1,234,567"),
        (True, "yes"),
        (["a", None], "a -"),
        ([], "-"),
        (datetime(2026, 11, 22, 19, 5, 1, 500), "2026-11-22 19:05:01"),
        (timedelta(hours=2, minutes=5), "2 h 05 min"),
        ("chatdev/r-1", "chatdev/r-1"),
    ],
)
def test_a_value_is_shown_as_a_person_reads_it(value: object, shown: str) -> None:
    assert cell(value, grouped=True) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59.9, "59 s"), (61, "1 min 01 s"), (3_661, "1 h 01 min"), (90_000, "1 d 01 h")]
)
def test_a_duration_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_sum_says_how_many_calls_it_does_not_hold() -> None:
    assert total(1204, 2) == "1,204 tokens, 2 unknown"
    assert total(None, 3) == "unknown tokens, 3 unknown"
    assert total(7, 0, optional=1, ambiguous=2) == "7 tokens, 0 unknown, 1 optional, 2 ambiguous"


def test_json_has_null_for_absent_and_utc_for_times(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"tokens": None, "at": datetime(2026, 11, 22, 19, 5, 1)}])
    assert json.loads(capsys.readouterr().out) == [{"tokens": None, "at": "2026-11-22T19:05:01Z"}]


def test_in_a_pipe_no_cell_is_cut_or_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    print_table(["run", "calls"], [[long, None], ["[red]r-1[/red]", 12_345]], counts=["calls"])
    header, _rule, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "calls"]
    assert first.split() == [long, "-"]
    assert second.split() == ["[red]r-1[/red]", "12,345"]


def test_a_plain_table_is_laid_out_as_rich_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ["run", "age", "calls", "why"]
    rows: list[list[object]] = [
        ["chatdev/r-1", "2 h 05 min", 1_234_567, "verified, final"],
        ["r-2", None, None, ""],
        [" lead", "trailing ", 0, "[red]x[/red]"],
    ]
    for shown in (rows, []):
        print_table(columns, shown, counts=["calls"], numbers=["age"])
        plain = capsys.readouterr().out
        with monkeypatch.context() as patch:
            patch.setattr("submeter.cli.output._plain_table", lambda *_: None)
            print_table(columns, shown, counts=["calls"], numbers=["age"])
        assert plain == capsys.readouterr().out


def test_a_table_with_other_letters_is_left_to_rich(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["run", "calls"], [["\u5c0f/r-1", 1], ["a", 2]], counts=["calls"])
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("\u5c0f/r-1       1", "a            2")
