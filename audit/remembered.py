"""What the last look said of every run, kept beside the journals for as long as nothing can have changed.

A look costs what there is of past runs. Where no line came in, no process ended, no setting is another and no time has
come at which a run would stand otherwise, another look would say the same: so it is read back from `standings.json`.
That file is no record. Without it, or with one that was made of anything else, the ledger is looked at. Nothing is kept
where something still goes on, and nothing of a look that judged a chain: the pages it rests on may be gone by now.

No run is judged here, and no verdict is ever read from here: an audit that has anything to do looks at the ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from ..data.clock import US_PER_MINUTE
from ..data.ledger import DuckConnection, Ledger, named
from ..data.paths import journal_folder
from .choice import AuditRequest
from .judge import Judge
from .kept import ground_of, read, record, standing_of, write
from .look import Look
from .questions import Asking
from .report import RunStanding, Waiting
from .settings import AuditSettings

NAME = "standings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Every run and where it stands, and the calls that belong to none."""

    standings: tuple[RunStanding, ...]
    unlabelled: int
    """Creates that belong to no run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The place of what was said, and what it has to rest on."""

    path: Path
    ground: str
    """A digest of all that the standings of runs rest on, but the time."""
    but_reader: str | None
    """A digest of all that the ledger was made of, but the journal of who reads the bill now."""

    def recall(self, now_us: int) -> Pending | None:
        """What was said of the same ground, if it holds now; None: the ledger is to be looked at."""
        try:
            told = read(self.path)
            until_us = told["until_us"]
            if (
                told["ground"] != self.ground
                or now_us < told["from_us"]
                or (until_us is not None and now_us >= until_us)
            ):
                return None
            standings = tuple(standing_of(each, now_us) for each in told["standings"])
            return Pending(standings=standings, unlabelled=int(told["unlabelled"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def remember(self, said: Pending, asked: Asking, seen: Look, judge: Judge, request: AuditRequest) -> None:
        """Keep what a look said, where it will hold until something comes in or a time comes."""
        if judge.derived or not rests(asked, seen):
            return
        told = {
            "ground": self.ground,
            "from_us": seen.now_us,
            "until_us": _until_us(said.standings, request),
            "unlabelled": said.unlabelled,
            "standings": [record(each) for each in said.standings],
        }
        # A ledger in a folder that nobody may write to is looked at each time.
        with contextlib.suppress(OSError):
            write(self.path, told)


def remembered(
    ledger: Ledger,
    connection: DuckConnection,
    request: AuditRequest,
    settings: AuditSettings,
    *,
    reader: str | None = None,
) -> Remembered:
    """What may be known of where runs stand, by what the ledger and the settings are now.

    `reader`: the journal of an audit, by its file_id, which writes nothing but reads until it looks again.
    """
    ((facts, digest, total, but_reader),) = connection.rows(named("audit_state"), {"but_file": reader})
    told = [
        *ground_of(ledger, request.shift_min, settings),
        [facts, digest, total],
        [request.framework, request.min_age_min, request.max_age_min],
    ]
    return Remembered(
        path=journal_folder(ledger.path) / NAME,
        ground=hashlib.sha256(orjson.dumps(told)).hexdigest(),
        but_reader=but_reader,
    )


def rests(asked: Asking, seen: Look) -> bool:
    """Whether no run and no call goes on, and none is of a time that has not come: by time alone nothing changes."""
    told = [us for each in seen.episodes.values() for episode in each for us in (episode.started_us, episode.ended_us)]
    if any(us is None or us > seen.now_us for us in told):
        return False
    return not asked.rows("audit_going")[0][0]


def _until_us(standings: Sequence[RunStanding], request: AuditRequest) -> int | None:
    """The first instant at which some run stands otherwise because it is older or due; None: that never comes."""
    times = []
    for each in standings:
        match each.waiting:
            case Waiting.TOO_YOUNG:
                times.append((each.ended_us or 0) + request.min_age_min * US_PER_MINUTE)
            case Waiting.NEVER_READ:
                times.append((each.ended_us or 0) + (request.max_age_min + 1) * US_PER_MINUTE)
            case Waiting.NOT_DUE:
                times.append(each.next_read_us or 0)
    return min(times, default=None)
