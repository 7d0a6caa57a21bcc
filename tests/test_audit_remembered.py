"""Where runs stand is remembered while nothing can have changed, and looked at as soon as anything can."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
from audit_world import MODEL, World, said, world

from submeter.audit.audits import audit_runs
from submeter.audit.choice import AuditRequest
from submeter.audit.kept import read, write
from submeter.audit.report import AuditReport, Waiting
from submeter.audit.usage_api import UsageApi
from submeter.audit.verdict import Reason, Verdict
from submeter.data.call import Outcome, Result, Usage, settle_line
from submeter.data.journal import Journal, new_call_id

FORGED = 77
"""Attempts that no look finds: who says so has read what was kept."""


def is_remembered(here: World) -> bool:
    """Whether the next question is answered from what is kept. What is kept is never read afterwards."""
    if not here.remembered.exists():
        return False
    told = read(here.remembered)
    for standing in told["standings"]:
        standing[4] = FORGED
    write(here.remembered, told)
    found = here.pending_as_remembered()
    here.remembered.unlink(missing_ok=True)
    return all(each.attempts == FORGED for each in found)


def look(here: World) -> None:
    """So that all is remembered, if it may be."""
    here.remembered.unlink(missing_ok=True)
    here.pending_as_remembered()


def a_verified_run(here: World) -> None:
    here.a_run("r-1")
    here.judged("r-1")


def test_a_ledger_in_which_nothing_happened_is_not_looked_at_again(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        a_verified_run(here)
        look(here)
        assert here.remembered.stat().st_mode & 0o777 == 0o600
        here.wait(60 * 24 * 30)
        assert is_remembered(here)
        look(here)
        here.remembered.write_bytes(here.remembered.read_bytes()[:-20])
        assert [each.attempts for each in here.pending_as_remembered()] == [2]
        look(here)
        report = here.audit(pending=True)
        assert (report.runs, report.reads, [each.waiting for each in report.skipped]) == ((), 0, [Waiting.FINAL])


def test_whatever_may_make_a_run_stand_otherwise_is_seen(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        a_verified_run(here)
        other = here.journal
        changes: list[Callable[[], object]] = [
            lambda: here.call(),
            lambda: here.call(run="r-1"),
            lambda: here.mark("r-1", "end"),
            lambda: here.know_key("ghspec"),
            lambda: other.append("gap", {"from": here.clock.now_us(), "to": here.clock.now_us(), "calls": 1}),
            lambda: other.append(
                "read", {"call_id": new_call_id(here.clock.now_us()), "response_id": "r", "source": "read"}
            ),
            lambda: here.audit("r-1", force=True),
            lambda: here.ledger.rebuild(),
            lambda: other.close(),
        ]
        for number, change in enumerate(changes):
            look(here)
            here.wait(1)
            change()
            assert not is_remembered(here), number


def test_other_settings_are_other_answers(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        a_verified_run(here)
        settings = here.settings
        look(here)
        kept = here.remembered.read_bytes()
        for other in (
            replace(settings, interval_min=31),
            replace(settings, settle_min=61),
            replace(settings, stable_reads=3),
            replace(settings, framework_key_ids={"baes": "key_other"}),
        ):
            here.settings = other
            here.remembered.write_bytes(kept)
            assert not is_remembered(here)
        here.settings = settings
        here.remembered.write_bytes(kept)
        for request in ({"framework": "baes"}, {"min_age_min": 5}, {"max_age_min": 5}, {"shift_min": 6}):
            here.pending_as_remembered(**request)
            assert here.remembered.read_bytes() != kept
            here.remembered.write_bytes(kept)


def test_what_is_remembered_holds_until_a_run_is_due(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        look(here)
        here.wait(29)
        assert is_remembered(here)
        look(here)
        here.wait(1)
        assert not is_remembered(here)
        assert here.pending()[0].waiting is Waiting.NEVER_READ
        here.wait(45)
        here.audit("r-1")
        look(here)
        here.wait(29)
        assert is_remembered(here)
        look(here)
        here.wait(1)
        assert not is_remembered(here)
        assert here.pending()[0].needs_audit


def test_while_a_run_or_a_call_goes_on_nothing_is_remembered(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        a_verified_run(here)
        here.mark("r-2", "begin")
        look(here)
        assert not here.remembered.exists()
        here.mark("r-2", "end")
        here.open_call()
        look(here)
        assert not here.remembered.exists()


def audit_while(here: World, happens: Callable[[], object], *, force: bool = False) -> AuditReport:
    """An audit of r-1, and something that happens before its first read is answered."""
    waiting = [happens]

    def on_request(_: httpx.Request) -> None:
        while waiting:
            waiting.pop()()

    with (
        Journal.open(here.path, mode="audit", clock=here.clock) as journal,
        UsageApi(here.settings, clock=here.clock) as client,
    ):
        client._http.event_hooks = {"request": [on_request]}
        request = AuditRequest(runs=("r-1",), force=force)
        report = audit_runs(
            here.ledger, request=request, settings=here.settings, client=client, clock=here.clock, journal=journal
        )
    assert not waiting
    return report


def test_what_comes_in_while_the_bill_is_read_is_judged(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.mark("r-1", "begin")
        here.call(run="r-1")
        began_us = here.clock.now_us()
        here.call(run="r-1", tokens=(900, 0, 70), metered=False)
        here.mark("r-1", "end")
        here.wait(75)
        here.audit("r-1")
        here.wait(30)
        start = here.start(new_call_id(began_us), began_us, run="r-1")
        result = Result(
            outcome=Outcome.METERED,
            ended_at=began_us + 5_000_000,
            status_code=200,
            request_model=MODEL,
            response_model=MODEL,
            usage_counts=Usage(input_tokens=900, cached_input_tokens=0, output_tokens=70),
        )
        report = audit_while(here, lambda: here.journal.append("settle", settle_line(start, result)))
        assert said(report) == {"r-1": (Verdict.VERIFIED, None)}
        here.wait(30)
        report = audit_while(here, lambda: here.mark("r-1", "begin"), force=True)
        assert said(report) == {"r-1": (Verdict.PENDING, Reason.RUN_OPEN)}


def test_what_is_remembered_is_what_a_look_says(tmp_path: Path) -> None:
    check_a_world(tmp_path, seed=1, steps=12)


def check_a_world(folder: Path, *, seed: int, steps: int) -> int:
    """Let things happen and time pass; `World.pending` compares. How often something was remembered."""
    rng = random.Random(seed)
    kept = 0
    with world(folder) as here:
        runs = 1
        here.a_run("r-1")
        for _ in range(steps):
            match rng.choice(("wait",) * 6 + ("audit",) * 5 + ("run", "run", "call", "end", "key", "go")):
                case "wait":
                    here.wait(rng.choice((1, 5, 20, 29, 30, 31, 60, 1500)))
                case "audit":
                    here.audit(pending=True, max_age_min=10**6)
                case "run":
                    runs += 1
                    here.a_run(f"r-{runs}", key=rng.choice(("baes", "chatdev")))
                case "call":
                    here.call(run=rng.choice((None, f"r-{rng.randint(1, runs)}")), billed=rng.random() < 0.8)
                case "end":
                    here.mark(f"r-{rng.randint(1, runs)}", "end")
                case "key":
                    here.know_key(rng.choice(("ghspec", "other")))
                case "go" if rng.random() < 0.2:
                    here.open_call(run=rng.choice((None, f"r-{runs}")))
            kept += here.remembered.exists()
            here.pending(max_age_min=10**6)
            here.pending_as_remembered(max_age_min=10**6)
    return kept
