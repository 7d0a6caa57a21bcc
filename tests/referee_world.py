"""Seeded worlds that know the truth: what was called, what was billed, what the meter wrote down and what it missed.

A world is a few runs on one or two keys: calls that were metered, lost their usage, were refused and sent again, were
never billed, or went past the meter, by a run or by a neighbour on its key; a provider that bills late, in pieces,
with corrections, and fails to answer or asks to be left alone for a while; two proxies whose clocks are off by
different amounts; a key that belongs to another organisation. The bill is kept in the simulator's own books and comes
as its pages of JSON. Nothing here judges, and nothing here is told what a judge found.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from submeter.sim.books import Books, Entry, Line
from submeter.sim.counts import Counts
from submeter.sim.usage_api import page
from submeter.sim.usage_query import read as read_query

if TYPE_CHECKING:
    from audit_referee import Judges

BASE_S = 1_761_645_600
MODELS = ("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06")
ALIAS = {"gpt-4o-mini-2024-07-18": "gpt-4o-mini", "gpt-4o-2024-08-06": "gpt-4o"}
EMBEDDING = "text-embedding-3-small"
K = 5
SETTLE_MIN = 60
UNCLAIMED_MIN = 60
TROUBLES = (
    "none",
    "none",
    "none",
    "hidden",
    "unknown",
    "unbilled",
    "elsewhere",
    "organisation",
    "neighbour",
    "both",
    "empty",
    "swapped",
)
FAULTS = (
    "not_permitted",
    "unavailable",
    "cursor",
    "torn",
    "other_key",
    "429, then an answer",
    "429 to the end",
)


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
    share: float = 1.0
    """How much of it is billed; an abort may be billed in part."""
    process: int = 0
    """Which proxy wrote it down."""
    told_s: float = -math.inf
    """When a later answer told its usage: background work, unknown before."""

    @property
    def background(self) -> bool:
        return self.told_s > -math.inf


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


def told_model(call: Call, standing: str) -> str | None:
    """The model as the meter has it: an unknown call told only what was asked for, by its alias, or nothing."""
    if standing == "unknown":
        return (ALIAS.get(call.model, call.model), None)[int(call.end_s) % 2]
    return call.model


class World:
    """One seed's world."""

    def __init__(self, seed: int, bounds: Bounds | None = None) -> None:
        self.random = rng = random.Random(seed)
        self.bounds = bounds or Bounds()
        self.keys = ["key_a", "key_b"][: 1 + (rng.random() < 0.3)]
        self.runs: list[tuple[float, float]] = []
        self.calls: list[Call] = []
        self.residuals_s = [
            rng.uniform(-1, 1) * (self.bounds.skew_s_max if rng.random() < 0.3 else 15.0) for _ in range(2)
        ]
        self.page_size = rng.choice((7, 20, 60, 1440))
        self.empty_buckets = rng.random() < 0.7
        self.lag_s = rng.choice((0.0, 300.0, 900.0, self.bounds.lag_s_max)) * rng.uniform(0.2, 1.0)
        self.failing = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.trouble = rng.choice(TROUBLES)
        self._make_calls()
        self._plans: list[list[Line]] = []
        self.books = Books(lambda entry: self._plans[entry.number])
        for call in self.calls:
            self._bill(call)

    def _make_calls(self) -> None:
        rng, trouble = self.random, self.trouble
        if trouble == "organisation":
            self.keys = ["key_a", "key_b"]
        now_s = BASE_S + rng.uniform(0, 120)
        for number in range(rng.choice((1, 1, 2, 3))):
            begin_s = now_s
            for _ in range(rng.randint(0, 8) if trouble != "empty" else 0):
                now_s += rng.expovariate(1 / 45)
                call = self._call(now_s, number)
                self.calls.append(call)
                if rng.random() < 0.06:
                    call = self._retry(call)
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
            if call.key == {"elsewhere": "key_a", "organisation": "key_b"}.get(trouble):
                # Billed to a key id that is not the configured one, or where this admin key cannot see.
                call.billed = False
                call.standing = "hidden" if luck < 0.2 else call.standing
            elif call.standing != "counted" or call.background:
                continue
            elif luck < 0.08:
                call.standing, call.billed = "unknown", False
            elif luck < 0.11:
                call.standing, call.billed = rng.choice(("unbilled", "uncovered")), False
            elif luck < 0.3 and trouble in ("unknown", "both"):
                call.standing = "unknown"
                call.share = rng.choice((1.0, 1.0, rng.uniform(0.3, 0.9))) if call.tokens[0] > 10 else 1.0
            elif luck < 0.45 and trouble == "unbilled":
                call.billed = False
            elif luck < 0.5 and trouble in ("hidden", "both"):
                call.standing = "hidden"
            elif luck < 0.3 and trouble == "swapped" and call.model in MODELS:
                call.billed_as = MODELS[1 - MODELS.index(call.model)]
        if trouble == "neighbour":
            self._neighbour()
        if rng.random() < 0.15:
            extra = self._call(self.runs[0][0] + 5, 0, embedding=False)  # only completions know batch
            extra.standing, extra.batch = "hidden", True
            self.calls.append(extra)

    def _retry(self, call: Call) -> Call:
        """The call becomes an attempt that failed and is sent again: refused for the rate, or broken off unanswered."""
        rng = self.random
        again = replace(
            call,
            begin_s=call.end_s + rng.uniform(0.1, 9),
            end_s=call.end_s + 9 + (call.end_s - call.begin_s),
            tokens=(*call.tokens[:2], call.tokens[2] + (rng.randint(1, 50) if call.tokens[2] else 0)),
        )
        refused = rng.random() < 0.5
        call.standing = "unbilled" if refused else "unknown"
        call.billed = not refused and self.trouble in ("unknown", "both") and rng.random() < 0.5
        call.told_s = -math.inf
        return again

    def _neighbour(self) -> None:
        """Somebody else uses one of the keys for a while, past this meter: before, during or after the runs."""
        rng = self.random
        now_s = self.runs[0][0] + rng.uniform(-300, 900)
        for _ in range(rng.randint(2, 5)):
            now_s += rng.expovariate(1 / 30)
            call = self._call(now_s, None)
            call.standing, call.told_s = "hidden", -math.inf
            self.calls.append(call)

    def _call(self, begin_s: float, run: int | None, *, embedding: bool | None = None) -> Call:
        rng = self.random
        lasts_s = rng.choice((0.4, 3, 20, 150)) * rng.uniform(0.5, 1.5)
        given = rng.randint(3, 40_000)
        embedding = rng.random() < 0.1 if embedding is None else embedding
        background = not embedding and rng.random() < 0.04
        answered_s = begin_s + lasts_s
        return Call(
            key=rng.choice(self.keys),
            begin_s=begin_s,
            end_s=begin_s + lasts_s,
            model=EMBEDDING if embedding else rng.choice(MODELS),
            usage_endpoint="embeddings" if embedding else "completions",
            tokens=(given, 0 if embedding else rng.randint(0, given), 0 if embedding else rng.randint(1, 4_000)),
            run=run,
            silent=embedding or rng.random() < 0.2,
            loose=background or (not embedding and rng.random() < 0.05),
            process=rng.randint(0, 1),
            told_s=answered_s + rng.choice((60, 1800, 6000, math.inf)) if background else -math.inf,
        )

    def _bill(self, call: Call) -> None:
        rng = self.random
        end_minute, begin_minute = int(call.end_s // 60), int(call.begin_s // 60)
        minute = end_minute + (rng.randint(0, self.bounds.shift_max) if rng.random() < 0.4 else 0)
        if rng.random() < 0.1:
            minute = rng.randint(begin_minute, minute)
        given, cached, written = call.tokens
        counts = Counts(input_text=given - cached, cached_text=cached, output_text=written, requests=1).part(call.share)
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

    @property
    def run_minutes(self) -> list[tuple[int, int]]:
        """First and last minute of each run by the clock of whoever marked it."""
        off_s = self.residuals_s[0]
        return [(int((begin + off_s) // 60), int((end + off_s) // 60)) for begin, end in self.runs]

    def billed_minutes(self, call: Call) -> set[int]:
        return {line.minute // 60 for line in self._plans[self.calls.index(call)]}

    # What the meter wrote down

    def ours_s(self, call: Call) -> tuple[float, float]:
        """Begin and end as the audit has them: corrected, and still off by what the correction leaves."""
        off_s = self.residuals_s[call.process]
        return call.begin_s + off_s, call.end_s + off_s

    def standing(self, call: Call, now_s: float) -> str:
        """As the ledger has it at that moment."""
        return "unknown" if call.standing == "counted" and now_s < call.told_s else call.standing

    def book(self, judges: Judges, key: str, now_s: float) -> list[Any]:
        rows = []
        for call in self.calls:
            if call.key != key or call.standing == "hidden":
                continue
            begin_s, end_s = self.ours_s(call)
            standing = self.standing(call, now_s)
            if call.background and standing == "unknown":
                end_s += 3600
            first, last = judges.span.active_minutes(int(begin_s * 1e6), int(end_s * 1e6), shift_min=K)
            counted = standing == "counted"
            completions = call.usage_endpoint == "completions"
            given, cached, written = call.tokens
            rows.append(
                judges.unit.BookRow(
                    first_minute=first,
                    last_minute=last,
                    standing=judges.call.Standing(standing),
                    usage_endpoint="moderations" if standing == "uncovered" else call.usage_endpoint,
                    endpoint=None,
                    model="omni-moderation" if standing == "uncovered" else told_model(call, standing),
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

    # What the provider answers

    def read(self, judges: Judges, key: str, endpoint: Any, window: Any, now_s: float) -> Stored:
        rng = self.random
        stored = Stored(key=key, endpoint=endpoint, asked_us=int(now_s * 1e6), window=window, good=True, problem=None)
        fault = rng.random() < self.failing
        broken = rng.choice(FAULTS) if fault else ""
        if broken == "429, then an answer":
            now_s += rng.choice((1, 20, 60))  # as Retry-After had it
            stored.asked_us = int(now_s * 1e6)
        if broken == "429 to the end":
            broken = "unavailable"
        if broken in ("not_permitted", "unavailable"):
            stored.good, stored.problem = False, broken
            return stored
        reader = judges.bucket.PageReader(
            endpoint, api_key_id=key, window_start=window.start * 60, window_end=window.end * 60
        )
        asked = [
            ("end_time", str(window.end * 60)),
            ("bucket_width", "1m"),
            ("limit", str(self.page_size)),
            ("api_key_ids[]", key),
            *(("group_by[]", name) for name in judges.bucket.GROUP_BY[endpoint]),
        ]
        visible = list(self.books.billed(at=now_s))
        try:
            while (question := reader.question) is not None:
                sent = "" if broken == "cursor" else question.cursor
                begun = [("start_time", str(question.start)), *asked]
                query = read_query(str(endpoint), [*begun, ("page", sent)] if sent else begun, now_s)
                body = page(query, visible, empty_buckets=self.empty_buckets)
                if broken == "cursor":
                    body = {**body, "has_more": True, "next_page": "again"}
                text = json.dumps(body)
                if broken == "torn":
                    text = text[: len(text) // 2]
                if broken == "other_key":
                    text = text.replace(key, "key_other") if key in text else "<html>"
                reader.take(text.encode())
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
