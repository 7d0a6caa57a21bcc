"""One chain of a certificate, laid out again from what the document holds of it: calls, run marks, gaps, reads, facts.

The chain and the windows of its runs are made by the audit's own layout of a key, its book from the calls, its bill
from the raw pages, its facts from the names. What comes out is the `Chain` that the audit's rules judge; both whoever
makes a certificate and whoever checks one get it here. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.clock import utc
from .bucket import UsageEndpoint
from .certificate_facts import answers_of, facts_of
from .certificate_pages import WINDOW_MIN_MAX, read_of, window_of
from .certified import CertifiedCall, certified_activity, minute_book
from .chain import Chain
from .episodes import Episode
from .history import History, Read, rows_by_minute
from .look import KeyLook, key_look
from .settings import AuditSettings
from .unit import BillRow, RunName
from .unknown import Gap
from .window import Window

OPTIONAL_CLASSES_MAX = 8
"""A chain has two books for each class, so that a made-up document with many would never be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all chains of one document have in common."""

    run: RunName
    settings: AuditSettings
    """How strictly minutes are confirmed."""
    shift_min: int
    now_us: int
    """When the verdict was derived: the end of what has none."""
    ambiguous: int
    """Calls that could be of this run or of another."""
    pages: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldChain:
    """What a document holds of one chain, with its calls read."""

    told: Mapping[str, Any]
    calls: Sequence[CertifiedCall]
    counts_elsewhere: bool
    """The run has no call on this key, and a counted one on another."""

    @property
    def api_key_id(self) -> str:
        return str(self.told["api_key_id"])

    @property
    def window(self) -> Window:
        return window_of(self.told["window"])

    @property
    def name(self) -> str:
        window = self.window
        return f"{self.api_key_id} {utc(window.start_us):%Y-%m-%d %H:%M} to {utc(window.end_us):%H:%M} UTC"


def episode_record(episode: Episode) -> dict[str, Any]:
    """An episode of a run as a document has it: its marks by the provider's clock."""
    return {
        "framework": episode.run[0],
        "run_id": episode.run[1],
        "started_us": episode.started_us,
        "ended_us": episode.ended_us,
        "skew_known": episode.skew_known,
    }


def episodes_of(told: Iterable[Mapping[str, Any]]) -> dict[RunName, list[Episode]]:
    """The episodes of a document by run. Raises `TypeError` or `LookupError` where one is none."""
    found: dict[RunName, list[Episode]] = defaultdict(list)
    for number, each in enumerate(told):
        started_us, ended_us, skew_known = each["started_us"], each["ended_us"], each["skew_known"]
        if type(started_us) is not int or not (ended_us is None or type(ended_us) is int):
            raise TypeError("a mark without a time")
        if type(skew_known) is not bool or not isinstance(each["run_id"], str):
            raise TypeError("a mark of no run, or by a clock that is neither known nor not")
        run = (each["framework"], each["run_id"])
        found[run].append(
            Episode(
                run=run,
                episode=number,
                started_us=started_us,
                ended_us=ended_us,
                end_source=None,
                skew_known=skew_known,
            )
        )
    return found


def layout(part: ToldChain, ground: Ground) -> KeyLook:
    """The chains that the calls and the runs of one told chain make: one, where it is a chain."""
    return key_look(
        part.api_key_id,
        [
            certified_activity(call, part.api_key_id, shift_min=ground.shift_min, now_us=ground.now_us)
            for call in part.calls
        ],
        episodes_of(part.told["runs"]),
        frozenset({ground.run}) if part.counts_elsewhere else frozenset(),
        {},
        {ground.run: ground.ambiguous},
        None,
        None,
        now_us=ground.now_us,
        shift_min=ground.shift_min,
    )


def chain_of(part: ToldChain, ground: Ground) -> tuple[Chain | None, list[str]]:
    """The chain, and in words what does not follow; None where its calls and runs do not make it."""
    told, window = part.told, part.window
    laid = layout(part, ground)
    if laid.chains != (window,):
        found = ", ".join(f"{each.start} to {each.end}" for each in laid.chains[:9]) or "never"
        return None, [f"its calls and runs are active in minutes {found}, not {window.start} to {window.end}."]
    shares = [
        replace(share, final_us=told["final_us"]) if share.run == ground.run else share
        for share in laid.shares_in(window)
    ]
    if not any(share.run == ground.run for share in shares):
        return None, ["the run has no minutes in it."]
    if told["final_us"] is not None and type(told["final_us"]) is not int:
        raise TypeError("an earlier final verdict without a time")
    answered, problems = answers_of(told["answers"], part.calls)
    if list(part.calls) != sorted(part.calls, key=lambda call: (call.started_us, call.call_id)):
        problems.append("Its calls are not in order.")
    rows = minute_book(part.calls, shift_min=ground.shift_min, now_us=ground.now_us, answered=answered)
    gaps = [_gap(each) for each in told["gaps"]]
    if not all(window.meets(gap.first_minute, gap.last_minute) for gap in gaps):
        problems.append("A gap is not of its minutes.")
    histories = {}
    bill: list[BillRow] = []
    for endpoint in UsageEndpoint:
        histories[endpoint], shown, wrong = _history(endpoint, part, ground)
        bill += shown
        problems += wrong
    if (shown_by := told["key_shown"]) is not None:
        endpoint = UsageEndpoint(shown_by["usage_endpoint"])
        _, shown, wrong = read_of(endpoint, part.api_key_id, shown_by, ground.pages, now_us=ground.now_us)
        bill += shown
        problems += wrong
    facts, wrong = facts_of(told["facts"], rows=rows, bill=bill)
    chain = Chain(
        api_key_id=part.api_key_id,
        window=window,
        rows=rows,
        gaps=gaps,
        shares=shares,
        histories=histories,
        facts=facts,
        waiting=ground.settings.waiting,
        shift_min=ground.shift_min,
        now_us=ground.now_us,
    )
    if len(chain.optional_classes) > OPTIONAL_CLASSES_MAX:
        raise ValueError("more classes of optional amounts than there are")
    return chain, [*problems, *wrong]


def _gap(told: Mapping[str, Any]) -> Gap:
    gap = Gap(**told)
    if not all(type(each) is int for each in (gap.first_minute, gap.last_minute, gap.calls)):
        raise TypeError("a gap that is not of whole minutes")
    if gap.last_minute - gap.first_minute > WINDOW_MIN_MAX:
        raise ValueError("a gap of more minutes than can be read")
    return gap


def _history(endpoint: UsageEndpoint, part: ToldChain, ground: Ground) -> tuple[History, list[BillRow], list[str]]:
    """The reads of one usage endpoint, all the rows they show, and in words what does not follow."""
    reads: list[Read] = []
    rows = {}
    bill: list[BillRow] = []
    problems: list[str] = []
    for told in part.told["reads"][endpoint]:
        read, shown, wrong = read_of(endpoint, part.api_key_id, told, ground.pages, now_us=ground.now_us)
        reads.append(read)
        problems += wrong
        if read.good:
            rows[read.read_id] = rows_by_minute(shown)
            bill += shown
    if reads != sorted(reads, key=lambda read: read.asked_us):
        problems.append(f"the reads of {endpoint} are not in order.")
    if len({read.read_id for read in reads}) < len(reads):
        problems.append(f"a read of {endpoint} is there twice.")
    return History(usage_endpoint=endpoint, reads=tuple(reads), rows=rows), bill, problems
