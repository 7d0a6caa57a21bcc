"""What a certificate holds of the calls: one record each, with its digest, and the book that follows from them.

A record is everything about a call that a verdict may rest on, and nothing of what was asked or answered. Its times are
as they were written down, `skew_us` is what the audit adds to ours; the minutes in which a call was active are worked
out from them here, not copied from the ledger. The ledger's own rule stands in the view `audit_creates`, and a test
compares the two.

Pure, but for `certified_calls`, which asks the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from ..data.call import Standing
from .known_names import model_names
from .place_chain import PLACED_CALLS_MAX
from .questions import Activity, Asking
from .unit import BookRow, RunName
from .window import Window, active_minutes, minute_of

CALLS_MAX = 100_000
"""Calls of one chain that a certificate lists; with more there is none."""
UNSETTLED_US = 24 * 3600 * 1_000_000
"""How long after its start a call whose end or usage nobody told may still be billed; after that it is unknown."""
_OPEN = "open"
"""The outcome of a call that nobody told the end of, as the view `calls` has it."""
_TOLD = (Standing.COUNTED, Standing.OPTIONAL)
"""Standings of calls whose counts are in a book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCall:
    """One create. Times are microseconds UTC, counts as reported; None: not told."""

    call_id: str
    framework: str | None
    run_id: str | None
    """None: the call has no run."""
    started_us: int
    ended_us: int | None
    """The last byte."""
    completed_us: int | None
    """As the provider told it, by its own clock."""
    skew_us: int
    """What is added to our clock."""
    outcome: str
    standing: str
    usage_endpoint: str | None
    endpoint: str | None
    request_model: str | None
    response_model: str | None
    background: bool
    hosted: bool
    """A hosted tool ran."""
    any_model: bool
    """What it may have used is not told by its model."""
    optional_class: str | None
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
    def run(self) -> RunName | None:
        return None if self.run_id is None else (self.framework, self.run_id)

    @property
    def counted(self) -> bool:
        return self.standing == Standing.COUNTED

    @property
    def begin_us(self) -> int:
        """Its start by the provider's clock."""
        return self.started_us + self.skew_us

    @property
    def unsettled(self) -> bool:
        """Nobody told its end, or of background work its usage."""
        return self.standing == Standing.UNKNOWN and (self.outcome == _OPEN or self.background)

    @property
    def loose(self) -> bool:
        """Its tokens may be billed in parts."""
        return self.background or self.hosted or (self.endpoint or "").startswith("realtime")

    def open(self, now_us: int) -> bool:
        """Whether it may still be billed and counted."""
        return self.unsettled and now_us < self.begin_us + UNSETTLED_US

    def end_us(self, now_us: int) -> int:
        """Its end by the provider's clock: now, while it is open."""
        if self.open(now_us):
            return max(self.begin_us, now_us)
        if self.unsettled:
            return self.begin_us + UNSETTLED_US
        ended_us = self.begin_us if self.ended_us is None else self.ended_us + self.skew_us
        return max(self.begin_us, ended_us, self.begin_us if self.completed_us is None else self.completed_us)


_NAMES = tuple(field.name for field in fields(CertifiedCall))
_TEXTS = ("call_id", "outcome", "standing")
_TEXTS_OR_NONE = (
    *("framework", "run_id", "usage_endpoint", "endpoint"),
    *("request_model", "response_model", "optional_class"),
)
_FLAGS = ("background", "hosted", "any_model")
_NUMBERS = ("started_us", "skew_us")
_COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "images")
_NUMBERS_OR_NONE = ("ended_us", "completed_us", *_COUNTS)
_KINDS: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...] = (
    (_TEXTS, (str,)),
    (_TEXTS_OR_NONE, (str, type(None))),
    (_FLAGS, (bool,)),
    (_NUMBERS, (int,)),
    (_NUMBERS_OR_NONE, (int, type(None))),
)
"""Which fields are of which type. A truth value is no number here."""


def certified_calls(asked: Asking, api_key_id: str, stretch: Window) -> list[CertifiedCall]:
    """The creates of one key that are first active in these minutes; one more than `CALLS_MAX` at most."""
    period = {"from_minute": stretch.start, "to_minute": stretch.end, "most": CALLS_MAX + 1}
    return [
        CertifiedCall(**dict(zip(_NAMES, row, strict=True)))
        for row in asked.rows("audit_certified_calls", {"api_key_id": api_key_id, **period})
    ]


def call_record(call: CertifiedCall) -> dict[str, Any]:
    """A call as the document has it."""
    return {**asdict(call), "digest": call.digest}


def read_call(told: Mapping[str, Any]) -> CertifiedCall:
    """A call of a document. Raises `TypeError`, `KeyError` or `ValueError` where it is none."""
    if set(told) != {*_NAMES, "digest"}:
        raise KeyError("a call with other fields")
    for names, kinds in _KINDS:
        for name in names:
            if type(told[name]) not in kinds:
                raise TypeError(f"call {told['call_id']}: {name} is {told[name]!r}")
    call = CertifiedCall(**{name: told[name] for name in _NAMES})
    Standing(call.standing)
    return call


def certified_activity(call: CertifiedCall, api_key_id: str, *, shift_min: int, now_us: int) -> Activity:
    """One call as the layout of a key takes it."""
    first, last = active_minutes(call.begin_us, call.end_us(now_us), shift_min=shift_min)
    return Activity(
        api_key_id=api_key_id,
        run=call.run,
        first_minute=first,
        last_minute=last,
        creates=1,
        counted=int(call.counted),
        open=int(call.open(now_us)),
        keyless=0,
    )


def minute_book(
    calls: Sequence[CertifiedCall], *, shift_min: int, now_us: int, answered: Mapping[str, frozenset[str]]
) -> list[BookRow]:
    """The book of these calls. A row is so many equal calls, or with very many calls their sum, as in an audit."""
    apart = len(calls) <= PLACED_CALLS_MAX
    return book_of(calls, shift_min=shift_min, now_us=now_us, answered=answered, apart=apart)


def book_of(
    calls: Iterable[CertifiedCall],
    *,
    shift_min: int,
    now_us: int,
    answered: Mapping[str, frozenset[str]],
    apart: bool,
) -> list[BookRow]:
    """The rows of alike calls. `apart`: a row is so many calls of equal counts."""
    groups: dict[tuple[Any, ...], list[CertifiedCall]] = {}
    for call in calls:
        groups.setdefault(_alike(call, now_us, apart=apart), []).append(call)
    return [
        _book_row(group, apart=apart, shift_min=shift_min, now_us=now_us, answered=answered)
        for group in groups.values()
    ]


def _alike(call: CertifiedCall, now_us: int, *, apart: bool) -> tuple[Any, ...]:
    """What calls of one row have in common: as in `audit_book.sql`."""
    counts: tuple[int | bool | None, ...] = (call.input_tokens is not None and call.output_tokens is not None,)
    if apart:
        counts = (call.input_tokens, call.cached_input_tokens, call.output_tokens, call.images)
    return (
        minute_of(call.begin_us),
        minute_of(call.end_us(now_us)),
        *(call.standing, call.usage_endpoint, call.endpoint, call.response_model),
        call.request_model if call.response_model is None else None,
        *(call.framework, call.run_id, call.open(now_us), call.loose, call.any_model, call.hosted, call.optional_class),
        counts if call.standing in _TOLD else None,
    )


def _book_row(
    group: Sequence[CertifiedCall],
    *,
    apart: bool,
    shift_min: int,
    now_us: int,
    answered: Mapping[str, frozenset[str]],
) -> BookRow:
    call = group[0]
    first, last = active_minutes(call.begin_us, call.end_us(now_us), shift_min=shift_min)
    model, models = model_names(call.response_model, call.request_model, answered)
    told = group if call.standing in _TOLD else ()
    return BookRow(
        first_minute=first,
        end_minute=minute_of(call.end_us(now_us)),
        last_minute=last,
        standing=Standing(call.standing),
        usage_endpoint=call.usage_endpoint,
        endpoint=call.endpoint,
        model=model,
        models=models if call.standing == Standing.UNKNOWN else frozenset(),
        run=call.run,
        open=call.open(now_us),
        loose=call.loose,
        any_model=call.any_model,
        hosted=call.hosted,
        optional_class=call.optional_class,
        calls=len(group),
        apart=apart or len(group) == 1,
        input_tokens=_sum(each.input_tokens for each in told),
        cached_input_tokens=_sum(each.cached_input_tokens for each in told),
        cached_silent=sum(each.cached_input_tokens is None for each in told),
        cache_write_tokens=_sum(each.cache_write_tokens for each in told),
        output_tokens=_sum(each.output_tokens for each in told),
        images=_sum(each.images for each in told),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of the counts that were told; None: none was."""
    told = [count for count in counts if count is not None]
    return sum(told) if told else None
