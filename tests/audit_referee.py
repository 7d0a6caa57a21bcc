"""The referee: has the audit's pure core judge seeded worlds at several moments, and says which verdicts are false.

What is given to the audit: `referee_moment`. What is true: `referee_truth`. The second opinion: `referee_borders`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from referee_borders import finds_clear
from referee_calls import Bounds
from referee_moment import Given, Judges, Moment
from referee_truth import joint_of, run_of, truth_of, unplaced_is_false, why_false
from referee_world import World

SECOND_OPINION_EVERY = 8
"""Of so many worlds one is judged by the border form, too."""
STANDS_BESIDE = frozenset({"not_permitted", "unavailable", "warning"})
"""A failed read and a changed bill are said beside a final verdict, which stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One verdict on one run and key at one moment, and the truth of it."""

    verdict: str
    reason: str | None
    joint: tuple[int, ...]
    final: bool
    last: bool
    """Said in the last audit, when every read that is needed had been made."""
    key: int
    run: int | None
    """None: a period."""
    wrong: str | None
    """Why the verdict is false; None: it is not."""
    cause: str
    """What is wrong with this run in truth."""
    distance: int | None
    """Runs between it and the nearest run of its chain with an error; None: the chain has none."""
    closed: bool
    """Its chain is known to its end."""
    gap_min: float = 0.0
    """Minutes between the runs of its world, as planned."""
    rate: int = 0
    """Calls a minute, as planned."""
    border: bool | None = None
    """Whether the border form finds it clear; None: not asked."""

    @property
    def false(self) -> bool:
        return self.wrong is not None


def audit_world(seed: int, judges: Judges, bounds: Bounds | None = None) -> list[Said]:
    """Every verdict that the audit says on a world, at each of its moments."""
    world = World(seed, bounds)
    said: list[Said] = []
    finals: dict[int, dict[int | None, float]] = defaultdict(dict)
    final: dict[tuple[int, int | None], list[Said]] = defaultdict(list)
    given = [Given(world, judges, key) for key in range(world.keys)]
    for number in sorted(world.audits):
        for key in range(world.keys):
            moment = Moment(given[key], number, finals[key])
            for each in _judged(moment):
                before = final[key, each.run]
                if each.wrong is None and world.trouble != "provider hours late":
                    why = _contradicted(before, each)
                    each = each if why is None else replace(each, wrong=why)
                said.append(each)
                if each.final:
                    before.append(each)
                    finals[key][each.run] = moment.now
    return said


def _contradicted(finals: Sequence[Said], now: Said) -> str | None:
    """What was said to be final must be said again whenever the same is asked."""
    for final in finals:
        if now.verdict == final.verdict or now.verdict in STANDS_BESIDE:
            continue
        if final.verdict == "incomplete" and now.verdict == "verified":
            continue  # the usage that was not known has been told since
        return f"{final.verdict} was final and is {now.verdict} now"
    return None


def _judged(moment: Moment) -> Iterator[Said]:
    world = moment.world
    second = moment.last and world.seed % SECOND_OPINION_EVERY == 0
    for found in moment.found:
        runs = [run for finding in found.findings if (run := run_of(finding.share)) is not None]
        erring = [run for run in runs if truth_of(moment, run).wrong]
        for finding in found.findings:
            run = run_of(finding.share)
            truth = truth_of(moment, run, finding.share)
            clear = finds_clear(moment, found, finding.share) if second and found.closed else None
            wrong = why_false(moment, finding, found)
            if clear and truth.wrong:
                wrong = wrong or f"the border form finds it clear, though: {truth.cause}"
            yield Said(
                verdict=str(finding.verdict),
                reason=None if finding.reason is None else str(finding.reason),
                joint=joint_of(finding),
                final=finding.final and not finding.closed,
                last=moment.last,
                key=moment.key,
                run=run,
                wrong=wrong,
                cause=truth.cause,
                distance=min((abs(run - other) for other in erring), default=None) if run is not None else None,
                closed=found.closed,
                gap_min=world.gap,
                rate=world.rate,
                border=clear,
            )
        for _ in found.unplaced:
            why = unplaced_is_false(moment, found)
            yield Said(
                verdict="unclaimed",
                reason=None,
                joint=(),
                final=False,
                last=moment.last,
                key=moment.key,
                run=-1,
                wrong=why,
                cause="nothing" if why else "past the meter",
                distance=None,
                closed=found.closed,
            )
