"""What a referee saw in many worlds, added up: verdicts by true cause, false ones, needless doubt of clean runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit_referee import Said

FALSE_KEPT = 200
_STUCK = ("stuck", "pending", "unavailable", "not_permitted")


@dataclass(kw_only=True)
class Table:
    """Tallies of verdicts; those of the last audit of each world, where nothing else is said."""

    worlds: int = 0
    said: int = 0
    """Verdicts of all audits."""
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By verdict and true cause."""
    false: list[tuple[int, str]] = field(default_factory=list)
    """Seed and why, of all audits."""
    needless: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Of clean runs of chains with an error: by what (`distance`, `rate`, `gap`), its value, and the verdict."""
    opinions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How the gates and the border form judge the same runs: clear or not."""

    def add(self, seed: int, said: Iterable[Said]) -> None:
        """One world's verdicts."""
        self.worlds += 1
        for each in said:
            self.said += 1
            if each.wrong is not None:
                self.false.append((seed, each.wrong))
            if not each.last:
                continue
            self.verdicts[each.verdict, each.cause] += 1
            if each.border is not None:
                self.opinions[each.verdict, "clear" if each.border else "not clear"] += 1
            if each.distance and each.cause == "nothing":
                word = f"{each.verdict}, joint" if len(each.joint) > 1 else each.verdict
                self.needless["distance", f"{min(each.distance, 4)}", word] += 1
                self.needless["rate", f"{each.rate}", word] += 1
                self.needless["gap", f"{round(each.gap_min)}", word] += 1

    @property
    def untrue(self) -> int:
        """Verdicts that say what is not so; the rest of `false` only does not come to an end."""
        return sum(not why.startswith(_STUCK) for _, why in self.false)

    def merge(self, other: Table) -> None:
        """Take in what another process saw."""
        self.worlds += other.worlds
        self.said += other.said
        self.verdicts += other.verdicts
        self.false += other.false[:FALSE_KEPT]
        self.needless += other.needless
        self.opinions += other.opinions

    def text(self) -> str:
        """The whole table, to be read."""
        lines = [f"referee: {self.worlds} worlds, {self.said} verdicts, {self.untrue} of them false"]
        lines[0] += f", {len(self.false) - self.untrue} stuck where they should agree"
        lines += [f"  seed {seed}: {why}" for seed, why in self.false[:20]]
        lines += ["", "verdict of the last audit, by what is true of the run"]
        lines += [f"  {v:20} {cause:46} {n:9}" for (v, cause), n in sorted(self.verdicts.items())]
        lines += ["", "gates against border form (closed chains of up to 60 calls)"]
        lines += [f"  {gates:20} {border:46} {n:9}" for (gates, border), n in sorted(self.opinions.items())]
        for what in ("distance", "rate", "gap"):
            lines += ["", f"clean runs in a chain with an error, by {_HEADS[what]}"]
            lines += _shares({(at, word): n for (by, at, word), n in self.needless.items() if by == what})
        return "\n".join(lines)


_HEADS = {
    "distance": "runs away from the nearest run with one (4: four and more)",
    "rate": "calls a minute",
    "gap": "minutes between runs",
}


def _shares(counts: Mapping[tuple[str, str], int]) -> list[str]:
    """One line a value: how many runs, and the share of each verdict."""
    lines = []
    for at in sorted({at for at, _ in counts}, key=int):
        mine = {word: n for (value, word), n in counts.items() if value == at}
        whole = sum(mine.values())
        words = ", ".join(
            f"{word} {100 * n / whole:.1f} %" for word, n in sorted(mine.items(), key=lambda each: -each[1])
        )
        lines.append(f"  {at:>3} {whole:9} runs: {words}")
    return lines
