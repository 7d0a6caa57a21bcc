"""Calls as journal lines: every field has its column, and what nobody told is not there."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from submeter.data.call import Flag, Operation, Outcome, Result, Start, Usage, settle_line, start_line
from submeter.data.columns import LINES, Kind

START = Start(
    call_id="c-1",
    started_at=1,
    framework=None,
    key_fingerprint=None,
    api_key_id=None,
    run_id=None,
    step=None,
    label_source=None,
    method="POST",
    path="/v1/responses",
    endpoint="responses",
    usage_endpoint="completions",
    operation=Operation.CREATE,
    retry_count=0,
    organization="org-asked",
    project=None,
    upstream="https://api.openai.com",
    flags=(Flag.BACKGROUND,),
)


def test_what_is_not_known_is_left_out_and_a_zero_is_kept() -> None:
    line = start_line(START)
    assert "framework" not in line
    assert line["retry_count"] == 0


def test_a_settle_line_has_all_of_its_start_and_the_answers_word_stands() -> None:
    result = Result(
        outcome=Outcome.METERED,
        ended_at=2,
        organization="org-answered",
        usage_counts=Usage(input_tokens=0),
        flags=(Flag.BACKGROUND, Flag.HOSTED_TOOL),
    )
    line = settle_line(START, result)
    assert line["call_id"] == "c-1"
    assert line["organization"] == "org-answered"
    assert line["input_tokens"] == 0
    assert "output_tokens" not in line
    assert list(line["flags"]) == ["background", "hosted_tool"]


@pytest.mark.parametrize(
    ("first_byte_at", "ended_at", "times", "stepped"),
    [
        (150, 200, (150, 200), False),
        (100, 100, (100, 100), False),
        (None, 200, (None, 200), False),
        (None, 50, (None, 100), True),
        (150, 50, (100, 100), True),
        (40, 50, (100, 100), True),
        (40, 120, (100, 120), True),
        (190, 150, (150, 150), True),
    ],
)
def test_no_call_ends_before_it_began_whatever_the_clock_did_meanwhile(
    first_byte_at: int | None, ended_at: int, times: tuple[int | None, int], stepped: bool
) -> None:
    result = Result(outcome=Outcome.METERED, ended_at=ended_at, first_byte_at=first_byte_at)
    line = settle_line(replace(START, started_at=100), result)
    assert (line.get("first_byte_at"), line["ended_at"]) == times
    assert line["started_at"] == 100
    assert ("clock_stepped" in line["flags"]) is stepped
    assert line["flags"][0] == "background"


def test_every_field_of_a_call_is_carried_into_the_ledger() -> None:
    told = {field.name for kind in (Start, Result, Usage) for field in fields(kind)} - {"usage_counts"}
    assert told <= set(LINES[Kind.SETTLE].columns)
    assert {field.name for field in fields(Start)} == set(LINES[Kind.START].columns)
