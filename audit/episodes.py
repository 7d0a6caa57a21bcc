"""When each run went on: its episodes by the provider's clock, as the ledger tells them.

Nothing is judged here.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from .questions import Asking
from .unit import RunName

NAMED_RUNS_MAX = 200
"""More runs are not asked for by name: each call would be set beside each name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One episode of a run, by the provider's clock."""

    run: RunName
    episode: int
    started_us: int
    ended_us: int | None
    """None: still open."""
    end_source: str | None
    skew_known: bool = True
    """Whether our clock is known to be right, or how wrong it was, when the marks were made."""


def episodes(asked: Asking) -> tuple[Episode, ...]:
    """Every run episode; those of one run by their begin.

    Most runs are plain: begun once, ended once. What order events have is asked of the others alone, if they are few,
    and of the runs that share a run id with one of them.
    """
    runs = asked.rows("audit_plain_runs", asked.since)
    others = {run_id for _, run_id, plain, *_ in runs if not plain}
    found = [
        Episode(
            run=(framework, run_id),
            episode=1,
            started_us=started_us,
            ended_us=ended_us,
            end_source=end_source,
            skew_known=skew_known,
        )
        for framework, run_id, _, started_us, ended_us, end_source, skew_known in runs
        if run_id not in others
    ]
    if not others:
        return tuple(found)
    named = sorted(others)
    wanted = orjson.dumps(named).decode() if len(named) <= NAMED_RUNS_MAX else None
    found += [
        Episode(
            run=(framework, run_id),
            episode=episode,
            started_us=started_us,
            ended_us=ended_us,
            end_source=end_source,
            skew_known=skew_known,
        )
        for framework, run_id, episode, started_us, ended_us, end_source, skew_known in asked.rows(
            "audit_runs", {"run_ids": wanted}
        )
        if run_id in others
    ]
    return tuple(found)
