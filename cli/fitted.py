"""A table cut to the width of a screen, as the duckdb shell cuts it: long cells first, then columns from the middle.

Texts in, texts out. Never here: what is printed where no screen is; there nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CUT = "…"
CELL_MIN = 20
"""No cell is cut to less than this, which a time takes; columns are left out instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What fits on a screen."""

    columns: list[str]
    rows: list[list[str]]
    left_out: int
    """Columns that did not fit; one named `…` stands for them."""


def fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, gap: int) -> Fitted:
    """The table in at most `width` characters, with `gap` characters between columns."""
    lines = [[_one_line(text) for text in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shrunk = _shrunk(widths, width - gap * (len(widths) - 1))
    kept = _kept(shrunk, width, gap)
    left_out = len(widths) - len(kept)
    cut = [[_cut(line[place], shrunk[place]) for place in kept] for line in lines]
    if left_out:
        middle = (len(kept) + 1) // 2
        for line in cut:
            line.insert(middle, CUT)
    return Fitted(columns=cut[0], rows=cut[1:], left_out=left_out)


def _one_line(text: str) -> str:
    return " ".join(text.split()) if "\n" in text or "\t" in text else text


def _shrunk(widths: Sequence[int], room: int) -> list[int]:
    """The widths, the widest made smaller until all fit or none is wider than `CELL_MIN`."""
    low, high = CELL_MIN, max(widths, default=CELL_MIN)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(each, middle) for each in widths) <= room else (low, middle - 1)
    return [min(each, low) for each in widths] if sum(widths) > room else list(widths)


def _kept(widths: Sequence[int], width: int, gap: int) -> list[int]:
    """The places of the columns that stay: from both ends towards the middle, at least the first."""
    if sum(widths) + gap * (len(widths) - 1) <= width:
        return list(range(len(widths)))
    room = width - len(CUT) - gap
    first, last, front = 0, len(widths), True
    while first < last:
        place = first if front else last - 1
        room -= widths[place] + gap
        if room < -gap and first:
            break
        first, last, front = (first + 1, last, False) if front else (first, last - 1, True)
    return [place for place in range(len(widths)) if place < first or place >= last]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - len(CUT)] + CUT
