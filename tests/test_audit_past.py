"""What is behind us is not asked for again, and is looked at anew as soon as anything tells of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
from audit_world import MODEL, World, said, world

from submeter.audit import past_file
from submeter.audit.bucket import UsageEndpoint
from submeter.audit.questions import EVER_US, Asking
from submeter.audit.reads import take_read
from submeter.audit.report import AuditReport, Waiting
from submeter.audit.usage_api import UsageApi
from submeter.audit.verdict import Reason, Verdict
from submeter.audit.window import Window
from submeter.data.call import Outcome, Result, Usage, settle_line, start_line
from submeter.data.journal import Journal, new_call_id
from submeter.data.ledger import IngestTurn, Ledger

DAY = 24 * 60


def settled(here: World, *, runs: int = 3) -> None:
    """Some verified runs of two frameworks, and a day later."""
    for number in range(runs):
        here.a_run(f"r-{number}", key=("baes", "chatdev")[number % 2])
        here.wait(20)
    here.judged(pending=True)
    here.wait(DAY)
    here.pending()
    assert here.past.exists()


def looks(here: World, act: Callable[[], object]) -> list[int]:
    """From which instant on each look that `act` takes asks the ledger; the earliest there is: all of it."""
    found: list[int] = []
    made = Asking.__init__

    def noted(self: Asking, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        found.append(self.since["since_us"])

    with patch.object(Asking, "__init__", noted):
        act()
    return found


def is_short(here: World, act: Callable[[], object] | None = None) -> bool:
    """Whether every look of `act` (where runs stand) asks for what came later alone, and there is one."""
    here.remembered.unlink(missing_ok=True)
    found = looks(here, act or here.pending_as_remembered)
    return bool(found) and EVER_US not in found


def test_a_run_that_came_later_is_audited_without_asking_for_the_past(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here)
        here.a_run("r-new")
        here.wait(75)
        reports: list[AuditReport] = []
        assert is_short(here)
        assert is_short(here, lambda: reports.append(here.audit("r-new")))
        here.wait(30)
        assert is_short(here, lambda: reports.append(here.audit(pending=True)))
        assert [said(each) for each in reports] == [
            {"r-new": (Verdict.PENDING, Reason.NOT_CONFIRMED)},
            {"r-new": (Verdict.VERIFIED, None)},
        ]
        assert [each.waiting for each in here.pending()] == [Waiting.FINAL] * 4
        assert is_short(here)
        here.journal.close()
        assert not is_short(here), "a process of then has ended"


def test_a_run_of_the_past_that_is_named_is_found_by_a_whole_look(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here)
        here.a_run("r-new")
        found = looks(here, lambda: here.audit("r-0"))
        assert EVER_US in found
        assert not is_short(here, lambda: here.audit("baes/r-2", force=True))


def test_what_came_past_the_meter_later_is_short_by_the_short_road_too(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here)
        here.mark("r-new", "begin")
        here.call(run="r-new")
        here.call(run="r-new", tokens=(77, 0, 7), metered=False)
        here.mark("r-new", "end")
        assert is_short(here)
        assert said(here.judged("r-new")) == {"r-new": (Verdict.SHORT, None)}


def late_call(here: World, began_us: int, *, run: str | None, file: Journal | None = None) -> None:
    """A line that comes in now tells of a call of then."""
    start = here.start(new_call_id(began_us), began_us, run=run)
    result = Result(
        outcome=Outcome.METERED,
        ended_at=began_us + 5_000_000,
        status_code=200,
        request_model=MODEL,
        response_model=MODEL,
        usage_counts=Usage(input_tokens=900, cached_input_tokens=0, output_tokens=70),
    )
    (file or here.journal).append("settle", settle_line(start, result))


def other_host(here: World, began_us: int) -> None:
    """The journal of a proxy that began long ago comes in now."""
    now_us = here.clock.now_us()
    here.clock.set_us(began_us)
    with Journal.open(here.path, mode="proxy", clock=here.clock) as journal:
        journal.begin(upstream="https://api.openai.com")
        here.clock.set_us(now_us)


NEWS: dict[str, Callable[[World, int], object]] = {
    "a call of then": lambda here, then: late_call(here, then, run="r-0"),
    "a call of then without a run": lambda here, then: late_call(here, then, run=None),
    "a call of now that names a run of then": lambda here, then: here.call(run="r-0"),
    "an open call of then": lambda here, then: here.journal.append(
        "start", start_line(here.start(new_call_id(then), then))
    ),
    "an open call of now that names a run of then": lambda here, then: here.open_call(run="r-0"),
    "a mark of now for a run of then": lambda here, then: here.mark("r-0", "end"),
    "a mark of then": lambda here, then: here.journal.append(
        "run", {"framework": "baes", "run_id": "r-x", "edge": "begin", "by": "cli", "marked_at": then}
    ),
    "a mark without a framework for a run id of then": lambda here, then: here.journal.append(
        "run", {"framework": None, "run_id": "r-0", "edge": "end", "by": "cli", "marked_at": here.clock.now_us()}
    ),
    "a step of a run of then": lambda here, then: here.journal.append(
        "step",
        {
            "framework": "baes",
            "run_id": "r-0",
            "step": "9",
            "edge": "begin",
            "by": "cli",
            "marked_at": here.clock.now_us(),
        },
    ),
    "an imported run of then": lambda here, then: here.journal.append(
        "run", {"framework": "baes", "run_id": "r-x", "edge": "begin", "by": "metrics", "marked_at": then}
    ),
    "a gap": lambda here, then: here.journal.append(
        "gap", {"from": here.clock.now_us(), "to": here.clock.now_us(), "calls": 1, "lines": 1}
    ),
    "another id of a key": lambda here, then: here.journal.append(
        "key", {"key_fingerprint": "fp-baes", "framework": "baes", "api_key_id": "key_other"}
    ),
    "another key of a framework": lambda here, then: here.journal.append(
        "key", {"key_fingerprint": "fp-new", "framework": "baes", "api_key_id": "key_ghspec"}
    ),
    "a process that began then": lambda here, then: other_host(here, then),
    "another name of a model": lambda here, then: here.call(model="gpt-4o-mini"),
    "a class of amounts that may not be billed": lambda here, then: here.call(flags=["warm_up"], tokens=(100, 0, 0)),
    "an audit of a run of then": lambda here, then: here.audit("r-0", force=True),
    "a ledger built anew": lambda here, then: here.ledger.rebuild(),
}


def test_whatever_may_tell_of_the_past_makes_the_look_a_whole_one(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        then = here.clock.now_us() + 1_000_000
        here.a_run("r-0")
        here.journal.close()
        here.judged("r-0")
        here.wait(DAY)
        here.pending()
        kept = {path: path.read_bytes() for path in [here.path, *here.past.parent.rglob("*.*")] if path.is_file()}
        now_us = here.clock.now_us()
        for news, happens in [("nothing", a_call), *NEWS.items()]:
            here.clock.set_us(now_us)
            put_back(here, kept)
            happens(here, then)
            here.journal.close()
            assert is_short(here) is (news == "nothing"), news


def a_call(here: World, then: int) -> None:
    """A call without a run, of now."""
    here.call()


def put_back(here: World, kept: dict[Path, bytes]) -> None:
    """The ledger as it was, in the file that it was in, and a proxy that begins now."""
    for path in here.past.parent.rglob("*.*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, body in kept.items():
        path.write_bytes(body)
    here.ledger = Ledger(here.path, clock=here.clock)
    here.journal = Journal.open(here.path, mode="proxy", clock=here.clock)
    here.journal.begin(upstream="https://api.openai.com")
    here._known.clear()


def test_other_settings_make_the_look_a_whole_one(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here, runs=1)
        kept = here.past.read_bytes()
        assert not is_short(here, lambda: here.pending_as_remembered(shift_min=6))
        damages = [kept[:-9], kept.replace(b'"unlabelled":0', b'"unlabelled":7'), b"[]", b"null", b""]
        for damaged in damages:
            assert damaged != kept
            here.past.write_bytes(damaged)
            assert not is_short(here), damaged


def test_a_run_too_old_to_be_read_is_due_for_a_request_that_reaches_further_back(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.wait(3 * DAY)
        assert [each.waiting for each in here.pending()] == [Waiting.TOO_OLD]
        assert is_short(here)
        assert not is_short(here, lambda: here.pending_as_remembered(max_age_min=10**6))
        assert [each.waiting for each in here.pending(max_age_min=10**6)] == [Waiting.NEVER_READ]
        assert said(here.judged(pending=True, max_age_min=10**6)) == {"r-1": (Verdict.VERIFIED, None)}


def test_nothing_is_kept_of_what_is_not_settled(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.open_call()
        here.a_run("r-1")
        here.judged("r-1")
        here.pending()
        assert not here.past.exists()


def test_an_open_call_and_an_open_run_leave_the_past_before_them(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here)
        here.mark("r-open", "begin")
        here.open_call(run="r-open")
        here.wait(5)
        here.pending()
        here.wait(5)
        assert is_short(here)
        assert [each.waiting for each in here.pending()] == [*[Waiting.FINAL] * 3, Waiting.NOT_ENDED]


def test_a_run_whose_bill_was_read_again_since_ends_the_past_that_is_kept(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        settled(here)
        here.past.unlink()
        begun_us = min(each.ended_us or 0 for each in here.pending() if each.run[1] == "r-2") - 60_000_000
        window = Window(start=begun_us // 60_000_000, end=begun_us // 60_000_000 + 2)
        with (
            Journal.open(here.path, mode="audit", clock=here.clock) as journal,
            UsageApi(here.settings, clock=here.clock) as client,
        ):
            journal.begin()
            for endpoint in UsageEndpoint:
                take_read(client, journal, endpoint, api_key_id="key_baes", window=window)
        assert [each.waiting for each in here.pending()] == [Waiting.FINAL] * 3
        assert orjson.loads(here.past.read_bytes())["until_us"] < begun_us
        here.pending()


def test_the_past_grows_without_asking_for_all_of_it(tmp_path: Path) -> None:
    with world(tmp_path) as here, patch.object(past_file, "MORE_RUNS_MIN", 2):
        settled(here)
        kept = here.past.read_bytes()
        for number in range(3):
            here.a_run(f"r-later-{number}")
            here.wait(20)
        here.judged(pending=True)
        here.wait(DAY)
        assert is_short(here)
        assert here.past.read_bytes() != kept
        here.remembered.unlink(missing_ok=True)
        since = looks(here, here.pending_as_remembered)
        assert min(since) > here.clock.now_us() - 2 * DAY * 60_000_000
        assert [each.waiting for each in here.pending()] == [Waiting.FINAL] * 6


class Crowded(Ledger):
    """A ledger at which others have their turn between the reads of an audit and its second look."""

    others: Callable[[], object] | None = None
    turns = 0

    def ingest(self, **waits: Any) -> IngestTurn:
        self.turns += 1
        if self.turns == 2 and self.others is not None:
            self.others()
        return super().ingest(**waits)


def test_a_run_that_another_audit_ended_meanwhile_keeps_its_verdict(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.a_run("r-1")
        here.wait(75)
        here.audit(pending=True)
        here.wait(30)

        def another_ends_it() -> None:
            here.ledger = Ledger(here.path, clock=here.clock)
            assert said(here.audit(pending=True)) == {"r-1": (Verdict.VERIFIED, None)}
            here.pending_as_remembered()
            assert here.past.exists()

        here.ledger = crowded = Crowded(here.path, clock=here.clock)
        crowded.others = another_ends_it
        assert said(here.audit(pending=True)) == {"r-1": (Verdict.VERIFIED, None)}
        assert [(each.waiting, each.verdict) for each in here.pending()] == [(Waiting.FINAL, Verdict.VERIFIED)]


def test_worlds_of_days_are_the_same_by_the_short_road(tmp_path: Path) -> None:
    short, whole = check_days(tmp_path, seed=3, days=2)
    assert short >= 2 <= whole


def check_days(folder: Path, *, seed: int, days: int) -> tuple[int, int]:
    """Days of runs, audits and late lines; `World.pending` compares. How many looks were short, how many whole."""
    rng = random.Random(seed)
    since: list[int] = []
    with world(folder) as here, patch.object(past_file, "MORE_RUNS_MIN", 1):
        runs: list[tuple[str, str, int]] = []

        def a_run() -> None:
            key = rng.choice(("baes", "chatdev"))
            runs.append((f"r-{len(runs)}", key, here.clock.now_us()))
            here.a_run(runs[-1][0], key=key, calls=rng.randint(1, 3))

        def compare() -> None:
            since.extend(looks(here, lambda: here.pending(max_age_min=10**6)))

        for _ in range(days):
            for _ in range(rng.randint(1, 2)):
                a_run()
                here.wait(rng.choice((0, 3, 15, 40)))
                if rng.random() < 0.3:
                    here.call(run=rng.choice((None, runs[-1][0])), billed=rng.random() < 0.8)
            for minutes in (75, 31):
                here.wait(minutes)
                since.extend(looks(here, lambda: here.audit(pending=True, max_age_min=10**6)))
            here.wait(rng.choice((300, DAY, 8 * DAY)))
            compare()
            run, key, then = rng.choice(runs)
            match rng.choice(("none", "none", "call", "late", "mark", "key", "model", "force", "rebuild")):
                case "call":
                    here.call(key, run=run)
                case "late":
                    late_call(here, then + rng.choice((-600, 0, 600)) * 1_000_000, run=rng.choice((None, run)))
                case "mark":
                    here.mark(run, rng.choice(("begin", "end")), framework=key)
                case "key":
                    here.know_key(rng.choice(("ghspec", "other")))
                case "model":
                    here.call(model=rng.choice(("gpt-4o-mini", "gpt-4o")))
                case "force":
                    here.audit(f"{key}/{run}", force=True)
                case "rebuild":
                    here.ledger.rebuild()
            compare()
    return sum(us != EVER_US for us in since), sum(us == EVER_US for us in since)
