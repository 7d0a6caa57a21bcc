"""The referee through the whole product: many worlds in one ledger, journal lines in, `audit_runs` asked at moments.

Every run of every world is judged by what is true of it as far as the ledger could know. The worlds share the ledger,
the clock and the moments; each has its own framework, keys, hosts and provider's books.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from ledger_judgement import Judgement
from ledger_lines import BASE, Scribe
from ledger_process import MINUTE_US
from ledger_provider import Provider
from ledger_truth import known_runs
from referee_world import World

from submeter.audit.audits import audit_runs, pending
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.report import AuditReport
from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi
from submeter.data.clock import FixedClock
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger

FOLLOWED_MAX = 3
"""Audits made when the schedule says, after all that is needed was read."""
DAYS_TO_CLOSE = 8
EARLY = 3
"""Audits made while the worlds go on or settle."""


class Play:
    """Some worlds, one ledger. `first`: the seed of the first; they are numbered from there."""

    def __init__(self, first: int, worlds: int, folder: Path) -> None:
        self.rng = rng = random.Random(first)
        self.path = folder / "l.duckdb"
        self.journals = folder / "l.duckdb.journal"
        self.journals.mkdir(mode=0o700)
        made = [World(seed) for seed in range(first, first + worlds)]
        self._choose_moments(made)
        # A gap may hide calls of any key, so that one world's gap is every world's: few ledgers have any.
        gaps = [(world, gap) for world in made for gap in world.gap_rows] if rng.random() < 0.15 else []
        for world in made:
            world.gap_rows = []
        self.scribes: dict[int, Scribe] = {}
        for world in made:
            self.scribes[world.seed] = self._placed(world)
        for world, (first_minute, last_minute) in gaps:
            later = self.scribes[world.seed].later
            self.scribes[world.seed].write_gap(first_minute, last_minute)
            for scribe in self.scribes.values():
                shift = later - scribe.later
                scribe.world.gap_rows.append((first_minute + shift, last_minute + shift))
        self.clock = FixedClock(int((BASE + 990) * MINUTE_US))
        self.provider = Provider(scribes=self.scribes, clock=self.clock)
        self.judged = Judgement(self.scribes, self.provider)
        self.ledger = Ledger(self.path, clock=self.clock)
        self.audits = 0

    def _choose_moments(self, worlds: Sequence[World]) -> None:
        """When audits are made, in minutes of a world that is not shifted; the last ones have all that is needed."""
        rng = self.rng
        ends = sorted(world.end for world in worlds)
        last = ends[-1] + 10
        early = [1000 + rng.uniform(10, 60)]
        while len(early) < EARLY:
            early.append(early[-1] + rng.uniform(31, 55))
        settled = max(last + 70, early[-1] + 31) + rng.uniform(0, 20)
        self.moments = [*early, settled, settled + rng.choice((31, 45))]
        day = self.moments[-1] + rng.uniform(20.5, 26) * 60
        self.moments += [day, day + 25 * 60, day + 25 * 60 + 45]
        self.named = {len(self.moments) - 1, len(self.moments) - 2, EARLY, EARLY + 1}
        """Moments at which every run is asked for."""
        self.latest_end = last

    def _placed(self, world: World) -> Scribe:
        """A world, later by whole minutes so that one of the moments is the one that it wants."""
        rng = self.rng
        number = world.seed
        wanted = sorted(world.audits)[-2] if len(world.audits) > 1 else 0
        at = world.reads_at[wanted]
        able = [m for m in self.moments[: EARLY + 2] if 0 <= m - at <= self.latest_end - world.end]
        later = int(rng.choice(able) - at) if able else rng.randint(0, max(0, int(self.latest_end - world.end)))
        world.end = max(world.end, *(run.end for run in world.runs))
        if world.trouble == "flap":
            world.reads_at = [moment - later for moment in self.moments]
            world.audits = set()
            world.flap = None
            world._plan_flap(asked=self.named)
        return Scribe(world, self.journals, later=later, number=number)

    # Play

    def run(self) -> None:
        with unsynced():
            try:
                for number, moment in enumerate(self.moments):
                    self._audit_at(number, moment)
                self._follow()
            finally:
                for scribe in self.scribes.values():
                    scribe.close()

    def _audit_at(self, number: int, moment: float) -> None:
        rng = self.rng
        self._go(moment)
        last = number == len(self.moments) - 1
        self.provider.moment, self.provider.steady = number, number >= len(self.moments) - 4
        if number and rng.random() < 0.12:
            self._rebuild()
        luck = rng.random()
        if number in self.named:
            report = self._audit(AuditRequest(runs=self._names(1.0), max_age_min=10**6))
        elif luck < 0.5:
            report = self._audit(AuditRequest(pending=True))
        elif luck < 0.75:
            report = self._audit(AuditRequest(runs=self._names(0.4)))
        else:
            report = self._audit(self._period())
        if report is not None:
            self.judged.judge(report, last=last)

    def _go(self, moment: float) -> None:
        self.clock.set_us(max(self.clock.now_us(), int((BASE + moment) * MINUTE_US)))
        for scribe in self.scribes.values():
            scribe.write(self.provider.now(scribe))

    def _names(self, share: float) -> tuple[str, ...]:
        names = []
        for scribe in self.scribes.values():
            for run in sorted(known_runs(scribe, self.provider.now(scribe))):
                if self.rng.random() < share:
                    names.append(f"{scribe.framework}/{run}")
        return tuple(names)

    def _period(self) -> AuditRequest:
        first = int(1000 + self.rng.uniform(-5, 90))
        end = first + self.rng.choice((3, 10, 30, 120))
        end = min(end, self.clock.now_us() // MINUTE_US - BASE - 8)
        self.judged.period = (first, max(end, first + 1))
        return AuditRequest(
            from_us=(BASE + first) * MINUTE_US,
            to_us=(BASE + self.judged.period[1]) * MINUTE_US,
            pending=self.rng.random() < 0.3,
        )

    def _settings(self) -> AuditSettings:
        ids = {}
        for scribe in self.scribes.values():
            now = self.provider.now(scribe)
            second = min((call.begin for call in scribe.world.calls if call.key == 1), default=None)
            key: str | None = f"key_{scribe.number}_0"
            if scribe.late_id is not None and now < scribe.late_id[1] + 0.001:
                key = scribe.late_id[0]
            if second is not None and second <= now:
                key = f"key_{scribe.number}_1"
            if key is not None:
                ids[scribe.framework] = key
        return AuditSettings(usage_api_url="http://usage.test/v1", admin_key="sk-admin", framework_key_ids=ids)

    def _audit(self, request: AuditRequest) -> AuditReport | None:
        settings = self._settings()
        self.audits += 1
        if not request.runs and not request.pending and not request.of_period:
            return None
        with (
            Journal.open(self.path, mode="audit", clock=self.clock) as journal,
            UsageApi(settings, clock=self.clock) as client,
        ):
            client._http = httpx.Client(transport=httpx.MockTransport(self.provider.answer))
            return audit_runs(
                self.ledger, request=request, settings=settings, client=client, clock=self.clock, journal=journal
            )

    def _pending(self) -> Any:
        """Where every run stands: as it is remembered, as a look at what came later says, and as a whole look does."""
        kept = self._told_pending()
        (self.journals / "standings.json").unlink(missing_ok=True)
        later = self._told_pending()
        (self.journals / "standings.json").unlink(missing_ok=True)
        (self.journals / "past.json").unlink(missing_ok=True)
        found = self._told_pending()
        for one, other, third in zip(kept.standings, later.standings, found.standings, strict=True):
            if not one == other == third:
                self.judged.wrong(one.run, f"remembered as {one}, looked at as {other}, and is {third}")
        return found

    def _told_pending(self) -> Any:
        return pending(
            self.ledger,
            request=AuditRequest(pending=True, max_age_min=10**6),
            settings=self._settings(),
            clock=self.clock,
            reads_folder=PageStore(self.journals / "reads"),
        )

    def _rebuild(self) -> None:
        """Build the ledger anew: where every run stands is what it was."""
        before = self._pending()
        self.ledger.rebuild()
        after = self._pending()
        for one, other in zip(before.standings, after.standings, strict=True):
            if one != other:
                self.judged.wrong(one.run, f"a rebuild makes {one} {other}")

    def _follow(self) -> None:
        """Make the audits that the schedule asks for; in the end, and at last after a week, every run is final."""
        self.provider.steady = True
        for turn in range(FOLLOWED_MAX):
            standings = [each for each in self._pending().standings if not each.done]
            if not standings:
                return
            now = self.clock.now_us()
            if turn == FOLLOWED_MAX - 1:
                self.clock.set_us(now + DAYS_TO_CLOSE * 24 * 60 * MINUTE_US)
            else:
                due = min((each.next_read_us or now + 31 * MINUTE_US) for each in standings)
                self.clock.set_us(max(now + MINUTE_US, due))
            self._go(self.clock.now_us() / MINUTE_US - BASE)
            self.provider.moment += 1
            report = self._audit(AuditRequest(pending=True, max_age_min=10**6))
            if report is not None:
                self.judged.judge(report, last=False)
        for each in self._pending().standings:
            if not each.done:
                self.judged.wrong(each.run, f"stuck: {each.waiting} {each.verdict} a week after all was read")


@contextmanager
def unsynced() -> Iterator[None]:
    """Nothing here outlives the machine, so nothing is put on disk; and DuckDB looks once for what is not installed.

    It looks for pandas at each value that it is given, which costs a twelfth of the whole.
    """
    absent = {} if find_spec("pandas") else {"pandas": None}
    with (
        patch.object(os, "fdatasync", lambda descriptor: None),
        patch.object(os, "fsync", lambda descriptor: None),
        patch.dict(sys.modules, absent),
    ):
        yield


def play(first: int, worlds: int) -> Play:
    """Judge the worlds of so many seeds in one ledger."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        played = Play(first, worlds, Path(folder))
        played.run()
        return played
