"""What an audit said of the worlds of one ledger, set against what is true of each of them at that moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from audit_referee import STANDS_BESIDE, Said
from ledger_lines import BASE, Scribe
from ledger_provider import Provider
from ledger_truth import Seen, is_seen, known_runs, seen
from referee_table import Table
from referee_truth import AGREE, truth_of, why_false

from submeter.audit.report import AuditReport, PartLine, RunLine
from submeter.audit.window import Window


@dataclass(frozen=True, slots=True)
class Final:
    """One final verdict, and what there was of its world then."""

    verdict: str
    ground: tuple[object, ...]


class Judgement:
    """Every verdict of one ledger, and what is wrong with it."""

    def __init__(self, scribes: Mapping[int, Scribe], provider: Provider) -> None:
        self.scribes, self.provider = scribes, provider
        self.period = (0, 1)
        """The period that was asked for last, in minutes of a world that is not later than its seed's."""
        self.said: list[tuple[int, Said]] = []
        self.odd: list[tuple[int, str]] = []
        """Seed and what is wrong beside the verdicts on parts: a run's own, a rebuild, the schedule, unclaimed."""
        self.finals: dict[tuple[str, str | None, object], list[tuple[Window, Final]]] = defaultdict(list)

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

    def wrong(self, run: tuple[str | None, str], why: str) -> None:
        self.odd.append((int(str(run[0])[1:]), f"{run[1]}: {why}"))

    def judge(self, report: AuditReport, *, last: bool) -> None:
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
            near.truths.clear()
            wrong = why_false(near, finding, found)  # type: ignore[arg-type]
        if near.world.trouble == "provider hours late" and finding.verdict == "over" and not finding.final:
            # It may rest on reads of before: a run that was not asked for is judged along with its chain, not read.
            return None
        return wrong

    def _ambiguous(self, scribe: Scribe, run: int, known: frozenset[int], now: float) -> int:
        """Calls with tokens that could be of a run or of another, by the marks that have been imported."""
        if scribe.style != "imports":
            return 0
        runs = scribe.world.runs
        return sum(
            is_seen(scribe, call, now)
            and call.standing != "unbilled"
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
                self.wrong(line.run, "verified on an id that was never billed")

    def _judge_run(self, line: RunLine) -> None:
        """The run's own verdict is never better than what is true of it on the keys it is known to be on."""
        assert line.run is not None
        scribe = self.scribes[int(str(line.run[0])[1:])]
        world, now, run = scribe.world, self.provider.now(scribe), int(line.run[1])
        if str(line.verdict) not in AGREE:
            return
        parts = {str(part.verdict) for part in line.parts}
        if not parts <= set(AGREE):
            self.wrong(line.run, f"{line.verdict} with parts {sorted(parts)}")
        if line.keyless or not line.parts:
            self.wrong(line.run, f"{line.verdict} with keyless calls or without parts")
        keys = {part.api_key_id for part in line.parts}
        for call in world.calls:
            if call.run == run and call.begin <= now and is_seen(scribe, call, now):
                late = scribe.late_id is not None and call.key == 0 and now < scribe.late_id[1] + 0.001
                if not late and f"key_{scribe.number}_{call.key}" not in keys:
                    self.wrong(line.run, f"{line.verdict} without a part on key {call.key}, which it used")
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
