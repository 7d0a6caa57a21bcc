"""A comparison as one page: tables, pictures (boxes, densities, effects) and which runs each figure is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .compare_forms import number, p_text
from .comparison import COLUMNS, Figure
from .page import drawn, rendered
from .pictures import Picture, boxes, forest, short, violins

PICTURED_MAX = 24
"""So many figures have pictures: each takes some tenths of a second to draw."""
UNITS = {"api_calls": "calls", "execution_time": "seconds", "cost_usd": "US dollars"}


def page(figures: Sequence[Figure], foot: Sequence[str]) -> str:
    """The whole page."""
    pictured = len(figures) <= PICTURED_MAX
    frameworks = sorted({group.framework for figure in figures for group in figure.groups})
    summary = f"{len(frameworks)} frameworks: {', '.join(frameworks)}. Each figure is of the runs named beside it."
    if not pictured:
        summary += f" There are {len(figures)} figures; pictures are drawn of up to {PICTURED_MAX}."
    return rendered(
        "compare_page.html",
        title="Frameworks compared",
        summary=summary,
        parts=[_part(figure, pictured) for figure in figures],
        foot=foot,
    )


def pictures_of(figure: Figure) -> list[Picture]:
    """The pictures of one metric."""
    unit = UNITS.get(figure.metric, "tokens")
    name = figure.metric
    samples = [(group.framework, group.values) for group in figure.groups if group.values]
    found = [boxes(f"{name}-box", f"Quartiles, whiskers at 1.5 IQR, and each run ({unit})", unit, samples)]
    density = violins(f"{name}-violin", f"Density of the runs of each framework that vary ({unit})", unit, samples)
    found += [density] if density else []
    if figure.tested.pairs:
        rows = [
            (f"{short(pair.first)} and {short(pair.second)}", pair.delta, pair.ci_low, pair.ci_high)
            for pair in figure.tested.pairs
        ]
        found.append(forest(f"{name}-forest", "How far each pair is apart, with its 95 % interval", rows))
    return found


def _part(figure: Figure, pictured: bool) -> dict[str, Any]:
    tested = figure.tested
    tests = []
    if tested.kruskal_h is not None:
        tests.append(f"Kruskal-Wallis H {tested.kruskal_h:.3f}, p {p_text(tested.kruskal_p)}.")
    if tested.levene_w is not None:
        tests.append(f"Levene W {tested.levene_w:.3f}, p {p_text(tested.levene_p)}.")
    columns = ["Framework", *COLUMNS, "95 % of the mean", "Half width", "Enough runs", "Shapiro-Wilk p"]
    return {
        "title": figure.title,
        "columns": columns,
        "rows": [
            [
                *(number(value) for value in group.row()),
                "-"
                if group.figures.ci_low is None
                else f"{number(group.figures.ci_low)} to {number(group.figures.ci_high)}",
                "-" if group.figures.half_width is None else f"{group.figures.half_width:.1%}",
                number(group.figures.enough),
                p_text(group.figures.shapiro_p),
            ]
            for group in figure.groups
        ],
        "samples": [
            [group.framework, group.runs, len(group.values), group.verified, _left_out(group.left_out)]
            for group in figure.groups
        ],
        "pictures": drawn(pictures_of(figure)) if pictured else [],
        "tests": " ".join(tests),
        "pairs": [
            [
                f"{pair.first} and {pair.second}",
                f"{pair.delta:+.3f}",
                f"{pair.ci_low:+.3f} to {pair.ci_high:+.3f}",
                pair.magnitude,
                p_text(pair.p),
                f"{pair.alpha:.4f}",
                number(pair.significant),
            ]
            for pair in tested.pairs
        ],
    }


def _left_out(left_out: Any) -> str:
    return "; ".join(f"{reason}: {', '.join(runs)}" for reason, runs in sorted(left_out.items())) or "none"
