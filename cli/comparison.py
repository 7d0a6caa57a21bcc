"""A comparison as data: for each metric, or each step and metric, the figures of every framework, beside how many runs
they are of, how many were left out, and why.

Pure. Never here: how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .samples import METRICS, Subject
from .statistics_of import Described, Tested, compare, describe

COLUMNS: Mapping[str, str] = {
    "n": "n",
    "Mean": "mean",
    "Median": "median",
    "Std Dev": "std_dev",
    "Min": "minimum",
    "Max": "maximum",
    "Q1": "q1",
    "Q3": "q3",
    "IQR": "iqr",
    "Skewness": "skewness",
    "Kurtosis": "kurtosis",
    "Outliers": "outliers",
}
"""The descriptive columns after `Framework`, in the users' order, and the figures in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One framework's values of one metric, in one step or over whole runs."""

    framework: str
    values: tuple[float, ...]
    verified: int
    """How many of the values are of runs that a final audit verified."""
    left_out: Mapping[str, tuple[str, ...]]
    """The runs that are not in the figures, by the reason."""
    figures: Described

    @property
    def runs(self) -> int:
        return len(self.values) + self.left_out_runs

    @property
    def left_out_runs(self) -> int:
        return sum(map(len, self.left_out.values()))

    @property
    def left_out_text(self) -> str:
        """How many were left out and why, such as `3 (2 unknown calls, 1 verdict short)`."""
        if not self.left_out:
            return "0"
        why = ", ".join(f"{len(names)} {reason}" for reason, names in sorted(self.left_out.items()))
        return f"{self.left_out_runs} ({why})"

    def row(self) -> list[Any]:
        """The descriptive columns, framework first."""
        return [self.framework, *(getattr(self.figures, name) for name in COLUMNS.values())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric, in one step or over whole runs."""

    metric: str
    step: str | None
    groups: tuple[Group, ...]
    tested: Tested

    @property
    def title(self) -> str:
        return self.metric if self.step is None else f"step {self.step}: {self.metric}"


def figures_of(subjects: Iterable[Subject], metrics: Sequence[str] = METRICS) -> list[Figure]:
    """Every metric that any run has a value of, step by step in the order in which steps are first met."""
    steps: dict[str | None, dict[str, list[Subject]]] = {}
    for subject in subjects:
        steps.setdefault(subject.step, {}).setdefault(subject.framework, []).append(subject)
    found = []
    for step, frameworks in steps.items():
        for metric in metrics:
            groups = tuple(_group(name, metric, frameworks[name]) for name in sorted(frameworks))
            if any(group.values for group in groups):
                tested = compare({group.framework: group.values for group in groups})
                found.append(Figure(metric=metric, step=step, groups=groups, tested=tested))
    return found


def unknown_metrics(subjects: Sequence[Subject], metrics: Sequence[str] = METRICS) -> dict[str, Counter[str]]:
    """The metrics that no run has a value of, and why each has none."""
    return {
        metric: Counter(subject.left_out[metric] for subject in subjects)
        for metric in metrics
        if subjects and not any(metric in subject.values for subject in subjects)
    }


def record(figure: Figure) -> dict[str, Any]:
    """One figure for JSON: each sample with its values, so that anybody can count it again."""
    return {
        "metric": figure.metric,
        "step": figure.step,
        "frameworks": [
            {
                "framework": group.framework,
                "runs": group.runs,
                "verified": group.verified,
                "left_out": {reason: list(names) for reason, names in sorted(group.left_out.items())},
                "values": list(group.values),
                **asdict(group.figures),
            }
            for group in figure.groups
        ],
        "tests": {
            "levene_w": figure.tested.levene_w,
            "levene_p": figure.tested.levene_p,
            "kruskal_h": figure.tested.kruskal_h,
            "kruskal_p": figure.tested.kruskal_p,
        },
        "pairs": [asdict(pair) for pair in figure.tested.pairs],
    }


def _group(framework: str, metric: str, subjects: Sequence[Subject]) -> Group:
    held = [subject for subject in subjects if metric in subject.values]
    left_out: dict[str, list[str]] = {}
    for subject in subjects:
        if metric not in subject.values:
            left_out.setdefault(subject.left_out[metric], []).append(subject.run)
    values = tuple(subject.values[metric] for subject in held)
    return Group(
        framework=framework,
        values=values,
        verified=sum(subject.verified for subject in held),
        left_out={reason: tuple(names) for reason, names in left_out.items()},
        figures=describe(values),
    )
