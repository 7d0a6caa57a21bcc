"""What is behind us, kept in `past.json` beside the journals, for as long as nothing of it can have changed.

No fact of then is another (`audit_past_state.sql`), and no row that came in since tells of then or of a run of then
(`audit_past_news.sql`): the tables that are asked for it only grow. Else the file is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..data.clock import US_PER_MINUTE
from ..data.ledger import DuckConnection, Ledger, named
from ..data.paths import journal_folder
from . import known_names
from .choice import AuditRequest
from .judge import Judge
from .kept import ground_of, read, record, write
from .look import Look
from .past import Past, cuts, is_settled, names_rested_on, run_hulls
from .questions import Asking
from .report import RunStanding
from .settings import AuditSettings
from .unit import RunName

if TYPE_CHECKING:
    from .ground import Grounds

NAME = "past.json"
MORE_RUNS_MIN = 50
"""Runs that have to be settled since, for the file to be written again."""
TABLES = ("ingest_log", "readings", "additions", "marks", "usage_reads", "audits")
"""As `audit_past_counts.sql` tells of them."""


def recall(
    ledger: Ledger, connection: DuckConnection, request: AuditRequest, settings: AuditSettings, now_us: int
) -> Past | None:
    """What is known of the past, if it surely is what it was; None: the whole ledger is to be looked at."""
    try:
        told = read(journal_folder(ledger.path) / NAME)
        if told["ground"] != _ground(ledger, request, settings) or now_us < told["kept_us"]:
            return None
        past = _past(told)
        counts, state = dict(told["counts"]), told["state"]
        if _state(connection, past.until_us, counts) != state:
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return None if _tells_of(past, connection, counts) else past


def _tells_of(past: Past, connection: DuckConnection, counts: Mapping[str, int]) -> bool:
    """Whether anything that came in since tells of then."""
    wanted = {name: counts[name] for name in ("readings", "additions", "marks", "usage_reads", "audits")}
    news = connection.rows(named("audit_past_news"), {**wanted, "until_us": past.until_us})
    return any(
        (first_us is not None and first_us < past.until_us) or (run_id is not None and past.told((framework, run_id)))
        for framework, run_id, first_us in news
    )


def _state(connection: DuckConnection, until_us: int, counts: Mapping[str, int]) -> list[Any]:
    wanted = {name: counts[name] for name in ("ingest_log", "usage_reads")}
    return list(connection.rows(named("audit_past_state"), {**wanted, "until_us": until_us})[0])


def _ground(ledger: Ledger, request: AuditRequest, settings: AuditSettings) -> str:
    return hashlib.sha256(orjson.dumps(ground_of(ledger, request.shift_min, settings))).hexdigest()


def keep(
    ledger: Ledger, found: Grounds, request: AuditRequest, settings: AuditSettings, standings: Iterable[RunStanding]
) -> None:
    """Keep what a look found of all that is settled. `standings`: of every run that is not due, and maybe of others.

    Nothing is kept of a chain that was judged, and of what came after: what was said of it rests on pages that may be
    gone by the next look.
    """
    asked, look, judge = found.asked, found.of_runs.look, found.of_runs.judge
    if any(judge.learns(key) for key in look.keys):
        return
    later = [each for each in standings if each.run in look.episodes]
    if asked.past is not None and sum(map(is_settled, later)) < MORE_RUNS_MIN:
        return
    for minute in cuts(look, later, before=judge.earliest_judged):
        past = _cut(asked, look, judge, later, minute)
        if past is None:
            continue
        (row,) = asked.rows("audit_past_counts")
        counts = dict(zip(TABLES, row, strict=True))
        state = _state(asked.connection, past.until_us, counts)
        told = {"ground": _ground(ledger, request, settings), "counts": counts, "state": state, **_told(past)}
        # A ledger in a folder that nobody may write to is looked at each time.
        with contextlib.suppress(OSError):
            write(journal_folder(ledger.path) / NAME, told)
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Which runs lines name before an instant, by the ledger's own times."""

    names: frozenset[RunName]
    nameless: frozenset[str]


def _sides(asked: Asking, until_us: int) -> _Sides | None:
    """The runs before an instant; None: some run is on both sides."""
    rows = asked.rows("audit_past_runs", {"until_us": until_us, **asked.since})
    names = {(framework, run_id) for framework, run_id, before, _, _ in rows if before}
    after = {(framework, run_id) for framework, run_id, _, after, _ in rows if after}
    nameless = {run_id for _, run_id, _, _, without in rows if without}
    if names & after or nameless & {run_id for _, run_id in names} & {run_id for _, run_id in after}:
        return None
    return _Sides(names=frozenset(names), nameless=frozenset(nameless & {run_id for _, run_id in names}))


def _cut(asked: Asking, look: Look, judge: Judge, standings: Sequence[RunStanding], minute: int) -> Past | None:
    """What is before a minute, if by the ledger's own times, too, nothing reaches over it."""
    before, until_us = asked.past, minute * US_PER_MINUTE
    if before is not None and until_us <= before.until_us:
        return None
    cut = {"until_us": until_us, "until_minute": minute, "shift_min": look.shift_min}
    ((crossing, unlabelled),) = asked.rows("audit_past_cut", cut)
    sides = _sides(asked, until_us)
    if crossing or sides is None:
        return None
    hulls = run_hulls(look)
    behind = {run for run, (_, end) in hulls.items() if end <= minute}
    if {run for run in sides.names if run in hulls} != behind:
        return None
    # Runs of the past that was known before are not among those looked at.
    own = [each for each in standings if each.run in behind]
    if {each.run for each in own} != {run for run in behind if look.episodes.get(run)}:
        return None
    rested = {key: set(names) for key, (names, _) in before.facts.items()} if before is not None else {}
    for key, names in names_rested_on(look, behind).items():
        rested.setdefault(key, set()).update(names)
    if any(judge.learns(key) for key in rested):
        return None
    return Past(
        until_us=until_us,
        kept_us=look.now_us,
        records=(*(before.records if before is not None else ()), *map(record, own)),
        names=sides.names | (before.names if before is not None else frozenset()),
        nameless=sides.nameless | (before.nameless if before is not None else frozenset()),
        unlabelled=unlabelled + (before.unlabelled if before is not None else 0),
        answers=tuple(known_names.answer_rows(asked, until_us=until_us)),
        models=tuple(known_names.model_rows(asked, until_us=until_us)),
        billed=tuple(known_names.billed_rows(asked)),
        facts={key: (tuple(sorted(names)), judge.facts_text(key, names)) for key, names in rested.items()},
    )


def _told(past: Past) -> dict[str, Any]:
    return {
        "until_us": past.until_us,
        "kept_us": past.kept_us,
        "records": past.records,
        "names": sorted(past.names, key=str),
        "nameless": sorted(past.nameless),
        "unlabelled": past.unlabelled,
        "answers": past.answers,
        "models": past.models,
        "billed": past.billed,
        "facts": past.facts,
    }


def _past(told: dict[str, Any]) -> Past:
    return Past(
        until_us=told["until_us"],
        kept_us=told["kept_us"],
        records=tuple(told["records"]),
        names=frozenset((framework, run_id) for framework, run_id in told["names"]),
        nameless=frozenset(told["nameless"]),
        unlabelled=told["unlabelled"],
        answers=tuple((asked_for, answered) for asked_for, answered in told["answers"]),
        models=tuple(
            (key, endpoint, standing, answered, asked_for)
            for key, endpoint, standing, answered, asked_for in told["models"]
        ),
        billed=tuple((key, endpoint, model, batch_only) for key, endpoint, model, batch_only in told["billed"]),
        facts={key: (tuple(names), digest) for key, (names, digest) in told["facts"].items()},
    )
