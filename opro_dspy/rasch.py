"""How good candidates and how hard examples are, from all scores ever seen: a Rasch model. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from operator import is_
from typing import Protocol

import numpy as np
import numpy.typing as npt

from opro_dspy.likeness import factors
from opro_dspy.records import Evaluation

Array = npt.NDArray[np.float64]

_SWEEPS, _ROUNDS = 4, 4
"""Newton sweeps between two looks at the spreads, and looks."""
_MIN_SPREAD = 0.1
"""Least prior standard deviation, in logits: candidates and examples always differ a little."""
_PRIOR_WEIGHT = 4.0
"""Pseudo-observations that keep a spread near 1 logit while few examples are seen."""
_SPREADS = (0.1, 0.2, 0.35, 0.6, 1.0, 1.6)
"""Standard deviations tried for either part of a candidate's ability, in logits."""
_USUAL, _DOUBT = 0.6, 1.0
"""Where those lie as a rule, and by how much in their logarithm: a log-normal prior."""
_MOST = 8.0
"""Abilities are within so many logits."""


@dataclass(frozen=True, slots=True)
class Model:
    """How good candidates and how hard examples are, in logits, with the scale of the metric.

    The expected score of candidate i on example j is
    `low + (high - low) * sigmoid(level + ability[i] - difficulty[j])`.

    Source:
        G. Rasch, "Probabilistic Models for Some Intelligence and Attainment Tests" (1960), as a
        fractional logit for scores between the extremes (Papke & Wooldridge 1996), with normal
        priors whose spreads are estimated (empirical Bayes: Efron & Morris 1975).
    """

    level: float
    ability: Array
    """Shape (n_candidates,), prior mean 0."""
    ability_variance: Array
    """Posterior variance of `ability`, shape (n_candidates,)."""
    ability_spread: float
    """Standard deviation of the prior of `ability`."""
    difficulty: Array
    """Shape (n_examples,), prior mean 0; 0 for examples that nobody met."""
    difficulty_variance: Array
    """Posterior variance of `difficulty`, shape (n_examples,)."""
    dispersion: float
    """Variance of a score beside that of a coin with the same mean; 1 for 0/1 metrics."""
    low: float
    high: float


class Fit(Protocol):
    """Makes the model of all scores in some evaluations."""

    def __call__(self, evaluations: Sequence[Evaluation], *, n_examples: int) -> Model:
        """Return the model; see `fit`."""
        ...


class LastFit:
    """`fit` that remembers its last answer: within a step the same scores are asked about twice."""

    def __init__(self) -> None:
        self._of: tuple[Sequence[Evaluation], int] = (), 0
        self._model: Model | None = None

    def __call__(self, evaluations: Sequence[Evaluation], *, n_examples: int) -> Model:
        """Return the model of all scores in `evaluations`."""
        before, n = self._of
        if self._model is None or n != n_examples or not _same(evaluations, before):
            self._model = fit(evaluations, n_examples=n_examples)
            self._of = tuple(evaluations), n_examples
        return self._model


def _same(these: Sequence[Evaluation], those: Sequence[Evaluation]) -> bool:
    return len(these) == len(those) and all(map(is_, these, those))


def sigmoid(x: Array) -> Array:
    """Return the logistic function of `x`."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


@dataclass(frozen=True, slots=True)
class _Prior:
    """Covariance of the abilities: texts that are alike tend to be alike good.

    `shared ** 2 * f @ f.T + own ** 2 * I` with f the texts' factors. Both spreads are estimated:
    where likeness says nothing, `shared` is small and every candidate stands for itself.
    """

    f: Array
    shared: float
    own: float

    @property
    def spread(self) -> float:
        return sqrt(self.shared**2 * (self.f.shape[1] > 0) + self.own**2)

    def posterior(self, seen: Array, variance: Array) -> tuple[Array, Array]:
        """Return mean and variance of the abilities, given noisy sights of them.

        Source:
            Rasmussen & Williams, "Gaussian Processes for Machine Learning" (2006), section 2.2;
            the inverse by Woodbury's identity.
        """
        noise = self.own**2 + variance
        f = self.shared * self.f
        scaled = f / noise[:, None]
        inner = np.linalg.cholesky(np.eye(f.shape[1]) + f.T @ scaled)
        half = np.linalg.solve(inner, scaled.T)
        weighed = seen / noise - half.T @ (half @ seen)
        mean = seen - variance * weighed
        left = variance - variance**2 * (1.0 / noise - (half**2).sum(axis=0))
        return mean, np.maximum(left, 1e-9)

    def refitted(self, seen: Array, variance: Array) -> "_Prior":
        """Return the prior with the spreads that explain what was seen best (type II ML)."""
        shared = np.array(_SPREADS) if self.f.shape[1] else np.array([_USUAL])
        doubt = (np.log(shared / _USUAL) / _DOUBT) ** 2
        found = {}
        for own in _SPREADS:
            noise = own**2 + variance
            # In the eigenbasis of f' f / noise every `shared` costs next to nothing.
            values, vectors = np.linalg.eigh(self.f.T @ (self.f / noise[:, None]))
            weighed = vectors.T @ (self.f.T @ (seen / noise))
            grown = 1.0 + np.outer(shared**2, values)
            gain = (np.outer(shared**2, weighed**2) / grown - np.log(grown)).sum(axis=1)
            rest = (
                float((seen**2 / noise + np.log(noise)).sum()) + (log(own / _USUAL) / _DOUBT) ** 2
            )
            worth = 0.5 * (gain - doubt - rest)
            best = int(worth.argmax())
            found[float(worth[best])] = (float(shared[best]), own)
        return _Prior(self.f, *found[max(found)])


def fit(evaluations: Sequence[Evaluation], *, n_examples: int) -> Model:
    """Return the model of all scores in `evaluations`; deterministic.

    Args:
        evaluations: At least one, each with at least one score, at indices below `n_examples`.
        n_examples: Size of the set that candidates are judged on.
    """
    rows = [(c, j, s) for c, e in enumerate(evaluations) for j, s in sorted(e.scores.items())]
    who = np.array([row[0] for row in rows])
    what = np.array([row[1] for row in rows])
    y, low, high = _scaled(np.array([row[2] for row in rows], dtype=float))
    n = len(evaluations)
    prior = _Prior(factors([e.candidate.texts for e in evaluations]), _USUAL, _USUAL)
    ability: Array = np.zeros(n)
    difficulty: Array = np.zeros(n_examples)
    spread_d, dispersion = 1.0, 1.0
    mean = float(np.clip(y.mean(), 0.02, 0.98))
    level = log(mean / (1.0 - mean))
    variance: Array = np.ones(n)
    info_d: Array = np.ones(n_examples)
    for _ in range(_ROUNDS):
        for _ in range(_SWEEPS):
            p, w = _expected(level + ability[who] - difficulty[what])
            info = _sums(who, w, n) / dispersion
            seen = np.clip(ability + _sums(who, y - p, n) / dispersion / info, -_MOST, _MOST)
            better, variance = prior.posterior(seen, 1.0 / info)
            ability = ability + np.clip(better - ability, -1.0, 1.0)
            p, w = _expected(level + ability[who] - difficulty[what])
            info_d = _sums(what, w, n_examples) / dispersion + 1.0 / spread_d**2
            pull = _sums(what, p - y, n_examples) / dispersion - difficulty / spread_d**2
            difficulty = difficulty + np.clip(pull / info_d, -1.0, 1.0)
            p, w = _expected(level + ability[who] - difficulty[what])
            level += float((y - p).sum() / w.sum())
        met = np.bincount(what, minlength=n_examples) > 0
        spread_d = _spread(difficulty[met], 1.0 / info_d[met])
        prior = prior.refitted(seen, 1.0 / info)
        if not np.isin(y, (0.0, 1.0)).all():
            dispersion = float(np.clip(((y - p) ** 2).sum() / w.sum(), 0.05, 1.0))
    return Model(
        level=level,
        ability=ability,
        ability_variance=variance,
        ability_spread=prior.spread,
        difficulty=difficulty,
        difficulty_variance=1.0 / info_d,
        dispersion=dispersion,
        low=low,
        high=high,
    )


def _scaled(raw: Array) -> tuple[Array, float, float]:
    """Return the scores brought to [0, 1], and what 0 and 1 stand for."""
    low, high = min(0.0, float(raw.min())), max(1.0, float(raw.max()))
    if low < 0.0 or high > 1.0:
        low, high = float(raw.min()), float(raw.max())
    return ((raw - low) / (high - low) if high > low else np.full_like(raw, 0.5)), low, high


def _expected(logit: Array) -> tuple[Array, Array]:
    """Return the expected scores and their variances."""
    p = sigmoid(logit)
    return p, np.maximum(p * (1.0 - p), 1e-4)


def _sums(groups: npt.NDArray[np.intp], values: Array, n: int) -> Array:
    """Return the sum of `values` in each of `n` groups."""
    return np.asarray(np.bincount(groups, values, n), dtype=np.float64)


def _spread(values: Array, variances: Array) -> float:
    """Return the prior standard deviation that explains `values`, at least `_MIN_SPREAD`."""
    total = float((values**2 + variances).sum()) + _PRIOR_WEIGHT
    return max(_MIN_SPREAD, sqrt(total / (len(values) + _PRIOR_WEIGHT)))
