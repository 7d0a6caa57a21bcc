"""Units: what the two books are compared in. A unit is one usage endpoint, one model, one field, never batch.

The book comes as minute sums of calls that are alike (`BookRow`), the bill as rows of minute buckets (`BillRow`).
Models are paired by equal names, then by alias, then the one left on each side (`renamed`, reported). What cannot be
compared is set aside in the open: batch rows, and models that the book used only where there is no token total.

d = bill - book. There is no tolerance. A count that one side did not state is never taken for a zero: it makes that
unit one-sided, and only in the direction it can excuse.

Pure, and blind to time: minutes are in `corridor`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..data.call import Standing
from .bucket import UsageEndpoint


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRow:
    """Calls of one key alike in active minutes, standing, endpoint and model, summed by SQL. Creates only."""

    first_minute: int
    last_minute: int
    standing: Standing
    usage_endpoint: str | None
    endpoint: str | None
    model: str | None
    """response_model, else request_model; None: neither is known."""
    open: bool
    loose: bool
    """Hosted tool, realtime or background: tokens of one call may lie in several minutes."""
    any_model: bool
    """A hosted tool or an unknown endpoint: what it may have used is not told by its model."""
    calls: int
    input_tokens: int | None
    cached_input_tokens: int | None
    cached_silent: int
    """Calls that did not state cached tokens."""
    cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """One result row of one minute bucket of a good read."""

    usage_endpoint: UsageEndpoint
    minute: int
    model: str
    batch: bool
    input_tokens: int | None
    cached_input_tokens: int | None
    """`input_cached_tokens`; None: the row does not have it."""
    cache_write_tokens: int | None
    output_tokens: int | None
    images: int | None
    num_model_requests: int | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit's two sums."""

    pair: ModelPair
    field: Field
    book: int
    bill: int
    book_silent: int
    """Counted calls that did not state this field."""
    bill_silent: int
    """Bill rows that do not have this field."""

    @property
    def difference(self) -> int:
        """bill - book."""
        return self.bill - self.book

    @property
    def uncompared(self) -> bool:
        """Whether silence on one side is all that the difference shows."""
        return (self.difference > 0 and self.book_silent > 0) or (self.difference < 0 and self.bill_silent > 0)

    @property
    def d(self) -> int:
        """The difference that counts: 0 where silence excuses it."""
        return 0 if self.uncompared else self.difference


class AsideBecause(StrEnum):
    BATCH = "batch"
    UNCOVERED_MODEL = "uncovered_model"
    """The book used this model only on endpoints that have no token total to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Bill rows that are compared with nothing, summed by model."""

    because: AsideBecause
    usage_endpoint: UsageEndpoint
    model: str
    rows: int
    input_tokens: int
    output_tokens: int
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both books side by side, for one part."""

    units: tuple[Unit, ...]
    pairs: tuple[ModelPair, ...]
    aside: tuple[SetAside, ...]

    @property
    def bill_zero(self) -> bool:
        return all(unit.bill == 0 for unit in self.units)

    @property
    def book_zero(self) -> bool:
        return all(unit.book == 0 for unit in self.units)

    @property
    def equal(self) -> bool:
        return all(unit.d == 0 for unit in self.units)


ALIASES: Mapping[str, str] = {
    # openai-usage.md C.4: the bill's own names in the API reference's examples differ from what is asked for.
    "text-embedding-ada-002-v2": "text-embedding-ada-002",
}
_SNAPSHOT = re.compile(r"(?P<model>.+?)-20\d\d-[01]\d-[0-3]\d")


def plain_name(model: str) -> str:
    """A model's name without its snapshot date, by the alias table: what aliases of one model have in common."""
    name = ALIASES.get(model, model)
    dated = _SNAPSHOT.fullmatch(name)
    return dated["model"] if dated else name


def same_model(one: str, other: str) -> bool:
    """Whether two names may stand for one model: equal, or one is the undated alias of the other.

    Two snapshots with different dates are two models.
    """
    plain = plain_name(one)
    return one == other or (plain == plain_name(other) and (one == plain or other == plain))


def pair_models(
    endpoint: UsageEndpoint, *, counted: Iterable[str | None], billed: Iterable[str]
) -> tuple[ModelPair, ...]:
    """Pair the names of one usage endpoint: equal, then alias, then the one left on each side."""
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
    left_book = [group for group in groups if not group[1]]
    left_bill = [group for group in groups if not group[0]]
    renamed = None
    if len(left_book) == 1 and len(left_bill) == 1:
        groups = [group for group in groups if group[0] and group[1]]
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


def compare(book: Sequence[BookRow], bill: Sequence[BillRow]) -> Comparison:
    """Every unit that either side knows, d for each, and what was set aside."""
    aside, rest = _set_aside(book, bill)
    pairs: list[ModelPair] = []
    units: list[Unit] = []
    for endpoint in UsageEndpoint:
        counted = [row for row in book if row.standing is Standing.COUNTED and row.usage_endpoint == endpoint]
        billed = [row for row in rest if row.usage_endpoint is endpoint]
        found = pair_models(endpoint, counted=(row.model for row in counted), billed=(row.model for row in billed))
        pairs.extend(found)
        for pair in found:
            ours = [row for row in counted if row.model in pair.book_models]
            theirs = [row for row in billed if row.model in pair.bill_models]
            units.extend(_unit(pair, field, ours, theirs) for field in FIELDS[endpoint])
    return Comparison(units=tuple(units), pairs=tuple(pairs), aside=aside)


def _unit(pair: ModelPair, field: Field, ours: Sequence[BookRow], theirs: Sequence[BillRow]) -> Unit:
    return Unit(
        pair=pair,
        field=field,
        book=sum(book_amount(row, field) for row in ours),
        bill=sum(bill_amount(row, field) for row in theirs),
        book_silent=sum(row.cached_silent for row in ours) if field is Field.CACHED else 0,
        bill_silent=sum(row.cached_input_tokens is None for row in theirs) if field is Field.CACHED else 0,
    )


def book_amount(row: BookRow, field: Field) -> int:
    """What these counted calls state of a field. Only cached tokens may be unstated."""
    amount = _stated(row, field)
    if amount is None and field is not Field.CACHED:
        raise ValueError(f"counted calls without {field}: {row}")
    return amount or 0


def bill_amount(row: BillRow, field: Field) -> int:
    """What a bill row states of a field. Only cached tokens may be unstated."""
    amount = _stated(row, field)
    if amount is None and field is not Field.CACHED:
        raise ValueError(f"a bill row without {field}: {row}")
    return amount or 0


def _stated(row: BookRow | BillRow, field: Field) -> int | None:
    match field:
        case Field.INPUT:
            return row.input_tokens
        case Field.CACHED:
            return row.cached_input_tokens
        case Field.OUTPUT:
            return row.output_tokens
        case Field.IMAGES:
            return row.images


def _set_aside(book: Sequence[BookRow], bill: Sequence[BillRow]) -> tuple[tuple[SetAside, ...], list[BillRow]]:
    compared = {
        plain_name(row.model)
        for row in book
        if row.model is not None and row.standing in (Standing.COUNTED, Standing.UNKNOWN)
    }
    uncovered = {row.model for row in book if row.model is not None and row.standing is Standing.UNCOVERED}
    rest: list[BillRow] = []
    groups: dict[tuple[AsideBecause, UsageEndpoint, str], list[BillRow]] = {}
    for row in bill:
        if row.batch:
            groups.setdefault((AsideBecause.BATCH, row.usage_endpoint, row.model), []).append(row)
        elif plain_name(row.model) not in compared and any(same_model(row.model, name) for name in uncovered):
            groups.setdefault((AsideBecause.UNCOVERED_MODEL, row.usage_endpoint, row.model), []).append(row)
        else:
            rest.append(row)
    return (
        tuple(
            SetAside(
                because=because,
                usage_endpoint=endpoint,
                model=model,
                rows=len(rows),
                input_tokens=sum(row.input_tokens or 0 for row in rows),
                output_tokens=sum(row.output_tokens or 0 for row in rows),
                images=sum(row.images or 0 for row in rows),
            )
            for (because, endpoint, model), rows in sorted(groups.items())
        ),
        rest,
    )
