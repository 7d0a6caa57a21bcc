"""Names and standings: whose bill a model's name is, what is set aside, and what may or may not be billed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_world import MODEL, World, said, world

from submeter.audit.report import Waiting
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Flag, Outcome, Usage
from submeter.sim.counts import Counts

CLEAN = (Verdict.VERIFIED, None)
OTHER_MODEL = "gpt-4o-2024-08-06"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


# Names of unknown calls


@pytest.mark.parametrize(
    ("asked", "billed_as"),
    [("gpt-3.5-turbo", "gpt-3.5-turbo-0125"), ("gpt-4", "gpt-4-0613"), ("gpt-5.6", "gpt-5.6-sol")],
)
@pytest.mark.parametrize("billed", [True, False])
def test_an_aborted_call_is_billed_as_what_its_name_was_answered_by_before(
    here: World, asked: str, billed_as: str, billed: bool
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", model=billed_as, request_model=asked)
    here.call(run="r-1", model=asked, outcome=Outcome.ABORTED, billed_as=billed_as, billed=billed, tokens=(140, 0, 14))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == ((Verdict.INCOMPLETE, None) if billed else CLEAN)


def test_an_aborted_call_whose_name_was_never_answered_may_be_a_model_that_is_counted_under_another(
    here: World,
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", model="gpt-5.6-sol")
    here.call(run="r-1", model="gpt-5.6", outcome=Outcome.ABORTED, billed_as="gpt-5.6-sol", tokens=(140, 0, 14))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.INCOMPLETE, None)


def test_an_aborted_call_of_a_snapshot_explains_no_bill_of_a_model_that_is_counted(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", model="gpt-5.6-sol")
    here.call(run="r-1", model=OTHER_MODEL, outcome=Outcome.ABORTED, billed=False)
    here.call(model="gpt-5.6-sol", metered=False, tokens=(140, 0, 14))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.SHORT, None)


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (None, (Verdict.INCOMPLETE, Reason.UNKNOWN_ENDPOINT)),
        (MODEL, (Verdict.INCOMPLETE, None)),
        (OTHER_MODEL, (Verdict.SHORT, None)),
    ],
)
def test_a_call_to_an_endpoint_that_is_not_known_explains_what_it_names_or_anything_with_that_reason(
    here: World, asked: str | None, verdict: tuple[Verdict, Reason | None]
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(
        run="r-1",
        billed=False,
        usage_endpoint=None,
        outcome=Outcome.NO_USAGE,
        flags=(Flag.UNKNOWN_ENDPOINT,),
        request_model=asked,
    )
    here.call(metered=False, tokens=(140, 0, 14))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == verdict


def test_an_aborted_call_explains_no_bill_of_another_model(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", model=OTHER_MODEL)
    here.call(run="r-1", outcome=Outcome.ABORTED, billed=False)
    here.call(model=OTHER_MODEL, metered=False, tokens=(140, 0, 14))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.SHORT, None)


# Renamed models


def test_an_unknown_call_that_was_billed_beside_a_renamed_model_is_incomplete_and_no_error(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", model=OTHER_MODEL, billed_as="chatgpt-odd", tokens=(2856, 0, 796))
    here.call(run="r-1", model="gpt-4o-mini", outcome=Outcome.ABORTED, billed_as=MODEL, tokens=(2290, 0, 676))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"][0] is Verdict.INCOMPLETE


def asked_until_a_day_lies_between_reads(here: World) -> None:
    """What is not final is read 1, 2, 4 and 8 hours later, and then not for a day."""
    for hours in (1, 2, 4, 8):
        here.wait(hours * 60 + 1)
        here.audit(pending=True)


def test_a_renamed_model_is_a_warning_until_three_calls_of_distinct_tokens_have_closed_and_verified_then(
    here: World,
) -> None:
    def a_run(run: str, *tokens: tuple[int, int, int]) -> None:
        here.mark(run, "begin")
        for each in tokens:
            here.call(run=run, model=OTHER_MODEL, billed_as="chatgpt-odd", tokens=each)
        here.mark(run, "end")

    a_run("r-1", (100, 0, 10), (200, 0, 20))
    first = here.judged("r-1")
    assert (said(first)["r-1"], first.exit_code) == ((Verdict.WARNING, Reason.RENAMED), 1)
    assert not first.runs[0].final
    a_run("same", (100, 0, 10), (200, 0, 20), (100, 0, 10))
    assert said(here.judged("same"))["same"] == (Verdict.WARNING, Reason.RENAMED), "equal calls prove nothing more"
    asked_until_a_day_lies_between_reads(here)
    a_run("r-2", (300, 0, 30))
    assert said(here.judged("r-2"))["r-2"] == CLEAN
    report = here.audit(pending=True)
    assert (said(report), report.reads) == ({"r-1": CLEAN, "same": CLEAN}, 0), "derived again without a read"


# What is set aside


@pytest.mark.parametrize("hidden", [True, False])
def test_a_fine_tuning_job_sets_no_bill_of_its_model_aside(here: World, hidden: bool) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", outcome=Outcome.NO_USAGE, billed=False, usage_endpoint=None, endpoint="fine_tuning/jobs")
    here.call(run="r-1", model=OTHER_MODEL)
    if hidden:
        here.call(metered=False, tokens=(50_000, 0, 900))
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == ((Verdict.SHORT, None) if hidden else CLEAN)


@pytest.mark.parametrize("minutes_after", [0, 20])
def test_tokens_of_a_speech_model_are_set_aside_only_while_such_a_call_is_active(
    here: World, minutes_after: int
) -> None:
    speech = "gpt-4o-mini-tts"
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(
        run="r-1",
        model=speech,
        outcome=Outcome.NO_USAGE,
        billed=False,
        usage_endpoint="audio_speeches",
        endpoint="audio/speech",
    )
    here.wait(minutes_after)
    here.post("baes", Counts(input_text=30, output_audio=400), ended=here.second, model=speech)
    here.mark("r-1", "end")
    report = here.judged("r-1")
    detail = report.runs[0].parts[0].detail
    assert said(report)["r-1"] == ((Verdict.SHORT, None) if minutes_after else CLEAN)
    assert [each["model"] for each in detail["set_aside"]] == ([] if minutes_after else [speech])


@pytest.mark.parametrize("minutes_after", [0, 20])
@pytest.mark.parametrize("images", [1, 2])
def test_images_are_compared_and_their_tokens_are_set_aside_only_while_such_a_call_is_active(
    here: World, minutes_after: int, images: int
) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(
        run="r-1",
        model="gpt-image-1",
        tokens=None,
        usage_endpoint="images",
        endpoint="images/generations",
        usage_counts=Usage(images=1),
    )
    here.post("baes", Counts(images=images), ended=here.second, model="gpt-image-1", usage_endpoint="images")
    here.wait(minutes_after)
    here.post("baes", Counts(input_text=50, output_image=4160), ended=here.second, model="gpt-image-1")
    here.mark("r-1", "end")
    found = said(here.judged("r-1"))["r-1"]
    assert found == (CLEAN if (minutes_after, images) == (0, 1) else (Verdict.SHORT, None))


# What may or may not be billed


def drawing(here: World, run: str, tokens: tuple[int, int], *, billed_as_tokens: bool, hidden: int = 0) -> None:
    """A run of one call for an image, which tells its tokens, far from every other run."""
    here.wait(30)
    here.mark(run, "begin")
    here.draw(run, tokens, billed_as_tokens=billed_as_tokens, hidden=hidden)
    here.mark(run, "end")


@pytest.mark.parametrize("billed_as_tokens", [True, False])
def test_tokens_that_image_calls_told_are_optional_until_three_chains_have_shown_whether_they_are_billed(
    here: World, billed_as_tokens: bool
) -> None:
    for number in (1, 2):
        drawing(here, f"r-{number}", (50 + number, 4160), billed_as_tokens=billed_as_tokens)
        assert said(here.judged(f"r-{number}"))[f"r-{number}"] == (Verdict.INCOMPLETE, Reason.OPTIONAL)
    drawing(here, "r-3", (53, 4160), billed_as_tokens=billed_as_tokens)
    assert said(here.judged("r-3"))["r-3"] == CLEAN
    drawing(here, "r-4", (54, 4160), billed_as_tokens=billed_as_tokens, hidden=7)
    assert said(here.judged("r-4"))["r-4"] == (Verdict.SHORT, None)


def warm_up(here: World, run: str, tokens: tuple[int, int, int], *, billed: bool) -> None:
    """A run of one plain call and one warm-up, far from every other run."""
    here.wait(30)
    here.mark(run, "begin")
    here.call(run=run, tokens=(500, 0, 50))
    here.call(run=run, tokens=tokens, billed=billed, flags=("optional", "warm_up"))
    here.mark(run, "end")


def test_a_warm_up_that_told_output_is_work_of_unknown_usage(here: World) -> None:
    """Nobody says whether work that a call was asked not to do is billed: neither that nor a leak may be hidden."""
    for name, billed, hidden in (("billed", True, False), ("free", False, False), ("leak", False, True)):
        here.wait(30)
        here.mark(name, "begin")
        here.call(run=name, tokens=(500, 0, 50))
        here.call(run=name, tokens=(11, 0, 1), billed=billed, flags=("warm_up",))
        if hidden:
            here.call(run=name, tokens=(300, 0, 30), metered=False, model=OTHER_MODEL)
        here.mark(name, "end")
    verdicts = said(here.judged("billed", "free", "leak"))
    assert verdicts == {"billed": (Verdict.INCOMPLETE, None), "free": CLEAN, "leak": (Verdict.SHORT, None)}


@pytest.mark.parametrize("billed", [True, False])
def test_amounts_that_may_not_be_billed_are_incomplete_until_three_chains_have_shown_it_and_then_need_no_read(
    here: World, billed: bool
) -> None:
    warm_up(here, "r-1", (11, 0, 0), billed=billed)
    first = here.judged("r-1").runs[0]
    assert (first.verdict, first.reason, first.final) == (Verdict.INCOMPLETE, Reason.OPTIONAL, False)
    warm_up(here, "r-2", (12, 0, 0), billed=billed)
    assert said(here.judged("r-2"))["r-2"] == (Verdict.INCOMPLETE, Reason.OPTIONAL)
    asked_until_a_day_lies_between_reads(here)
    warm_up(here, "r-3", (13, 0, 0), billed=billed)
    assert said(here.judged("r-3"))["r-3"] == CLEAN
    assert {each.run[1]: each.waiting for each in here.pending()} == {
        "r-1": Waiting.NOT_FINAL,
        "r-2": Waiting.NOT_FINAL,
        "r-3": Waiting.FINAL,
    }
    report = here.audit(pending=True)
    assert (said(report), report.reads) == ({"r-1": CLEAN, "r-2": CLEAN}, 0)


def test_chains_that_contradict_each_other_fix_nothing_of_what_may_not_be_billed(here: World) -> None:
    for number in range(4):
        warm_up(here, f"r-{number}", (11 + number, 0, 0), billed=number != 2)
    report = here.judged(*(f"r-{number}" for number in range(4)))
    assert set(said(report).values()) == {(Verdict.INCOMPLETE, Reason.OPTIONAL)}


def test_a_call_past_the_meter_beside_an_amount_that_may_not_be_billed_is_never_verified(here: World) -> None:
    warm_up(here, "r-1", (11, 0, 0), billed=True)
    here.mark("r-2", "begin")
    here.call(run="r-2", metered=False, tokens=(77, 0, 7))
    here.call(run="r-2", tokens=(12, 0, 0), billed=False, flags=("optional", "warm_up"))
    here.mark("r-2", "end")
    report = here.judged("r-1", "r-2")
    assert said(report)["r-2"][0] in (Verdict.SHORT, Verdict.INCOMPLETE)


# Calls that could be another run's


def import_run(here: World, run: str, begin: float, end: float) -> None:
    """A run that is taken in from its metrics file, by minutes."""
    now_us = here.clock.now_us()
    for edge, minute in (("begin", begin), ("end", end)):
        marked_at = now_us - int((here.minute - minute) * 60_000_000)
        here.journal.append(
            "run", {"framework": "baes", "run_id": run, "edge": edge, "by": "metrics", "marked_at": marked_at}
        )


@pytest.mark.parametrize("overlap", [True, False])
def test_runs_whose_calls_could_be_each_others_are_never_verified(here: World, overlap: bool) -> None:
    here.call(tokens=(100, 0, 10))
    here.to(10)
    here.call(tokens=(200, 0, 20))
    here.to(20)
    here.call(tokens=(300, 0, 30))
    here.to(30)
    import_run(here, "a", 0, 15 if overlap else 9)
    import_run(here, "b", 9.5, 30)
    report = here.judged("a", "b")
    assert set(said(report).values()) == {(Verdict.WARNING, Reason.UNLABELLED) if overlap else CLEAN}
    assert [line.parts[0].detail["ambiguous"] for line in report.runs] == ([1, 1] if overlap else [0, 0])
    assert report.exit_code == (1 if overlap else 0)
