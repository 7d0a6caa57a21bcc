"""In seeded worlds of many kinds of calls every final verdict has a certificate, and it says what the audit said."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_world import World, world

from submeter.audit.certificate import make_certificate
from submeter.audit.certificate_check import verify_certificate
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.data.call import Flag, Outcome
from submeter.data.paths import reads_folder
from submeter.sim.counts import Counts

KINDS: tuple[Callable[[World, str, dict[str, Any]], object], ...] = (
    *(lambda here, key, call: here.call(key, **call),) * 8,
    lambda here, key, call: here.call(key, outcome=Outcome.ABORTED, **call),
    lambda here, key, call: here.call(key, outcome=Outcome.ABORTED, billed=False, **call),
    lambda here, key, call: here.call(key, metered=False, tokens=call["tokens"]),
    lambda here, key, call: here.call(key, billed=False, **call),
    lambda here, key, call: here.call(key, flags=(Flag.HOSTED_TOOL,), **call),
    lambda here, key, call: here.call(key, flags=(Flag.OPTIONAL,), billed=False, **call),
    lambda here, key, call: here.call(key, model="gpt-4o-2024-08-06", response_model="gpt-4o", **call),
    lambda here, key, call: here.call(key, response_model="house-name", **call),
    lambda here, key, call: here.call(key, outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,), **call),
    lambda here, key, call: here.call(key, outcome=Outcome.UNREADABLE, flags=(Flag.UNKNOWN_ENDPOINT,), **call),
    lambda here, key, call: here.open_call(run=call["run"], key=key),
    lambda here, key, call: here.post(key, Counts(input_text=9, output_text=4), ended=here.second, batch=True),
)
"""What a call may be: a plain one eight times as often as each other."""


def played(here: World, seed: int) -> list[str]:
    """Up to four runs, some of them in one chain, of calls of every kind; their names."""
    chance = random.Random(seed)
    skew_us = chance.choice([0, 45_000_000, 95_000_000])
    names = []
    for number in range(chance.randint(2, 4)):
        run, framework = f"r-{number}", chance.choice(["baes", "baes", "chatdev"])
        names.append(f"{framework}/{run}")
        here.mark(run, "begin", framework=framework)
        for _ in range(chance.randint(0, 5)):
            here.at(here.second + chance.choice([1, 20, 70, 200]))
            call: dict[str, Any] = {
                "run": run,
                "framework": framework,
                "lasts": chance.choice([1, 5, 70]),
                "tokens": (chance.choice([100, 100, 50, chance.randint(10, 400)]), chance.choice([0, 10]), 5),
            }
            if skew_us:
                now_us = here.clock.now_us()
                call |= {"first_byte_at": now_us, "server_date": now_us + skew_us}
            chance.choice(KINDS)(here, chance.choice([framework, framework, framework, "other"]), call)
        here.mark(run, "end", framework=framework)
        here.at(here.second + chance.choice([5, 60, 300, 900]))
    return names


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_final_verdict_of_a_seeded_world_has_a_certificate_that_says_the_same(tmp_path: Path, seed: int) -> None:
    with world(tmp_path) as here:
        here.settings = replace(here.settings, framework_key_ids={"baes": "key_baes"})
        names = played(here, seed)
        for later_s in (4200, 1860):
            here.at(here.second + later_s)
            report = here.audit(*names)
        final = [line for line in report.runs if line.final]
        assert final
        for line in final:
            data = make_certificate(
                here.ledger,
                run=line.name,
                request=AuditRequest(),
                settings=here.settings,
                clock=here.clock,
                store=PageStore(reads_folder(here.path)),
            )
            got = verify_certificate(data)
            assert (got.run, got.verdict, got.problems) == (line.name, line.verdict, ())
