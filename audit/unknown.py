"""Calls whose usage nobody stated, and what of a bill they may explain.

An unknown call is a create that stands as `unknown`: aborted, broken off, unreadable, unsettled background work; a gap
in a journal counts as one whose model is not known either. They are never given a number here. They only answer: could
this difference be theirs, in model and in minutes?

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..data.call import Standing
from .unit import BookRow, ModelPair, same_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Minutes in which a journal lost lines: any call may be missing from them."""

    first_minute: int
    last_minute: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Unknown calls alike in active minutes and model."""

    first_minute: int
    last_minute: int
    usage_endpoint: str | None
    """None: any."""
    model: str | None
    """None: any."""
    calls: int


def unknown_calls(book: Iterable[BookRow], gaps: Iterable[Gap]) -> tuple[Unknown, ...]:
    """Everything in a part that may have been billed without being in the book."""
    return (
        *(
            Unknown(
                first_minute=row.first_minute,
                last_minute=row.last_minute,
                usage_endpoint=None if row.any_model else row.usage_endpoint,
                model=None if row.any_model else row.model,
                calls=row.calls,
            )
            for row in book
            if row.standing is Standing.UNKNOWN
        ),
        *(
            Unknown(
                first_minute=gap.first_minute,
                last_minute=gap.last_minute,
                usage_endpoint=None,
                model=None,
                calls=gap.calls,
            )
            for gap in gaps
        ),
    )


def may_have_used(unknown: Sequence[Unknown], pair: ModelPair, pairs: Sequence[ModelPair]) -> tuple[Unknown, ...]:
    """Those of the unknown calls that may have used this model.

    A name that is known on neither side may be the one model that the bill alone knows, as with counted calls.
    """
    return tuple(call for call in unknown if _may(call, pair, pairs, unknown))


def _may(call: Unknown, pair: ModelPair, pairs: Sequence[ModelPair], unknown: Sequence[Unknown]) -> bool:
    if call.usage_endpoint not in (None, pair.usage_endpoint):
        return False
    if call.model is None or _names(pair, call.model):
        return True
    beside = [other for other in pairs if other.usage_endpoint == pair.usage_endpoint]
    if pair.book_models or any(_names(other, call.model) for other in beside):
        return False
    only_bill = [other for other in beside if not other.book_models]
    unplaced = {
        other.model
        for other in unknown
        if other.usage_endpoint == pair.usage_endpoint
        and other.model is not None
        and not any(_names(each, other.model) for each in beside)
    }
    return len(only_bill) == 1 and len(unplaced) == 1


def _names(pair: ModelPair, model: str) -> bool:
    return any(name is not None and same_model(model, name) for name in pair.book_models | pair.bill_models)
