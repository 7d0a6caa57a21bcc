"""What the two books are made of: rows of alike calls, rows of minute buckets, and the fields they are compared in.

A unit is one usage endpoint, one model (by its names on both sides: `pair`), one field, never batch. d = bill - book.
There is no tolerance, and a count that one side did not state is never taken for a zero.

Pure, and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Union

from ..data.call import Standing
from .bucket import UsageEndpoint

RunName = tuple[str | None, str]
"""Framework (None: none known) and run id."""


class Field(StrEnum):
    """What is compared, by the book's name for it."""

    INPUT = "input_tokens"
    CACHED = "cached_input_tokens"
    OUTPUT = "output_tokens"
    IMAGES = "images"


FIELDS: dict[UsageEndpoint, tuple[Field, ...]] = {
    UsageEndpoint.COMPLETIONS: (Field.INPUT, Field.CACHED, Field.OUTPUT),
    UsageEndpoint.EMBEDDINGS: (Field.INPUT,),
    UsageEndpoint.IMAGES: (Field.IMAGES,),
}


Row = Union["BookRow", "BillRow"]

_COUNT: dict[Field, Callable[[Row], int | None]] = {
    Field.INPUT: attrgetter("input_tokens"),
    Field.CACHED: attrgetter("cached_input_tokens"),
    Field.OUTPUT: attrgetter("output_tokens"),
    Field.IMAGES: attrgetter("images"),
}


def _stated(row: Row, field: Field) -> int:
    """What a row states of a field. Only cached tokens may be unstated."""
    amount = _COUNT[field](row)
    if amount is not None:
        return amount
    if field is Field.CACHED:
        return 0
    raise ValueError(f"a compared row without {field}: {row}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """Calls of one key that are alike in all that is here but their counts, summed. Creates only.

    Minutes are by the provider's clock: ours, corrected by the process's skew.
    """

    first_minute: int
    """First active minute: the one before the start."""
    end_minute: int
    """The minute the calls ended in; the book stands there. Now, while they are open."""
    last_minute: int
    """Last active minute: 1 + k after the end."""
    standing: Standing
    usage_endpoint: str | None
    endpoint: str | None
    model: str | None
    """response_model, else what this ledger saw request_model answer as, else request_model; None: not known."""
    models: frozenset[str] = frozenset()
    """Of unknown calls: every name they may be billed under; empty: `model` alone."""
    run: RunName | None
    """The run the calls are labelled with; None: none."""
    open: bool
    """Open, or background work whose usage is not told yet: it may still be billed and counted."""
    loose: bool
    """Hosted tool, realtime or background: tokens of one call may lie in several minutes."""
    any_model: bool
    """What it may have used is not told by its model."""
    hosted: bool = False
    """A hosted tool ran: content that it read, or what it drew, may be billed beside what the call reports."""
    optional_class: str | None = None
    """Of `optional` calls: which class of reported amounts that may not be billed they are of; of counted ones whose
    hosted image tool told tokens: `image_gen`. Tokens of counted image calls are of a class of their own (`drawn`)."""
    calls: int
    apart: bool = True
    """Whether all calls of the row have equal counts."""
    input_tokens: int | None
    cached_input_tokens: int | None
    cached_silent: int
    """Calls that did not state cached tokens."""
    cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None

    @property
    def is_create_that_counts(self) -> bool:
        return self.standing in (Standing.COUNTED, Standing.UNKNOWN)

    @property
    def told(self) -> bool:
        """Whether the calls stated what they used. Counted ones always do; of optional ones a warm-up may not."""
        return self.images is not None or (self.input_tokens is not None and self.output_tokens is not None)

    amount = _stated
    """What these calls state of a field, all together. Only cached tokens may be unstated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """One result row of one minute bucket of a good read."""

    usage_endpoint: UsageEndpoint
    minute: int
    model: str
    batch: bool
    service_tier: str | None = None
    input_tokens: int | None
    cached_input_tokens: int | None
    """`input_cached_tokens`; None: the row does not have it."""
    cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None
    num_model_requests: int | None

    amount = _stated
    """What this row states of a field."""

    @property
    def empty(self) -> bool:
        return not any((self.input_tokens, self.cached_input_tokens, self.output_tokens, self.images))
