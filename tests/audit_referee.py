"""The referee: has the audit's pure parts judge seeded worlds, and knows what is true of each part from its making.

`Judges` is the audit to be tried: the real one, or a copy with one bug planted in it. The truth never comes from it.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from referee_world import SETTLE_MIN, UNCLAIMED_MIN, Bounds, Call, K, Stored, World, told_model

MODULES = (
    "bucket",
    "unit",
    "unknown",
    "history",
    "placement",
    "place_part",
    "span",
    "cut",
    "reconcile",
    "report",
    "named_calls",
    "residual",
    "unclaimed",
)


class Judges:
    """The audit's pure modules, from one package."""

    def __init__(self, package: str = "submeter") -> None:
        self.modules = {name: importlib.import_module(f"{package}.audit.{name}") for name in MODULES}
        self.call = importlib.import_module(f"{package}.data.call")

    def __getattr__(self, name: str) -> ModuleType:
        return self.__dict__["modules"][name]  # type: ignore[no-any-return]


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
    kinds: tuple[str, ...] = ()
    """Who could explain what is left, as the last audit says it."""
    pinned: tuple[bool, ...] = ()
    """Of each counted call pointed at as the one that was not billed: whether that is true."""
    behind_the_cut: bool = False
    """Of a run: a call of its own past the meter is in none of its parts, since it was billed after the cut."""

    @property
    def unexplained(self) -> bool:
        """Whether the true cause is not among the candidates, or a call is pointed at that was billed."""
        if not self.last or self.verdict not in ("short", "over", "incomplete"):
            return False
        wanted = {"bypass": self.hidden, "unknown": self.unknown_billed and self.verdict == "incomplete"}
        wanted["key_id"] = self.unbilled and self.verdict == "over"
        return not all(self.pinned) or any(so and kind not in self.kinds for kind, so in wanted.items())

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
            case "unclaimed":
                return not self.hidden
        return False

    @property
    def stuck(self) -> bool:
        """Whether books that agree were not found to agree in the end."""
        if not (self.last and self.clean):
            return False
        return self.verdict not in ("verified", "no_activity", "not_auditable") and self.reason != "key_unproven"


def audit_world(seed: int, judges: Judges, bounds: Bounds | None = None) -> list[Said]:
    """Every verdict that an audit says on a world, read by read."""
    world = World(seed, bounds)
    said: list[Said] = []
    end_s = max(span.end for key in world.keys for span in _spans(world, judges, key, 0.0)) * 60
    times = [end_s + world.random.uniform(60, 2400)]
    while times[-1] < end_s + SETTLE_MIN * 60:
        times.append(times[-1] + world.random.choice((600, 1800, 1801, 2700)))
    times += [times[-1] + 1900, times[-1] + 3700]
    reads: dict[tuple[str, Any], list[Stored]] = defaultdict(list)
    for now_s in times:
        last = now_s == times[-1]
        if now_s >= times[-2]:
            world.failing = 0.0
        parts: list[JudgedPart] = []
        for key in world.keys:
            book, spans = world.book(judges, key, now_s), _spans(world, judges, key, now_s)
            until = max(spans[-1].end, min(int(now_s // 60), spans[-1].end + UNCLAIMED_MIN))
            around = judges.span.Window(start=spans[0].start, end=until)
            for endpoint in judges.bucket.UsageEndpoint:
                reads[key, endpoint].append(world.read(judges, key, endpoint, around, now_s))
            unclaimed = _unclaimed(world, judges, key, spans, reads)
            if last:
                said.extend(_unclaimed_said(world, key, unclaimed))
            for span in spans:
                parts += _judge_span(world, judges, key, book, span, reads, unclaimed, now_s, last=last)
        said.extend(part.said for part in parts)
        for number, minutes in enumerate(world.run_minutes):
            own = [part for part in parts if part.window.meets(*minutes)]
            said.extend(replace(each, behind_the_cut=_behind(world, number, own)) for each in _run_said(judges, own))
    return said


def _spans(world: World, judges: Judges, key: str, now_s: float) -> Any:
    active = [(row.first_minute, row.last_minute) for row in world.book(judges, key, now_s)]
    active += [
        judges.span.active_minutes(first * 60_000_000, last * 60_000_000, shift_min=K)
        for first, last in world.run_minutes
    ]
    return judges.span.spans(active)


def _unclaimed(
    world: World, judges: Judges, key: str, spans: Sequence[Any], reads: dict[tuple[str, Any], list[Stored]]
) -> list[Any]:
    """The bill outside all spans, by the latest good reads."""
    found: list[Any] = []
    for endpoint in judges.bucket.UsageEndpoint:
        good = next((read for read in reversed(reads[key, endpoint]) if read.good), None)
        rows = [row for row in good.rows if not any(row.minute in span for span in spans)] if good else []
        found.extend(judges.unclaimed._unclaimed(key, endpoint, [row for row in rows if row.minute >= spans[0].start]))
    return found


def _unclaimed_said(world: World, key: str, unclaimed: Sequence[Any]) -> list[Said]:
    """A minute that nobody claims, and whether a call past the meter was billed in it."""
    return [
        Said(
            verdict="unclaimed",
            reason=None,
            key=key,
            hidden=any(
                call.key == key and call.standing == "hidden" and each.minute in world.billed_minutes(call)
                for call in world.calls
            ),
            unknown_billed=False,
            unbilled=False,
            swapped=False,
            active=True,
            premature=False,
            last=True,
        )
        for each in unclaimed
    ]


def _behind(world: World, number: int, own: Sequence[JudgedPart]) -> bool:
    """Whether a run's own call past the meter was billed in none of its parts."""
    return any(
        call.run == number
        and call.standing == "hidden"
        and not call.batch
        and any(part.key == call.key for part in own)
        and not any(part.key == call.key and minute in part.window for part in own for minute in minutes)
        for call in world.calls
        if (minutes := world.billed_minutes(call))
    )


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """One part with what was found and what is true."""

    key: str
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
    unclaimed: Sequence[Any],
    now_s: float,
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
            runs=[minutes for minutes in world.run_minutes if span.meets(*minutes)],
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
        truth = _truth(world, key, window, finding, now_s, last=last)
        if last:
            kinds, pinned = _explained(world, judges, part, finding, unclaimed, now_s)
            truth = replace(truth, kinds=kinds, pinned=pinned)
        early = finding.final and not all(_enough(reads[key, each], window) for each in endpoints)
        said.append(
            JudgedPart(
                key=key,
                window=window,
                verdict=finding.verdict,
                reason=finding.reason,
                said=replace(truth, premature=early),
            )
        )
    return said


def _explained(
    world: World, judges: Judges, part: Any, finding: Any, unclaimed: Sequence[Any], now_s: float
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """The candidates for what is left of a part, and of those that point at one call not billed, whether it is so."""
    counted, unknown = [], []
    for number, call in enumerate(world.calls):
        standing = world.standing(call, now_s)
        begun = int(world.ours_s(call)[0] // 60) in part.window
        if call.key != part.api_key_id or not begun or standing not in ("counted", "unknown"):
            continue
        told = {
            "call_id": str(number),
            "started_us": int(call.begin_s * 1e6),
            "run": None if call.run is None else ("baes", str(call.run)),
            "step": None,
            "usage_endpoint": call.usage_endpoint,
            "model": told_model(call, standing),
        }
        if standing == "unknown":
            unknown.append(judges.named_calls.UnknownCall(outcome="aborted", **told))
        else:
            given, cached, written = call.tokens
            completions = call.usage_endpoint == "completions"
            counted.append(
                judges.named_calls.CountedCall(
                    input_tokens=given,
                    cached_input_tokens=cached if completions and not call.silent else None,
                    output_tokens=written if completions else None,
                    images=None,
                    seen_twice=False,
                    **told,
                )
            )
    found = judges.residual.residuals(part, finding, calls=counted, unknown=unknown, neighbours=(), unclaimed=unclaimed)
    candidates = [each for residual in found for each in residual.candidates]
    pinned = [each for each in candidates if each.kind == "key_id" and each.pinpointed]
    return (
        tuple(sorted({str(each.kind) for each in candidates})),
        tuple(_missing(world.calls[int(call)]) for each in pinned for call in each.calls),
    )


def _missing(call: Call) -> bool:
    """Whether a call is not billed under its own name."""
    return not call.billed or call.billed_as is not None


def _enough(stored: Sequence[Stored], window: Any) -> bool:
    """Whether the law's two reads were there: half an hour apart, the later one an hour after the window."""
    good = [read.asked_us for read in stored if read.good]
    settled_us = (window.end + SETTLE_MIN) * 60_000_000
    return any(later >= settled_us and later - earlier >= 1_800_000_000 for later in good for earlier in good)


def _history(judges: Judges, endpoint: Any, stored: Sequence[Stored], window: Any) -> Any:
    seen, states = [], {}
    for index, read in enumerate(stored):
        if not read.window.covers(window):
            continue
        rows = [row for row in read.rows if row.minute in window]
        state = repr(sorted(map(repr, rows)))
        states[state] = rows
        attempt = judges.history.Attempt(
            read_id=str(index), asked_at=read.asked_us, good=read.good, problem=read.problem
        )
        seen.append(judges.history.SeenRead(attempt=attempt, state=state))
    return judges.history.make_history(endpoint, seen, states)


def _truth(world: World, key: str, window: Any, finding: Any, now_s: float, *, last: bool) -> Said:
    hidden = unknown_billed = unbilled = swapped = active = False
    renamed = any(pair.paired_by == "renamed" for pair in finding.comparison.pairs)
    for call in world.calls:
        if call.key != key or call.batch:
            continue
        here = bool({m for m in world.billed_minutes(call) if m in window})
        begun = int(world.ours_s(call)[0] // 60) in window
        standing = world.standing(call, now_s)
        if call.standing == "hidden":
            hidden |= here
            active |= here
            continue
        active |= begun
        unknown_billed |= standing == "unknown" and here
        unbilled |= standing == "counted" and begun and not call.billed
        swapped |= standing == "counted" and call.billed and call.billed_as is not None and begun and not renamed
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
