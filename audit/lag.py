"""How late an organization's Usage API is, learned from stored reads: it advises when to look, and nothing else.

Pure: the ages of `usage_lag.sql` in, a curve out. No setting, no verdict and no waiting time is ever taken from here; a
bill that was always whole after ten minutes may be late tomorrow (docs/design/audit.md "Confirmed").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SHARES = (50, 90, 99, 100)
"""Per cent of the finally billed tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LagCurve:
    """When what was billed in the end had been seen. Ages are whole minutes after the end of the billed minute."""

    tokens: int
    """Input and output tokens that it rests on."""
    looks: int
    """How often a billed minute was looked at."""
    first_look_min: int
    """The youngest age that anything was looked at; nobody knows what could be seen before."""
    visible_by_min: Mapping[int, int]
    """Per cent of the tokens to the age by which they had been seen: at most this late."""


def lag_curve(ages: Iterable[tuple[int, int, int]]) -> LagCurve | None:
    """The curve of rows (age in minutes, looks, tokens first seen then); None where nothing was seen twice."""
    rows = sorted(ages)
    tokens = sum(seen for _, _, seen in rows)
    if not tokens:
        return None
    visible_by_min: dict[int, int] = {}
    so_far = 0
    for age_min, _, seen in rows:
        so_far += seen
        for share in SHARES:
            if share not in visible_by_min and so_far * 100 >= tokens * share:
                visible_by_min[share] = age_min
    return LagCurve(
        tokens=tokens,
        looks=sum(looks for _, looks, _ in rows),
        first_look_min=rows[0][0],
        visible_by_min=visible_by_min,
    )
