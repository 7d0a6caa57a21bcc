"""A chain: calls and run windows of one key whose active minutes touch, and all that a verdict in it may rest on.

Close the key, not the run: an excess belongs to a key's minutes before it belongs to a run. Chains of one key never
share a minute, so that each is judged alone.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..data.call import Standing
from .bucket import UsageEndpoint
from .drawn import IMAGE_TOKENS, drew, tells_tokens
from .history import History, Waiting
from .pair import ModelPair
from .unit import BookRow, RunName
from .unknown import Gap
from .window import MARGIN_MIN, SHIFT_MIN, Window, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one run has to do with one key in one chain."""

    run: RunName | None
    """None: a period that is judged as an unnamed run."""
    window: Window
    """From the minute before its begin to 1 + k minutes after its end, or that of its last call."""
    begun_in: Window | None = None
    """Of a period: the first active minutes of the calls that are its own."""
    open: bool = False
    """It has not ended."""
    ambiguous: int = 0
    """Calls that could be of this run or of another."""
    counts_elsewhere: bool = False
    """It has no call on this key and a counted one on another, so an empty bill here needs no proof."""
    final_us: int | None = None
    """When its last final verdict was reached; None: none was."""

    def owns(self, row: BookRow) -> bool:
        """Whether these calls are the run's own; of a period: whether they began in it."""
        if self.run is None:
            return row.first_minute in (self.begun_in or self.window)
        return row.run == self.run


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What is true of a key whatever the chain. Learned from all of it, never chosen for one chain."""

    pairs: tuple[ModelPair, ...] = ()
    renamed_holds: bool = False
    """Three calls of distinct tokens have closed under the pair that was found by renaming."""
    serves: frozenset[tuple[str | None, str]] = frozenset()
    """Usage endpoint and plain name of every model that a counted or unknown call of this key may have used."""
    proven: bool = False
    """A good read, of whatever minutes, once showed tokens for this key id."""
    optional: Mapping[str, bool] = field(default_factory=dict)
    """Of classes of optional amounts: whether the provider bills them. A class that is not here is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One chain of one key."""

    api_key_id: str
    window: Window
    rows: Sequence[BookRow] = ()
    gaps: Sequence[Gap] = ()
    shares: Sequence[Share] = ()
    histories: Mapping[UsageEndpoint, History] = field(default_factory=dict)
    """All three usage endpoints; a missing one was never read."""
    facts: KeyFacts = field(default_factory=KeyFacts)
    waiting: Waiting = field(default_factory=Waiting)
    shift_min: int = SHIFT_MIN
    now_us: int = 0

    @property
    def optional_classes(self) -> tuple[str, ...]:
        """Classes of optional amounts in this chain of which it is not known whether they are billed."""
        return tuple(sorted(classes_of(self.rows) - set(self.facts.optional)))


def classes_of(rows: Iterable[BookRow]) -> frozenset[str]:
    """The classes of optional amounts that some calls have."""
    found = {row.optional_class for row in rows if row.standing is Standing.OPTIONAL}
    found |= {IMAGE_TOKENS for row in rows if tells_tokens(row)}
    return frozenset(name for name in found if name is not None)


def settled_by(rows: Iterable[BookRow]) -> frozenset[str]:
    """The classes of optional amounts that some calls' verdicts rest on: theirs, and where they drew, that of images.

    Image calls that told no tokens have no such amounts, and it decides whether a bill for tokens is set aside.
    """
    rows = list(rows)
    return classes_of(rows) | {IMAGE_TOKENS for row in rows if drew(row)}


def run_window(
    *,
    begin_minute: int,
    end_minute: int,
    active: tuple[int, int] | None,
    shift_min: int,
    skew_known: bool = True,
) -> Window:
    """The window of one run on one key, from the minutes of its marks and the active minutes of its calls there.

    `active`: first and last active minute of its calls; None: it has none on this key. `skew_known`: whether its marks
    were corrected by a clock that is known; where not, the window is one minute wider on each side.
    """
    wider = 0 if skew_known else MARGIN_MIN
    first = begin_minute - MARGIN_MIN - wider
    last = max(begin_minute, end_minute) + MARGIN_MIN + shift_min + wider
    if active is not None:
        first, last = min(first, active[0]), max(last, active[1])
    return Window(start=first, end=last + 1)


def chain_windows(calls: Iterable[tuple[int, int]], runs: Iterable[Window]) -> tuple[Window, ...]:
    """The chains of one key, ascending. `calls`: first and last active minutes; what overlaps or touches is one."""
    return joined([*((first, last + 1) for first, last in calls), *((window.start, window.end) for window in runs)])
