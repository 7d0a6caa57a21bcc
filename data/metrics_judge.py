"""Judges published runs anew from their own files: what the reads of the Usage API that they rest on are worth.

A figure that was read twice alike is stable, which is not the same as right. Three things show in the files alone:

- the window that was asked about also holds part of a neighbour's run on the same framework (one framework, one key),
- a read of zeros among reads that are not: an error that was stored as a number,
- a read less than 10 minutes after the run's end; of 18 such in the users' 300 published runs 6 were incomplete, of
  1,156 later ones none (counted in their files, 2026-11-22).

Pure. Never here: a ledger, or a guess at how many tokens were whose. What can no longer be known is said in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from .clock import US_PER_S
from .metrics import MetricsFile, run_times

EARLY_US = 600 * US_PER_S
BUCKET_S = 60
TOTALS = ("total_tokens_in", "total_tokens_out", "total_api_calls", "total_cached_tokens")


class Flaw(StrEnum):
    """What is wrong with a published run, worst first."""

    CONTAMINATED = "contaminated"
    """Its window holds part of a neighbour's run: its totals may hold the neighbour's tokens."""
    OVERLAPPING = "overlapping"
    """Its window shares time with a neighbour's, though not with the neighbour's run: only tokens billed late or early
    can have been counted twice."""
    ZERO_READ = "zero_read"
    """A read of zeros among others that are not."""
    EARLY_READ = "early_read"
    """A read less than 10 minutes after the run's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One of the reads that a file tells of."""

    at_us: int | None
    """When, in microseconds UTC; None: the file does not say."""
    totals: tuple[int | None, ...]
    """Tokens in, tokens out, calls, cached tokens; None: the file does not say."""
    start_s: float | None
    """The window asked about, in seconds since 1970; None: the file does not say."""
    end_s: float | None

    @property
    def zero(self) -> bool:
        """It told at least one total, and all that it told are zero."""
        told = [total for total in self.totals if total is not None]
        return bool(told) and not any(told)

    @property
    def good(self) -> bool:
        return any(self.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """What a file says of its run and of the reads it rests on."""

    framework: str
    run_id: str
    begun_us: int
    ended_us: int | None
    """None: the run goes on."""
    times_from_steps: bool
    """The file tells no times of the run: they are its steps', in whole seconds."""
    status: str | None
    """What the file claims."""
    reads: tuple[Read, ...]
    window: tuple[float, float] | None
    """All that was ever asked about, in seconds since 1970; None: no read tells its window."""
    step_borders: int
    """Neighbouring steps."""
    shared_minutes: int
    """Those of them that share a minute, so that no minute bucket can tell one from the other."""

    @property
    def name(self) -> str:
        return f"{self.framework}/{self.run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A run of the same framework in or beside the window."""

    name: str
    shared_s: float
    """Seconds that both windows hold."""
    run_s: float
    """Seconds of the neighbour's run inside this run's window; 0: only the windows overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One published run, judged."""

    run: PublishedRun
    flaws: tuple[Flaw, ...]
    neighbours: tuple[Neighbour, ...]
    zero_reads: tuple[Read, ...]
    early_reads: tuple[Read, ...]
    early_unequal: int
    """Those of the early reads that differ from the last good one: they were incomplete."""
    unknowable: tuple[str, ...]
    """What no one can find out any more from this file, in words."""

    @property
    def spoilt(self) -> bool:
        """A neighbour's minutes or an error are in what it rests on."""
        return any(flaw is not Flaw.EARLY_READ for flaw in self.flaws)


def published_run(file: MetricsFile) -> PublishedRun:
    """A run as its file tells it. Raises `SubmeterError` where it does not say when it began.

    In a file that `submeter metrics update` has filled, the reads judged are those that stood there before: the rest
    are an audit's, which has a book beside the bill.
    """
    times = run_times(file)
    told = _object(file.told.get("usage_api_reconciliation"))
    if isinstance(told.get("submeter"), dict):
        told = _object(_object(told["submeter"].get("replaced")).get("usage_api_reconciliation"))
    attempts = told.get("attempts")
    reads = tuple(_read(each) for each in attempts if isinstance(each, dict)) if isinstance(attempts, list) else ()
    starts = [read.start_s for read in reads if read.start_s is not None and read.end_s is not None]
    ends = [read.end_s for read in reads if read.start_s is not None and read.end_s is not None]
    status = told.get("verification_status")
    borders, shared = _step_borders(file.told.get("steps"))
    return PublishedRun(
        framework=file.framework,
        run_id=file.run_id,
        begun_us=times.begun_us,
        ended_us=times.ended_us,
        times_from_steps=times.from_steps,
        status=status if isinstance(status, str) else None,
        reads=reads,
        window=(min(starts), max(ends)) if starts else None,
        step_borders=borders,
        shared_minutes=shared,
    )


def judge_runs(runs: Sequence[PublishedRun]) -> list[Judgement]:
    """Every run judged beside its neighbours of the same framework, in the order given."""
    return [_judge(run, [other for other in runs if _neighbours(run, other)]) for run in runs]


def _neighbours(run: PublishedRun, other: PublishedRun) -> bool:
    return other.framework == run.framework and other.run_id != run.run_id


def _judge(run: PublishedRun, others: Sequence[PublishedRun]) -> Judgement:
    neighbours = tuple(found for other in others if (found := _neighbour(run, other)) is not None)
    good = [read for read in run.reads if read.good]
    zero = tuple(read for read in run.reads if read.zero) if good else ()
    early = tuple(read for read in run.reads if _early(run, read))
    flaws = []
    if any(each.run_s > 0 for each in neighbours):
        flaws.append(Flaw.CONTAMINATED)
    elif neighbours:
        flaws.append(Flaw.OVERLAPPING)
    if zero:
        flaws.append(Flaw.ZERO_READ)
    if early:
        flaws.append(Flaw.EARLY_READ)
    return Judgement(
        run=run,
        flaws=tuple(flaws),
        neighbours=neighbours,
        zero_reads=zero,
        early_reads=early,
        early_unequal=sum(bool(good) and read.totals != good[-1].totals for read in early),
        unknowable=tuple(_unknowable(run, neighbours, zero)),
    )


def _neighbour(run: PublishedRun, other: PublishedRun) -> Neighbour | None:
    if run.window is None:
        return None
    start, end = run.window
    # A run that goes on has no end to hold against this window, so it is taken to last through it.
    ended = end if other.ended_us is None else other.ended_us / US_PER_S
    run_s = max(0.0, min(end, ended) - max(start, other.begun_us / US_PER_S))
    shared_s = 0.0
    if other.window is not None:
        shared_s = max(0.0, min(end, other.window[1]) - max(start, other.window[0]))
    if not run_s and not shared_s:
        return None
    return Neighbour(name=other.name, shared_s=round(shared_s, 3), run_s=round(run_s, 3))


def _early(run: PublishedRun, read: Read) -> bool:
    return run.ended_us is not None and read.at_us is not None and read.at_us < run.ended_us + EARLY_US


def _unknowable(run: PublishedRun, neighbours: Sequence[Neighbour], zero: Sequence[Read]) -> list[str]:
    said = []
    for each in neighbours:
        if each.run_s:
            said.append(f"how many of its tokens are those of {each.name}, {each.run_s:.0f} s of which it holds")
        else:
            said.append(f"whether tokens of {each.name} were billed in the {each.shared_s:.0f} s both windows hold")
    if zero:
        said.append("whether a read of zeros was an error: no status was kept")
    if not run.reads:
        said.append("whether its totals are the provider's: no read is told")
    elif run.window is None:
        said.append("whether a neighbour's tokens are in it: no read tells its window")
    if run.reads and not any(read.good for read in run.reads):
        said.append("whether it used nothing or every read failed: no read tells anything but zeros")
    if run.shared_minutes:
        said.append(
            f"what each step used: {run.shared_minutes} of {run.step_borders} neighbouring steps share a minute, and "
            "the bill has nothing finer"
        )
    said.append("which calls it is made of, and whether any went to another key: no call was recorded")
    return said


def _read(told: Mapping[str, Any]) -> Read:
    window = _object(told.get("query_window"))
    return Read(
        at_us=_moment(told.get("timestamp")),
        totals=tuple(_whole(told.get(name)) for name in TOTALS),
        start_s=_number(window.get("start")),
        end_s=_number(window.get("end")),
    )


def _step_borders(steps: object) -> tuple[int, int]:
    """How many neighbouring steps there are, and how many pairs of them share a minute."""
    if not isinstance(steps, list):
        return 0, 0
    times = [
        (start, end)
        for step in steps
        if isinstance(step, dict)
        and (start := _number(step.get("start_timestamp"))) is not None
        and (end := _number(step.get("end_timestamp"))) is not None
    ]
    pairs = list(pairwise(times))
    return len(pairs), sum(before[1] // BUCKET_S == after[0] // BUCKET_S for before, after in pairs)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _number(value: object) -> float | None:
    return value if type(value) in (int, float) else None  # type: ignore[return-value]


def _moment(value: object) -> int | None:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int(moment.replace(microsecond=0).timestamp()) * US_PER_S + moment.microsecond
