"""Metrics files filled from what the ledger says."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.data.error import SubmeterError
from submeter.data.json_edit import edited, items, member, root, with_members, without_members
from submeter.data.metrics import open_metrics, write_metrics
from submeter.data.metrics_update import STATUS, STEP_FIELDS, RunTold, efficiency, fill, status

SHARED = Path(os.environ.get("SUBMETER_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "genai-devbench-runs"
TOTALS = {
    "calls": 4,
    "creates": 4,
    "counted": 3,
    "unknown": 1,
    "optional": 0,
    "ambiguous": 0,
    "uncovered": 0,
    "unbilled": 0,
    "input_tokens": 282_000,
    "cached_input_tokens": 31_000,
    "output_tokens": 83_000,
    "reasoning_tokens": None,
    "images": None,
    "covered": True,
}
STEPS = [{"step": "1", "visits": 1} | TOTALS]
AUTONOMY = {"AUTR": 1.0}


def part(tokens_in: int = 282_000, **more: Any) -> dict[str, Any]:
    units = [
        {"field": "input_tokens", "bill": tokens_in},
        {"field": "cached_input_tokens", "bill": 31_000},
        {"field": "output_tokens", "bill": 83_000},
    ]
    detail = {"units": units, "units_count": 3, "bill_known": True, "shown": {"requests": {"bill": 3}}} | more
    return row("part", "p-1", "verified", detail)


def row(scope: str, audit_id: str, verdict: str, detail: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "audit_id": audit_id,
        "audited_us": 1_795_348_800_000_000,
        "scope": scope,
        "api_key_id": "key_a",
        "window_start_us": 1_795_340_000_000_000,
        "window_end_us": 1_795_343_000_000_000,
        "verdict": verdict,
        "reason": None,
        "final": True,
        "timing": None,
        "attempt": 1,
        "proof": "placed",
        "detail": json.dumps(detail),
    } | more


def told(verdict: str | None = None, *, totals: dict[str, Any] | None = None, **more: Any) -> RunTold:
    verdicts = [row("run", "r-1", verdict, {"parts": [{"audit_id": "p-1"}], "parts_count": 1})] if verdict else []
    return RunTold(totals=TOTALS | (totals or {}), steps=STEPS, audits=[part(**more), *verdicts])


def filled(content: str | dict[str, Any], said: RunTold) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    told_back: dict[str, Any] = json.loads(fill(text.encode(), said, name="chatdev/r-1", version="1"))
    return told_back


def test_totals_are_written_at_once_and_are_pending() -> None:
    out = filled({"aggregate_metrics": {"AUTR": 1.0, "TOK_IN": 0}}, told())
    assert out["aggregate_metrics"] == {
        "AUTR": 1.0,
        "TOK_IN": 282_000,
        "TOK_OUT": 83_000,
        "API_CALLS": 3,
        "CACHED_TOKENS": 31_000,
        "AEI": 1.0 / math.log(282_001),
    }
    assert (out["verification_status"], "cost_breakdown" in out) == ("pending", False)
    said = out["usage_api_reconciliation"]
    assert (said["verification_status"], said["attempts"], said["verified_at"]) == ("pending", [], None)
    assert "the usage of 1 call is unknown and not in these totals" in said["verification_message"]
    assert out["usage_api_verification"] == {"verified": False, "error": said["verification_message"]}


def test_a_verdict_brings_the_reads_the_times_and_ours_in_full() -> None:
    out = filled({"aggregate_metrics": AUTONOMY}, told("verified"))
    said = out["usage_api_reconciliation"]
    assert said["attempts"] == [
        {
            "timestamp": "2026-11-22T12:00:00+00:00",
            "total_tokens_in": 282_000,
            "total_tokens_out": 83_000,
            "total_api_calls": 3,
            "total_cached_tokens": 31_000,
            "query_window": {"start": 1_795_340_000, "end": 1_795_343_000},
        }
    ]
    assert said["verified_at"] == said["reconciled_at"] == "2026-11-22T12:00:00+00:00"
    assert out["usage_api_verification"] == {"verified": True, "error": None}
    assert (said["submeter"]["verdict"], said["submeter"]["steps"], said["submeter"]["totals"]) == (
        "verified",
        [{name: value for name, value in step.items() if value is not None} for step in STEPS],
        {name: value for name, value in TOTALS.items() if value is not None},
    )
    assert said["submeter"]["parts"][0]["detail"]["bill_known"] is True


@pytest.mark.parametrize(("verdict", "word"), STATUS.items())
def test_every_verdict_has_the_users_word_in_all_three_places(verdict: str, word: str) -> None:
    out = filled({}, told(verdict))
    assert out["verification_status"] == out["usage_api_reconciliation"]["verification_status"] == word
    assert out["usage_api_verification"]["verified"] is (word == "verified")
    assert (out["usage_api_reconciliation"]["verified_at"] is not None) is (word == "verified")
    assert status(told(verdict)) == word


@pytest.mark.parametrize(
    "more",
    [
        {"joint": ["chatdev/a", "chatdev/b"]},
        {"runs": ["chatdev/b"]},
        {"units": [{"field": "input_tokens", "bill": 9, "others": 4}], "units_count": 1},
        {"bill_known": False},
        {"units_count": 9},
        {"units": None},
    ],
)
def test_a_bill_that_is_not_this_runs_alone_and_whole_is_left_out(more: dict[str, Any]) -> None:
    said = filled({}, told("verified", **more))["usage_api_reconciliation"]
    (attempt,) = said["attempts"]
    assert sorted(attempt) == ["query_window", "timestamp"]


@pytest.mark.parametrize("verdict", STATUS)
def test_a_verdict_without_the_waiting_times_stands_as_pending(verdict: str) -> None:
    said = told()
    unproven = row("run", "r-1", verdict, {"parts": [{"audit_id": "p-1"}], "parts_count": 1}, timing="test")
    out = filled({}, RunTold(totals=TOTALS, steps=STEPS, audits=[*said.audits, unproven]))
    assert out["verification_status"] == "pending"
    assert out["usage_api_verification"]["verified"] is False
    ours = out["usage_api_reconciliation"]
    assert (ours["verified_at"], ours["submeter"]["verdict"], ours["submeter"]["timing"]) == (None, verdict, "test")
    assert ours["verification_message"].startswith("Pending: read without the waiting times (timing test)")


def test_the_reason_of_a_verdict_is_told_in_words_and_that_it_stands_as_it_is() -> None:
    detail = {"parts": [{"audit_id": "p-1"}], "parts_count": 1, "closed": True}
    verdict = row("run", "r-1", "warning", detail, reason="fell")
    out = filled({}, RunTold(totals=TOTALS, steps=STEPS, audits=[part(), verdict]))
    message = out["usage_api_reconciliation"]["verification_message"]
    assert "(fell: the bill of these minutes went down between two good reads" in message
    assert "asked for 7 days: it stands as it is" in message


def test_a_number_that_the_audit_does_not_know_is_left_out_of_its_long_form_too() -> None:
    shown = {"requests": {"book": 3, "bill": None}}
    said = filled({}, told("verified", shown=shown, unknown={"calls": 0, "listed": [{"model": None}]}))
    detail = said["usage_api_reconciliation"]["submeter"]["parts"][0]["detail"]
    assert (detail["shown"], detail["unknown"]) == ({"requests": {"book": 3}}, {"calls": 0, "listed": [{}]})


def test_a_failed_read_is_never_a_number_and_the_earlier_verdict_is_told() -> None:
    said = told("verified")
    later = row("run", "r-2", "unavailable", {"parts": [{"audit_id": "p-1"}], "parts_count": 1}, final=False)
    out = filled({}, RunTold(totals=TOTALS, steps=[], audits=[*said.audits, later]))
    assert out["usage_api_reconciliation"]["attempts"][1].get("total_tokens_in", "left out") == "left out"
    assert "the final verdict before it was verified" in out["usage_api_reconciliation"]["verification_message"]
    assert out["usage_api_reconciliation"]["submeter"]["final_verdict"] == "verified"


def test_totals_that_nobody_told_are_left_out_and_never_zero() -> None:
    nothing = {"input_tokens": None, "output_tokens": None, "cached_input_tokens": None, "counted": None}
    out = filled({"aggregate_metrics": AUTONOMY | {"TOK_IN": 0}}, told(totals=nothing))
    assert out["aggregate_metrics"] == AUTONOMY
    assert out["usage_api_reconciliation"]["submeter"]["replaced"] == {"aggregate_metrics": {"TOK_IN": 0}}
    assert "no call of it told its tokens" in out["usage_api_reconciliation"]["verification_message"]


def test_no_total_is_written_of_a_run_with_calls_that_could_be_of_another() -> None:
    nothing = {"input_tokens": None, "output_tokens": None, "cached_input_tokens": None, "ambiguous": 2}
    before = {"aggregate_metrics": AUTONOMY | {"TOK_IN": 5, "API_CALLS": 0}, "cost_breakdown": {"input": 0.0}}
    doubtful = told(totals=nothing)
    assert not doubtful.silent
    out = filled(before, doubtful)
    assert out["aggregate_metrics"] == AUTONOMY
    said = out["usage_api_reconciliation"]
    assert said["submeter"]["totals"] == {"ambiguous": 2, "covered": True}
    assert said["submeter"]["steps"] == [{"step": "1", "visits": 1, "ambiguous": 0, "covered": True}]
    assert "2 calls could be of this run or of another" in said["verification_message"]
    assert said["submeter"]["replaced"]["aggregate_metrics"] == {"TOK_IN": 5, "API_CALLS": 0}
    assert filled(out, doubtful) == out


def test_calls_that_may_not_be_billed_are_told_beside_the_totals() -> None:
    out = filled({}, told(totals={"optional": 1}))
    assert "1 call may not be billed: not in these totals" in out["usage_api_reconciliation"]["verification_message"]


def test_efficiency_is_zero_at_no_tokens_and_unknown_without_its_parts() -> None:
    assert efficiency(0.5, 0) == 0.0
    assert efficiency(0.5, 1) == 0.5 / math.log(2)
    assert (efficiency(0.5, None), efficiency(None, 5), efficiency(True, 5)) == (None, None, None)


def test_step_tokens_leave_and_are_kept_with_all_else_that_was_replaced() -> None:
    tokens = dict.fromkeys(STEP_FIELDS, 0)
    before = {"steps": [{"step": 1, "tokens_in": 7, "success": True}, tokens, {"step": 3, **tokens}], "x": 1.50}
    out = filled(before | {"verification_status": "odd", "aggregate_metrics": {"TOK_IN": 4}}, told())
    assert out["steps"] == [{"step": 1, "success": True}, {}, {"step": 3}]
    kept = out["usage_api_reconciliation"]["submeter"]["replaced"]
    assert kept["steps"] == [{"step": 1, "tokens_in": 7}, {"step": 2, **tokens}, {"step": 3, **tokens}]
    assert (kept["aggregate_metrics"], kept["verification_status"]) == ({"TOK_IN": 4}, "odd")
    again = filled(out, told("verified"))
    assert again["usage_api_reconciliation"]["submeter"]["replaced"] == kept


OURS = {
    "cost_breakdown",
    "usage_api_verification",
    "verification_status",
    "usage_api_reconciliation",
}
SUMS = {"TOK_IN", "TOK_OUT", "API_CALLS", "CACHED_TOKENS", "AEI", "COST_USD"}


def without_ours(text: str) -> str:
    """The text without every member that may change, come or go."""
    start = root(text)
    edits = without_members(text, start, OURS)
    aggregate = member(text, start, "aggregate_metrics")
    if aggregate:
        edits += without_members(text, aggregate.value_starts, SUMS)
    steps = member(text, start, "steps")
    for item in items(text, steps.value_starts) if steps else ():
        edits += without_members(text, item, STEP_FIELDS)
    return edited(text, edits)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published runs are not here")
@pytest.mark.parametrize("verdict", [None, "verified"])
@pytest.mark.parametrize("form", ["as it is", "with step tokens", "tabs and CRLF", "one line"])
def test_every_other_byte_of_the_published_files_stays(verdict: str | None, form: str) -> None:
    paths = sorted(SHARED.glob("*/*/metrics.json"))
    assert len(paths) == 23
    for path in paths:
        text = path.read_text(encoding="utf-8")
        match form:
            case "with step tokens":
                text = text.replace('"success": true', '"tokens_in": 5,\n      "success": true,\n      "tokens_out": 0')
            case "tabs and CRLF":
                text = json.dumps(json.loads(text), indent="\t").replace("\n", "\r\n") + "\r\n"
            case "one line":
                text = json.dumps(json.loads(text), separators=(",", ":"))
            case _:
                pass
        content = fill(text.encode(), told(verdict), name="n", version="1")
        assert without_ours(content.decode()) == without_ours(text)
        assert fill(content, told(verdict), name="n", version="1") == content
        if form == "tabs and CRLF":
            assert content.count(b"\n") == content.count(b"\r\n")
        if form == "as it is":
            assert content.decode() == json.dumps(json.loads(content), indent=2, ensure_ascii=False)


def test_odd_spellings_outside_the_named_members_stay() -> None:
    text = '{ "a" : 1.50e+01, "b":"\\u00e9\\/", "TOK":1E2,\n\n "steps":[ {"tokens_in":1} ,{"x":0.10,"tokens_out":2} ] }'
    content = fill(text.encode(), told(), name="n", version="1").decode()
    assert content.startswith('{ "a" : 1.50e+01, "b":"\\u00e9\\/", "TOK":1E2,\n\n "steps":[ {} ,{"x":0.10} ]')
    assert fill(content.encode(), told(), name="n", version="1").decode() == content


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcdef"), VALUES)


@given(OBJECTS, OBJECTS, st.sampled_from([None, 2, "\t"]), st.sets(st.sampled_from("abcdef")))
def test_setting_and_taking_out_members_is_what_it_is_on_the_parsed_object(
    before: dict[str, Any], put: dict[str, Any], indent: int | str | None, out: set[str]
) -> None:
    text = json.dumps(before, indent=indent)
    assert list(json.loads(edited(text, with_members(text, 0, put))).items()) == list((before | put).items())
    left = {name: value for name, value in before.items() if name not in out}
    assert list(json.loads(edited(text, without_members(text, 0, out))).items()) == list(left.items())


def test_a_file_changed_meanwhile_is_left_alone_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("{}")
    path = tmp_path / "baes" / "r-1" / "metrics.json"
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    opened = open_metrics(path)
    write_metrics(opened, b'{"a": 1}')
    assert (path.is_symlink(), real.read_text()) == (True, '{"a": 1}')
    with pytest.raises(SubmeterError, match="cannot be used") as refused:
        write_metrics(opened, b'{"b": 1}')
    assert "changed by another program" in refused.value.why
    assert real.read_text() == '{"a": 1}'
    assert sorted(each.name for each in tmp_path.iterdir()) == ["baes", "real.json"]
