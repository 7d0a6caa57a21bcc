"""What is found of a run on one key in one chain, and of the chain: the words of `reconcile`.

Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .bucket import UsageEndpoint
from .chain import Chain, Share
from .history import Minutes
from .pair import AsideBecause, ModelPair
from .placement import Placed
from .solve import Solved
from .unit import BillRow, BookRow, Field, RunName
from .unknown import Able, Because
from .verdict import Reason, Verdict


class Proof(StrEnum):
    """What a `verified` rests on beside the least amount."""

    PLACED = "placed"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One usage endpoint, model and field, as it concerns one run."""

    pair: ModelPair
    field: Field
    book: int
    """The run's own counted calls."""
    others: int
    """Other counted calls of the key that ended in its window."""
    bill: int
    """Billed in the minutes of its window."""
    difference: int
    """bill - book of the whole chain as far as it is known, where the run is not clear of it; else 0."""
    compared: bool
    """False: one side says nothing of this field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One minute and unit in which some least solution has an excess, or a deficit."""

    pair: ModelPair
    field: Field
    minute: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A run's verdict on one key in one chain, and what it rests on."""

    share: Share
    verdict: Verdict
    reason: Reason | None = None
    proof: Proof | None = None
    final: bool = False
    closed: bool = False
    """Final only because it has been asked for long enough: it stands as it is."""
    joint: tuple[RunName, ...] = ()
    """Every run that what is wrong reaches, this one included; empty where it is this run's alone."""
    named: tuple[RunName, ...] = ()
    """Of `neighbour` and `open_call`: the runs that decide."""
    because: tuple[Because, ...] = ()
    """Of `incomplete`: why the excess may be explained, the least known first."""
    units: tuple[Unit, ...] = ()
    spots: tuple[Spot, ...] = ()
    """Where what is wrong may lie, in its window (excess) or under its calls (deficit)."""
    bill_known: bool = False
    """Every usage endpoint has a good read of every minute of the window, so that the bill may be shown as a bill."""

    @property
    def uncompared(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if not unit.compared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """An excess of a chain that lies in no run's window in any least solution."""

    pair: ModelPair
    minutes: tuple[int, ...]
    amount: Mapping[Field, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFinding:
    """What was found in one chain."""

    chain: Chain
    until: int
    """The first minute that is not confirmed, at most the chain's end."""
    minutes: Mapping[UsageEndpoint, Minutes]
    solved: tuple[Solved, ...]
    """If optional amounts whose class is not known are not billed."""
    able: tuple[Able, ...]
    explained: Mapping[ModelPair, frozenset[int]]
    """The minutes in which an excess of a model may be some such call's."""
    aside: tuple[tuple[AsideBecause, BillRow], ...]
    rows_of: Mapping[RunName | None, Sequence[BookRow]]
    """The chain's rows by the run they are labelled with."""
    billed: frozenset[int]
    """Minutes in which something that is compared was billed."""
    findings: tuple[Finding, ...]
    unplaced: tuple[Unplaced, ...]
    placed: Placed | None

    @property
    def closed(self) -> bool:
        return self.until >= self.chain.window.end

    @property
    def clean(self) -> bool:
        """Whether the whole chain is known and holds no error."""
        return self.closed and all(each.clean for each in self.solved)
