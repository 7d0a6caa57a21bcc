"""Which keys a run is looked for on: all it used, all its framework ever had, and the one that is configured now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from audit_world import World, said, world

from submeter.audit.verdict import Reason, Verdict

CLEAN = (Verdict.VERIFIED, None)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def rotate(here: World) -> None:
    """From now on the environment names another key of the framework, which the meter has not seen yet."""
    here.settings = replace(here.settings, framework_key_ids={"baes": "key_other"})


def keys(here: World, run: str) -> dict[str, tuple[Verdict, Reason | None]]:
    (line,) = here.audit(run).runs
    return {part.api_key_id: (part.verdict, part.reason) for part in line.parts}


def test_a_run_whose_calls_all_went_past_the_meter_on_a_rotated_key_is_short(here: World) -> None:
    here.a_run("before")
    assert said(here.judged("before"))["before"] == CLEAN
    rotate(here)
    here.mark("r-1", "begin")
    here.call("other", metered=False)
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.SHORT, None)
    assert keys(here, "r-1")["key_other"][0] is Verdict.SHORT


def test_a_run_with_calls_on_the_old_key_needs_no_proof_that_the_new_one_would_show_any(here: World) -> None:
    here.a_run("before")
    rotate(here)
    here.a_run("r-1")
    assert said(here.judged("r-1"))["r-1"] == CLEAN
    assert keys(here, "r-1") == {"key_baes": CLEAN, "key_other": (Verdict.NO_ACTIVITY, None)}


def test_a_run_without_a_call_needs_proof_of_every_key_that_it_could_have_used(here: World) -> None:
    here.a_run("before")
    here.judged("before")
    rotate(here)
    here.mark("r-1", "begin")
    here.wait(2)
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == (Verdict.DATA_NOT_AVAILABLE, Reason.KEY_UNPROVEN)
    assert keys(here, "r-1")["key_baes"] == (Verdict.NO_ACTIVITY, None)


def test_a_key_of_another_framework_is_no_key_of_the_run(here: World) -> None:
    here.settings = replace(here.settings, framework_key_ids={"chatdev": "key_other"})
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call("other", metered=False)
    here.mark("r-1", "end")
    assert said(here.judged("r-1"))["r-1"] == CLEAN
    assert set(keys(here, "r-1")) == {"key_baes"}


def test_the_id_of_a_key_that_is_corrected_later_is_the_one_that_all_its_calls_are_looked_for_under(
    here: World,
) -> None:
    here.mark("r-1", "begin")
    here.journal.append("key", {"key_fingerprint": "fp-baes", "framework": "baes", "api_key_id": "key_typo"})
    here.call("baes", run="r-1")
    here.mark("r-1", "end")
    here.journal.append("key", {"key_fingerprint": "fp-baes", "framework": "baes", "api_key_id": "key_baes"})
    here.judged("r-1")
    assert keys(here, "r-1")["key_baes"] == CLEAN
    rows = here.ledger.query("SELECT DISTINCT api_key_id FROM calls UNION SELECT api_key_id FROM minute_usage").rows
    assert rows == [("key_baes",)]
