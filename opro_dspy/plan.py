"""How many calls a run may take: sizes of `auto`, and the range that an estimate starts from."""

from collections.abc import Sequence
from dataclasses import dataclass

from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.race import Race
from opro_dspy.racing import Racing, rounds_of_choice
from opro_dspy.selectors import share

AUTO_STEPS = {"light": 6, "medium": 12, "heavy": 25}
"""Steps for each predictor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the number of calls depends on, settings aside."""

    n_train: int
    n_val: int
    """0 when the choice is made on the training set."""
    n_predictors: int
    per_step: int
    """Predictors that a step optimizes, at least and as a rule."""
    most_per_step: int
    """Predictors that a step optimizes at most."""
    n_initial: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a run without caps scores and asks, part by part."""

    start: int
    """Scored examples of the initial instructions."""
    steps: Sequence[tuple[int, int, int]]
    """Those of each step: at least, as a rule, and at most."""
    final: tuple[int, int, int]
    """Those of the final choice."""
    choice: int
    """What the final choice needs as a rule."""
    samples: tuple[int, int]
    """Requests to the optimizer LM in a step, at least and at most."""
    first: int
    """Scored examples before there is anything to choose from."""
    compared: int
    """Those by which the student and one other have met the whole selection set after that."""

    @property
    def metric_calls(self) -> tuple[int, int, int]:
        """How many examples a run scores: at least, as a rule, and at most."""
        low, mid, high = (
            self.start + sum(calls) for calls in zip((0, 0, 0), *self.steps, strict=True)
        )
        return low + self.final[0], mid + self.final[1], high + self.final[2]


def course(config: OproConfig, racing: Racing | None, sizes: Sizes) -> Course:
    """Return what a run without caps scores and asks, as long as nothing fails.

    At least: half of the proposals are known already, one of a step goes on, and no leader is
    measured further. As a rule: all are new, and nobody ties. At most: everybody ties and goes on
    to the end.
    """
    n, k = sizes.n_train, _samples_of(config, sizes.per_step)
    start, first = (n, n) if racing is None else (min(racing.start, n), min(racing.rungs[0], n))
    steps = [_calls_of(config, racing, sizes, step) for step in range(1, config.max_steps + 1)]
    searched = [sizes.n_initial * start + sum(calls[i] for calls in steps) for i in (1, 2)]
    usual, dearest = _choices(config, racing, sizes, searched)
    rest = (0, 0)
    if racing is not None and sizes.n_val:  # the chosen one meets the rest of the training set
        rest = n - start, n - min(start, _surely_met(config, racing, sizes))
    return Course(
        start=sizes.n_initial * start,
        steps=steps,
        final=(sizes.n_val or n - start, usual + rest[0], dearest + rest[1]),
        choice=usual,
        samples=(k, _samples_of(config, sizes.most_per_step) * config.max_attempts),
        first=sizes.n_initial * start + k * first,
        compared=2 * sizes.n_val if sizes.n_val else 2 * n - start - first,
    )


def _calls_of(
    config: OproConfig, racing: Racing | None, sizes: Sizes, step: int
) -> tuple[int, int, int]:
    """Return how many examples a step scores: at least, as a rule, and at most."""
    n, new = sizes.n_train, (_samples_of(config, sizes.per_step) + 1) // 2
    usual, most = (_n_new(config, step, m) for m in (sizes.per_step, sizes.most_per_step))
    if racing is None:
        return new * n, usual * n, most * n
    rungs = sorted({min(rung, n) for rung in racing.rungs_of(step)})
    further = racing.num_leaders * min(racing.batch, n)
    least = new * rungs[0] + rungs[-1] - rungs[0]
    return least, Race([n] * usual, rungs=rungs).n_cells + further, most * rungs[-1] + further


def _samples_of(config: OproConfig, per_step: int) -> int:
    """Return the samples of a step that optimizes so many predictors."""
    return per_step * share(config.num_candidates, per_step)


def _n_new(config: OproConfig, step: int, per_step: int) -> int:
    """Return the candidates of a step if all proposals are new.

    With several predictors a step also puts together what the one before found for each.
    """
    return _samples_of(config, per_step) + (step > 1 and per_step > 1)


def _choices(
    config: OproConfig, racing: Racing | None, sizes: Sizes, searched: Sequence[int]
) -> tuple[int, int]:
    """Return how many examples the final choice scores: as a rule, and at most.

    `searched` says the same of the search.

    A choice among fewer can take more; but what the steps did not bring, they did not score.
    """
    usual, most = (
        sizes.n_initial - 1 + sum(_n_new(config, 1 + i, m) for i in range(config.max_steps))
        for m in (sizes.per_step, sizes.most_per_step)
    )
    places = config.num_finalists if racing is None else racing.num_contenders
    as_a_rule, calls = (
        [_choice_of(n, config, racing, sizes, budget) for n in range(min(most, places) + 1)]
        for budget in searched
    )
    saved = 0 if racing is None else _surely_met(config, racing, sizes)
    fewer = [c - (most - n) * saved for n, c in enumerate(calls[:-1])]
    return as_a_rule[min(usual, places)], max([*fewer, calls[-1]])


def _choice_of(
    n_contenders: int, config: OproConfig, racing: Racing | None, sizes: Sizes, budget: int
) -> int:
    """Return how many examples a final choice among so many scores.

    The student and the finalists meet the whole selection set; before that the contenders race
    for the finalists' places, for no more than `budget`, which is what the search took.
    """
    n, n_finalists = sizes.n_val or sizes.n_train, min(config.num_finalists, n_contenders)
    if racing is None:  # everybody has met the training set
        return (1 + n_finalists) * n if sizes.n_val else 0
    met = 0 if sizes.n_val else _surely_met(config, racing, sizes)
    student = n if sizes.n_val else n - min(n, racing.start)
    rounds = rounds_of_choice(n_contenders, n_finalists=config.num_finalists, n_examples=n)
    # What a finalist meets in a round it need not meet later.
    race = min(budget, sum((k - n_finalists) * m for k, m in rounds))
    return student + n_finalists * (n - met) + race


def _surely_met(config: OproConfig, racing: Racing, sizes: Sizes) -> int:
    """Return the training examples of any candidate that the steps' calls are sure to count.

    Of most calls: those of whoever left a race early are counted with all that it could meet.
    """
    met = [racing.rungs_of(step)[-1] for step in range(1, config.max_steps + 1)]
    return min([*met, sizes.n_train, *([racing.start] if sizes.n_initial > 1 else [])])


def kept_for_the_choice(config: OproConfig, run: Course) -> int:
    """Return how many metric calls are held back for the final choice.

    That is what the choice needs as a rule; of `max_metric_calls` at most half, but always enough
    for the student and one other to meet the whole selection set, where that leaves a first step.

    Args:
        config: The settings, `auto` resolved.
        run: What the run does without caps.
    """
    cap = config.max_metric_calls
    if cap is None:
        return run.choice
    enough = run.compared if cap >= run.first + run.compared else 0
    return min(run.choice, max(cap // 2, enough))


def sized(config: OproConfig, racing: Racing | None, sizes: Sizes) -> OproConfig:
    """Return `config` with the steps and the cap on metric calls that its `auto` stands for.

    A run gets 6, 12 or 25 steps for each predictor, and the metric calls that they need as a rule,
    with a tenth to spare.
    """
    if config.auto is None:
        return config
    steps = AUTO_STEPS[config.auto] * max(1, sizes.n_predictors)
    config = config.model_copy(update={"max_steps": steps})
    if config.max_metric_calls is not None:
        return config
    _, usual, most = course(config, racing, sizes).metric_calls
    return config.model_copy(update={"max_metric_calls": min(most, usual + usual // 10)})


def check_auto(auto: object, *, max_steps: int | None) -> None:
    """Refuse an unknown `auto`, and one beside `max_steps`, which it sets.

    Raises:
        ConfigurationError: If so.
    """
    if auto is not None and auto not in AUTO_STEPS:
        raise ConfigurationError(
            f"`auto` must be None or one of {', '.join(AUTO_STEPS)}, got {auto!r}."
        )
    if auto is not None and max_steps is not None:
        raise ConfigurationError("`auto` sets `max_steps`: pass one of the two.")
