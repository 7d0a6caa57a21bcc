"""What runs and periods are judged by: one look at the ledger, of all of it or of what came after what is known.

The short look is taken where all that is asked for lies after the past that is kept, and nothing of the past can have
changed; its answers are those of the whole one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..data.clock import Clock
from ..data.ledger import DuckConnection, Ledger
from . import past_file
from .choice import AuditRequest
from .judge import Judge
from .look import Look, look
from .questions import Asking
from .reads import PageStore
from .settings import AuditSettings
from .unit import RunName
from .window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the ledger knows at a moment, and the judge of it."""

    look: Look
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What runs are judged by, and what a period is judged by.

    A period is one more window, which may join what was apart: minutes that nobody has read yet would be in one chain
    with runs that are long known. So its window is in its own ground alone, and no run's verdict hangs on it.
    """

    asked: Asking
    of_runs: Ground
    of_period: Ground


def grounds(
    ledger: Ledger,
    connection: DuckConnection,
    request: AuditRequest,
    settings: AuditSettings,
    clock: Clock,
    store: PageStore,
    *,
    chosen: Iterable[RunName] = (),
) -> Grounds:
    """Look at the ledger, as far back as has to be.

    `chosen`: runs that an earlier look of this audit found due. Another audit may have ended them meanwhile, so that
    they are of the past now; they are looked at all the same.
    """
    short = _short(ledger, connection, request, settings, clock, store, chosen)
    if short is not None:
        return short
    asked = Asking(connection)
    of_runs = _ground(asked, None, request, settings, clock, store)
    of_period = _ground(asked, request.begun_in, request, settings, clock, store) if request.of_period else of_runs
    return Grounds(asked=asked, of_runs=of_runs, of_period=of_period)


def _short(
    ledger: Ledger,
    connection: DuckConnection,
    request: AuditRequest,
    settings: AuditSettings,
    clock: Clock,
    store: PageStore,
    chosen: Iterable[RunName],
) -> Grounds | None:
    """Look at what came after the past that is kept; None: that is not enough."""
    if request.of_period:
        return None
    now_us = clock.now_us()
    past = past_file.recall(ledger, connection, request, settings, now_us)
    if past is None or past.may_mean(request.runs) or not past.names.isdisjoint(chosen):
        return None
    if request.of_pending:
        told = past.standings_at(now_us, framework=request.framework, max_age_min=request.max_age_min)
        if told is None:
            return None
    asked = Asking(connection, past=past)
    ground = _ground(asked, None, request, settings, clock, store)
    if not past.holds(ground.look, ground.judge):
        return None
    return Grounds(asked=asked, of_runs=ground, of_period=ground)


def _ground(
    asked: Asking,
    begun_in: Window | None,
    request: AuditRequest,
    settings: AuditSettings,
    clock: Clock,
    store: PageStore,
) -> Ground:
    seen = look(
        asked,
        now_us=clock.now_us(),
        shift_min=request.shift_min,
        configured=settings.framework_key_ids,
        begun_in=begun_in,
        framework=request.framework,
    )
    return Ground(look=seen, judge=Judge(asked, seen, store=store, settings=settings))
