"""Whom to measure further, on what, and how good a candidate is by what was seen: pure statistics.

A candidate's score on an example depends on how good the candidate is and on how hard the example
is. Both are estimated from all scores ever seen, so that candidates that met different examples
can be compared; a candidate that met few is drawn toward the mean of all.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from opro_dspy.errors import ConfigurationError
from opro_dspy.records import Estimate, Evaluation

Array = npt.NDArray[np.float64]

_SWEEPS = 30
_ROUNDS = 6
_MIN_SPREAD = 0.1
"""Least prior standard deviation, in logits: candidates and examples always differ a little."""
_PRIOR_WEIGHT = 4.0
"""Pseudo-observations that keep a spread near 1 logit while few candidates or examples are seen."""


class Racing(BaseModel):
    """How a step's candidates race: `OPRO(racing=Racing(...))`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rungs: tuple[int, ...] = (3, 6, 12)
    """Examples met after each rung, rising; after each, the better half goes on."""
    start: int = Field(default=16, ge=1)
    """Examples on which the initial instructions are measured before the first step."""
    batch: int = Field(default=8, ge=1)
    """Further examples that a leader meets after a step while its lead is not real."""
    num_leaders: int = Field(default=2, ge=0)
    """Leaders that are measured further after a step."""
    z: float = Field(default=1.645, gt=0)
    """Standard errors of a difference that is taken for real (1.645: one-sided 5 %)."""

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if not rungs or rungs[0] < 1 or list(rungs) != sorted(set(rungs)):
            raise ValueError(f"rungs must rise from at least 1, got {rungs}")
        return rungs


def resolve_racing(racing: object) -> Racing | None:
    """Return the racing settings: the default for True, None for False.

    Raises:
        ConfigurationError: If it is something else.
    """
    if isinstance(racing, Racing):
        return racing
    if isinstance(racing, bool):
        return Racing() if racing else None
    raise ConfigurationError(f"`racing` must be True, False or a Racing, got {racing!r}.")


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


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def _sums(groups: npt.NDArray[np.intp], values: Array, n: int) -> Array:
    """Return the sum of `values` in each of `n` groups."""
    return np.asarray(np.bincount(groups, values, n), dtype=np.float64)


def fit(evaluations: Sequence[Evaluation], *, n_examples: int) -> Model:
    """Return the model of all scores in `evaluations`; deterministic, and blind to their order.

    Args:
        evaluations: At least one, each with at least one score, at indices below `n_examples`.
        n_examples: Size of the set that candidates are judged on.
    """
    rows = [(c, j, s) for c, e in enumerate(evaluations) for j, s in sorted(e.scores.items())]
    who = np.array([row[0] for row in rows])
    what = np.array([row[1] for row in rows])
    raw = np.array([row[2] for row in rows], dtype=float)
    low, high = min(0.0, float(raw.min())), max(1.0, float(raw.max()))
    if low < 0.0 or high > 1.0:
        low, high = float(raw.min()), float(raw.max())
    y = (raw - low) / (high - low) if high > low else np.full_like(raw, 0.5)
    n_candidates = len(evaluations)
    ability: Array = np.zeros(n_candidates)
    difficulty: Array = np.zeros(n_examples)
    spread_a = spread_d = 1.0
    mean = float(np.clip(y.mean(), 0.02, 0.98))
    level, dispersion = log(mean / (1.0 - mean)), 1.0
    info_a: Array = np.ones(n_candidates)
    info_d: Array = np.ones(n_examples)
    for _ in range(_ROUNDS):
        for _ in range(_SWEEPS // _ROUNDS):
            p = _sigmoid(level + ability[who] - difficulty[what])
            w = np.maximum(p * (1.0 - p), 1e-4) / dispersion
            info_a = _sums(who, w, n_candidates) + 1.0 / spread_a**2
            pull = _sums(who, (y - p) / dispersion, n_candidates) - ability / spread_a**2
            ability = ability + np.clip(pull / info_a, -1.0, 1.0)
            p = _sigmoid(level + ability[who] - difficulty[what])
            w = np.maximum(p * (1.0 - p), 1e-4) / dispersion
            info_d = _sums(what, w, n_examples) + 1.0 / spread_d**2
            pull = _sums(what, (p - y) / dispersion, n_examples) - difficulty / spread_d**2
            difficulty = difficulty + np.clip(pull / info_d, -1.0, 1.0)
            p = _sigmoid(level + ability[who] - difficulty[what])
            level += float((y - p).sum() / np.maximum(p * (1.0 - p), 1e-4).sum())
        seen = np.bincount(what, minlength=n_examples) > 0
        spread_a = _spread(ability, 1.0 / info_a)
        spread_d = _spread(difficulty[seen], 1.0 / info_d[seen])
        noise = float(((y - p) ** 2).sum() / np.maximum(p * (1.0 - p), 1e-4).sum())
        dispersion = min(1.0, max(0.05, noise)) if not _is_binary(y) else 1.0
    return Model(
        level=level,
        ability=ability,
        ability_variance=1.0 / info_a,
        ability_spread=spread_a,
        difficulty=difficulty,
        difficulty_variance=1.0 / info_d,
        dispersion=dispersion,
        low=low,
        high=high,
    )


def _spread(values: Array, variances: Array) -> float:
    """Return the prior standard deviation that explains `values`, at least `_MIN_SPREAD`."""
    total = float((values**2 + variances).sum()) + _PRIOR_WEIGHT
    return max(_MIN_SPREAD, sqrt(total / (len(values) + _PRIOR_WEIGHT)))


def _is_binary(y: Array) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all())


def estimates(evaluations: Sequence[Evaluation], *, n_examples: int) -> list[Estimate]:
    """Return each candidate's mean score over all `n_examples`, as far as it is known.

    What was seen counts as it is, what was not is filled in by the model; so with all examples
    seen the estimate is the plain mean, and with few it leans on how hard they were and on how
    good candidates are as a rule. Which examples were chosen may depend on scores seen before:
    the model takes them into account (Rubin 1976, ignorability).

    Returns:
        Estimates in the order of `evaluations`. `stderr` is that of the mean over a fresh sample
        of as many examples, to which unseen ones add what the model does not know.
    """
    if not evaluations:
        return []
    model = fit(evaluations, n_examples=n_examples)
    return [_estimate(model, i, e, n_examples) for i, e in enumerate(evaluations)]


def _estimate(model: Model, index: int, evaluation: Evaluation, n_examples: int) -> Estimate:
    if len(evaluation.scores) == n_examples:
        return evaluation.estimate
    scale = model.high - model.low
    p = _sigmoid(model.level + model.ability[index] - model.difficulty)
    values = model.low + scale * p
    slope = p * (1.0 - p)
    seen = np.fromiter(evaluation.scores, dtype=int)
    values[seen] = np.fromiter(evaluation.scores.values(), dtype=float)
    slope[seen] = 0.0
    unknown = slope.mean() ** 2 * model.ability_variance[index]
    unknown += (slope**2 * model.difficulty_variance).sum() / n_examples**2
    noise = model.dispersion * slope.sum() / n_examples**2
    spread = values.var() / n_examples
    return Estimate(
        score=float(values.mean()),
        stderr=sqrt(scale**2 * float(unknown + noise) + float(spread)),
        n_examples=len(evaluation.scores),
    )


def draw_order(
    model: Model | None, *, n_examples: int, rng: random.Random, floor: float = 0.1
) -> list[int]:
    """Return all examples in a random order in which those that tell candidates apart come early.

    An example's weight is the variance of a score there for a good candidate, `p (1 - p)`, which
    is what a score says of the candidate (its Fisher information); examples that nobody gets
    right, or everybody, have little, but never less than `floor` of the largest possible.

    Source:
        Weighted sampling without replacement: Efraimidis & Spirakis 2006.
    """
    if model is None:
        order = list(range(n_examples))
        rng.shuffle(order)
        return order
    best = float(model.ability.max())
    # An example that few met may be anything: its chance is drawn toward the middle.
    doubt = np.sqrt(1.0 + np.pi / 8.0 * model.difficulty_variance)
    p = _sigmoid((model.level + best - model.difficulty) / doubt)
    weights = np.maximum(4.0 * p * (1.0 - p), floor)
    keys = [log(max(rng.random(), 1e-300)) / float(weight) for weight in weights]
    return sorted(range(n_examples), key=lambda j: (-keys[j], j))


def hopeless_against(
    model: Model, incumbent: int, order: Sequence[int], *, z: float
) -> Callable[[float, int], bool]:
    """Return the rule by which a newcomer can hardly be better than `incumbent`.

    It takes the newcomer's total over the first n examples of `order`, and n. The total is all
    that matters (a Rasch model's sufficient statistic), so the rule never turns against a
    candidate whose total grows.
    """
    target, doubt = float(model.ability[incumbent]), float(model.ability_variance[incumbent])
    scale = model.high - model.low

    @cache
    def hopeless(total: float, n: int) -> bool:
        if scale <= 0.0:
            return False
        y = (total - n * model.low) / scale
        offset = model.level - model.difficulty[list(order[:n])]
        ability, info = 0.0, 1.0
        for _ in range(12):
            p = _sigmoid(offset + ability)
            info = float((p * (1.0 - p)).sum()) / model.dispersion + model.ability_spread**-2
            pull = (y - float(p.sum())) / model.dispersion - ability / model.ability_spread**2
            ability += max(-1.0, min(1.0, pull / info))
        return target - ability > z * sqrt(doubt + 1.0 / info)

    return hopeless


def leaders(found: Sequence[Estimate], *, n_examples: int, k: int, z: float) -> list[int]:
    """Return those of the best `k` that deserve more examples: as long as the lead is not real.

    Args:
        found: Estimates of all candidates.
        n_examples: Size of the set; who has met all of it is known.
        k: Leaders at most.
        z: Standard errors by which a real lead is ahead.
    """
    ranked = sorted(range(len(found)), key=lambda i: -found[i].score)[: max(k, 2)]
    if len(ranked) > 1:
        first, second = found[ranked[0]], found[ranked[1]]
        gap = first.score - second.score
        if gap > z * sqrt(first.stderr**2 + second.stderr**2):
            return []
    return [i for i in ranked[:k] if found[i].n_examples < n_examples]
