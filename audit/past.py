"""The part of a ledger that is behind us: what a look found of all before an instant at which nothing went on.

Every run of then is final, closed, or too old and never read, no call of then goes on, and no run and no call reaches
over the instant. So long as `past_file` finds that no fact of then is another and nothing came in that tells of then,
a look has only what came later to ask for, and puts the answers together: models, answers and bills are names that
were ever seen, runs and their chains lie on one side.

A name that is learned later may make two names one model, or part them. So what the verdicts of then rest on is
compared once more, with the names that the look found: `holds`. Where it is another, or where a key's facts are learned
from its chains, the whole ledger is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.clock import US_PER_MINUTE
from .kept import standing_of
from .report import DONE, RunStanding, Waiting, run_text
from .unit import RunName
from .window import joined, minute_of

if TYPE_CHECKING:
    from .judge import Judge
    from .known_names import ModelRow
    from .look import Look

IDLE_MIN = 61
"""A run that nobody ended by a mark may still be found to have ended up to 60 minutes after its last sign of life."""
CUTS_MAX = 4
"""Instants that are tried, the latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """All before an instant."""

    until_us: int
    """The instant, a whole minute; no run and no call is active in the minute that it begins."""
    kept_us: int
    """When it was looked at."""
    records: tuple[list[Any], ...]
    """Where every run of then stands, by its begin, as `kept.record` has it; none is due."""
    names: frozenset[RunName]
    """Every run that a mark, a call or a verdict of then names."""
    nameless: frozenset[str]
    """Run ids of then that some line names without a framework."""
    unlabelled: int
    """Creates that belong to no run."""
    answers: tuple[tuple[str, str], ...]
    models: tuple[ModelRow, ...]
    billed: tuple[tuple[str, str, str, bool], ...]
    """As `known_names.answer_rows`, `model_rows` and `billed_rows` have them; the bill up to when it was looked at."""
    facts: Mapping[str, tuple[tuple[str, ...], str]]
    """By key: the names that verdicts of then rest on, and a digest of what is known of them."""

    def told(self, run: RunName) -> bool:
        """Whether a line that names a run (its framework may be None) tells of one of then."""
        framework, run_id = run
        if run in self.names or run_id in self.nameless:
            return True
        return framework is None and any(run_id == other for _, other in self.names)

    def standings_at(self, now_us: int, *, framework: str | None, max_age_min: int) -> tuple[RunStanding, ...] | None:
        """Where the runs of then stand; None: one of them is due, for a request that reaches further back."""
        found = tuple(
            standing_of(each, now_us) for each in self.records if framework is None or each[0][0] == framework
        )
        if any(not each.done and (each.age_min is None or each.age_min <= max_age_min) for each in found):
            return None
        return found

    def may_mean(self, names: Iterable[str]) -> bool:
        """Whether one of these names, as users write them, could be that of a run of then."""
        wanted = {name.lower() for name in names}
        return any(run[1].lower() in wanted or run_text(run).lower() in wanted for run in self.names)

    def holds(self, look: Look, judge: Judge) -> bool:
        """Whether what a look found of all that came later leaves everything of then as it was."""
        minute = minute_of(self.until_us)
        if any(chain.start <= minute for key in look.keys.values() for chain in key.chains[:1]):
            return False
        if any(minute_of(episode.started_us) <= minute for each in look.episodes.values() for episode in each):
            return False
        if any(self.told(run) for run in {*look.episodes, *look.key_ids, *look.keyless, *look.ambiguous}):
            return False
        if any(judge.learns(key) for key in {*look.keys, *self.facts}):
            return False
        return all(judge.facts_text(key, names) == digest for key, (names, digest) in self.facts.items())


def cuts(look: Look, standings: Sequence[RunStanding], *, before: int | None) -> list[int]:
    """Minutes at which nothing went on and before which every run is settled, the latest first; a few.

    `before`: the first minute of what is not settled whatever the standings say; None: there is no such.
    """
    settled = {each.run for each in standings if is_settled(each)}
    hulls = run_hulls(look)
    starts = [start for run, (start, _) in hulls.items() if run not in settled]
    unsettled = min([*starts, *([] if before is None else [before])], default=None)
    stretches = [(chain.start, chain.end) for key in look.keys.values() for chain in key.chains]
    blocks = joined([*stretches, *hulls.values()])
    found = []
    for number, block in enumerate(blocks):
        if unsettled is not None and block.end > unsettled:
            break
        minute = block.end + 1
        is_free = number + 1 == len(blocks) or blocks[number + 1].start > minute
        if is_free and minute * US_PER_MINUTE <= look.now_us:
            found.append(minute)
    return found[: -CUTS_MAX - 1 : -1]


def is_settled(standing: RunStanding) -> bool:
    """Whether nothing but what comes in could make a run due."""
    return standing.waiting in DONE or standing.waiting is Waiting.TOO_OLD


def run_hulls(look: Look) -> dict[RunName, tuple[int, int]]:
    """The minutes between which each run lies, whole: its marks, its calls on every key, and where it was idle."""
    found: dict[RunName, tuple[int, int]] = {}

    def reach(run: RunName, start: int, end: int) -> None:
        low, high = found.get(run, (start, end))
        found[run] = (min(low, start), max(high, end))

    for run, episodes in look.episodes.items():
        for episode in episodes:
            ended_us = look.now_us if episode.ended_us is None else episode.ended_us
            idle = 0 if episode.end_source in ("mark", "metrics") else IDLE_MIN
            reach(run, minute_of(episode.started_us) - 1, minute_of(max(ended_us, episode.started_us)) + 2 + idle)
    for run in look.key_ids:
        for _, share in look.parts_of(run):
            reach(run, share.window.start, share.window.end)
    return found


def names_rested_on(look: Look, runs: Iterable[RunName]) -> dict[str, set[str]]:
    """By key: the names that the latest verdicts on these runs rest on."""
    wanted = set(runs)
    found: dict[str, set[str]] = defaultdict(set)
    for key, each in look.keys.items():
        for run, parts in each.parts.items():
            if run in wanted:
                for part in parts:
                    found[key].update(part.rests_on.get("models") or ())
    return found
