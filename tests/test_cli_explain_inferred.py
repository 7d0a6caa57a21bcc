"""`submeter explain` shows the one number that is ever inferred: for which call, by which audit, and summed nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_world import MODEL, World, world
from click.testing import CliRunner, Result

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.call import Outcome, Usage
from submeter.sim.counts import Counts

OTHER_MODEL = "gpt-4o-2024-08-06"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def audited(here: World) -> None:
    here.mark("r-1", "end")
    here.at(here.second + 4200)
    here.audit("r-1")
    here.at(here.second + 1800)
    here.audit("r-1")


def explain(here: World, *words: str) -> Result:
    return CliRunner().invoke(
        cli, ["explain", "r-1", *words], obj=Invocation(ledger=here.path, clock=here.clock), catch_exceptions=False
    )


def inferred(here: World) -> Any:
    (part,) = json.loads(explain(here, "--json").stdout)["parts"]
    return part["inferred"]


def one_unknown(here: World) -> str:
    """One counted call and one that was billed and lost its usage."""
    here.mark("r-1", "begin")
    here.call(run="r-1")
    return here.call(run="r-1", outcome=Outcome.ABORTED, tokens=(60, 6, 4))


def test_an_inferred_value_is_shown_with_its_call_and_its_audit_and_that_it_is_summed_nowhere(here: World) -> None:
    lost = one_unknown(here)
    audited(here)
    ((audit_id,),) = here.ledger.query(
        "SELECT audit_id FROM audits WHERE scope = 'part' AND verdict = 'incomplete' ORDER BY audited_at DESC LIMIT 1"
    ).rows
    lines = [line.strip() for line in explain(here).stdout.splitlines()]
    at = lines.index(
        f"inferred: call {lost} of baes/r-1 step 1: input_tokens 60, cached_input_tokens 6, output_tokens 4"
    )
    assert lines[at + 1].startswith(f"by audit {audit_id} of 2025-10-28 ")
    assert lines[at + 1].endswith("stored apart, summed nowhere")
    assert lines[at + 2].startswith("the verdict stays incomplete: an abort that was billed nothing")
    told = inferred(here)
    assert (told["call_id"], told["run"], told["step"], told["audit_id"]) == (lost, "baes/r-1", "1", audit_id)
    assert (told["input_tokens"], told["cached_input_tokens"], told["output_tokens"], told["images"]) == (
        60,
        6,
        4,
        None,
    )
    assert told["summed"] is False
    assert "the verdict stays incomplete" in told["why"]
    assert here.ledger.query("SELECT sum(input_tokens), sum(output_tokens) FROM run_usage").rows == [(100, 10)]


def _two_unknown_calls(here: World) -> None:
    one_unknown(here)
    here.call(run="r-1", outcome=Outcome.ABORTED, tokens=(30, 3, 2))


def _two_models(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", model=OTHER_MODEL)
    here.call(run="r-1", outcome=Outcome.ABORTED, tokens=None, request_model=None)
    for model in (MODEL, OTHER_MODEL):
        here.post("baes", Counts(input_text=5, output_text=2), ended=here.second, model=model)


def _more_cached_than_input(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", usage_counts=Usage(input_tokens=100, cached_input_tokens=0, output_tokens=10))
    here.call(run="r-1", outcome=Outcome.ABORTED, tokens=(5, 0, 2))


def _a_silent_count(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1", usage_counts=Usage(input_tokens=100, output_tokens=10))
    here.call(run="r-1", outcome=Outcome.ABORTED, tokens=(60, 6, 4))


@pytest.mark.parametrize("made", [_two_unknown_calls, _two_models, _more_cached_than_input, _a_silent_count])
def test_nothing_is_inferred_where_it_could_be_another_number(here: World, made: Callable[[World], None]) -> None:
    made(here)
    audited(here)
    text = explain(here).stdout
    assert text.startswith("baes/r-1  incomplete"), text
    assert "inferred" not in text
    assert inferred(here) is None
    assert here.ledger.query("SELECT count(*) FROM inferred").rows == [(0,)]


def test_what_was_inferred_is_no_longer_shown_once_the_call_has_told_its_usage(here: World) -> None:
    lost = one_unknown(here)
    audited(here)
    assert inferred(here) is not None
    here.journal.append(
        "read",
        {
            "call_id": lost,
            "source": "read",
            "response_status": "completed",
            "usage": {"input_tokens": 60},
            "input_tokens": 60,
            "cached_input_tokens": 6,
            "output_tokens": 4,
        },
    )
    here.at(here.second + 1)
    here.audit("r-1")
    document = json.loads(explain(here, "--json").stdout)
    assert document["last_audit"]["verdict"] == "verified"
    assert all(part["inferred"] is None for part in document["parts"])
