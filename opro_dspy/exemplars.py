"""Which training examples the meta-prompt shows.

The most useful examples come first, because the last ones leave first when the window is full.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral

from opro_dspy.errors import ConfigurationError
from opro_dspy.protocols import ExemplarChoice
from opro_dspy.records import Evaluation
from opro_dspy.seats import called, name_of, wrong
from opro_dspy.trajectory import Trajectory


def random_choice(
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> list[int]:
    """Draw `n` examples at random, afresh in each step.

    Source:
        OPRO (arXiv:2309.03409), section 5.1: three training examples, drawn anew at each step.
    """
    return _filled([], n_examples=n_examples, n=n, rng=rng)


def constant(
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> list[int]:
    """Take the first `n` examples, the same in each step.

    Source:
        OPRO's reference code, the choice "constant".
    """
    return list(range(min(n, n_examples)))


def accumulative_most_frequent(
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> list[int]:
    """Draw from all examples ever answered wrongly, the often wrong ones with a higher chance.

    The chance of an example is in proportion to its rate of wrong answers; see `_wrong_rates`.

    Source:
        OPRO's reference code, the choice "accumulative_most_frequent".
    """
    rates = _wrong_rates(trajectory, trajectory, n_examples)
    # Exponential clocks: the first n to ring are a sample without replacement, weighted by rate
    # (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
    rings = {example: rng.expovariate(rate) for example, rate in rates.items()}
    return _filled(sorted(rings, key=rings.__getitem__), n_examples=n_examples, n=n, rng=rng)


def current_most_frequent(
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> list[int]:
    """Take the examples that the candidates now shown get wrong most often; chance breaks ties.

    Source:
        OPRO's reference code, the choice "current_most_frequent".
    """
    keys = set(shown)
    rates = _wrong_rates(trajectory, (e for e in trajectory if e.candidate.key in keys), n_examples)
    order = {example: (-rate, rng.random()) for example, rate in rates.items()}
    return _filled(sorted(order, key=order.__getitem__), n_examples=n_examples, n=n, rng=rng)


def with_feedback(
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> list[int]:
    """As `current_most_frequent`, but those of which the metric said something in words first.

    The meta-prompt then shows what was said (`feedback_by_example`).
    """
    keys = set(shown)
    rates = _wrong_rates(trajectory, (e for e in trajectory if e.candidate.key in keys), n_examples)
    said = feedback_by_example(trajectory, shown)
    order = {i: (i not in said, -rate, rng.random()) for i, rate in rates.items()}
    return _filled(sorted(order, key=order.__getitem__), n_examples=n_examples, n=n, rng=rng)


def feedback_by_example(trajectory: Trajectory, shown: Sequence[str]) -> dict[int, str]:
    """Return, by example, what the metric said of the best candidate shown that got it wrong.

    Args:
        trajectory: All evaluations so far.
        shown: Keys of the candidates that the meta-prompt shows.
    """
    keys, perfect = set(shown), trajectory.perfect_score()
    found: dict[int, str] = {}
    for evaluation in reversed(trajectory.ranked()):
        if evaluation.candidate.key in keys and evaluation.dropped is None:
            said, scores = evaluation.feedback, evaluation.scores
            found |= {i: text for i, text in said.items() if text and scores[i] < perfect}
    return found


def _wrong_rates(
    trajectory: Trajectory, evaluations: Iterable[Evaluation], n_examples: int
) -> dict[int, float]:
    """Return how often each example is answered wrongly, for those ever wrong, by index.

    Candidates may have met different examples, so this is a rate, not a count. One is added to its
    denominator: nineteen wrong of twenty weigh more than one of one. An evaluation that ended
    early is left out: the failure scores that fill it up are no answers.

    Args:
        trajectory: Says from which score on an answer is right.
        evaluations: The evaluations that count.
        n_examples: Examples there are; others are left out.

    Returns:
        Example index to rate, in (0, 1), in order of the index.
    """
    perfect = trajectory.perfect_score()
    seen: dict[int, int] = {}
    wrong: dict[int, int] = {}
    for evaluation in evaluations:
        for example, score in evaluation.scores.items():
            if evaluation.dropped is None and 0 <= example < n_examples:
                seen[example] = seen.get(example, 0) + 1
                wrong[example] = wrong.get(example, 0) + (score < perfect)
    return {i: wrong[i] / (seen[i] + 1) for i in sorted(wrong) if wrong[i]}


def _filled(first: Sequence[int], *, n_examples: int, n: int, rng: random.Random) -> list[int]:
    """Return the first `n` of `first`, filled up at random from the rest of the examples."""
    chosen = list(first[:n])
    rest = sorted(set(range(n_examples)).difference(chosen))
    return chosen + rng.sample(rest, min(n - len(chosen), len(rest)))


def chosen(
    choice: ExemplarChoice,
    step: int,
    trajectory: Trajectory,
    *,
    shown: Sequence[str],
    n_examples: int,
    n: int,
    rng: random.Random,
) -> tuple[int, ...]:
    """Return the indices that `choice` takes for `step`; the arguments are a choice's.

    Raises:
        ConfigurationError: If it raises, or returns anything but at most `n` distinct indices.
    """
    seat = f"exemplar choice {name_of(choice)}"
    found = called(
        seat,
        step,
        lambda: choice(trajectory, shown=shown, n_examples=n_examples, n=n, rng=rng),
    )
    indices = tuple(found) if isinstance(found, Iterable) else (None,)
    numbers = [int(i) for i in indices if isinstance(i, Integral) and not isinstance(i, bool)]
    within = all(0 <= number < n_examples for number in numbers)
    if not within or len(set(numbers)) < len(indices) or len(numbers) > n:
        expected = f"at most {n} different whole numbers from 0 to {n_examples - 1}"
        raise wrong(seat, step, found, expected)
    return tuple(numbers)


EXEMPLAR_CHOICES: Mapping[str, ExemplarChoice] = {
    "random": random_choice,
    "constant": constant,
    "accumulative_most_frequent": accumulative_most_frequent,
    "current_most_frequent": current_most_frequent,
    "with_feedback": with_feedback,
}
"""The paper's choices by name, and one for metrics that say something in words."""


def resolve_exemplar_choice(choice: str | ExemplarChoice) -> ExemplarChoice:
    """Return the choice of that name, or the callable itself.

    Raises:
        ConfigurationError: If the name is unknown or `choice` cannot be called.
    """
    if isinstance(choice, str) and choice in EXEMPLAR_CHOICES:
        return EXEMPLAR_CHOICES[choice]
    expected = f"`exemplars` must be one of {', '.join(map(repr, EXEMPLAR_CHOICES))}, or a callable"
    if isinstance(choice, str):
        nearest = get_close_matches(choice, EXEMPLAR_CHOICES, n=1, cutoff=0)[0]
        raise ConfigurationError(f"{expected}, got {choice!r}. Did you mean {nearest!r}?")
    if not callable(choice):
        raise ConfigurationError(
            f"{expected}, got {choice!r}. See opro_dspy.protocols.ExemplarChoice for its arguments."
        )
    return choice
