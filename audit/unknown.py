"""Calls whose usage nobody stated, and what of a bill they may explain.

An unknown call is a create that stands as `unknown`: aborted, broken off, unreadable, never told; a gap in a journal
counts as one whose model is not known either. An image call that told no tokens is one by its tokens, once such are
known to be billed. A hosted tool may be billed for content it read, and for what it drew, beside what its call reports.
None of them is ever given a number here. They answer one question: could an excess of this model in this minute be
theirs?

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from ..data.call import Standing
from .bucket import UsageEndpoint
from .drawn import IMAGE_GEN, IMAGE_TOKENS, as_completions, drew_silently, tells_tokens
from .pair import ModelPair, is_dated
from .unit import BookRow, RunName


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Minutes in which a journal lost lines: any call may be missing from them."""

    first_minute: int
    last_minute: int
    calls: int


class Because(StrEnum):
    """Why a call may be billed beside what the book has of it."""

    UNKNOWN = "unknown"
    """Its usage is not known; the model is."""
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    """Neither its usage nor what it may be billed as is known."""
    GAP = "gap"
    HOSTED = "hosted"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True, kw_only=True)
class Able:
    """Calls that may be billed beside the book, alike in active minutes and in what they may have used."""

    because: Because
    first_minute: int
    last_minute: int
    usage_endpoint: str | None
    """None: any."""
    models: frozenset[str]
    """Every name they may be billed under; empty: any."""
    run: RunName | None
    calls: int
    moving: bool = False
    """`models` is one name without a date that was asked for, and this ledger never saw what it answers as."""
    draws: bool = False
    """A hosted image tool of theirs told tokens: it drew, with a model that no call names."""
    calls_at: str | None = None
    """Of tokens of image calls: the usage endpoint of the calls themselves, which is not `usage_endpoint`."""


def may_be(each: Able, pair: ModelPair, pairs: Sequence[ModelPair]) -> bool:
    """Whether an excess of this model may be theirs.

    A name that is known on neither side may be any model that the bill alone knows, and a hosted tool may be billed
    under such a one too. Where that name has no date and this ledger never saw it answered, it may also be a model
    that is counted under another name.
    """
    if each.draws and _is_of_images(pair, pairs):
        return True
    if each.usage_endpoint not in (None, pair.usage_endpoint):
        return _may_be_elsewhere(each, pair)
    if not each.models or any(pair.names(model) for model in each.models):
        return True
    if pair.book_models and not each.moving:
        return False
    beside = [other for other in pairs if other.usage_endpoint == pair.usage_endpoint]
    return each.because is Because.HOSTED or not _placed(each, beside)


def _may_be_elsewhere(each: Able, pair: ModelPair) -> bool:
    """What calls may be billed as at another usage endpoint than their own (docs/openai-usage.md C.4)."""
    if pair.usage_endpoint is UsageEndpoint.COMPLETIONS:
        # Tokens of an image model may be billed as completions, under its own name.
        return each.usage_endpoint == UsageEndpoint.IMAGES and any(pair.names(model) for model in each.models)
    # What a hosted tool drew is billed as images, under a name that its call does not tell. One that told no tokens
    # may have drawn with a model that no call names; images of any other are those of the calls that name it.
    return pair.usage_endpoint is UsageEndpoint.IMAGES and each.because is Because.HOSTED and not pair.book_models


def _is_of_images(pair: ModelPair, pairs: Iterable[ModelPair]) -> bool:
    """Whether a pair is of images, or of the tokens of a model that images are billed or counted under."""
    if pair.usage_endpoint is UsageEndpoint.IMAGES:
        return True
    return pair.usage_endpoint is UsageEndpoint.COMPLETIONS and any(
        name is not None and pair.names(name)
        for other in pairs
        if other.usage_endpoint is UsageEndpoint.IMAGES
        for name in other.book_models | other.bill_models
    )


def _placed(each: Able, pairs: Sequence[ModelPair]) -> bool:
    return any(pair.names(model) for pair in pairs for model in each.models)


def able_calls(
    book: Iterable[BookRow], gaps: Iterable[Gap], optional: Mapping[str, bool] = MappingProxyType({})
) -> tuple[Able, ...]:
    """Everything in a chain that may have been billed without being in the book.

    `optional`: the classes of optional amounts of which it is known whether they are billed: of those no doubt is left.
    """
    found: list[Able] = []
    book = [*book]
    rows: list[tuple[BookRow, str | None]] = [(row, None) for row in book]
    rows += [(row, UsageEndpoint.IMAGES) for row in _tokens_of_images(book, optional.get(IMAGE_TOKENS))]
    for row, calls_at in rows:
        because = _because(row)
        if because is None or (because is Because.OPTIONAL and _settled(row, optional)):
            continue
        names = frozenset(name for name in {row.model, *row.models} if name is not None)
        anything = row.any_model and row.standing is Standing.UNKNOWN
        found.append(
            Able(
                because=because,
                first_minute=row.first_minute,
                last_minute=row.last_minute,
                usage_endpoint=None if anything else row.usage_endpoint,
                models=frozenset() if anything else names,
                run=row.run,
                calls=row.calls,
                moving=row.models == {row.model} and not all(is_dated(name) for name in row.models),
                draws=because is Because.HOSTED and row.optional_class == IMAGE_GEN,
                calls_at=calls_at,
            )
        )
    found += [
        Able(
            because=Because.GAP,
            first_minute=gap.first_minute,
            last_minute=gap.last_minute,
            usage_endpoint=None,
            models=frozenset(),
            run=None,
            calls=gap.calls,
        )
        for gap in gaps
    ]
    return tuple(found)


def _tokens_of_images(book: Iterable[BookRow], billed: bool | None) -> list[BookRow]:
    """What image calls may be billed as completions beside the book.

    `billed`: whether their tokens are; None: it is not known yet.
    """
    if billed is None:
        # What they told is an optional amount, beside the images.
        told = [as_completions(row) for row in book if tells_tokens(row)]
        return [replace(row, standing=Standing.OPTIONAL, optional_class=IMAGE_TOKENS) for row in told]
    # What those used that told none is not known.
    silent = [as_completions(row) for row in book if billed and drew_silently(row) and row.model is not None]
    return [replace(row, standing=Standing.UNKNOWN, any_model=False) for row in silent]


def _because(row: BookRow) -> Because | None:
    if row.standing is Standing.UNKNOWN:
        return Because.UNKNOWN_ENDPOINT if row.any_model and not row.hosted else Because.UNKNOWN
    if row.standing is Standing.OPTIONAL:
        return Because.OPTIONAL
    return Because.HOSTED if row.hosted and row.standing is Standing.COUNTED else None


def _settled(row: BookRow, optional: Mapping[str, bool]) -> bool:
    """Whether it is known what optional calls are billed: nothing, or what they told, which the book then counts."""
    billed = optional.get(row.optional_class or "")
    return billed is not None and (row.told or not billed)


def explained_minutes(able: Sequence[Able], pair: ModelPair, pairs: Sequence[ModelPair]) -> frozenset[int]:
    """The minutes in which an excess of this model may be some such call's."""
    return frozenset(
        minute
        for each in able
        if may_be(each, pair, pairs)
        for minute in range(each.first_minute, each.last_minute + 1)
    )
