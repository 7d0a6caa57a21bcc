"""Certificates: the verdict follows again from the document alone, and not from one that was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from audit_world import World, world

from submeter.audit import certificate_evidence
from submeter.audit.certificate import make_certificate
from submeter.audit.certificate_check import verify_certificate
from submeter.audit.certificate_seal import seal, written
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.settings import AuditSettings
from submeter.data.call import Flag, Usage
from submeter.data.error import SubmeterError
from submeter.data.paths import reads_folder
from submeter.sim.counts import Counts


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def certified(here: World, run: str, settings: AuditSettings | None = None) -> bytes:
    return make_certificate(
        here.ledger,
        run=run,
        request=AuditRequest(),
        settings=settings or here.settings,
        clock=here.clock,
        store=PageStore(reads_folder(here.path)),
    )


def audited(here: World, run: str) -> None:
    here.at(here.second + 4200)
    here.audit(run)
    here.at(here.second + 1800)
    here.audit(run)


def test_a_verdict_is_derived_again_from_its_certificate_alone_and_a_changed_one_is_not(here: World) -> None:
    here.a_run()
    audited(here, "r-1")
    data = certified(here, "r-1")
    got = verify_certificate(data)
    assert (got.run, got.verdict, got.problems) == ("baes/r-1", "verified", ())
    assert len(got.sha256) == 64
    assert here.sim.admin_key.encode() not in data
    assert certified(here, "r-1") == data

    def changed(change: Callable[[dict[str, Any]], object]) -> tuple[str, ...]:
        document = orjson.loads(data)
        change(document)
        return verify_certificate(written(document)).problems

    assert changed(lambda d: d.update(verdict="short")) == (
        "It was changed after it was made: its seal does not fit.",
        "The run is verified, not short.",
    )


def test_a_short_run_has_a_certificate_too(here: World) -> None:
    here.mark("r-1", "begin")
    here.call(run="r-1")
    here.call(run="r-1", metered=False)
    here.mark("r-1", "end")
    audited(here, "r-1")
    got = verify_certificate(certified(here, "r-1"))
    assert (got.verdict, got.good) == ("short", True)


def test_a_name_given_twice_or_another_layout_does_not_pass_for_what_is_sealed(here: World) -> None:
    here.a_run()
    audited(here, "r-1")
    data = certified(here, "r-1")
    another = b'"api_key_id": "key_of_another",'
    deep = data.index(b'"api_key_id"')
    others = {
        "at the top": data.replace(b"{", b'{"verdict": "short",', 1),
        "below": data[:deep] + another + data[deep:],
        "escaped": data.replace(b"{", b'{"verd\\u0069ct": "short",', 1),
        "laid out anew": orjson.dumps(orjson.loads(data)),
        "something after it": data + b" ",
    }
    for where, other in others.items():
        assert orjson.loads(other) == orjson.loads(data), where
        (problem,) = verify_certificate(other).problems
        assert "a name is given twice" in problem, where


def test_only_a_final_verdict_with_real_waiting_gets_a_certificate(here: World) -> None:
    here.a_run()
    here.at(here.second + 4200)
    here.audit("r-1")
    with pytest.raises(SubmeterError, match="no certificate") as caught:
        certified(here, "r-1")
    assert caught.value.exit_code == 3
    audited(here, "r-1")
    with pytest.raises(SubmeterError, match="timing: test"):
        certified(here, "r-1", replace(here.settings, interval_min=0))


def holds(data: bytes) -> tuple[str, tuple[str, ...]]:
    got = verify_certificate(data)
    return got.verdict, got.problems


def audited_thrice(here: World, run: str, *, beside: str | None = None) -> None:
    """So often that what came after the run is confirmed too, while calls of the key go on."""
    for _ in range(3):
        here.audit(run)
        for _ in range(5):
            here.at(here.second + 420)
            here.call(run=beside)


def test_a_run_is_certified_while_its_chain_goes_on(here: World) -> None:
    here.a_run()
    here.at(here.second + 60)
    here.mark("r-2", "begin")
    for _ in range(20):
        here.at(here.second + 420)
        here.call(run="r-2")
    audited_thrice(here, "r-1", beside="r-2")
    data = certified(here, "r-1")
    assert holds(data) == ("verified", ())
    (chain,) = orjson.loads(data)["chains"]
    assert chain["runs"][1]["ended_us"] is None
    assert chain["found"]["known_until"] < chain["window"]["end"]
    assert chain["found"]["models"][0]["least"] is None, "a chain that goes on has no one end"


def test_with_too_many_calls_those_are_listed_that_begin_before_what_is_not_known(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.a_run()
    for _ in range(20):
        here.at(here.second + 420)
        here.call()
    audited_thrice(here, "r-1")
    for _ in range(20):
        here.call()
        here.at(here.second + 420)
    whole = orjson.loads(certified(here, "r-1"))["chains"][0]
    known = [call for call in whole["calls"] if call["started_us"] // 60_000_000 - 1 <= whole["found"]["known_until"]]
    assert 3 < len(known) < len(whole["calls"])
    monkeypatch.setattr(certificate_evidence, "CALLS_MAX", len(known))
    data = certified(here, "r-1")
    assert holds(data) == ("verified", ())
    (chain,) = orjson.loads(data)["chains"]
    assert chain["calls"] == known
    assert chain["found"]["known_until"] == whole["found"]["known_until"] < chain["window"]["end"]
    monkeypatch.setattr(certificate_evidence, "CALLS_MAX", len(known) - 1)
    with pytest.raises(SubmeterError, match="no certificate") as caught:
        certified(here, "r-1")
    assert "lists each call" in caught.value.why


def test_a_run_whose_model_is_renamed_is_certified_with_the_names_on_both_sides(here: World) -> None:
    for run, first in (("r-1", 100), ("r-2", 200)):
        here.mark(run, "begin")
        for number in range(3):
            here.call(run=run, tokens=(first + number, 0, 10), response_model="house-name")
            here.at(here.second + 20)
        here.mark(run, "end")
        here.at(here.second + 1800)
    audited(here, "r-1")
    data = certified(here, "r-1")
    assert holds(data) == ("verified", ())
    (chain,) = orjson.loads(data)["chains"]
    assert [pair["paired_by"] for pair in chain["found"]["pairs"]] == ["renamed"]
    assert chain["facts"]["renamed_holds"]
    document = orjson.loads(data)
    document["chains"][0]["facts"]["renamed_holds"] = False
    document["seal"] = seal(document)
    assert "reason is renamed, not null" in " ".join(verify_certificate(written(document)).problems)


def test_amounts_that_may_not_be_billed_are_certified_by_what_the_key_shows_of_them(here: World) -> None:
    runs = [f"r-{number}" for number in range(1, 5)]
    for number, run in enumerate(runs):
        here.mark(run, "begin")
        here.call(run=run, tokens=(100 + number, 0, 10))
        here.call(run=run, tokens=(50 + number, 0, 0), billed=False, flags=(Flag.OPTIONAL,))
        here.mark(run, "end")
        here.at(here.second + 1800)
    for _ in range(3):
        here.at(here.second + 4200)
        here.audit(*runs)
    data = certified(here, "r-4")
    assert holds(data) == ("verified", ())
    document = orjson.loads(data)
    assert document["chains"][0]["facts"]["optional"] == {"optional": False}
    document["chains"][0]["facts"]["optional"] = {}
    document["seal"] = seal(document)
    assert "verdict is incomplete, not verified" in " ".join(verify_certificate(written(document)).problems)


def test_tokens_that_image_calls_told_are_certified_by_what_the_key_shows_of_them(here: World) -> None:
    runs = [f"r-{number}" for number in range(1, 4)]
    for number, run in enumerate(runs):
        here.mark(run, "begin")
        here.draw(run, (50 + number, 4160), billed_as_tokens=True)
        here.mark(run, "end")
        here.at(here.second + 1800)
    for _ in range(3):
        here.at(here.second + 4200)
        here.audit(*runs)
    data = certified(here, "r-3")
    assert holds(data) == ("verified", ())
    document = orjson.loads(data)
    assert document["chains"][0]["facts"]["optional"] == {"image_tokens": True}
    document["chains"][0]["facts"]["optional"] = {"image_tokens": False}
    document["seal"] = seal(document)
    assert "not verified" in " ".join(verify_certificate(written(document)).problems)
    # With that known, tokens beside an image call that told none are a bill for work that nobody told.
    here.mark("r-4", "begin")
    here.call(run="r-4", model="gpt-image-1", tokens=None, usage_endpoint="images", usage_counts=Usage(images=1))
    here.post("baes", Counts(images=1), ended=here.second, model="gpt-image-1", usage_endpoint="images")
    here.post("baes", Counts(output_image=1056), ended=here.second, model="gpt-image-1")
    here.mark("r-4", "end")
    for _ in range(3):
        here.at(here.second + 4200)
        here.audit("r-4")
    assert holds(certified(here, "r-4")) == ("incomplete", ())


def test_a_verdict_that_was_closed_as_it_stands_is_certified_so(here: World) -> None:
    here.mark("r-1", "begin")
    here.at(here.second + 60)
    here.mark("r-1", "end")
    here.settings = replace(here.settings, framework_key_ids={"baes": "key_baes"})
    audited(here, "r-1")
    here.at(here.second + 8 * 24 * 3600)
    here.audit("r-1")
    here.at(here.second + 1860)
    here.audit("r-1")
    data = certified(here, "r-1")
    assert holds(data) == ("data_not_available", ())
    assert orjson.loads(data)["chains"][0]["found"]["closed"]


def test_a_key_without_a_call_of_the_run_is_certified_beside_the_one_it_used(here: World) -> None:
    here.settings = replace(here.settings, framework_key_ids={"baes": "key_other"})
    here.a_run()
    audited(here, "r-1")
    data = certified(here, "r-1")
    assert holds(data) == ("verified", ())
    document = orjson.loads(data)
    assert document["calls_by_key"] == {"key_baes": 3, "key_other": 0}
    assert [chain["found"]["verdict"] for chain in document["chains"]] == ["verified", "no_activity"]
    assert document["chains"][1]["key_shown"] is None, "its bill is not proven to be seen, nor need it be"


def test_settings_below_the_defaults_are_carried_and_said(here: World) -> None:
    loose = replace(here.settings, settle_min=10, interval_min=5)
    here.a_run()
    here.at(here.second + 1200)
    here.audit("r-1", settings=loose)
    here.at(here.second + 300)
    here.audit("r-1", settings=loose)
    got = verify_certificate(certified(here, "r-1", loose))
    assert (got.verdict, got.problems, got.below_defaults) == ("verified", (), True)
    assert got.rules == "shift 5 min, settle 10 min, 2 equal reads 5 min apart"


@pytest.mark.parametrize("number", [1, 2])
def test_a_certificate_of_an_older_format_names_the_submeter_to_verify_it_with(number: int) -> None:
    older = {"format": f"submeter certificate {number}", "submeter": "0.1.0\nx", "spans": []}
    with pytest.raises(SubmeterError, match=f"certificate {number}, an older format") as caught:
        verify_certificate(orjson.dumps(older))
    assert len(str(caught.value).splitlines()) == 3
    assert "Verify it with submeter 0.1.0x" in caught.value.next_step


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"submeter certificate 3"}', b"\xff", b"null"])
def test_what_is_no_certificate_is_said_in_three_lines(data: bytes) -> None:
    with pytest.raises(SubmeterError, match="not a certificate") as caught:
        verify_certificate(data)
    assert len(str(caught.value).splitlines()) == 3
