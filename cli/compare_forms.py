"""A comparison in the forms that programs and papers take: CSV, LaTeX (booktabs) and Parquet.

One row is one framework's sample of one metric, with the descriptive columns under the users' own names.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from .comparison import COLUMNS, Figure, Group

BEFORE = ("Metric", "Step", "Framework")
AFTER = ("CI Low", "CI High", "Half Width", "Enough", "Shapiro W", "Shapiro p", "Runs", "Verified", "Left Out", "Why")
_FIGURES_AFTER = ("ci_low", "ci_high", "half_width", "enough", "shapiro_w", "shapiro_p")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_TEXTS = (*BEFORE, "Why")
_COUNTS = ("n", "Outliers", "Runs", "Verified", "Left Out")


def columns() -> list[str]:
    """The columns of CSV and Parquet."""
    return [*BEFORE, *COLUMNS, *AFTER]


def rows(figures: Iterable[Figure]) -> list[list[Any]]:
    """Their rows; what is not known is None."""
    return [
        [
            figure.metric,
            figure.step,
            *group.row(),
            *(getattr(group.figures, name) for name in _FIGURES_AFTER),
            group.runs,
            group.verified,
            group.left_out_runs,
            group.left_out_text if group.left_out else None,
        ]
        for figure in figures
        for group in figure.groups
    ]


def write_csv(figures: Iterable[Figure], file: TextIO | None = None) -> None:
    """RFC 4180, with a header; absent is empty."""
    writer = csv.writer(sys.stdout if file is None else file)
    writer.writerow(columns())
    writer.writerows(["" if value is None else value for value in row] for row in rows(figures))


def parquet(figures: Iterable[Figure]) -> bytes:
    """One Parquet file: names are texts, counts whole numbers, figures doubles."""
    from ..data.parquet import parquet_bytes

    kinds = dict.fromkeys(_TEXTS, "VARCHAR") | dict.fromkeys(_COUNTS, "BIGINT") | {"Enough": "BOOLEAN"}
    return parquet_bytes({name: kinds.get(name, "DOUBLE") for name in columns()}, rows(figures))


def latex(figures: Iterable[Figure], notes: Sequence[str]) -> str:
    """A table for each metric, with what was left out in its note; needs the package booktabs.

    `notes` stand as comments at the top.
    """
    lines = [f"% {escaped(note)}" for note in notes]
    lines.append(r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.")
    for figure in figures:
        lines += ["", r"\begin{table}[htbp]", r"\centering", rf"\caption{{{escaped(figure.title)}}}"]
        lines += [r"\resizebox{\linewidth}{!}{%", rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}", r"\toprule"]
        lines += [" & ".join(["Framework", *COLUMNS]) + r" \\", r"\midrule"]
        for group in figure.groups:
            lines.append(" & ".join(escaped(number(value)) for value in group.row()) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}}"]
        lines += [rf"\par\footnotesize {escaped(said)}" for said in _notes(figure)]
        lines += [r"\end{table}"]
    return "\n".join(lines) + "\n"


def _notes(figure: Figure) -> list[str]:
    found = ["; ".join(f"{group.framework}: {sample_text(group)}" for group in figure.groups)]
    tested = figure.tested
    if tested.kruskal_h is not None:
        found[0] += f". Kruskal-Wallis H = {number(tested.kruskal_h)}, p = {p_text(tested.kruskal_p)}"
    for pair in tested.pairs:
        found[0] += (
            f". {pair.first} and {pair.second}: Cliff's delta {pair.delta:.3f}"
            f" [{pair.ci_low:.3f}, {pair.ci_high:.3f}], {pair.magnitude}"
        )
    return [f"{found[0]}."]


def sample_text(group: Group) -> str:
    """How many runs there are, how many were left out and why, and how many of the others are verified."""
    return (
        f"{group.runs} run{'' if group.runs == 1 else 's'}, left out {group.left_out_text}, verified {group.verified}"
    )


def number(value: Any) -> str:
    """A figure as tables show it: whole numbers by thousands, others to what is worth showing; `-`: not known."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            if value == int(value) and abs(value) < 1e15:
                return f"{int(value):,}"
            return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"
        case _:
            return str(value)


def p_text(p: float | None) -> str:
    """A p-value; a small one is no 0."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    flat = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
    return "".join(_LATEX.get(sign, sign) for sign in flat)
