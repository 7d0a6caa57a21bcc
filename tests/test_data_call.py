"""Calls as journal lines: every field has its column, and what nobody told is not there."""

from __future__ import annotations

from dataclasses import fields

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


def test_every_field_of_a_call_is_carried_into_the_ledger() -> None:
    told = {field.name for kind in (Start, Result, Usage) for field in fields(kind)} - {"usage_counts"}
    assert told <= set(LINES[Kind.SETTLE].columns)
    assert {field.name for field in fields(Start)} == set(LINES[Kind.START].columns)
