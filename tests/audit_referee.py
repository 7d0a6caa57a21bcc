"""Seeded worlds that know the truth, judged by the audit's pure parts without a network.

A world is a few runs on one or two keys: calls that were metered, lost their usage, were never billed, or went past the
meter; a provider that bills late, in pieces, with corrections, and fails to answer. The bill is kept in the
simulator's own books and comes as its pages of JSON. The truth of a part is known from how the world was made, never
from the audit.

`Judges` is the audit to be tried: the real one, or a copy with one bug planted in it.
"""

from __future__ import annotations

import importlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from submeter.sim.books import Books, Entry, Line
from submeter.sim.counts import Counts
from submeter.sim.usage_api import page
from submeter.sim.usage_query import read as read_query

BASE_S = 1_761_645_600
MODELS = ("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06")
ALIAS = {"gpt-4o-mini-2024-07-18": "gpt-4o-mini", "gpt-4o-2024-08-06": "gpt-4o"}
EMBEDDING = "text-embedding-3-small"
K = 5
SETTLE_MIN = 60
MODULES = ("bucket", "unit", "unknown", "history", "placement", "place_part", "span", "cut", "reconcile", "report")


class Judges:
    """The audit's pure modules, from one package."""

    def __init__(self, package: str = "submeter") -> None:
        self.modules = {name: importlib.import_module(f"{package}.audit.{name}") for name in MODULES}
        self.call = importlib.import_module(f"{package}.data.call")

    def __getattr__(self, name: str) -> ModuleType:
        return self.__dict__["modules"][name]  # type: ignore[no-any-return]


@dataclass(kw_only=True)
class Call:
    """One call as it was in truth."""

    key: str
    begin_s: float
    end_s: float
    model: str
    usage_endpoint: str
    tokens: tuple[int, int, int]
    run: int | None
    standing: str = "counted"
    """As the meter sees it; `hidden`: it does not."""
    billed: bool = True
    silent: bool = False
    loose: bool = False
    batch: bool = False
    billed_as: str | None = None
    """Another model that it is billed under; None: its own."""


@dataclass(kw_only=True)
class Bounds:
    """How badly a world may behave. The defaults are what the audit says it can stand."""

    lag_s_max: float = SETTLE_MIN * 60.0
    shift_max: int = K
    skew_s_max: float = 60.0


@dataclass(kw_only=True)
class Stored:
    """One read as the audit keeps it."""

    key: str
    endpoint: Any
    asked_us: int
    window: Any
    good: bool
    problem: str | None
    rows: list[Any] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One verdict on one part, and the truth of it."""

    verdict: str
    reason: str | None
    key: str
    hidden: bool
    """A call past the meter was begun in the part or billed in it."""
    unknown_billed: bool
    unbilled: bool
    """A counted call that no bill shows."""
    swapped: bool
    """A counted call was billed under another model, and the audit did not take the one name for the other."""
    active: bool
    """Anything at all was called or billed."""
    premature: bool
    """It is final, and there were not two good reads half an hour apart, the later one an hour after the window."""
    last: bool
    """Said in the last audit, when every read that is needed had been made."""

    @property
    def cause(self) -> str:
        """What is wrong in truth."""
        wrong = {"past the meter": self.hidden, "unknown billed": self.unknown_billed, "not billed": self.unbilled}
        wrong["swapped"] = self.swapped
        return ", ".join(name for name, so in wrong.items() if so) or ("nothing" if self.active else "nothing there")

    @property
    def clean(self) -> bool:
        return not (self.hidden or self.unknown_billed or self.unbilled or self.swapped)

    @property
    def false(self) -> bool:
        """Whether it is one of the verdicts that may never be wrong, and is."""
        if self.premature:
            return True
        match self.verdict:
            case "verified":
                return not self.clean
            case "no_activity":
                return self.active
            case "short":
                # `also_over` says that there is an error of the other kind, too.
                return not (self.hidden or self.swapped or (self.reason == "also_over" and self.unbilled))
            case "over":
                return not (self.unbilled or self.swapped)
        return False

    @property
    def stuck(self) -> bool:
        """Whether books that agree were not found to agree in the end."""
        if not (self.last and self.clean):
            return False
        return self.verdict not in ("verified", "no_activity", "not_auditable") and self.reason != "key_unproven"


class World:
    """One seed's world."""

    def __init__(self, seed: int, bounds: Bounds | None = None) -> None:
        self.random = rng = random.Random(seed)
        self.bounds = bounds or Bounds()
        self.keys = ["key_a", "key_b"][: 1 + (rng.random() < 0.3)]
        self.runs: list[tuple[float, float]] = []
        self.calls: list[Call] = []
        self.residual_s = rng.uniform(-1, 1) * (self.bounds.skew_s_max if rng.random() < 0.3 else 15.0)
        self.page_size = rng.choice((7, 20, 60, 1440))
        self.empty_buckets = rng.random() < 0.7
        self.lag_s = rng.choice((0.0, 300.0, 900.0, self.bounds.lag_s_max)) * rng.uniform(0.2, 1.0)
        self.failing = rng.choice((0.0, 0.0, 0.1, 0.3))
        self._make_calls()
        self._plans: list[list[Line]] = []
        self.books = Books(lambda entry: self._plans[entry.number])
        for call in self.calls:
            self._bill(call)

    def _make_calls(self) -> None:
        rng = self.random
        trouble = rng.choice(("none", "none", "hidden", "unknown", "unbilled", "elsewhere", "both", "empty", "swapped"))
        now_s = BASE_S + rng.uniform(0, 120)
        for number in range(rng.choice((1, 1, 2, 3))):
            begin_s = now_s
            for _ in range(rng.randint(0, 8) if trouble != "empty" else 0):
                now_s += rng.expovariate(1 / 45)
                call = self._call(now_s, number)
                self.calls.append(call)
                if rng.random() < 0.7:
                    now_s = call.end_s
            now_s = max([now_s, *(call.end_s for call in self.calls)]) + rng.uniform(0, 30)
            self.runs.append((begin_s, now_s))
            now_s += rng.choice((1, 61, 200, 600, 900))
            if rng.random() < 0.2:
                self.calls.append(self._call(now_s, None))
                now_s = self.calls[-1].end_s + 30
        for call in self.calls:
            luck = rng.random()
            if trouble == "elsewhere" and call.key == "key_a":
                call.billed = call.standing in ("hidden",)
            elif luck < 0.08:
                call.standing, call.billed = "unknown", False
            elif luck < 0.11:
                call.standing, call.billed = rng.choice(("unbilled", "uncovered")), False
            elif luck < 0.3 and trouble in ("unknown", "both"):
                call.standing = "unknown"
            elif luck < 0.45 and trouble == "unbilled":
                call.billed = False
            elif luck < 0.5 and trouble in ("hidden", "both"):
                call.standing = "hidden"
            elif luck < 0.3 and trouble == "swapped" and call.model in MODELS:
                call.billed_as = MODELS[1 - MODELS.index(call.model)]
        if rng.random() < 0.15:
            extra = self._call(self.runs[0][0] + 5, 0, embedding=False)  # only completions know batch
            extra.standing, extra.batch = "hidden", True
            self.calls.append(extra)

    def _call(self, begin_s: float, run: int | None, *, embedding: bool | None = None) -> Call:
        rng = self.random
        lasts_s = rng.choice((0.4, 3, 20, 150)) * rng.uniform(0.5, 1.5)
        given = rng.randint(3, 40_000)
        embedding = rng.random() < 0.1 if embedding is None else embedding
        return Call(
            key=rng.choice(self.keys),
            begin_s=begin_s,
            end_s=begin_s + lasts_s,
            model=EMBEDDING if embedding else rng.choice(MODELS),
            usage_endpoint="embeddings" if embedding else "completions",
            tokens=(given, 0 if embedding else rng.randint(0, given), 0 if embedding else rng.randint(1, 4_000)),
            run=run,
            silent=embedding or rng.random() < 0.2,
            loose=not embedding and rng.random() < 0.05,
        )

    def _bill(self, call: Call) -> None:
        rng = self.random
        end_minute, begin_minute = int(call.end_s // 60), int(call.begin_s // 60)
        minute = end_minute + (rng.randint(0, self.bounds.shift_max) if rng.random() < 0.4 else 0)
        if rng.random() < 0.1:
            minute = rng.randint(begin_minute, minute)
        given, cached, written = call.tokens
        counts = Counts(input_text=given - cached, cached_text=cached, output_text=written, requests=1)
        latest_s = call.end_s + self.bounds.lag_s_max
        visible_s = call.end_s + self.lag_s * rng.uniform(0.3, 1.0)
        if rng.random() < 0.05:
            visible_s = call.end_s + self.bounds.lag_s_max * rng.uniform(0.7, 1.0)
        pieces: list[tuple[int, float, Counts]] = [(minute, visible_s, counts)]
        manner = rng.random()
        if call.loose:
            half = counts.part(0.5)
            pieces = [(begin_minute, visible_s, half), (minute, visible_s, counts - half)]
        elif manner < 0.05:
            half = counts.part(0.5)
            pieces = [
                (minute, visible_s, half),
                (minute, rng.uniform(visible_s, max(visible_s, latest_s)), counts - half),
            ]
        elif manner < 0.08:
            extra = counts.part(0.1)
            later_s = rng.uniform(visible_s, max(visible_s, latest_s))
            pieces = [(minute, visible_s, counts + extra), (minute, later_s, Counts() - extra)]
        self._plans.append(
            [
                Line(
                    entry=len(self._plans),
                    billed_at=at * 60 + 7,
                    visible_from=max(from_s, at * 60.0 + 7),
                    counts=part,
                    usage_endpoint=call.usage_endpoint,
                )
                for at, from_s, part in (pieces if call.billed else [])
            ]
        )
        entry = self.books.open(
            lambda number: Entry(
                number=number,
                api_key_id=call.key,
                key_secret_end="0000",
                project_id="proj_sim",
                user_id="user-sim",
                usage_endpoint=call.usage_endpoint,
                model=call.billed_as or call.model,
                request_model=call.model,
                served_model=call.model,
                batch=call.batch,
                service_tier="default",
                counts=counts,
                started_at=call.begin_s,
                request_id=f"req_{number}",
            )
        )
        self.books.complete(entry.number, call.end_s)

    def billed_minutes(self, call: Call) -> set[int]:
        return {line.minute // 60 for line in self._plans[self.calls.index(call)]}

    # What the meter wrote down

    def book(self, judges: Judges, key: str) -> list[Any]:
        rows = []
        for call in self.calls:
            if call.key != key or call.standing == "hidden":
                continue
            first, last = judges.span.active_minutes(
                int((call.begin_s + self.residual_s) * 1e6), int((call.end_s + self.residual_s) * 1e6), shift_min=K
            )
            counted = call.standing == "counted"
            completions = call.usage_endpoint == "completions"
            given, cached, written = call.tokens
            rows.append(
                judges.unit.BookRow(
                    first_minute=first,
                    last_minute=last,
                    standing=judges.call.Standing(call.standing),
                    usage_endpoint="moderations" if call.standing == "uncovered" else call.usage_endpoint,
                    endpoint=None,
                    model="omni-moderation" if call.standing == "uncovered" else self._told_model(call),
                    open=False,
                    loose=call.loose,
                    any_model=False,
                    calls=1,
                    input_tokens=given if counted else None,
                    cached_input_tokens=cached if counted and not call.silent else None,
                    cached_silent=int(counted and call.silent),
                    cache_write_tokens=None,
                    output_tokens=written if counted and completions else None,
                    images=None,
                )
            )
        return rows

    def _told_model(self, call: Call) -> str | None:
        """An unknown call has told only what was asked for, by its alias, or nothing."""
        if call.standing == "unknown":
            return (ALIAS.get(call.model, call.model), None)[int(call.end_s) % 2]
        return call.model

    # What the provider answers

    def read(self, judges: Judges, key: str, endpoint: Any, window: Any, now_s: float) -> Stored:
        rng = self.random
        stored = Stored(key=key, endpoint=endpoint, asked_us=int(now_s * 1e6), window=window, good=True, problem=None)
        fault = rng.random() < self.failing
        broken = rng.choice(("not_permitted", "unavailable", "cursor", "torn", "other_key")) if fault else ""
        if broken in ("not_permitted", "unavailable"):
            stored.good, stored.problem = False, broken
            return stored
        reader = judges.bucket.PageReader(
            endpoint, api_key_id=key, window_start=window.start * 60, window_end=window.end * 60
        )
        asked = [
            ("start_time", str(window.start * 60)),
            ("end_time", str(window.end * 60)),
            ("bucket_width", "1m"),
            ("limit", str(self.page_size)),
            ("api_key_ids[]", key),
            *(("group_by[]", name) for name in judges.bucket.GROUP_BY[endpoint]),
        ]
        visible = list(self.books.billed(at=now_s))
        cursor: str | None = ""
        try:
            while cursor is not None:
                sent = "" if broken == "cursor" else cursor
                query = read_query(str(endpoint), [*asked, ("page", sent)] if sent else asked, now_s)
                body = page(query, visible, empty_buckets=self.empty_buckets)
                if broken == "cursor":
                    body = {**body, "has_more": True, "next_page": "again"}
                text = json.dumps(body)
                if broken == "torn":
                    text = text[: len(text) // 2]
                if broken == "other_key":
                    text = text.replace(key, "key_other") if key in text else "<html>"
                cursor = reader.take(text.encode())
        except judges.bucket.BadRead as bad:
            stored.good, stored.problem = False, str(bad.problem)
            return stored
        stored.rows = [
            judges.unit.BillRow(
                usage_endpoint=endpoint,
                minute=row.minute,
                model=row.model,
                batch=bool(row.batch),
                input_tokens=row.input_tokens,
                cached_input_tokens=row.input_cached_tokens,
                cache_write_tokens=row.input_cache_write_tokens,
                output_tokens=row.output_tokens,
                images=row.images,
                num_model_requests=row.num_model_requests,
            )
            for row in reader.rows
        ]
        return stored


def audit_world(seed: int, judges: Judges, bounds: Bounds | None = None) -> list[Said]:
    """Every verdict that an audit says on a world, read by read."""
    world = World(seed, bounds)
    said: list[Said] = []
    books = {key: world.book(judges, key) for key in world.keys}
    spans = {}
    for key in world.keys:
        active = [(row.first_minute, row.last_minute) for row in books[key]]
        active += [judges.span.active_minutes(int(a * 1e6), int(b * 1e6), shift_min=K) for a, b in world.runs]
        spans[key] = judges.span.spans(active)
    end_s = max(window.end for windows in spans.values() for window in windows) * 60
    times = [end_s + world.random.uniform(60, 2400)]
    while times[-1] < end_s + SETTLE_MIN * 60:
        times.append(times[-1] + world.random.choice((600, 1800, 1801, 2700)))
    times += [times[-1] + 1800, times[-1] + 3600]
    reads: dict[tuple[str, Any], list[Stored]] = defaultdict(list)
    for now_s in times:
        last = now_s == times[-1]
        if now_s >= times[-2]:
            world.failing = 0.0
        for key in world.keys:
            around = judges.span.Window(start=spans[key][0].start, end=spans[key][-1].end)
            for endpoint in judges.bucket.UsageEndpoint:
                reads[key, endpoint].append(world.read(judges, key, endpoint, around, now_s))
        parts = [
            part
            for key in world.keys
            for span in spans[key]
            for part in _judge_span(world, judges, key, books[key], span, reads, last=last)
        ]
        said.extend(part.said for part in parts)
        for begin_s, run_end_s in world.runs:
            minutes = (int(begin_s // 60), int(run_end_s // 60))
            said.extend(_run_said(judges, [part for part in parts if part.window.meets(*minutes)]))
    return said


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """One part with what was found and what is true."""

    window: Any
    verdict: Any
    reason: Any
    said: Said


def _run_said(judges: Judges, parts: Sequence[JudgedPart]) -> list[Said]:
    """The verdict on a run, which is as bad as its worst part on any key."""
    if not parts:
        return []
    verdict, reason = judges.report.run_verdict(parts, keyless=0)
    truths = [part.said for part in parts]
    return [
        replace(
            truths[0],
            verdict=str(verdict),
            reason=None if reason is None else str(reason),
            key="run",
            hidden=any(each.hidden for each in truths),
            unknown_billed=any(each.unknown_billed for each in truths),
            unbilled=any(each.unbilled for each in truths),
            swapped=any(each.swapped for each in truths),
            active=any(each.active for each in truths),
            premature=False,
            last=False,
        )
    ]


def _judge_span(
    world: World,
    judges: Judges,
    key: str,
    book: Sequence[Any],
    span: Any,
    reads: dict[tuple[str, Any], list[Stored]],
    *,
    last: bool,
) -> list[JudgedPart]:
    endpoints = list(judges.bucket.UsageEndpoint)
    good = [next((read for read in reversed(reads[key, each]) if read.good), None) for each in endpoints]
    rows = [row for row in book if row.first_minute + 1 in span]
    parts: tuple[Any, ...] = (span,)
    if all(good):
        parts = judges.cut.cut(
            span,
            book=rows,
            gaps=(),
            bill=[row for read in good if read for row in read.rows if row.minute in span],
            known_until=span.end,
            runs=[(int(a // 60), int(b // 60)) for a, b in world.runs if span.meets(int(a // 60), int(b // 60))],
            shift_min=K,
        )
    said: list[JudgedPart] = []
    for window in parts:
        histories = {each: _history(judges, each, reads[key, each], window) for each in endpoints}
        proven = any(read.good and read.rows for each in endpoints for read in reads[key, each])
        part = judges.reconcile.Part(
            api_key_id=key,
            window=window,
            histories=histories,
            book=[row for row in rows if row.first_minute + 1 in window],
            key_proven=proven,
        )
        finding = judges.reconcile.reconcile(part)
        if finding.verdict == "verified":
            placed = judges.place_part.place_part(
                window,
                book=part.book,
                bill=[row for history in histories.values() for row in history.bill],
                comparison=finding.comparison,
                shift_min=K,
                now_s=lambda: 0.0,
            )
            finding = judges.reconcile.reconcile(replace(part, placed=placed))
        truth = _truth(world, key, window, finding, last=last)
        early = finding.final and not all(_enough(reads[key, each], window) for each in endpoints)
        said.append(
            JudgedPart(
                window=window,
                verdict=finding.verdict,
                reason=finding.reason,
                said=replace(truth, premature=early),
            )
        )
    return said


def _enough(stored: Sequence[Stored], window: Any) -> bool:
    """Whether the law's two reads were there: half an hour apart, the later one an hour after the window."""
    good = [read.asked_us for read in stored if read.good]
    settled_us = (window.end + SETTLE_MIN) * 60_000_000
    return any(later >= settled_us and later - earlier >= 1_800_000_000 for later in good for earlier in good)


def _history(judges: Judges, endpoint: Any, stored: Sequence[Stored], window: Any) -> Any:
    seen, states = [], {}
    for index, read in enumerate(stored):
        rows = [row for row in read.rows if row.minute in window]
        state = repr(sorted(map(repr, rows)))
        states[state] = rows
        attempt = judges.history.Attempt(
            read_id=str(index), asked_at=read.asked_us, good=read.good, problem=read.problem
        )
        seen.append(judges.history.SeenRead(attempt=attempt, state=state))
    return judges.history.make_history(endpoint, seen, states)


def _truth(world: World, key: str, window: Any, finding: Any, *, last: bool) -> Said:
    hidden = unknown_billed = unbilled = swapped = active = False
    renamed = any(pair.paired_by == "renamed" for pair in finding.comparison.pairs)
    for call in world.calls:
        if call.key != key or call.batch:
            continue
        here = bool({m for m in world.billed_minutes(call) if m in window})
        begun = int((call.begin_s + world.residual_s) // 60) in window
        if call.standing == "hidden":
            hidden |= here
            active |= here
            continue
        active |= begun
        unknown_billed |= call.standing == "unknown" and here
        unbilled |= call.standing == "counted" and begun and not call.billed
        swapped |= call.standing == "counted" and call.billed and call.billed_as is not None and begun and not renamed
    return Said(
        verdict=str(finding.verdict),
        reason=None if finding.reason is None else str(finding.reason),
        key=key,
        hidden=hidden,
        unknown_billed=unknown_billed,
        unbilled=unbilled,
        swapped=swapped,
        active=active,
        premature=False,
        last=last,
    )
