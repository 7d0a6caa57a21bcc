"""The referee: has the audit's pure core judge seeded worlds at several moments, and knows what is true of each run.

`Judges` is the audit to be tried: the real one, or a copy with one bug planted in it. The truth comes from the world's
making and never from what is tried.
"""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import border_form
from referee_world import ASKED, DAY, IMAGE, INTERVAL, NEW_NAME, SETTLE, SPEECH, Asked, Bounds, Call, K, Shown, World

MINUTE_US = 60_000_000
MODULES = ("bucket", "window", "unit", "pair", "unknown", "history", "chain", "reconcile", "facts")
ENDPOINTS = ("completions", "embeddings", "images")
AGREE = ("verified", "no_activity")
WARM_UP = "warm_up"
SECOND_OPINION_EVERY = 8
"""Of so many worlds one is judged by the border form, too."""


class Judges:
    """The audit's pure modules, from one package."""

    def __init__(self, package: str = "submeter") -> None:
        self.modules = {name: importlib.import_module(f"{package}.audit.{name}") for name in MODULES}
        self.call = importlib.import_module(f"{package}.data.call")

    def __getattr__(self, name: str) -> ModuleType:
        return self.__dict__["modules"][name]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One verdict on one run and key at one moment, and the truth of it."""

    verdict: str
    reason: str | None
    joint: tuple[int, ...]
    final: bool
    last: bool
    """Said in the last audit, when every read that is needed had been made."""
    key: int
    run: int | None
    """None: a period."""
    wrong: str | None
    """Why the verdict is false; None: it is not."""
    cause: str
    """What is wrong with this run in truth."""
    distance: int | None
    """Runs between it and the nearest run of its chain with an error; None: the chain has none."""
    closed: bool
    """Its chain is known to its end."""
    gap_min: float = 0.0
    """Minutes between the runs of its world, as planned."""
    rate: int = 0
    """Calls a minute, as planned."""
    border: bool | None = None
    """Whether the border form finds it clear; None: not asked."""

    @property
    def false(self) -> bool:
        return self.wrong is not None


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one run on one key at one moment."""

    hidden: bool
    """A call of it went past the meter and was billed."""
    unknown_billed: bool
    """A call whose usage is not known was billed, or a hosted tool's content."""
    unbilled: bool
    """A counted call of it is on no bill."""
    not_shown: bool
    """A counted call of it is not whole on the bill at the moment."""
    active: bool
    """It made a create of any kind on this key."""

    @property
    def wrong(self) -> bool:
        return self.hidden or self.unknown_billed or self.unbilled

    @property
    def cause(self) -> str:
        names = {"past the meter": self.hidden, "unknown billed": self.unknown_billed, "not billed": self.unbilled}
        return ", ".join(name for name, so in names.items() if so) or "nothing"


Finals = dict[tuple[int, int | None], list[tuple[float, Said]]]
"""What was said to be final of each key and run, and when."""


def audit_world(seed: int, judges: Judges, bounds: Bounds | None = None) -> list[Said]:
    """Every verdict that the audit says on a world, at each of its moments."""
    world = World(seed, bounds)
    said: list[Said] = []
    finals: Finals = defaultdict(list)
    for number in sorted(world.audits):
        for key in range(world.keys):
            moment = Moment(world, judges, key, number, finals)
            for each in moment.judged():
                before = finals[each.key, each.run]
                if world.trouble != "provider hours late":
                    each = replace(each, wrong=each.wrong or _contradicted(before, each))
                said.append(each)
                if each.final:
                    before.append((moment.now, each))
    return said


STANDS_BESIDE = frozenset({"not_permitted", "unavailable", "warning"})
"""A failed read and a changed bill are said beside a final verdict, which stands."""


def _contradicted(finals: Sequence[tuple[float, Said]], now: Said) -> str | None:
    """What was said to be final must be said again whenever the same is asked."""
    for _, final in finals:
        if now.verdict == final.verdict or now.verdict in STANDS_BESIDE or now.key != final.key:
            continue
        if final.verdict == "incomplete" and now.verdict == "verified":
            continue  # the usage that was not known has been told since
        return f"{final.verdict} was final and is {now.verdict} now"
    return None


class Moment:
    """One key of a world at one moment of an audit."""

    def __init__(self, world: World, judges: Judges, key: int, number: int, finals: Finals) -> None:
        self.world, self.judges, self.key = world, judges, key
        self.now = world.reads_at[number]
        self.finals = finals
        self.last = number == len(world.reads_at) - 1
        self.second = self.last and world.seed % SECOND_OPINION_EVERY == 0
        self.calls = [call for call in world.calls if call.key == key]
        self.asked = [[each for each in asked if each.at <= self.now] for asked in world.asked[key]]
        self.histories = {
            endpoint: self._history(place, endpoint) for place, endpoint in enumerate(judges.bucket.UsageEndpoint)
        }
        self.rows, self.calls_of_rows = self._book()
        self.shares = self._shares()

    # What the audit is given

    def _history(self, place: int, endpoint: Any) -> Any:
        judges, reads, rows = self.judges, [], {}
        shown_before: dict[Any, Any] = {}
        for number, asked in enumerate(self.asked[place]):
            name = f"{endpoint}-{number}"
            reads.append(
                judges.history.Read(
                    read_id=name,
                    asked_us=int(asked.at * MINUTE_US),
                    window=judges.window.Window(start=asked.first, end=asked.end),
                    good=asked.problem is None,
                    problem=asked.problem,
                )
            )
            if asked.problem is None:
                shown = self.world.shown(self.key, str(endpoint), asked.at)
                state = (asked.end, id(shown))
                if state not in shown_before:
                    shown_before[state] = judges.history.rows_by_minute(self._bill(endpoint, asked, shown))
                rows[name] = shown_before[state]
        return judges.history.History(usage_endpoint=endpoint, reads=tuple(reads), rows=rows)

    def _bill(self, endpoint: Any, asked: Asked, shown: Shown) -> list[Any]:
        inside = {minute: rows for minute, rows in shown.items() if asked.first <= minute < asked.end}
        if self.world.pages:
            return self._by_pages(endpoint, asked, inside)
        completions, images = str(endpoint) == "completions", str(endpoint) == "images"
        return [
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
            for minute, rows in inside.items()
            for (model, batch), counts in rows.items()
        ]

    def _by_pages(self, endpoint: Any, asked: Asked, shown: Shown) -> list[Any]:
        """The same by way of pages of JSON and the strict reader."""
        key, size = f"key_{self.key}", 7 + asked.end % 50
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

    def _book(self) -> tuple[list[Any], list[list[Call]]]:
        alike: dict[Any, list[Call]] = defaultdict(list)
        for number, call in enumerate(self.calls):
            if call.standing != "hidden" and call.begin < self.now:
                row = self._row(call)
                alike[row if self.world.grouped else (number, row)].append(call)
        rows = []
        for each, calls in alike.items():
            row = each if self.world.grouped else each[1]
            rows.append(self._counted(row, calls) if row.standing in ("counted", "optional") else row)
            if len(calls) > 1 and row.standing not in ("counted", "optional"):
                rows[-1] = replace(row, calls=len(calls))
        return rows, list(alike.values())

    def _row(self, call: Call) -> Any:
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
            calls=1,
            input_tokens=None,
            cached_input_tokens=None,
            cached_silent=0,
            cache_write_tokens=None,
            output_tokens=None,
            images=None,
        )

    def _learned(self, asked: str) -> set[str]:
        """What this ledger saw the name answer as."""
        return {
            call.model
            for call in self.world.calls
            if call.standing in ("counted", "optional") and call.end <= self.now and ASKED.get(call.model) == asked
        }

    def _counted(self, row: Any, calls: Sequence[Call]) -> Any:
        sums = [sum(call.tokens[place] for call in calls) for place in range(4)]
        completions, images = row.usage_endpoint == "completions", row.usage_endpoint == "images"
        silent = sum(call.silent or not completions for call in calls)
        return replace(
            row,
            calls=len(calls),
            apart=len({call.tokens for call in calls}) == 1,
            input_tokens=None if images else sums[0],
            cached_input_tokens=sums[1] if completions and silent < len(calls) else None,
            cached_silent=silent,
            output_tokens=sums[2] if completions else None,
            images=sums[3] if images else None,
        )

    def _shares(self) -> list[tuple[int | None, Any]]:
        world, judges, found = self.world, self.judges, []
        for name, run in enumerate(world.runs):
            if run.begin >= self.now:
                continue
            own = [row for row in self.rows if row.run == ("f", str(name))]
            elsewhere = any(
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
            window = judges.window.Window(start=first - 1, end=end + 1 + world.shift)
            found.append((None, judges.chain.Share(run=None, window=window, final_us=self._final_us(None))))
        return found

    def _final_us(self, run: int | None) -> int | None:
        said = self.finals[self.key, run]
        return int(said[-1][0] * MINUTE_US) if said else None

    def chains(self) -> list[Any]:
        judges, world = self.judges, self.world
        active = [(row.first_minute, row.last_minute) for row in self.rows]
        gaps = [(first - 1, last + 1 + world.shift) for first, last in world.gap_rows if self.key == 0]
        windows = judges.chain.chain_windows([*active, *gaps], [share.window for _, share in self.shares])
        facts = self._facts()
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

    def _facts(self) -> Any:
        good = [
            (endpoint, row)
            for endpoint, history in self.histories.items()
            for rows in history.rows.values()
            for each in rows.values()
            for row in each
        ]
        optional = {WARM_UP: self.world.optional_billed} if self.world.optional_known else {}
        return self.judges.facts.key_facts(
            uses=self.judges.facts.uses_of(self.rows),
            billed={(endpoint, row.model) for endpoint, row in good if not row.batch},
            proven=any(not row.empty for _, row in good),
            optional=optional,
        )

    # What it says, and what is true

    def judged(self) -> Iterator[Said]:
        chains = self.chains()
        found = [self.judges.reconcile.judge_chain(chain) for chain in chains]
        if self.judges.facts.renaming_holds(found):
            facts = replace(chains[0].facts, renamed_holds=True)
            found = [self.judges.reconcile.judge_chain(replace(chain, facts=facts)) for chain in chains]
        self.renamed_paired = any(
            pair.paired_by == "renamed" and NEW_NAME in pair.bill_models
            for chain in chains[:1]
            for pair in chain.facts.pairs
        )
        for each in found:
            runs = [int(finding.share.run[1]) for finding in each.findings if finding.share.run]
            wrong = [run for run in runs if self.truth(run).wrong]
            for finding in each.findings:
                yield self._said(finding, each, wrong)
            for unplaced in each.unplaced:
                yield self._unplaced(unplaced, each)

    def truth(self, run: int | None, window: Any = None) -> Truth:
        """Of a run; or of a period, whose calls are those that began in it and whose excess is that billed in it."""
        if run is None:
            own = [call for call in self.calls if call.begin_minute() - 1 in window]
            more = [call for call in self.calls if any(piece.minute in window for piece in call.pieces)]
        else:
            own = [call for call in self.calls if call.run == run]
            more = own
        lost = any(self._lost(call) for call in more)
        return Truth(
            hidden=any(call.excess(self.now) and call.standing == "hidden" for call in more) or lost,
            unknown_billed=any(call.excess(self.now) and call.standing != "hidden" for call in more),
            unbilled=any(call.deficit or self._lost(call) for call in own),
            not_shown=any(piece.seen_at > self.now or self._gone(piece) for call in own for piece in call.pieces),
            active=any(call.begin < self.now and not call.batch for call in own),
        )

    def _lost(self, call: Call) -> bool:
        """Whether a counted call was billed under a name that is not known to be its own: an excess and a deficit."""
        other = call.bill_model is not None and not (call.bill_model == NEW_NAME and self.renamed_paired)
        return other and call.standing == "counted" and bool(call.pieces)

    def _gone(self, piece: Any) -> bool:
        return self.world.flap is not None and self.world._taken_back(piece.minute, self.now)

    def _said(self, finding: Any, found: Any, wrong: Sequence[int]) -> Said:
        share = finding.share
        run = None if share.run is None else int(share.run[1])
        truth = self.truth(run, share.window)
        joint = tuple(sorted(int(name) for _, name in finding.joint))
        border = self._border_form(found, run, share) if self.second and found.closed else None
        distance = None
        if run is not None and wrong:
            distance = min(abs(run - other) for other in wrong)
        return Said(
            verdict=str(finding.verdict),
            reason=None if finding.reason is None else str(finding.reason),
            joint=joint,
            final=finding.final and not finding.closed,
            last=self.last,
            key=self.key,
            run=run,
            wrong=self._wrong(finding, found, truth, run, joint)
            or ("the border form finds it clear, though: " + truth.cause if border and truth.wrong else None),
            gap_min=self.world.gap,
            rate=self.world.rate,
            border=border,
            cause=truth.cause,
            distance=distance,
            closed=found.closed,
        )

    def _wrong(self, finding: Any, found: Any, truth: Truth, run: int | None, joint: tuple[int, ...]) -> str | None:
        """Why a verdict is false; None: it is not."""
        share, verdict, reason = finding.share, str(finding.verdict), str(finding.reason)
        if reason == "undecided":
            return "undecided"
        if verdict in AGREE:
            if truth.wrong:
                return f"{verdict}, though: {truth.cause}"
            if verdict == "no_activity" and any(
                call.standing in ("counted", "unknown") and call.begin < self.now and call.labelled
                for call in (self.world.own(run, self.key) if run is not None else [])
            ):
                return "no_activity, though it called"
            if share.ambiguous and verdict == "verified":
                return "verified, though calls of it could be another run's"
            if not self._enough(share.window):
                return f"{verdict} without two equal reads half an hour apart, an hour after"
        elif verdict == "not_auditable":
            return "not_auditable, though it hid a call" if truth.hidden else None
        elif verdict == "short":
            return self._wrong_short(share, truth, run, joint)
        elif verdict == "over":
            return self._wrong_over(finding, truth, run, joint)
        elif verdict == "incomplete" and not self._may_be_explained(
            share.window if reason != "optional" else found.chain.window
        ):
            return "incomplete, though nothing unknown is in its minutes"
        if self.last:
            return self._stuck(finding, found, truth)
        return None

    def _wrong_short(self, share: Any, truth: Truth, run: int | None, joint: tuple[int, ...]) -> str | None:
        if not joint:
            strangers = any(
                call.run is None
                and (call.excess(self.now) or self._lost(call))
                and any(piece.minute in share.window for piece in call.pieces)
                for call in self.calls
            )
            return None if truth.hidden or strangers else "short, and hid nothing"
        named = any((each := self.truth(name)).hidden or each.unknown_billed for name in joint)
        strangers = any(call.run is None and (call.excess(self.now) or self._lost(call)) for call in self.calls)
        return None if named or strangers or run is None else f"short with {joint}, none of which hid anything"

    def _wrong_over(self, finding: Any, truth: Truth, run: int | None, joint: tuple[int, ...]) -> str | None:
        if finding.final and not finding.closed and self.now < finding.share.window.end + DAY:
            return "over is final within a day"
        late = not (finding.final and not finding.closed)
        if not joint:
            late_in_period = run is None and finding.reason is not None  # owned by its start, billed after it ended
            return (
                None
                if truth.unbilled or (late and truth.not_shown) or late_in_period
                else "over, and all of it was billed"
            )
        each = [self.truth(name) for name in joint]
        strangers = any(call.run is None and (call.deficit or self._lost(call)) for call in self.calls)
        named = any(one.unbilled or (late and one.not_shown) for one in each)
        unlabelled = any(not call.labelled and call.deficit for call in self.calls)
        return (
            None if named or strangers or unlabelled or run is None else f"over with {joint}, all of which was billed"
        )

    def _may_be_explained(self, window: Any) -> bool:
        """Whether anything that may be billed beside the book was active in these minutes."""
        rows = any(
            (row.standing in ("unknown", "optional") or row.hosted) and window.meets(row.first_minute, row.last_minute)
            for row in self.rows
        )
        return rows or any(window.meets(first - 1, last + 1 + self.world.shift) for first, last in self.world.gap_rows)

    def _stuck(self, finding: Any, found: Any, truth: Truth) -> str | None:
        """Whether a run of a chain without any error is not found to agree in the end."""
        verdict, reason, share = str(finding.verdict), str(finding.reason), finding.share
        if verdict in ("pending", "unavailable", "not_permitted") and not any(row.open for row in found.chain.rows):
            return f"{verdict} at the end"
        here = [call for call in self.calls if call.begin_minute() in found.chain.window]
        lost = not self.renamed_paired and any(call.bill_model == NEW_NAME for call in here)
        if (
            any(call.excess(self.now) or call.deficit or call.bill_model not in (None, NEW_NAME) for call in here)
            or lost
        ):
            return None
        if any(
            call.excess(self.now) and any(p.minute in found.chain.window for p in call.pieces) for call in self.calls
        ):
            return None
        if verdict in (*AGREE, "not_auditable") or share.ambiguous or reason in ("key_unproven", "renamed"):
            return None
        if any(call.optional for call in here) and not self.world.optional_known:
            return None
        if any(row.open for row in found.chain.rows):
            return None
        return f"stuck at {verdict} ({reason}), though nothing is wrong"

    def _unplaced(self, unplaced: Any, found: Any) -> Said:
        windows = [share.window for _, share in self.shares]
        true = any(
            call.excess(self.now) and not any(piece.minute in window for window in windows)
            for call in self.calls
            for piece in call.pieces
            if piece.minute in found.chain.window
        )
        true = true or any(call.bill_model for call in self.calls if call.run is None)
        return Said(
            verdict="unclaimed",
            reason=None,
            joint=(),
            final=False,
            last=self.last,
            key=self.key,
            run=-1,
            wrong=None if true else "unclaimed, and nothing was hidden outside the runs",
            cause="past the meter" if true else "nothing",
            distance=None,
            closed=found.closed,
        )

    def _border_form(self, found: Any, run: int | None, share: Any) -> bool | None:
        """Whether the border form, from the world's own books, finds a run clear; None: not asked of such a chain."""
        window = found.chain.window
        counted = [
            call
            for call in self.calls
            if call.begin_minute() in window
            and (call.standing == "counted" or (call.optional and self.world.optional_billed))
            and call.shown_standing(self.now) != "unknown"
        ]
        if (
            run is None
            or share.ambiguous
            or len(counted) > 60
            or (not self.world.optional_known and any(c.optional for c in self.calls))
        ):
            return None
        own_window = (share.window.start, share.window.end - 1)
        names = {
            (call.usage_endpoint, call.model, NEW_NAME if call.bill_model == NEW_NAME else call.model)
            for call in counted
        }
        for each in ENDPOINTS:
            for minute, rows in self.world.shown(self.key, each, self.now).items():
                if minute in window:
                    names |= {
                        (each, model, model)
                        for model, batch in rows
                        if not batch and model != NEW_NAME and (each != "completions" or model not in (IMAGE, SPEECH))
                    }
        for endpoint, model, bill_model in sorted(names):
            calls = [call for call in counted if call.usage_endpoint == endpoint and call.model == model]
            places = [0, 1, 2] if endpoint == "completions" else [0] if endpoint == "embeddings" else [3]
            if any(call.silent for call in calls):
                places = [0, 2]
            bill = {
                minute: tuple(rows[bill_model, False][place] for place in places)
                for minute, rows in self.world.shown(self.key, endpoint, self.now).items()
                if (bill_model, False) in rows and minute in window
            }
            segments = border_form.segments(
                window.start, window.end, [self._billed(call, places) for call in calls], bill, len(places)
            )
            ends = [call.end_minute(self.now) for call in calls if call.run == run and call.labelled]
            if not border_form.clears(segments, *own_window, ends):
                return False
        return True

    def _billed(self, call: Call, places: Sequence[int]) -> border_form.Billed:
        end = call.end_minute(self.now)
        return border_form.Billed(
            first=call.begin_minute() - 1,
            end=end,
            last=end + 1 + self.world.shift,
            tokens=tuple(call.tokens[place] for place in places),
            loose=call.loose,
        )

    def _enough(self, window: Any) -> bool:
        """Whether for every endpoint and minute two reads half an hour apart, the later one an hour after, agree."""
        for place, endpoint in enumerate(ENDPOINTS):
            good = [each for each in reversed(self.asked[place]) if each.problem is None]
            bills = [(each, self.world.shown(self.key, endpoint, each.at)) for each in good]
            for minute in range(window.start, window.end):
                if not _confirmed(
                    [(each.at, bill.get(minute)) for each, bill in bills if each.first <= minute < each.end],
                    minute + 1 + SETTLE,
                ):
                    return False
        return True


def _confirmed(told: Sequence[tuple[float, Any]], settled: float) -> bool:
    """Whether the latest state (the first here) was shown twice, half an hour apart, the later time after `settled`."""
    if not told or told[0][0] < settled - 1e-6:
        return False
    same = told[0][0]
    for at, state in told:
        if state != told[0][1]:
            break
        same = at
    return told[0][0] - same >= INTERVAL - 1e-6


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
        yield json.dumps(page).encode()


__all__ = ["Bounds", "Judges", "K", "Moment", "Said", "audit_world"]
