"""Frameworks side by side, in numbers: descriptive statistics, tests, effect sizes and intervals of one metric.

By scipy and numpy (extra `report`), which are imported when a figure is asked for. What a sample is too small or too
constant for is None, never a number. Pure. Never here: which runs are compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ALPHA = 0.05
CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 42
HALF_WIDTH_MAX = 0.10
"""The stopping rule: enough runs when the interval's half width is within this share of the mean."""
STOP_RUNS_MIN = 5
"""With fewer the rule says nothing, as in the users' own."""
MAGNITUDES = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
"""Of |Cliff's delta| below each; from the last on it is large (Romano et al. 2006)."""
FENCE = 1.5
"""An outlier lies further than this many interquartile ranges outside the quartiles."""
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One sample, as the users' own tables have it."""

    n: int
    mean: float | None
    median: float | None
    std_dev: float | None
    """Of a sample (n - 1); None below two."""
    minimum: float | None
    maximum: float | None
    q1: float | None
    """Quartiles are inclusive: linear between the values."""
    q3: float | None
    iqr: float | None
    skewness: float | None
    """Of the population, as scipy has it; None of a constant."""
    kurtosis: float | None
    """Excess (0 of a normal distribution)."""
    outliers: int
    ci_low: float | None
    """Of the mean, by percentile bootstrap; None below two values."""
    ci_high: float | None
    half_width: float | None
    """Half of the interval, as a share of the mean."""
    enough: bool | None
    """The stopping rule; None: too few runs to say."""
    shapiro_w: float | None
    shapiro_p: float | None
    """Normality; None below three values, and of a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two frameworks."""

    first: str
    second: str
    delta: float
    """Cliff's: +1 where each value of the first is above each of the second."""
    ci_low: float
    ci_high: float
    magnitude: str
    u: float
    """Mann-Whitney, two-sided."""
    p: float | None
    alpha: float
    """Dunn-Sidak: of one of so many pairs."""
    significant: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """All frameworks together."""

    levene_w: float | None
    """Equal variances, about the medians."""
    levene_p: float | None
    kruskal_h: float | None
    kruskal_p: float | None
    pairs: tuple[Pair, ...]


def describe(values: Sequence[float]) -> Described:
    """One sample's figures."""
    import numpy as np
    from scipy import stats

    sample = np.asarray(values, dtype=float)
    n = len(sample)
    if n == 0:
        absent = {name: None for name in Described.__dataclass_fields__ if name not in ("n", "outliers")}
        return Described(n=0, outliers=0, **absent)
    q1, median, q3 = np.percentile(sample, (25, 50, 75))
    iqr = q3 - q1
    constant = bool(np.ptp(sample) == 0)
    low, high = _mean_interval(sample)
    mean = float(sample.mean())
    half = (high - low) / 2 / abs(mean) if low is not None and high is not None and mean else None
    shapiro = stats.shapiro(sample) if n >= 3 and not constant else None
    return Described(
        n=n,
        mean=mean,
        median=float(median),
        std_dev=float(sample.std(ddof=1)) if n > 1 else None,
        minimum=float(sample.min()),
        maximum=float(sample.max()),
        q1=float(q1),
        q3=float(q3),
        iqr=float(iqr),
        skewness=None if constant else _known(stats.skew(sample)),
        kurtosis=None if constant else _known(stats.kurtosis(sample)),
        outliers=int(((sample < q1 - FENCE * iqr) | (sample > q3 + FENCE * iqr)).sum()),
        ci_low=low,
        ci_high=high,
        half_width=half,
        enough=half <= HALF_WIDTH_MAX if half is not None and n >= STOP_RUNS_MIN else None,
        shapiro_w=None if shapiro is None else float(shapiro.statistic),
        shapiro_p=None if shapiro is None else float(shapiro.pvalue),
    )


def compare(samples: Samples) -> Tested:
    """The tests between frameworks that have values; with fewer than two of them there is none."""
    import numpy as np
    from scipy import stats

    arrays = {name: np.asarray(values, dtype=float) for name, values in samples.items() if len(values)}
    pairs = list(combinations(arrays, 2))
    alpha = 1 - (1 - ALPHA) ** (1 / len(pairs)) if pairs else ALPHA
    levene_w = levene_p = kruskal_h = kruskal_p = None
    pooled = np.concatenate([*arrays.values(), np.empty(0)])
    if len(arrays) >= 2 and np.ptp(pooled) > 0:
        kruskal = stats.kruskal(*arrays.values())
        kruskal_h, kruskal_p = _known(kruskal.statistic), _known(kruskal.pvalue)
        if all(len(array) >= 2 for array in arrays.values()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Constant samples: what comes of them is nan, and so None.
                levene = stats.levene(*arrays.values(), center="median")
            levene_w, levene_p = _known(levene.statistic), _known(levene.pvalue)
    return Tested(
        levene_w=levene_w,
        levene_p=levene_p,
        kruskal_h=kruskal_h,
        kruskal_p=kruskal_p,
        pairs=tuple(_pair(first, second, arrays[first], arrays[second], alpha) for first, second in pairs),
    )


def magnitude(delta: float) -> str:
    """What a Cliff's delta is called."""
    return next((word for limit, word in MAGNITUDES if abs(delta) < limit), "large")


def reproducibility() -> dict[str, Any]:
    """What has to be the same for the same figures."""
    import platform
    from importlib.metadata import version

    return {
        "submeter": version("submeter"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "seed": SEED,
        "resamples": RESAMPLES,
        "confidence": CONFIDENCE,
        "alpha": ALPHA,
        "rules": {
            "quartiles": "inclusive (linear)",
            "standard_deviation": "sample (n - 1)",
            "skewness_and_kurtosis": "population, excess kurtosis",
            "outliers": f"beyond {FENCE} IQR outside the quartiles",
            "interval_of_mean": "percentile bootstrap",
            "interval_of_delta": "percentile bootstrap, both samples resampled",
            "levene": "about the medians",
            "pairs": "Mann-Whitney U, two-sided, at the Dunn-Sidak alpha",
            "stopping": f"half width within {HALF_WIDTH_MAX:.0%} of the mean, from {STOP_RUNS_MIN} runs on",
        },
    }


def _mean_interval(sample: np.ndarray[Any, Any]) -> tuple[float | None, float | None]:
    import numpy as np
    from scipy import stats

    if len(sample) < 2:
        return None, None
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    found = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _pair(first: str, second: str, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], alpha: float) -> Pair:
    import numpy as np
    from scipy import stats

    above = np.sign(one[:, None] - other[None, :])
    # A resample says how often each value was drawn; so many draws of a pair count it so many times.
    rng = np.random.default_rng(SEED)
    drawn = [rng.multinomial(len(each), np.full(len(each), 1 / len(each)), size=RESAMPLES) for each in (one, other)]
    deltas = ((drawn[0] @ above) * drawn[1]).sum(axis=1) / above.size
    low, high = np.percentile(deltas, (100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2))
    tested = stats.mannwhitneyu(one, other, alternative="two-sided")
    p = _known(tested.pvalue)
    delta = float(above.mean())
    return Pair(
        first=first,
        second=second,
        delta=delta,
        ci_low=float(low),
        ci_high=float(high),
        magnitude=magnitude(delta),
        u=float(tested.statistic),
        p=p,
        alpha=alpha,
        significant=None if p is None else p < alpha,
    )


def _known(number: Any) -> float | None:
    found = float(number)
    return found if math.isfinite(found) else None
