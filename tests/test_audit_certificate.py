"""Certificates: the verdict follows again from the document alone, and not from one that was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from audit_world import World, world

from submeter.audit.certificate import make_certificate
from submeter.audit.certificate_check import verify_certificate
from submeter.audit.certificate_seal import written
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.settings import AuditSettings
from submeter.data.error import SubmeterError
from submeter.data.paths import reads_folder


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


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"submeter certificate 9"}', b"\xff", b"null"])
def test_what_is_no_certificate_is_said_in_three_lines(data: bytes) -> None:
    with pytest.raises(SubmeterError, match="not a certificate") as caught:
        verify_certificate(data)
    assert len(str(caught.value).splitlines()) == 3
