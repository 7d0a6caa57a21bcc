"""What a certificate holds of the calls: one record each, with its digest, and the minute book that follows from them.

A record is everything about a call that a verdict may rest on, and nothing of what was asked or answered. Its times are
ours; `skew_us` is what the audit adds to them. The minute book is made from the records here, not copied from the
ledger, so that a window, a span and a sum that do not follow from the calls are seen.

Pure, but for `certified_calls`, which asks the ledger.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from ..data.call import Standing
from .questions import Asking
from .reconcile import Finding
from .report import run_text
from .unit import FIELDS, BillRow, BookRow, Field, bill_amount
from .window import Window, active_minutes, minute_of

CALLS_MAX = 100_000
"""Calls of one span that a certificate lists; with more there is none."""
UNSETTLED_US = 3_600_000_000
"""How much longer than its answer background work is taken to last while nobody told its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCall:
    """One create. Times are microseconds UTC, counts as reported; None: not told."""

    call_id: str
    run: str | None
    """`framework/run_id`; None: no run."""
    started_us: int
    ended_us: int
    """The last byte; with `unended` the moment the certificate was made, by the provider's clock."""
    unended: bool
    completed_us: int | None
    """As the provider told it."""
    skew_us: int
    """What is added to our clock."""
    open: bool
    standing: str
    usage_endpoint: str | None
    endpoint: str | None
    model: str | None
    background: bool
    hosted_tool: bool
    unknown_endpoint: bool
    input_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None

    @property
    def digest(self) -> str:
        """SHA-256 of the record."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def begin_us(self) -> int:
        """Its start by the provider's clock."""
        return self.started_us + self.skew_us

    def active(self, shift_min: int) -> tuple[int, int]:
        """First and last active minute."""
        end_us = self.ended_us if self.unended else self.ended_us + self.skew_us
        if not self.unended:
            end_us = max(self.begin_us, end_us, self.begin_us if self.completed_us is None else self.completed_us)
            end_us += UNSETTLED_US if self.background and self.standing == Standing.UNKNOWN else 0
        return active_minutes(self.begin_us, end_us, shift_min=shift_min)

    @property
    def open_minutes(self) -> tuple[int, int]:
        """First and last minute in which it was open: which part of a span is its run's."""
        if self.unended:
            return minute_of(self.begin_us), minute_of(self.ended_us)
        return minute_of(self.begin_us), minute_of(max(self.started_us, self.ended_us) + self.skew_us)


_NAMES = tuple(field.name for field in fields(CertifiedCall))


def certified_calls(asked: Asking, api_key_id: str, span: Window) -> list[CertifiedCall]:
    """The creates of one key begun in a span; one more than `CALLS_MAX` at most."""
    # A call is begun one minute after its span at the earliest, by the provider's clock.
    period = {"from_us": span.start_us, "to_us": span.end_us, "most": CALLS_MAX + 1}
    found = []
    for call_id, framework, run_id, *rest in asked.rows("audit_certified_calls", {"api_key_id": api_key_id, **period}):
        started, ended, unended, completed, skew, open_, standing, usage_endpoint, endpoint, model, *more = rest
        background, hosted_tool, unknown_endpoint, *counts = more
        given, cached, cache_write, written, images = counts
        found.append(
            CertifiedCall(
                call_id=call_id,
                run=None if run_id is None else run_text((framework, run_id)),
                started_us=started,
                ended_us=ended,
                unended=bool(unended),
                completed_us=completed,
                skew_us=skew,
                open=bool(open_),
                standing=standing,
                usage_endpoint=usage_endpoint,
                endpoint=endpoint,
                model=model,
                background=bool(background),
                hosted_tool=bool(hosted_tool),
                unknown_endpoint=bool(unknown_endpoint),
                input_tokens=given,
                cached_input_tokens=cached,
                cache_write_tokens=cache_write,
                output_tokens=written,
                images=images,
            )
        )
    return found


def call_record(call: CertifiedCall, placed: int | None) -> dict[str, Any]:
    """A call as the document has it. `placed`: the minute that the placement found puts it in."""
    return {**asdict(call), "digest": call.digest, "placed": placed}


def read_call(told: Mapping[str, Any]) -> CertifiedCall:
    """A call of a document. Raises `TypeError`, `KeyError` or `ValueError` where it is none."""
    call = CertifiedCall(**{name: told[name] for name in _NAMES})
    times = (call.started_us, call.ended_us, call.skew_us, 0 if call.completed_us is None else call.completed_us)
    counts = (call.input_tokens, call.cached_input_tokens, call.output_tokens, call.images)
    if not all(type(time) is int for time in times) or not all(each is None or type(each) is int for each in counts):
        raise TypeError(f"call {call.call_id}: a time or a count is no whole number")
    return call


def minute_book(calls: Sequence[CertifiedCall], shift_min: int) -> tuple[list[BookRow], list[list[int]]]:
    """The minute book of these calls, a row being so many equal calls; and which calls each row is made of."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, call in enumerate(calls):
        groups.setdefault(_alike(call, shift_min), []).append(number)
    rows = []
    for (first, last, loose, any_model, endpoint, *_), numbers in groups.items():
        call, n = calls[numbers[0]], len(numbers)
        counted = call.standing == Standing.COUNTED
        rows.append(
            BookRow(
                first_minute=first,
                last_minute=last,
                standing=Standing(call.standing),
                usage_endpoint=call.usage_endpoint,
                endpoint=endpoint,
                model=call.model,
                open=call.open,
                loose=loose,
                any_model=any_model,
                calls=n,
                input_tokens=_times(n, call.input_tokens, counted),
                cached_input_tokens=_times(n, call.cached_input_tokens, counted),
                cached_silent=n if counted and call.cached_input_tokens is None else 0,
                cache_write_tokens=_times(n, call.cache_write_tokens, counted),
                output_tokens=_times(n, call.output_tokens, counted),
                images=_times(n, call.images, counted),
            )
        )
    return rows, list(groups.values())


def placed_whole(
    finding: Finding,
    window: Window,
    bill: Sequence[BillRow],
    calls: Sequence[CertifiedCall],
    placed: Mapping[int, int | None],
    shift_min: int,
) -> bool:
    """Whether every counted call with an amount is put into one active minute, and every minute is equal."""
    for pair in finding.comparison.pairs:
        ours = [
            (calls[number], minute)
            for number, minute in placed.items()
            if calls[number].standing == Standing.COUNTED
            and calls[number].usage_endpoint == pair.usage_endpoint
            and calls[number].model in pair.book_models
        ]
        units = [unit for unit in finding.comparison.units if unit.pair == pair]
        silent = {unit.field for unit in units if unit.field is Field.CACHED and (unit.book_silent or unit.bill_silent)}
        fields = [each for each in FIELDS[pair.usage_endpoint] if each not in silent]
        theirs = [
            row
            for row in bill
            if not row.batch and row.usage_endpoint is pair.usage_endpoint and row.model in pair.bill_models
        ]
        for call, minute in ours:
            first, last = call.active(shift_min)
            if any(getattr(call, each) for each in fields) and (
                minute is None or not max(first, window.start) <= minute <= min(last, window.end - 1)
            ):
                return False
        for each in fields:
            sums: Counter[int] = Counter()
            for call, minute in ours:
                sums[-1 if minute is None else minute] += getattr(call, each) or 0
            for row in theirs:
                sums[row.minute] -= bill_amount(row, each)
            if any(sums.values()):
                return False
    return True


def _alike(call: CertifiedCall, shift_min: int) -> tuple[Any, ...]:
    first, last = call.active(shift_min)
    return (
        first,
        last,
        call.background or call.hosted_tool or (call.endpoint or "").startswith("realtime"),
        call.hosted_tool or call.unknown_endpoint,
        None if call.standing == Standing.COUNTED else call.endpoint,
        call.standing,
        call.usage_endpoint,
        call.model,
        call.open,
        call.input_tokens,
        call.cached_input_tokens,
        call.cache_write_tokens,
        call.output_tokens,
        call.images,
    )


def _times(calls: int, count: int | None, counted: bool) -> int | None:
    return calls * count if counted and count is not None else None
