"""Confidence intervals of a score and of a paired difference of two."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean

import numpy as np

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
NUM_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and where the true one lies, in 95 of 100 such cases."""

    mean: float
    low: float
    high: float
    method: str
    """Which interval it is."""


def interval_of(scores: Sequence[float]) -> Interval:
    """Return the mean of `scores` with its 95 % interval.

    Of scores that are all 0 or 1 it is Wilson's; else the bootstrap's percentiles.

    Args:
        scores: Metric values by example, at least one.

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        JASA 22 (1927), recommended for small n by Brown, Cai and DasGupta, "Interval estimation
        for a binomial proportion", Statistical Science 16 (2001).
    """
    n, mean = len(scores), fmean(scores)
    if not set(scores) <= {0.0, 1.0}:
        return _bootstrap(scores)
    center = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return Interval(
        mean=mean, low=max(0.0, center - half), high=min(1.0, center + half), method="Wilson"
    )


def difference_of(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Return how much higher `after` is than `before`, paired by example, with its 95 % interval.

    Of scores that are all 0 or 1 it is Agresti and Min's, which adds half an example to each of the
    four cases; else the bootstrap's percentiles of the differences.

    Args:
        before: Metric values by example, at least one.
        after: Those of the other program, of the same examples in the same order.

    Source:
        A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched
        proportions", Statistics in Medicine 24 (2005).
    """
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if not {*before, *after} <= {0.0, 1.0}:
        return _bootstrap(differences)
    n = len(differences) + 2
    better, worse = differences.count(1.0) + 0.5, differences.count(-1.0) + 0.5
    center = (better - worse) / n
    half = Z * sqrt(better + worse - (better - worse) ** 2 / n) / n
    return Interval(
        mean=fmean(differences),
        low=max(-1.0, center - half),
        high=min(1.0, center + half),
        method="Agresti-Min, paired",
    )


def _bootstrap(values: Sequence[float]) -> Interval:
    """Return the mean with the percentiles of the means of resamples.

    Source:
        B. Efron, R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    drawn = np.random.default_rng(0)
    held, n = np.asarray(values, dtype=float), len(values)
    counts = drawn.multinomial(n, np.full(n, 1 / n), size=NUM_RESAMPLES)
    low, high = np.quantile(counts @ held / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        mean=fmean(values), low=float(low), high=float(high), method="bootstrap percentiles"
    )
