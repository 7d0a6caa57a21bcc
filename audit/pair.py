"""Which name of the book is which name of the bill. Pairs are facts of a key, never chosen chain by chain.

Equal names pair; a dated snapshot pairs with its undated name; a shared prefix is no pair (`gpt-4o` is not
`gpt-4o-mini`). The one counted model left on each side is `renamed`: a guess until calls have closed under it.
Bill rows that cannot be compared are set aside in the open by `set_aside`.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ..data.call import Standing
from .bucket import UsageEndpoint
from .drawn import drew_silently
from .unit import BillRow, BookRow


class PairedBy(StrEnum):
    EQUAL = "equal"
    ALIAS = "alias"
    RENAMED = "renamed"
    BOOK_ONLY = "book_only"
    BILL_ONLY = "bill_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """The names that one model has on the two sides, within one usage endpoint."""

    usage_endpoint: UsageEndpoint
    book_models: frozenset[str | None]
    bill_models: frozenset[str]
    paired_by: PairedBy

    @property
    def model(self) -> str | None:
        """The name it goes by in a verdict: the bill's, else the book's."""
        names = sorted(self.bill_models) or sorted(name for name in self.book_models if name is not None)
        return names[0] if names else None

    def names(self, model: str) -> bool:
        """Whether a name may stand for this model."""
        return any(name is not None and same_model(model, name) for name in self.book_models | self.bill_models)


class AsideBecause(StrEnum):
    BATCH = "batch"
    UNCOVERED_MODEL = "uncovered_model"
    """A model that only an endpoint without a token total serves, in minutes in which such a call is active."""
    IMAGE_TOKENS = "image_tokens"
    """Tokens of an image model, in minutes in which a counted call of its images is active that told none.

    The images are compared, and so are tokens that were told. Not where such tokens are known to be billed.
    """


ALIASES: Mapping[str, str] = {
    # docs/openai-usage.md C.4: the bill's own names in the API reference's examples differ from what is asked for.
    "text-embedding-ada-002-v2": "text-embedding-ada-002",
}
_DATED = re.compile(r"(?P<model>.+?)-(?:20\d\d-?[01]\d-?[0-3]\d|[01]\d[0-3]\d)")
"""`gpt-4o-2024-08-06`, `gpt-4-0613`, `gpt-3.5-turbo-0125`: both ways in which OpenAI dates a snapshot."""
_UNCOVERED_BILLED_AS_TOKENS = frozenset({"audio_speeches", "audio_transcriptions"})
"""docs/openai-usage.md C.4: speech and transcription models that may be billed in tokens. Fine-tuning never is."""


@lru_cache(maxsize=4096)
def plain_name(model: str) -> str:
    """A model's name without its snapshot date, by the alias table: what aliases of one model have in common."""
    name = ALIASES.get(model, model)
    dated = _DATED.fullmatch(name)
    return dated["model"] if dated else name


def is_dated(model: str) -> bool:
    """Whether a name says its snapshot: it will always stand for the same model."""
    return _DATED.fullmatch(model) is not None


def same_model(one: str, other: str) -> bool:
    """Whether two names may stand for one model: equal, or one is the undated alias of the other.

    Two snapshots with different dates are two models.
    """
    plain = plain_name(one)
    return one == other or (plain == plain_name(other) and (one == plain or other == plain))


def pair_models(
    endpoint: UsageEndpoint,
    *,
    counted: Iterable[str | None],
    billed: Iterable[str],
    explained: Iterable[str] = (),
    optional: Iterable[str | None] = (),
) -> tuple[ModelPair, ...]:
    """Pair the names of one usage endpoint: equal, then alias, then the one left on each side.

    `explained`: names that calls of unknown usage may be billed under; a bill under one of them is not left over.
    `optional`: those of the counted names that no more than optional calls have, which may have no bill at all: such a
    one is left over only where no other is.
    """
    book, bill = set(counted), set(billed)
    equal = book & bill
    groups: list[tuple[set[str | None], set[str]]] = [({name}, {name}) for name in sorted(n for n in equal if n)]
    groups += [({name}, set()) for name in sorted(name for name in book - equal if name is not None)]
    groups += [(set(), {name}) for name in sorted(bill - equal)]
    for ours in sorted(name for name in book if name is not None):
        for theirs in sorted(bill):
            if same_model(ours, theirs) and not (ours in equal and theirs in equal):
                groups = _joined(groups, ours, theirs)
    if None in book:
        groups.append(({None}, set()))
    known = list(explained)
    left_book = [group for group in groups if not group[1]]
    left_book = [group for group in left_book if not group[0] <= set(optional)] or left_book
    left_bill = [
        group for group in groups if not group[0] and not any(same_model(a, b) for a in group[1] for b in known)
    ]
    renamed = None
    if len(left_book) == 1 and len(left_bill) == 1:
        groups = [group for group in groups if group not in (left_book[0], left_bill[0])]
        renamed = (left_book[0][0], left_bill[0][1])
        groups.append(renamed)
    return tuple(
        ModelPair(
            usage_endpoint=endpoint,
            book_models=frozenset(group[0]),
            bill_models=frozenset(group[1]),
            paired_by=PairedBy.RENAMED if group is renamed else _paired_by(*group),
        )
        for group in groups
    )


def _joined(
    groups: list[tuple[set[str | None], set[str]]], ours: str, theirs: str
) -> list[tuple[set[str | None], set[str]]]:
    """The groups with those of the two names made one: an alias cannot say for which of them it stands."""
    met = [group for group in groups if ours in group[0] or theirs in group[1]]
    rest = [group for group in groups if group not in met]
    return [*rest, (set().union(*(group[0] for group in met)), set().union(*(group[1] for group in met)))]


def _paired_by(book: set[str | None], bill: set[str]) -> PairedBy:
    if not bill:
        return PairedBy.BOOK_ONLY
    if not book:
        return PairedBy.BILL_ONLY
    return PairedBy.EQUAL if book == bill else PairedBy.ALIAS


def set_aside(
    bill: Iterable[BillRow],
    *,
    rows: Sequence[BookRow],
    key_serves: frozenset[tuple[str | None, str]],
    image_tokens_billed: bool = False,
) -> tuple[list[BillRow], list[tuple[AsideBecause, BillRow]]]:
    """What of a bill is compared, and what is set aside and why.

    `rows`: the book of the chain; `key_serves`: endpoint and plain
    name of what counted and unknown calls of the key ever used: a bill of those is never set aside.
    `image_tokens_billed`: tokens of image calls are billed as completions, so that those of calls that told none are
    work of unknown usage (`able_calls`): beside them what other calls told is still compared.
    """
    speech = _minutes_by_model(
        row for row in rows if row.standing is Standing.UNCOVERED and row.usage_endpoint in _UNCOVERED_BILLED_AS_TOKENS
    )
    pictures = {} if image_tokens_billed else _minutes_by_model(row for row in rows if drew_silently(row))
    compared: list[BillRow] = []
    aside: list[tuple[AsideBecause, BillRow]] = []
    for row in bill:
        served = (row.usage_endpoint, plain_name(row.model)) in key_serves
        if row.batch:
            aside.append((AsideBecause.BATCH, row))
        elif row.usage_endpoint is not UsageEndpoint.COMPLETIONS or served:
            compared.append(row)
        elif _active(pictures, row):
            aside.append((AsideBecause.IMAGE_TOKENS, row))
        elif _active(speech, row):
            aside.append((AsideBecause.UNCOVERED_MODEL, row))
        else:
            compared.append(row)
    return compared, aside


def _minutes_by_model(rows: Iterable[BookRow]) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        if row.model is not None:
            found.setdefault(row.model, []).append((row.first_minute, row.last_minute))
    return found


def _active(minutes: Mapping[str, list[tuple[int, int]]], row: BillRow) -> bool:
    """Whether a call that may be of the row's model is active in its minute."""
    return any(
        first <= row.minute <= last
        for model, stretches in minutes.items()
        if same_model(model, row.model)
        for first, last in stretches
    )
