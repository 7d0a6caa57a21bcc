"""What a verdict rests on, as digests: where they are the same, a final verdict stands and nothing is derived again.

The calls of its chain that begin before the minute to which the chain was known, the run windows there, the gaps, the
bill, and the facts of the key that the chain's models rest on. A journal that is merged later changes one of them.

Pure.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import xor
from typing import Any

from .chain import KeyFacts, Share
from .finding import ChainFinding
from .history import Waiting
from .unit import BillRow
from .unknown import Gap
from .window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class RestsOn:
    """The digests of one verdict. Equal texts, equal facts."""

    start: int
    """First minute of the chain."""
    until: int
    """The minute to which the chain was known."""
    calls: str
    marks: str
    gaps: str
    bill: str
    facts: str
    models: tuple[str, ...]
    """`endpoint model` of every name whose pair `facts` tells, and `asked for model` of one whose answers it tells."""
    read_us: int
    """When the latest read was asked for that the bill was taken from."""
    waiting: Waiting
    """What a minute had to wait for before it was confirmed."""

    def record(self) -> dict[str, Any]:
        """As it is written into the journal."""
        return {
            "from": self.start,
            "until": self.until,
            "calls": self.calls,
            "marks": self.marks,
            "gaps": self.gaps,
            "bill": self.bill,
            "facts": self.facts,
            "models": list(self.models),
            "read_us": self.read_us,
            "waiting": waiting_record(self.waiting),
        }


def waiting_record(waiting: Waiting) -> list[int]:
    """What is waited for, as it is written into the journal."""
    return [waiting.stable_reads, waiting.interval_us, waiting.settle_us]


def waited_enough(then: Mapping[str, Any], asked_for: Sequence[int]) -> bool:
    """Whether a verdict waited for at least what is waited for now, as `waiting_record` has it. `then`: what it rested
    on, as recorded."""
    waited = then.get("waiting") or []
    return waited == asked_for or (
        len(waited) == len(asked_for) and all(was >= now for was, now in zip(waited, asked_for, strict=True))
    )


TOLD = {
    "from": "the chain begins at another minute",
    "until": "the chain is known to another minute",
    "calls": "calls",
    "marks": "run marks",
    "gaps": "gaps in a journal",
    "bill": "the bill",
    "facts": "which names are one model",
}
"""What a difference is called."""


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a verdict's ground is no longer what it was, in words."""
    return tuple(words for name, words in TOLD.items() if name != "until" and then.get(name) != now.get(name))


class MarkDigests:
    """Digests of the run windows of one chain, as far as any minute."""

    def __init__(self, shares: Iterable[Share]) -> None:
        shares = list(shares)
        begins = sorted((share.window.start, _number("begin", share)) for share in shares)
        ends = sorted((share.window.end, _number("end", share)) for share in shares)
        self._begins, self._begun = _sums(begins)
        self._ends, self._ended = _sums(ends)

    def until(self, minute: int) -> str:
        """Of the windows that begin before a minute, and of those that have ended by it."""
        begun, ended = bisect_left(self._begins, minute), bisect_right(self._ends, minute)
        return f"{begun} begun {self._begun[begun]:x}, {ended} ended {self._ended[ended]:x}"


def _sums(numbered: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    if len(numbered) == 1:  # Most chains are one run's.
        return [numbered[0][0]], [0, numbered[0][1]]
    return [minute for minute, _ in numbered], list(accumulate((number for _, number in numbered), xor, initial=0))


def _number(edge: str, share: Share) -> int:
    text = f"{edge} {share.run} {share.window.start}"
    if edge == "end":
        text += f" {share.window.end} {share.ambiguous}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def gaps_digest(gaps: Iterable[Gap], window: Window) -> str:
    """Of the gaps that reach into a window."""
    told = [
        f"{gap.first_minute} {gap.last_minute} {gap.calls}"
        for gap in gaps
        if window.meets(gap.first_minute, gap.last_minute)
    ]
    return _digest(sorted(told)) if told else NO_GAPS


def bill_digest(rows: Iterable[BillRow], until: int) -> str:
    """Of the bill before a minute."""
    return _digest(sorted(repr(row) for row in rows if row.minute < until and not row.empty))


_ASKED = "asked for "
"""Before a name that a call asked for, beside those of usage endpoints."""


class FactDigests:
    """Digests of the facts of one key, name by name. `answered`: what the models that were asked for answered as."""

    def __init__(self, facts: KeyFacts, answered: Mapping[str, frozenset[str]]) -> None:
        self._answers = {f"{_ASKED}{model}": str(sorted(names)) for model, names in answered.items()}
        self._optional = sorted(facts.optional.items())
        self._told: dict[tuple[str, ...], str] = {}
        """What was said before: most verdicts of a key rest on the same few names."""
        self._pairs: dict[str, str] = {}
        for pair in facts.pairs:
            told = f"{sorted(str(name) for name in pair.book_models)} {sorted(pair.bill_models)} {pair.paired_by}"
            for name in (*pair.book_models, *pair.bill_models):
                self._pairs[f"{pair.usage_endpoint} {name}"] = f"{told} {facts.renamed_holds}"

    def of(self, models: Iterable[str]) -> str:
        """Of what some names are paired with or answered as, and of what is known of optional amounts."""
        names = tuple(models)
        if names not in self._told:
            known = self._pairs | self._answers
            lines = [f"{name}: {known.get(name)}" for name in sorted(names)]
            self._told[names] = _digest([*lines, repr(self._optional)])
        return self._told[names]


def models_of(found: ChainFinding) -> tuple[str, ...]:
    """Every name that a chain's comparison rests on, and those that calls asked for which may explain an excess."""
    compared = {
        f"{solved.pair.usage_endpoint} {name}"
        for solved in found.solved
        for name in (*(row.model for row in solved.rows), *(row.model for row in solved.bill))
    }
    return tuple(sorted(compared | {f"{_ASKED}{name}" for each in found.able for name in each.models}))


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


NO_GAPS = _digest(())
