"""One run against one book, with what several rules of `reconcile` ask of it.

Pure, and no verdict is reached here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .chain import Chain, Share
from .finding import ChainFinding, Spot
from .least import Dirty
from .solve import Solved
from .unit import BookRow, RunName


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run against one book, with what several rules ask: each is found once, when it is first asked for."""

    found: ChainFinding
    share: Share
    solved: tuple[Solved, ...]

    @property
    def chain(self) -> Chain:
        return self.found.chain

    @property
    def window(self) -> range:
        return range(self.share.window.start, self.share.window.end)

    @cached_property
    def own(self) -> Sequence[BookRow]:
        """The run's own calls."""
        if self.share.run is None:
            return [row for row in self.chain.rows if self.share.owns(row)]
        return self.found.rows_of.get(self.share.run, ())

    def booked(self, solved: Solved) -> Sequence[BookRow]:
        """The run's own calls of a model that the book counts."""
        if self.share.run is None:
            return [row for row in solved.rows if self.share.owns(row)]
        return solved.rows_of.get(self.share.run, ())

    @property
    def known(self) -> bool:
        return self.share.window.end <= self.found.until

    @property
    def bill_zero(self) -> bool:
        return self.found.billed.isdisjoint(self.window)

    @property
    def book_zero(self) -> bool:
        return not any(
            any(row.amount(field) for field in each.fields) for each in self.solved for row in self.booked(each)
        )

    def ends(self, solved: Solved) -> frozenset[int]:
        """The minutes in which the run's own calls of a model ended: a deficit there may be theirs."""
        return frozenset(row.end_minute for row in self.booked(solved))

    @cached_property
    def reached(self) -> tuple[tuple[Solved, Spot], ...]:
        """Every excess that may lie in the window, and every deficit that may lie under the run's calls."""
        return tuple(
            (each, Spot(pair=each.pair, field=each.fields[spot.place], minute=spot.minute, more=spot.more))
            for each in self.solved
            if each.dirty
            for spot in sorted(
                each.excess(self.window) | each.deficit(self.ends(each)), key=lambda spot: (spot.minute, spot.place)
            )
        )

    @cached_property
    def clear(self) -> bool:
        doubted = [each for each in self.solved if each.dirty]
        return not any(each.excess(self.window) or each.deficit(self.ends(each)) for each in doubted)

    @property
    def guessed(self) -> bool:
        """Whether the run has to do with a model that is paired by renaming alone."""
        if self.chain.facts.renamed_holds:
            return False
        return any(
            each.guessed and (bool(self.booked(each)) or any(minute in each.billed for minute in self.window))
            for each in self.solved
        )

    @property
    def others(self) -> list[Share]:
        """The other runs of the chain; of an unnamed period there are none."""
        if self.share.run is None:
            return []
        return [each for each in self.chain.shares if each.run is not None and each.run != self.share.run]

    def alone(self, minutes: Sequence[int] | range) -> frozenset[int]:
        """Those of these minutes that lie in no other run's window."""
        near = [other.window for other in self.others if other.window.overlaps(self.share.window)]
        return frozenset(minute for minute in minutes if not any(minute in window for window in near))

    def explained(self, solved: Solved) -> frozenset[int]:
        return self.found.explained[solved.pair]

    def own_ends_alone(self, solved: Solved) -> frozenset[int]:
        """The minutes in which calls of this run ended and none of another run or of none did."""
        others = {row.end_minute for row in solved.rows if not self.share.owns(row)}
        return frozenset(self.ends(solved) - others)

    def runs_of(self, spots: Sequence[tuple[Solved, Spot]]) -> tuple[RunName, ...]:
        """Every run that the errors seen in these spots reach, in this run's minutes or in others'."""
        names = set() if self.share.run is None else {self.share.run}
        for solved in self.solved:
            seen = {
                Dirty(minute=spot.minute, place=solved.fields.index(spot.field), more=spot.more)
                for each, spot in spots
                if each is solved
            }
            errors: set[Dirty] = set()
            for spot in seen:
                if spot not in errors:
                    errors |= solved.one_error(spot)
            for other in self.chain.shares:
                if other.run is None:
                    continue
                ends = {row.end_minute for row in solved.rows_of.get(other.run, ())}
                if any(spot.minute in (other.window if spot.more else ends) for spot in errors):
                    names.add(other.run)
        return tuple(sorted(names, key=name_order))


def name_order(name: RunName) -> tuple[str, str]:
    """A key to sort runs by."""
    return name[0] or "", name[1]
