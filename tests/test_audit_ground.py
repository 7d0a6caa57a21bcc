"""What a final verdict rests on: the same, and nothing is derived again; another, and the row says what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import MODEL, World, said, world

from submeter.audit.report import Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Outcome, Result, Usage, settle_line
from submeter.data.journal import Journal, new_call_id

CLEAN = (Verdict.VERIFIED, None)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def parts(here: World, run: str = "r-1") -> list[tuple[Any, ...]]:
    """The verdicts on a run's part, oldest first: verdict, final, what differed from the final one before."""
    query = (
        "SELECT verdict, final, detail ->> '$.differs_from_final' FROM audits "
        f"WHERE scope = 'part' AND run_id = '{run}' ORDER BY audited_at, attempt"
    )
    return here.ledger.query(query).rows


def merged(here: World, begin_us: int, *, run: str | None, tokens: tuple[int, int, int]) -> None:
    """A journal of another host, copied in now: one call of then."""
    with Journal.open(here.path, mode="proxy", clock=here.clock) as other:
        other.begin(upstream="https://api.openai.com")
        result = Result(
            outcome=Outcome.METERED,
            ended_at=begin_us + 2_000_000,
            status_code=200,
            response_model=MODEL,
            usage_counts=Usage(input_tokens=tokens[0], cached_input_tokens=tokens[1], output_tokens=tokens[2]),
        )
        other.append("settle", settle_line(here.start(new_call_id(begin_us), begin_us, run=run), result))


def test_a_verdict_whose_ground_is_the_same_is_not_derived_again(here: World) -> None:
    here.a_run()
    here.judged("r-1")
    before = parts(here)
    merged(here, here.clock.now_us() - 600_000_000, run=None, tokens=(7, 0, 1))
    here.wait(5)
    assert here.pending()[0].waiting is Waiting.FINAL, "a call of another hour is no ground of it"
    here.audit("r-1")
    assert parts(here) == before


def test_a_journal_that_is_merged_later_makes_a_verdict_be_derived_again_and_the_row_says_what_differs(
    here: World,
) -> None:
    here.a_run()
    at_us = here.clock.now_us() - 30_000_000
    assert said(here.judged("r-1"))["r-1"] == CLEAN
    merged(here, at_us, run="r-1", tokens=(7, 0, 1))
    here.wait(5)
    assert here.pending()[0].waiting is Waiting.NOT_FINAL
    report = here.audit(pending=True)
    assert (said(report)["r-1"], report.reads) == ((Verdict.OVER, None), 0)
    assert parts(here)[-1] == ("over", False, '["calls"]')


def test_a_run_mark_that_is_merged_later_makes_it_be_derived_again_too(here: World) -> None:
    here.a_run()
    at_us = here.clock.now_us() - 30_000_000
    here.judged("r-1")
    with Journal.open(here.path, mode="mark", clock=here.clock) as other:
        other.begin()
        for edge, moment in (("begin", at_us), ("end", at_us + 1)):
            line = {"framework": "baes", "run_id": "r-2", "edge": edge, "by": "cli", "marked_at": moment}
            other.append("run", line)
    here.wait(5)
    report = here.audit("r-1")
    assert said(report)["r-1"] == CLEAN
    assert parts(here)[-1] == ("verified", True, '["run marks"]')
    count = len(parts(here))
    here.audit("r-1")
    assert len(parts(here)) == count, "and only once"


@pytest.mark.parametrize(("asked", "told"), [("gpt-5.6", Verdict.SHORT), ("gpt-5.7", Verdict.INCOMPLETE)])
def test_what_a_name_is_seen_to_answer_as_later_is_ground_of_what_an_unknown_call_of_it_explained(
    here: World, asked: str, told: Verdict
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", model="gpt-5.6", outcome=Outcome.ABORTED, billed=False)
    here.call(metered=False, tokens=(50, 0, 5))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.INCOMPLETE, None)
    here.call(model="gpt-5.6-sol", request_model=asked)
    here.wait(5)
    assert said(here.audit("r-1"))["r-1"] == (told, None)


def test_a_final_verdict_of_an_earlier_submeter_is_derived_again_from_the_reads_there_are(here: World) -> None:
    """It wrote down nothing of what it rests on."""
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(metered=False, tokens=(50, 0, 5))
    here.mark("r-1", "end")
    line = here.judged("r-1").runs[0]
    assert line.verdict is Verdict.SHORT
    window = line.parts[0].window
    here.wait(1)
    old = {
        "audited_at": here.clock.now_us(),
        "framework": "baes",
        "run_id": "r-1",
        "api_key_id": "key_baes",
        "window_start": window.start_us,
        "window_end": window.end_us,
        "verdict": "verified",
        "final": True,
        "attempt": 3,
        "detail": {},
    }
    with Journal.open(here.path, mode="audit", clock=here.clock) as journal:
        journal.begin()
        for scope in ("part", "run"):
            journal.append("audit", {"audit_id": new_call_id(here.clock.now_us()), "scope": scope, **old})
    here.wait(1)
    assert here.pending()[0].waiting is Waiting.NOT_FINAL
    report = here.audit(pending=True)
    assert (said(report)["r-1"], report.runs[0].final, report.reads) == ((Verdict.SHORT, None), True, 0)


def test_an_open_call_of_another_program_keeps_a_run_in_its_minutes_pending_and_none_before_it(here: World) -> None:
    """What it will have used may be any of the bill of the minutes in which it is active."""
    here.mark("other", "begin")
    here.a_run("before")
    here.wait(30)
    here.mark("r-1", "begin")
    here.call(run="r-1", tokens=(100, 0, 10))
    here.call(metered=False, tokens=(50, 0, 5))
    here.open_call(run="other")
    here.wait(2)
    here.mark("r-1", "end")
    report = here.judged("before", "r-1")
    assert said(report) == {"before": CLEAN, "r-1": (Verdict.PENDING, Reason.OPEN_CALL)}
    assert report.runs[1].parts[0].detail["named"] == ["baes/other"]
