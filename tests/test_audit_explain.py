"""Explanations: what is left, in which minutes, and who could explain it; and the one number that is ever inferred."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_world import MODEL, World, world

from submeter.audit.choice import AuditRequest
from submeter.audit.explain import Explanation, explain_run
from submeter.audit.reads import PageStore
from submeter.audit.residual import CandidateKind, Residual
from submeter.audit.verdict import Verdict
from submeter.data.call import Outcome
from submeter.data.paths import reads_folder
from submeter.sim.counts import Counts


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def explained(here: World, run: str) -> Explanation:
    here.at(here.second + 4200)
    here.audit(run)
    here.at(here.second + 1800)
    here.audit(run)
    return explain_run(
        here.ledger,
        run=run,
        request=AuditRequest(),
        settings=here.settings,
        clock=here.clock,
        store=PageStore(reads_folder(here.path)),
    )


def kinds(residual: Residual) -> set[CandidateKind]:
    return {candidate.kind for candidate in residual.candidates}


def test_books_that_agree_leave_nothing_to_explain(here: World) -> None:
    here.a_run()
    got = explained(here, "r-1")
    assert (got.name, got.parts[0].residuals, got.unclaimed) == ("baes/r-1", (), ())


def test_a_call_past_the_meter_is_shown_with_its_tokens_and_its_minute(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", model="gpt-4o-2024-08-06")
    here.at(180)
    here.call(run="r-1", metered=False, tokens=(77, 7, 3))
    here.mark("r-1", "end")
    got = explained(here, "r-1")
    (residual,) = got.parts[0].residuals
    assert {str(field): d for field, d in residual.differences.items()} == {
        "input_tokens": 77,
        "cached_input_tokens": 7,
        "output_tokens": 3,
    }
    assert (residual.model, residual.certain, len(residual.minutes)) == (MODEL, True, 1)
    assert CandidateKind.BYPASS in kinds(residual)
    curl = got.parts[0].curl[0]
    assert "$OPENAI_ADMIN_KEY" in curl
    assert "api_key_ids%5B%5D=key_baes" in curl
    assert here.sim.admin_key not in curl


def test_the_one_unknown_call_is_pointed_at_and_what_it_would_have_used_is_kept_apart(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    lost = here.call(run="r-1", outcome=Outcome.ABORTED, tokens=(60, 6, 4))
    here.mark("r-1", "end")
    got = explained(here, "r-1")
    assert got.parts[0].finding.verdict is Verdict.INCOMPLETE
    (residual,) = got.parts[0].residuals
    unknown = next(each for each in residual.candidates if each.kind is CandidateKind.UNKNOWN)
    assert (unknown.calls, unknown.pinpointed) == ((lost,), True)
    rows = here.ledger.query(
        "SELECT DISTINCT call_id, input_tokens, cached_input_tokens, output_tokens FROM inferred"
    ).rows
    assert rows == [(lost, 60, 6, 4)]
    assert here.ledger.query("SELECT sum(input_tokens) FROM run_usage").rows == [(100,)]


def test_two_unknown_calls_get_no_inferred_number(here: World) -> None:
    here.mark("r-1", "begin")
    for _ in range(2):
        here.call(run="r-1", outcome=Outcome.ABORTED)
    here.mark("r-1", "end")
    assert explained(here, "r-1").parts[0].finding.verdict is Verdict.INCOMPLETE
    assert here.ledger.query("SELECT count(*) FROM inferred").rows == [(0,)]


def test_a_call_that_was_not_billed_is_named_where_its_counts_allow_no_other(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    missing = here.call(run="r-1", billed=False, tokens=(31, 3, 2))
    here.mark("r-1", "end")
    (residual,) = explained(here, "r-1").parts[0].residuals
    named = next(each for each in residual.candidates if each.kind is CandidateKind.KEY_ID)
    assert (named.calls, named.pinpointed) == ((missing,), True)


def test_a_bill_later_than_the_shift_is_told_from_a_missing_one(here: World) -> None:
    here.sim.late_share = 1.0
    here.sim.late_s = 15 * 60
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.mark("r-1", "end")
    got = explained(here, "r-1")
    (residual,) = got.parts[0].residuals
    assert {CandidateKind.LATE, CandidateKind.KEY_ID} <= kinds(residual)
    assert len(got.unclaimed) == 1


def test_runs_that_share_the_minutes_are_neighbours(here: World) -> None:
    here.mark("r-1", "begin")
    here.mark("r-2", "begin")
    here.call(run="r-1")
    here.call(run="r-2")
    here.call(metered=False, tokens=(5, 0, 5))
    here.mark("r-1", "end")
    here.mark("r-2", "end")
    (residual,) = explained(here, "r-1").parts[0].residuals
    neighbour = next(each for each in residual.candidates if each.kind is CandidateKind.NEIGHBOUR)
    assert neighbour.runs == (("baes", "r-2"),)


def named_by(residual: Residual, kind: CandidateKind) -> tuple[str, ...]:
    return next(each for each in residual.candidates if each.kind is kind).calls


def test_image_calls_are_named_where_tokens_that_they_told_may_be_what_is_left(here: World) -> None:
    here.mark("r-1", "begin")
    drew = here.draw("r-1", (50, 4160), billed_as_tokens=True)
    here.call(run="r-1", model="gpt-image-2", tokens=(9, 0, 1))
    here.mark("r-1", "end")
    (residual,) = explained(here, "r-1").parts[0].residuals
    assert (residual.usage_endpoint, residual.model) == ("completions", "gpt-image-1")
    assert named_by(residual, CandidateKind.OPTIONAL) == (drew,)


def test_a_call_whose_hosted_tool_drew_is_named_where_images_are_left_and_no_call_that_only_searched(
    here: World,
) -> None:
    drawing = {"image_gen": {"input_tokens": 9, "output_tokens": 272}}
    here.mark("r-1", "begin")
    here.call(run="r-1", flags=("hosted_tool",))
    drew = here.call(run="r-1", flags=("hosted_tool",), tool_usage=drawing)
    here.draw("r-1", (50, 4160), billed_as_tokens=False)
    here.post("baes", Counts(images=1), ended=here.second, model="gpt-image-1", usage_endpoint="images")
    here.mark("r-1", "end")
    part = explained(here, "r-1").parts[0]
    images = next(each for each in part.residuals if each.usage_endpoint == "images")
    assert named_by(images, CandidateKind.HOSTED) == (drew,)
