"""One key of a world at one moment of an audit: everything that the audit is given, and what it says of it.

`Judges` is the audit to be tried: the real one, or a copy with one bug planted in it. Nothing here knows what is true.
"""

from __future__ import annotations

import bisect
import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import orjson
from referee_calls import ASKED, NEW_NAME, Asked, Call, Shown, ShownMinute
from referee_world import World

MINUTE_US = 60_000_000
MODULES = ("bucket", "window", "unit", "pair", "unknown", "history", "chain", "reconcile", "facts")
ENDPOINTS = ("completions", "embeddings", "images")
WARM_UP = "warm_up"
Bills = list[list[tuple[Asked, Shown]]]
"""Of each usage endpoint the good reads, the latest first, and the bill that each was shown."""
PAGED_EVERY = 3
"""Of a world whose bill comes as pages one read in so many comes so: each is read minute by minute."""


class Judges:
    """The audit's pure modules, from one package."""

    def __init__(self, package: str = "submeter") -> None:
        (
            self.bucket,
            self.window,
            self.unit,
            self.pair,
            self.unknown,
            self.history,
            self.chain,
            self.reconcile,
            self.facts,
        ) = (importlib.import_module(f"{package}.audit.{name}") for name in MODULES)
        self.call = importlib.import_module(f"{package}.data.call")


class Given:
    """One key of a world as an audit is given it: what is the same at every moment is made once."""

    def __init__(self, world: World, judges: Judges, key: int) -> None:
        self.world, self.judges, self.key = world, judges, key
        self.calls = [call for call in world.calls if call.key == key]
        self.settled: dict[int, Any] = {}
        """Book rows that no later moment changes, by the call's number."""
        self.endpoints = list(judges.bucket.UsageEndpoint)
        self._reads = [
            [self._read(endpoint, number, asked) for number, asked in enumerate(world.asked[key][place])]
            for place, endpoint in enumerate(self.endpoints)
        ]
        self._rows: dict[Any, Any] = {}
        """The rows of a read, by what the provider showed."""
        self._minutes: dict[Any, Any] = {}
        """The rows of one minute, by what the provider showed of it."""
        self._names: dict[tuple[str, int], frozenset[Any]] = {}
        """The models that rows of a read bill."""
        self._facts: dict[Any, Any] = {}

    def _read(self, endpoint: Any, number: int, asked: Asked) -> Any:
        return self.judges.history.Read(
            read_id=f"{endpoint}-{number}",
            asked_us=int(asked.at * MINUTE_US),
            window=self.judges.window.Window(start=asked.first, end=asked.end),
            good=asked.problem is None,
            problem=asked.problem,
        )

    def history(self, place: int, number: int) -> Any:
        """The first reads of one usage endpoint, so many of them."""
        endpoint, asked = self.endpoints[place], self.world.asked[self.key][place]
        reads = tuple(self._reads[place][:number])
        rows = {
            read.read_id: self._rows_of(endpoint, each, paged=self.world.pages and place_of % PAGED_EVERY == 0)
            for place_of, (read, each) in enumerate(zip(reads, asked[:number], strict=True))
            if read.good
        }
        return self.judges.history.History(usage_endpoint=endpoint, reads=reads, rows=rows)

    def facts(self, histories: Mapping[Any, Any], book: Sequence[Any]) -> Any:
        """What is known of the key, from these reads and calls."""
        billed: set[Any] = set()
        for endpoint, history in histories.items():
            for rows in {id(rows): rows for rows in history.rows.values()}.values():
                billed |= self._names_in(endpoint, rows)
        uses = frozenset((row.usage_endpoint, row.model, row.models, row.standing) for row in book)
        state = (uses, frozenset(billed))
        if state not in self._facts:
            world, facts = self.world, self.judges.facts
            self._facts[state] = facts.key_facts(
                uses=facts.uses_of(book),
                billed={(endpoint, model) for endpoint, model, batch, _ in billed if not batch},
                proven=any(tokens for _, _, _, tokens in billed),
                optional={WARM_UP: world.optional_billed} if world.optional_known else {},
            )
        return self._facts[state]

    def _names_in(self, endpoint: Any, rows: Any) -> frozenset[Any]:
        """Endpoint, model, whether it is batch work, and whether any tokens are billed."""
        state = (endpoint, id(rows))
        if state not in self._names:
            every = chain.from_iterable(rows.values())
            self._names[state] = frozenset((endpoint, row.model, row.batch, not row.empty) for row in every)
        return self._names[state]

    def _rows_of(self, endpoint: Any, asked: Asked, *, paged: bool) -> Any:
        shown = self.world.shown(self.key, str(endpoint), asked.at)
        whole = not shown or (asked.first <= min(shown) and max(shown) < asked.end)
        state = (endpoint, None if whole and not paged else asked.end, paged, id(shown))
        if state not in self._rows:
            inside = {minute: rows for minute, rows in shown.items() if asked.first <= minute < asked.end}
            if paged:
                self._rows[state] = self.judges.history.rows_by_minute(self._by_pages(endpoint, asked, inside))
            else:
                self._rows[state] = {minute: self._minute(endpoint, minute, rows) for minute, rows in inside.items()}
        return self._rows[state]

    def _minute(self, endpoint: Any, minute: int, shown: ShownMinute) -> Any:
        state = (endpoint, minute, *shown.items())
        if state not in self._minutes:
            completions, images = str(endpoint) == "completions", str(endpoint) == "images"
            rows = [
                self.judges.unit.BillRow(
                    usage_endpoint=endpoint,
                    minute=minute,
                    model=model,
                    batch=batch,
                    input_tokens=None if images else counts[0],
                    cached_input_tokens=counts[1] if completions else None,
                    cache_write_tokens=None,
                    output_tokens=counts[2] if completions else None,
                    images=counts[3] if images else None,
                    num_model_requests=None,
                )
                for (model, batch), counts in shown.items()
            ]
            self._minutes[state] = self.judges.history.rows_by_minute(rows)[minute]
        return self._minutes[state]

    def _by_pages(self, endpoint: Any, asked: Asked, shown: Shown) -> list[Any]:
        """The same by way of pages of JSON and the strict reader."""
        key = f"key_{self.key}"
        # Small pages, and of a read of days fewer than a read may have.
        size = max(7 + asked.end % 50, (asked.end - asked.first) // 500)
        reader = self.judges.bucket.PageReader(
            endpoint, api_key_id=key, window_start=asked.first * 60, window_end=asked.end * 60
        )
        for page in pages(str(endpoint), key, asked.first, asked.end, shown, size=size):
            reader.take(page)
        return [
            self.judges.unit.BillRow(
                usage_endpoint=endpoint,
                minute=row.minute,
                model=row.model,
                batch=bool(row.batch),
                service_tier=row.service_tier,
                input_tokens=row.input_tokens,
                cached_input_tokens=row.input_cached_tokens,
                cache_write_tokens=row.input_cache_write_tokens,
                output_tokens=row.output_tokens,
                images=row.images,
                num_model_requests=row.num_model_requests,
            )
            for row in reader.rows
        ]


class Moment:
    """One key of a world at one moment.

    `finals`: of each run, when its last final verdict was reached, in minutes.
    """

    def __init__(self, given: Given, number: int, finals: Mapping[int | None, float] | None = None) -> None:
        self.given, self.world, self.judges, self.key = given, given.world, given.judges, given.key
        world, judges = self.world, self.judges
        self.now = world.reads_at[number]
        self.last = number == len(world.reads_at) - 1
        """Whether it is the last audit, when every read that is needed had been made."""
        self.finals = finals or {}
        self._bills: Bills | None = None
        self.segments: dict[Any, Any] = {}
        """Of each chain, once it was asked for: what the border form makes of it."""
        self.truths: dict[int, Any] = {}
        """Of each run, once it was asked for: what is true of it."""
        self.calls = given.calls
        made = bisect.bisect_right(world.reads_at, self.now)
        self.asked = [asked[:made] for asked in world.asked[self.key]]
        self.histories = {endpoint: given.history(place, made) for place, endpoint in enumerate(given.endpoints)}
        self.rows = self._book()
        self.shares = self._shares()
        chains = self.chains()
        self.found = [judges.reconcile.judge_chain(chain) for chain in chains]
        if judges.facts.renaming_holds(self.found):
            facts = replace(chains[0].facts, renamed_holds=True)
            self.found = [judges.reconcile.judge_chain(replace(chain, facts=facts)) for chain in chains]
        self.renamed_paired = any(
            pair.paired_by == "renamed" and NEW_NAME in pair.bill_models
            for chain in chains[:1]
            for pair in chain.facts.pairs
        )
        """Whether the audit took the new name of a renamed model for the old one, if only as a guess."""

    def bills(self) -> Bills:
        """What each usage endpoint told so far."""
        if self._bills is None:
            self._bills = bills_of(self.world, self.key, self.asked)
        return self._bills

    def _book(self) -> list[Any]:
        rows: list[Any] = []
        alike: dict[Any, list[Call]] = defaultdict(list)
        for number, call in enumerate(self.calls):
            if call.standing == "hidden" or call.begin >= self.now:
                continue
            row = self.given.settled.get(number)
            if row is None:
                row = self._row(call, () if self.world.grouped else [call])
                if call.standing != "unknown" and self.now >= max(call.end, call.told):
                    self.given.settled[number] = row
            if self.world.grouped:
                alike[row].append(call)
            else:
                rows.append(row)
        return rows + [replace(row, **_counts(row.standing, row.usage_endpoint, calls)) for row, calls in alike.items()]

    def _row(self, call: Call, counted: Sequence[Call]) -> Any:
        """The row of calls that are alike but for their counts, with those of the calls that are given."""
        standing = call.shown_standing(self.now)
        name = call.shown_model if standing == "unknown" and call.shown_model else call.model
        if standing == "unknown" and call.standing == "counted":
            name = ASKED.get(call.model, call.model)
        names = frozenset({name, *self._learned(name)}) if standing == "unknown" else frozenset()
        end = call.end_minute(self.now)
        return self.judges.unit.BookRow(
            first_minute=call.begin_minute() - 1,
            end_minute=end,
            last_minute=end + 1 + (self.world.shift),
            standing=self.judges.call.Standing(standing),
            usage_endpoint=None if call.any_model and standing == "unknown" else call.usage_endpoint,
            endpoint=None,
            model=None if call.any_model and standing == "unknown" else name,
            models=frozenset() if call.any_model else names,
            run=("f", str(call.run)) if call.run is not None and call.labelled else None,
            open=call.is_open(self.now),
            loose=call.loose,
            any_model=call.any_model,
            hosted=call.extra > 0,
            optional_class=WARM_UP if call.optional else None,
            cache_write_tokens=None,
            **_counts(standing, call.usage_endpoint, counted),
        )

    def _learned(self, asked: str) -> set[str]:
        """What this ledger saw the name answer as."""
        return {
            call.model
            for call in self.world.calls
            if call.standing in ("counted", "optional") and call.end <= self.now and ASKED.get(call.model) == asked
        }

    def _shares(self) -> list[tuple[int | None, Any]]:
        world, judges = self.world, self.judges
        found: list[tuple[int | None, Any]] = []
        own_rows: dict[Any, list[Any]] = defaultdict(list)
        for row in self.rows:
            own_rows[row.run].append(row)
        for name, run in enumerate(world.runs):
            if run.begin >= self.now:
                continue
            own = own_rows.get(("f", str(name)), [])
            elsewhere = world.keys > 1 and any(
                call.run == name and call.key != self.key and call.shown_standing(self.now) == "counted"
                for call in world.calls
                if call.begin < self.now
            )
            window = judges.chain.run_window(
                begin_minute=int(run.begin + run.clock),
                end_minute=int(min(run.end, self.now) + run.clock),
                active=(min(row.first_minute for row in own), max(row.last_minute for row in own)) if own else None,
                shift_min=world.shift,
                skew_known=run.skew_known,
            )
            share = judges.chain.Share(
                run=("f", str(name)),
                window=window,
                open=self.now < run.end,
                ambiguous=run.ambiguous,
                counts_elsewhere=not own and elsewhere,
                final_us=self._final_us(name),
            )
            found.append((name, share))
        if world.period and world.period[1] < self.now:
            first, end = world.period
            begun_in = judges.window.Window(start=first - 1, end=end - 1)
            own = [row.last_minute + 1 for row in self.rows if row.first_minute in begun_in]
            share = judges.chain.Share(
                run=None,
                window=judges.window.Window(start=first - 1, end=max([end + 1 + world.shift, *own])),
                begun_in=begun_in,
                final_us=self._final_us(None),
            )
            found.append((None, share))
        return found

    def _final_us(self, run: int | None) -> int | None:
        return int(self.finals[run] * MINUTE_US) if run in self.finals else None

    def chains(self) -> list[Any]:
        judges, world = self.judges, self.world
        active = [(row.first_minute, row.last_minute) for row in self.rows]
        gaps = [(first - 1, last + 1 + world.shift) for first, last in world.gap_rows if self.key == 0]
        windows = judges.chain.chain_windows([*active, *gaps], [share.window for _, share in self.shares])
        facts = self.given.facts(self.histories, self.rows)
        return [
            judges.chain.Chain(
                api_key_id=f"key_{self.key}",
                window=window,
                rows=[row for row in self.rows if row.first_minute in window],
                gaps=[
                    judges.unknown.Gap(first_minute=first, last_minute=last, calls=1)
                    for first, last in gaps
                    if first in window
                ],
                shares=[share for _, share in self.shares if window.covers(share.window)],
                histories=self.histories,
                facts=facts,
                shift_min=world.shift,
                now_us=int(self.now * MINUTE_US),
            )
            for window in windows
        ]


def bills_of(world: Any, key: int, asked: Sequence[Sequence[Asked]]) -> Bills:
    """The bill that each good read of a key was shown."""
    return [
        [(each, world.shown(key, name, each.at)) for each in reversed(of_endpoint) if each.problem is None]
        for name, of_endpoint in zip(ENDPOINTS, asked, strict=True)
    ]


def _counts(standing: str, usage_endpoint: str, calls: Sequence[Call]) -> dict[str, Any]:
    """What a row has of these alike calls: their counts, where they are known."""
    found: dict[str, Any] = dict.fromkeys(("input_tokens", "cached_input_tokens", "output_tokens", "images"))
    if standing not in ("counted", "optional") or not calls:
        return {**found, "calls": max(1, len(calls)), "cached_silent": 0}
    given, cached, written, images = (sum(counts) for counts in zip(*(call.tokens for call in calls), strict=True))
    silent = len(calls)
    if usage_endpoint == "completions":
        silent = sum(call.silent for call in calls)
        found["cached_input_tokens"] = cached if silent < len(calls) else None
        found["output_tokens"] = written
    if usage_endpoint == "images":
        found["images"] = images
    else:
        found["input_tokens"] = given
    apart = len({call.tokens for call in calls}) == 1
    return {**found, "calls": len(calls), "cached_silent": silent, "apart": apart}


def pages(
    endpoint: str,
    key: str,
    first: int,
    end: int,
    shown: Shown,
    *,
    size: int,
) -> Iterator[bytes]:
    """The bill as the Usage API sends it, every minute listed, `size` of them a page."""
    names = {"completions": ("input_tokens", "input_cached_tokens", "output_tokens", None)}
    names["embeddings"] = ("input_tokens", None, None, None)  # type: ignore[assignment]
    names["images"] = (None, None, None, "images")  # type: ignore[assignment]
    by_minute: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for minute, rows in shown.items():
        for (model, batch), counts in rows.items():
            row: dict[str, Any] = {"object": f"organization.usage.{endpoint}.result", "api_key_id": key, "model": model}
            if endpoint == "completions":
                row["batch"] = batch
            row.update({name: count for name, count in zip(names[endpoint], counts, strict=True) if name})
            by_minute[minute].append(row)
    for start in range(first, end, size):
        stop = min(end, start + size)
        page: dict[str, Any] = {
            "object": "page",
            "data": [
                {"object": "bucket", "start_time": 60 * m, "end_time": 60 * (m + 1), "results": by_minute.get(m, [])}
                for m in range(start, stop)
            ],
            "has_more": stop < end,
            "next_page": f"page_{stop}" if stop < end else None,
        }
        yield orjson.dumps(page)
