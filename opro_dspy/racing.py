"""Whom to measure further, on what, and how good a candidate is by what was seen: pure statistics.

A candidate's score on an example depends on how good the candidate is and on how hard the example
is (`rasch.py`). Both are estimated from all scores ever seen, so that candidates that met different
examples can be compared; a candidate that met few is drawn toward those with similar texts, as far
as likeness has told anything in this run, and toward the mean of all.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from math import log, sqrt

import numpy as np
from pydantic import Field, field_validator

from opro_dspy.errors import ConfigurationError
from opro_dspy.options import Options
from opro_dspy.rasch import Fit, Model, fit, sigmoid
from opro_dspy.records import Estimate, Evaluation

LEAST_OF_CHOICE = 2
"""Examples that a contender meets in a round of the choice at least."""


class Racing(Options):
    """How a step's candidates race: `OPRO(racing=Racing(...))`.

    The rules follow from statistics. How long `rungs` and `scouting_steps` are does not: they were
    chosen once, by the mean over all landscapes of the simulation (`benchmarks/efficiency.py`).

    Source:
        That many candidates on few examples lead further than few on many: Wang, Audibert & Munos
        2008, "Algorithms for infinitely many-armed bandits".
    """

    rungs: tuple[int, ...] = (2, 4)
    """Examples met after each rung, rising; after each, the better half goes on. So few do since
    a candidate leans on those with similar texts (`rasch.py`), and leaders meet more."""
    scouting_steps: int = Field(default=6, ge=0)
    """First steps that end after the first rung: while little is known, further candidates tell
    more than further examples of the same ones (measured: better at 300 calls, equal later)."""
    start: int = Field(default=12, ge=1)
    """Examples on which the initial instructions are measured before the first step. The standard
    error of 12 is 0.14 at most: the usual spread of candidates (0.6 logits, `rasch.py`) is 0.15."""
    batch: int = Field(default=2, ge=1)
    """Further examples that a leader meets after a step while its lead is not real."""
    num_leaders: int = Field(default=2, ge=0)
    """Leaders that are measured further after a step."""
    num_contenders: int = Field(default=24, ge=1)
    """Best candidates of all steps that race for a place among the finalists at the end; twice as
    many take one more round (`rounds_of_choice`), so 24 for 2 places are four."""
    z: float = Field(default=1.645, gt=0)
    """Standard errors of a difference that is taken for real (1.645: one-sided 5 %)."""

    def rungs_of(self, step: int) -> tuple[int, ...]:
        """Return the rungs of a step, counted from 1."""
        return self.rungs[:1] if step <= self.scouting_steps else self.rungs

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if not rungs or rungs[0] < 1 or list(rungs) != sorted(set(rungs)):
            raise ValueError("must rise from at least 1")
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


def estimates(
    evaluations: Sequence[Evaluation],
    *,
    n_examples: int,
    among: range | None = None,
    fitted_by: Fit = fit,
) -> list[Estimate]:
    """Return each candidate's mean score over a set of examples, as far as it is known.

    What was seen counts as it is, what was not is filled in by the model; so with all examples
    seen the estimate is the plain mean, and with few it leans on how hard they were and on how
    good candidates are as a rule. Which examples were chosen may depend on scores seen before:
    the model takes them into account (Rubin 1976, ignorability).

    Args:
        evaluations: All that is known, from which the model learns.
        n_examples: Examples that there are.
        among: Those that the mean is taken over; all by default.
        fitted_by: Makes the model (`rasch.LastFit` where it may be asked for again).

    Returns:
        Estimates in the order of `evaluations`. `stderr` is that of the mean over a fresh sample
        of as many examples, to which unseen ones add what the model does not know.
    """
    if not evaluations:
        return []
    among = among or range(n_examples)
    model = fitted_by(evaluations, n_examples=n_examples)
    return [_estimate(model, i, e, among) for i, e in enumerate(evaluations)]


def _estimate(model: Model, index: int, evaluation: Evaluation, among: range) -> Estimate:
    scores = {j - among.start: s for j, s in evaluation.scores.items() if j in among}
    n = len(among)
    if len(scores) == n:
        return Estimate.of(scores)
    scale, difficulty = model.high - model.low, model.difficulty[among.start : among.stop]
    doubt = model.difficulty_variance[among.start : among.stop]
    p = sigmoid(model.level + model.ability[index] - difficulty)
    values = model.low + scale * p
    slope = p * (1.0 - p)
    seen = np.fromiter(scores, dtype=int)
    values[seen] = np.fromiter(scores.values(), dtype=float)
    slope[seen] = 0.0
    unknown = slope.mean() ** 2 * model.ability_variance[index] + (slope**2 * doubt).sum() / n**2
    noise = model.dispersion * slope.sum() / n**2
    spread = values.var() / n
    return Estimate(
        score=float(values.mean()),
        stderr=sqrt(scale**2 * float(unknown + noise) + float(spread)),
        n_examples=len(scores),
    )


def draw_order(
    model: Model | None, *, n_examples: int, rng: random.Random, floor: float = 0.1
) -> list[int]:
    """Return all examples in a random order in which those that tell candidates apart come early.

    An example's weight is the variance of a score there for a good candidate, `p (1 - p)`, which
    is what a score says of the candidate (its Fisher information); examples that nobody gets
    right, or everybody, have little, but never less than `floor` of the largest possible: the
    model can be wrong of an example, and only meeting it shows that.

    Source:
        Weighted sampling without replacement: Efraimidis & Spirakis 2006. An item's information:
        Lord 1980, "Applications of Item Response Theory". A part that is always kept, here a
        tenth: defensive sampling, Owen & Zhou 2000, "Safe and effective importance sampling".
    """
    if model is None:
        order = list(range(n_examples))
        rng.shuffle(order)
        return order
    best = float(model.ability.max())
    # An example that few met may be anything: its chance is drawn toward the middle.
    doubt = np.sqrt(1.0 + np.pi / 8.0 * model.difficulty_variance)
    p = sigmoid((model.level + best - model.difficulty) / doubt)
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

    Source:
        Leaving a race once a test tells the best apart: Maron & Moore 1994, "Hoeffding races".
        The newcomer's ability and its variance, as mode and curvature of the posterior: Mislevy
        1986, "Bayes modal estimation in item response models".
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
            p = sigmoid(offset + ability)
            info = float((p * (1.0 - p)).sum()) / model.dispersion + model.ability_spread**-2
            pull = (y - float(p.sum())) / model.dispersion - ability / model.ability_spread**2
            ability += max(-1.0, min(1.0, pull / info))
        return target - ability > z * sqrt(doubt + 1.0 / info)

    return hopeless


def leaders(found: Sequence[Estimate], *, n_examples: int, k: int, z: float) -> list[int]:
    """Return the `k` that deserve more examples: until the lead of the best is real.

    Those that may be the best come first, by an upper confidence bound: a sure good one as well as
    one that few examples speak for. Whoever can hardly be the best is none of them.

    Args:
        found: Estimates of all candidates.
        n_examples: Size of the set; who has met all of it is known.
        k: Leaders at most.
        z: Standard errors by which a real lead is ahead.

    Source:
        Lai & Robbins 1985, "Asymptotically efficient adaptive allocation rules"; one standard
        error for optimism.
    """
    ranked = sorted(range(len(found)), key=lambda i: -found[i].score)
    if len(ranked) > 1:
        first, second = found[ranked[0]], found[ranked[1]]
        gap = first.score - second.score
        if gap > z * sqrt(first.stderr**2 + second.stderr**2):
            return []
    best = max((estimate.score for estimate in found), default=0.0)
    unsure = [
        i
        for i in ranked
        if found[i].n_examples < n_examples and found[i].score + z * found[i].stderr >= best
    ]
    return sorted(unsure, key=lambda i: -(found[i].score + found[i].stderr))[:k]


def rounds_of_choice(
    n_contenders: int, *, n_finalists: int, n_examples: int, budget: int | None = None
) -> list[tuple[int, int]]:
    """Return the rounds in which contenders race for the places of the finalists.

    After each round the better half stays. All rounds cost about the same: as much as one
    candidate on the whole set, or an equal share of `budget`; with little budget, fewer start.

    Args:
        n_contenders: Candidates at the start, at most.
        n_finalists: Candidates that are to be left, at least 1.
        n_examples: Size of the selection set.
        budget: Examples that all rounds may score beside what the finalists would have to meet
            anyway; None for no limit.

    Returns:
        For each round how many candidates run in it, and how many further examples each meets.

    Source:
        Sequential halving with an equal budget for each round: Karnin, Koren & Somekh 2013,
        "Almost optimal exploration in multi-armed bandits".
    """
    pools = []
    pool = n_contenders
    while pool > n_finalists:
        pools.append(pool)
        pool = max(n_finalists, (pool + 1) // 2)
    while pools:
        share = n_examples if budget is None else min(n_examples, max(0, budget) // len(pools))
        # What a finalist meets in a round it need not meet later: that costs nothing.
        rounds = [(pool, min(n_examples, share // (pool - n_finalists))) for pool in pools]
        if rounds[0][1] >= min(LEAST_OF_CHOICE, n_examples):
            return rounds
        pools = pools[1:]
    return []
