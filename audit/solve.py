"""One chain's two books against each other: for each model the gates, the dirty minutes, and what is compared at all.

Models share no unit, so each is solved alone. Cached tokens are left out of a model's comparison in the whole chain
where a counted call or a bill row of it says nothing of them.

Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as chained
from operator import add, itemgetter
from typing import TypeVar

from ..data.call import Standing
from .bucket import UsageEndpoint
from .chain import Chain
from .drawn import IMAGE_TOKENS, as_completions, tells_tokens
from .gate import Borders, Item, Vector, make_borders
from .least import Dirty, dirty_of, in_every_least, least_without, one_error
from .pair import ModelPair, PairedBy
from .unit import FIELDS, BillRow, BookRow, Field, RunName

_NONE: frozenset[Dirty] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """One model of one chain, known to some minute."""

    pair: ModelPair
    fields: tuple[Field, ...]
    """Those that are compared."""
    silent: bool
    """Cached tokens are left out: one side does not state them."""
    borders: Borders
    dirty: frozenset[Dirty]
    rows: tuple[BookRow, ...]
    """The calls that the book counts."""
    rows_of: Mapping[RunName | None, Sequence[BookRow]]
    """The same by the run they are labelled with."""
    ended: Mapping[int, Sequence[BookRow]]
    """The same by the minute they ended in."""
    bill: tuple[BillRow, ...]
    billed: Mapping[int, Sequence[BillRow]]
    """The same by minute."""
    closed: bool
    """Whether the chain is known to its end."""

    @property
    def clean(self) -> bool:
        return not self.dirty

    @property
    def total(self) -> Vector:
        """bill - book through the last minute that is known."""
        return self.borders.differences[-1]

    @property
    def guessed(self) -> bool:
        """Whether the two names were paired for want of any other."""
        return self.pair.paired_by is PairedBy.RENAMED

    def excess(self, minutes: Collection[int]) -> frozenset[Dirty]:
        """Where in these minutes some least solution has an excess."""
        return frozenset(each for each in self.dirty if each.more and each.minute in minutes) if self.dirty else _NONE

    def deficit(self, minutes: Collection[int]) -> frozenset[Dirty]:
        return (
            frozenset(each for each in self.dirty if not each.more and each.minute in minutes) if self.dirty else _NONE
        )

    def one_error(self, spot: Dirty) -> frozenset[Dirty]:
        """Every minute that the error seen in this one may lie in, in this run's minutes or in others'."""
        return one_error(self.borders, self.dirty, spot, closed=self.closed)

    def certain(self, minutes: Collection[int], *, more: bool) -> bool:
        """Whether every least solution, for every end, has an excess (deficit) of some field in these minutes."""
        return any(
            in_every_least(self.borders, place, minutes, more=more) for place in self._places(minutes, more=more)
        )

    def avoidable(self, minutes: Collection[int], *, more: bool) -> bool:
        """Whether in each field some least solution has no excess (deficit) in these minutes."""
        return all(least_without(self.borders, place, minutes, more=more) for place in self._places(minutes, more=more))

    def _places(self, minutes: Collection[int], *, more: bool) -> Collection[int]:
        """The fields in which some least solution has an excess (deficit) in these minutes: in the others none has."""
        return {each.place for each in self.dirty if each.more is more and each.minute in minutes} if self.dirty else ()


def solve(
    chain: Chain,
    bill: Sequence[BillRow],
    *,
    until: int,
    counted: Iterable[BookRow],
) -> tuple[Solved, ...]:
    """Every model that either book knows. `bill`: what is compared of it; `counted`: the rows that the book counts.

    `until`: the first minute that is not confirmed, at most the chain's end.
    """
    counted = list(counted)
    waiting = [row for row in chain.rows if row.open]
    closed = until >= chain.window.end
    found: list[Solved] = []
    names = _by_name((row.usage_endpoint, row.model, row) for row in counted)
    billed_names = _by_name((row.usage_endpoint, row.model, row) for row in bill)
    for pair in chain.facts.pairs:
        ours = _named(names, pair.usage_endpoint, pair.book_models)
        theirs = _named(billed_names, pair.usage_endpoint, pair.bill_models)
        if not ours and not theirs:
            continue
        silent = any(row.cached_silent for row in ours) or any(row.cached_input_tokens is None for row in theirs)
        fields = tuple(each for each in FIELDS[pair.usage_endpoint] if not (silent and each is Field.CACHED))
        items = [_item(row, fields) for row in ours if row.first_minute < until]
        items += [_open_item(row, len(fields)) for row in waiting if row.first_minute < until and _may_be(row, pair)]
        borders = make_borders(
            start=chain.window.start,
            until=until,
            width=len(fields),
            billed=billed_by_minute(theirs, fields, until),
            items=items,
        )
        found.append(
            Solved(
                pair=pair,
                fields=fields,
                silent=silent and Field.CACHED in FIELDS[pair.usage_endpoint],
                borders=borders,
                dirty=dirty_of(borders, closed=closed),
                rows=tuple(ours),
                rows_of=rows_by_run(ours),
                ended=_by_minute((row.end_minute, row) for row in ours),
                billed=_by_minute((row.minute, row) for row in theirs),
                bill=tuple(theirs),
                closed=closed,
            )
        )
    return tuple(found)


Row = TypeVar("Row")
_Names = Mapping[tuple[str | None, str | None], Sequence[tuple[int, Row]]]
"""Rows and their places in the book, by usage endpoint and model."""


def _by_name(rows: Iterable[tuple[str | None, str | None, Row]]) -> _Names[Row]:
    found: dict[tuple[str | None, str | None], list[tuple[int, Row]]] = {}
    for place, (endpoint, model, row) in enumerate(rows):
        found.setdefault((endpoint, model), []).append((place, row))
    return found


def _named(rows: _Names[Row], endpoint: UsageEndpoint, models: Iterable[str | None]) -> list[Row]:
    """The rows that have one of these names, in their order."""
    found = [own for model in models if (own := rows.get((endpoint, model)))]
    together = found[0] if len(found) == 1 else sorted(chained.from_iterable(found), key=itemgetter(0))
    return [row for _, row in together]


def _by_minute(rows: Iterable[tuple[int, Row]]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for minute, row in rows:
        found[minute].append(row)
    return dict(found)


def rows_by_run(rows: Iterable[BookRow]) -> dict[RunName | None, list[BookRow]]:
    """Rows by the run they are labelled with."""
    found: dict[RunName | None, list[BookRow]] = defaultdict(list)
    for row in rows:
        found[row.run].append(row)
    return dict(found)


def counted_rows(chain: Chain, billed: Mapping[str, bool]) -> list[BookRow]:
    """The rows that the book counts, if these classes of optional amounts are billed."""
    facts = {**chain.facts.optional, **billed}
    counted = [
        row
        for row in chain.rows
        if row.standing is Standing.COUNTED
        or (row.standing is Standing.OPTIONAL and row.told and facts.get(row.optional_class or "", False))
    ]
    if facts.get(IMAGE_TOKENS, False):
        counted += [as_completions(row) for row in chain.rows if tells_tokens(row)]
    return counted


def billed_by_minute(rows: Iterable[BillRow], fields: Sequence[Field], until: int) -> dict[int, Vector]:
    sums: dict[int, Vector] = {}
    for row in rows:
        if row.minute < until:
            amounts = tuple([row.amount(each) for each in fields])
            before = sums.get(row.minute)
            sums[row.minute] = amounts if before is None else tuple(map(add, before, amounts))
    return sums


def _item(row: BookRow, fields: Sequence[Field]) -> Item:
    amounts = tuple([row.amount(each) for each in fields])
    return Item(
        first=row.first_minute,
        end=row.end_minute,
        last=row.last_minute,
        amounts=tuple([each // row.calls for each in amounts]) if row.apart and row.calls > 1 else amounts,
        calls=row.calls,
        apart=row.apart,
        loose=row.loose,
    )


def _open_item(row: BookRow, width: int) -> Item:
    return Item(
        first=row.first_minute,
        end=row.end_minute,
        last=row.last_minute,
        amounts=(0,) * width,
        calls=row.calls,
        loose=True,
        open=True,
    )


def _may_be(row: BookRow, pair: ModelPair) -> bool:
    """Whether an open call may be of this model: what it asked for is often not known before it ends."""
    if row.usage_endpoint not in (None, pair.usage_endpoint) and row.usage_endpoint in set(UsageEndpoint):
        return False
    return row.model is None or row.any_model or pair.names(row.model)
