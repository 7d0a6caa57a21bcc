"""The referee through the whole product: many worlds in one ledger, journal lines in, `audit_runs` asked at moments.

Every run of every world is judged by what is true of it as far as the ledger could know. The worlds share the ledger,
the clock and the moments; each has its own framework, keys, hosts and provider's books.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
from audit_referee import STANDS_BESIDE, Said
from ledger_lines import BASE, MINUTE_US, Scribe
from ledger_provider import Provider
from ledger_truth import Seen, is_seen, known_runs, seen
from referee_table import Table
from referee_truth import AGREE, truth_of, why_false
from referee_world import World

from submeter.audit.audits import audit_runs, pending
from submeter.audit.choice import AuditRequest
from submeter.audit.reads import PageStore
from submeter.audit.report import AuditReport, PartLine, RunLine
from submeter.audit.settings import AuditSettings
from submeter.audit.usage_api import UsageApi
from submeter.audit.window import Window
from submeter.data.clock import FixedClock
from submeter.data.journal import Journal
from submeter.data.ledger import Ledger

FOLLOWED_MAX = 3
"""Audits made when the schedule says, after all that is needed was read."""
DAYS_TO_CLOSE = 8
EARLY = 3
"""Audits made while the worlds go on or settle."""


@dataclass(frozen=True, slots=True)
class Final:
    """One final verdict, and what there was of its world then."""

    verdict: str
    ground: tuple[object, ...]


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
        self.ledger = Ledger(self.path, clock=self.clock)
        self.said: list[tuple[int, Said]] = []
        self.odd: list[tuple[int, str]] = []
        """Seed and what is wrong beside the verdicts on parts: a run's own, a rebuild, the schedule, unclaimed."""
        self.finals: dict[tuple[str, str | None, object], list[tuple[Window, Final]]] = defaultdict(list)
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
            world._plan_flap()
        return Scribe(world, self.journals, later=later, number=number)

    @property
    def false(self) -> list[tuple[int, str]]:
        """Seed and why, of everything that is not as it should be."""
        return [(seed, each.wrong) for seed, each in self.said if each.wrong is not None] + self.odd

    @property
    def table(self) -> Table:
        """What was seen in these worlds."""
        table = Table()
        for seed in self.scribes:
            table.add(seed, [each for number, each in self.said if number == seed])
        table.false += self.odd
        return table

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
            self._judge(report, last=last)

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
        self.period = (first, max(end, first + 1))
        return AuditRequest(
            from_us=(BASE + first) * MINUTE_US,
            to_us=(BASE + self.period[1]) * MINUTE_US,
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
            client._http.close()
            client._http = httpx.Client(transport=httpx.MockTransport(self.provider.answer))
            return audit_runs(
                self.ledger, request=request, settings=settings, client=client, clock=self.clock, journal=journal
            )

    def _pending(self) -> Any:
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
                self._wrong(one.run, f"a rebuild makes {one} {other}")

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
                self._judge(report, last=False)
        for each in self._pending().standings:
            if not each.done:
                self._wrong(each.run, f"stuck: {each.waiting} {each.verdict} a week after all was read")

    def _wrong(self, run: tuple[str | None, str], why: str) -> None:
        self.odd.append((int(str(run[0])[1:]), f"{run[1]}: {why}"))

    # Judge

    def _judge(self, report: AuditReport, *, last: bool) -> None:
        by_key: dict[str, list[tuple[RunLine, PartLine]]] = defaultdict(list)
        for line in report.runs:
            for part in line.parts:
                by_key[part.api_key_id].append((line, part))
        looks: dict[str, Seen] = {}
        for key_id, lines in sorted(by_key.items()):
            _, number, key = key_id.split("_")
            if number.isdigit():
                scribe = self.scribes[int(number)]
                shares = [
                    (None if line.run is None else int(line.run[1]), self._share(scribe, part)) for line, part in lines
                ]
                look = seen(scribe, self.provider, int(key), last=last, shares=shares)
                looks[key_id] = replace(look, shares=[each for each in shares if each[0] is not None])
                for line, part in lines:
                    self._judge_part(scribe, look if line.run is None else looks[key_id], line, part)
            else:
                self._judge_foreign(lines)
        for line in report.runs:
            if line.run is not None:
                self._judge_run(line)
        self._judge_unclaimed(report, looks)
        if report.exit_code == 0 and any(str(line.verdict) not in AGREE for line in report.runs):
            self.odd.append((next(iter(self.scribes)), "exit 0 though not every run agrees"))

    def _share(self, scribe: Scribe, part: PartLine, run: Any = None) -> Any:
        later = BASE + scribe.later
        window = Window(start=part.window.start - later, end=part.window.end - later)
        return SimpleNamespace(window=window, run=run, ambiguous=0, begun_in=window, open=False)

    def _judge_part(self, scribe: Scribe, look: Seen, line: RunLine, part: PartLine) -> None:
        world, now = scribe.world, look.now
        run = None if line.run is None else int(line.run[1])
        later = BASE + scribe.later
        share = self._share(scribe, part, line.run)
        if run is not None:
            known = known_runs(scribe, now)
            share.ambiguous = self._ambiguous(scribe, run, known, now)
        else:
            first, end = self.period
            first, end = first + BASE - later, end + BASE - later
            share.begun_in = Window(start=first - 1, end=max(first, end - 1))
        found = look.found(share)
        near = look.within(found.chain.window)
        joint = part.runs
        finding = SimpleNamespace(
            share=share,
            verdict=str(part.verdict),
            reason=None if part.reason is None else str(part.reason),
            final=part.final,
            closed=part.closed,
            joint=joint,
        )
        wrong = self._why_false(near, finding, found)
        truth = truth_of(near, run, share)  # type: ignore[arg-type]
        if wrong is None and world.trouble != "provider hours late" and run is not None:
            wrong = self._contradicted(scribe, part, run, now)
        if wrong is not None:
            at = f"{now:.1f} run {run} on {part.api_key_id} {finding.verdict}/{finding.reason}"
            wrong = f"{wrong} [{world.trouble}, {scribe.style}, at {at}]"
        said = Said(
            verdict=finding.verdict,
            reason=finding.reason,
            joint=tuple(sorted(int(name[1]) for name in joint)),
            final=part.final and not part.closed,
            last=look.last,
            key=look.key,
            run=run,
            wrong=wrong,
            cause=truth.cause,
            distance=None,
            closed=False,
            gap_min=world.gap,
            rate=world.rate,
        )
        self.said.append((scribe.number, said))

    def _why_false(self, near: Seen, finding: Any, found: Any) -> str | None:
        wrong = why_false(near, finding, found)  # type: ignore[arg-type]
        if wrong is not None and near.world.trouble == "renamed":
            # Whether a name that was never seen is taken for the old one is the audit's own affair.
            near.renamed_paired = True
            wrong = why_false(near, finding, found)  # type: ignore[arg-type]
        return wrong

    def _ambiguous(self, scribe: Scribe, run: int, known: frozenset[int], now: float) -> int:
        """Calls that could be of a run or of another, by the marks that have been imported."""
        if scribe.style != "imports":
            return 0
        runs = scribe.world.runs
        return sum(
            is_seen(scribe, call, now)
            and sum(runs[name].begin <= call.begin < runs[name].end for name in known) > 1
            and runs[run].begin <= call.begin < runs[run].end
            for call in scribe.world.calls
        )

    def _contradicted(self, scribe: Scribe, part: PartLine, run: int, now: float) -> str | None:
        """What was final is said again, unless what there is of its world is more than there was."""
        world = scribe.world
        ground: tuple[object, ...] = (
            scribe.late_id is not None and now >= scribe.late_id[1],
            scribe.proxies[1].copied_at <= now,
            known_runs(scribe, now),
            sum(is_seen(scribe, call, now) for call in world.calls if call.run == run or scribe.style != "marks"),
            sum(0 <= call.told <= now for call in world.calls),
            sum(run.end <= now for name, run in enumerate(world.runs) if scribe.names[name] != name),
        )
        kept = self.finals[part.api_key_id, str(run), scribe.number]
        verdict = str(part.verdict)
        for window, final in kept:
            if not window.overlaps(part.window) or final.ground != ground:
                continue
            if verdict == final.verdict or verdict in STANDS_BESIDE:
                continue
            if final.verdict == "incomplete" and verdict == "verified":
                continue
            return f"{final.verdict} was final and is {verdict} now"
        if part.final and not part.closed:
            kept.append((part.window, Final(verdict, ground)))
        return None

    def _judge_foreign(self, lines: Sequence[tuple[RunLine, PartLine]]) -> None:
        """On an id that is nobody's nothing was billed: a run with counted calls there agrees with nothing."""
        for line, part in lines:
            if line.run is None or str(part.verdict) != "verified":
                continue
            scribe = self.scribes[int(str(line.run[0])[1:])]
            now = self.provider.now(scribe)
            if any(
                call.run == int(line.run[1]) and call.standing == "counted" and any(call.tokens)
                for call in scribe.world.calls
                if is_seen(scribe, call, now) and call.end <= now
            ):
                self._wrong(line.run, "verified on an id that was never billed")

    def _judge_run(self, line: RunLine) -> None:
        """The run's own verdict is never better than what is true of it on the keys it is known to be on."""
        assert line.run is not None
        scribe = self.scribes[int(str(line.run[0])[1:])]
        world, now, run = scribe.world, self.provider.now(scribe), int(line.run[1])
        if str(line.verdict) not in AGREE:
            return
        parts = {str(part.verdict) for part in line.parts}
        if not parts <= set(AGREE):
            self._wrong(line.run, f"{line.verdict} with parts {sorted(parts)}")
        if line.keyless or not line.parts:
            self._wrong(line.run, f"{line.verdict} with keyless calls or without parts")
        keys = {part.api_key_id for part in line.parts}
        for call in world.calls:
            if call.run == run and call.begin <= now and is_seen(scribe, call, now):
                late = scribe.late_id is not None and call.key == 0 and now < scribe.late_id[1] + 0.001
                if not late and f"key_{scribe.number}_{call.key}" not in keys:
                    self._wrong(line.run, f"{line.verdict} without a part on key {call.key}, which it used")
                    return

    def _judge_unclaimed(self, report: AuditReport, looks: dict[str, Seen]) -> None:
        for each in report.unclaimed:
            _, number, key = each.api_key_id.split("_")
            scribe = self.scribes[int(number)]
            look = looks.get(each.api_key_id) or seen(scribe, self.provider, int(key), last=False, shares=())
            minute = each.minute - BASE - scribe.later
            true = any(
                (call.excess(look.now) or (call.bill_model is not None and call.pieces))
                and any(abs(piece.minute - minute) < 90 for piece in call.pieces)
                for call in look.calls
            )
            if not true:
                self.odd.append((scribe.number, f"unclaimed at {minute}, and nothing was hidden"))


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
