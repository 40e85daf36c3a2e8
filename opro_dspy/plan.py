"""How many calls a run may take: sizes of `auto`, and the range that an estimate starts from."""

from collections.abc import Sequence
from dataclasses import dataclass

from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.race import Race
from opro_dspy.racing import Racing, rounds_of_choice

CHOICE_SHARE = 0.3
"""Share of a budget without `max_metric_calls` that is kept for the final choice."""

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
    """Predictors that a step optimizes."""
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
    """Return what a run without caps scores and asks.

    At least: half of the proposals are known already, and no leader is measured further. As a
    rule: all are new, and nobody ties. At most: everybody ties and goes on to the end.
    """
    k, n = config.num_candidates * sizes.per_step, sizes.n_train
    start, first = (n, n) if racing is None else (min(racing.start, n), min(racing.rungs[0], n))
    if racing is None:
        steps = [((k + 1) // 2 * n, k * n, k * n)] * config.max_steps
    else:
        steps = [_calls_of(racing, step, k, n) for step in range(1, config.max_steps + 1)]
    final = choice_calls(racing, sizes, num_finalists=config.num_finalists)
    if racing is not None and sizes.n_val:  # the chosen one meets the rest of the training set
        final += n - start
    return Course(
        start=sizes.n_initial * start,
        steps=steps,
        final=(sizes.n_val or n - start, final, final),
        samples=(k, k * config.max_attempts),
        first=sizes.n_initial * start + k * first,
        compared=2 * sizes.n_val if sizes.n_val else 2 * n - start - first,
    )


def _calls_of(racing: Racing, step: int, k: int, n: int) -> tuple[int, int, int]:
    """Return how many examples a step scores: at least, as a rule, and at most."""
    rungs = [rung for rung in racing.rungs_of(step) if rung < n] or [n]
    further = racing.num_leaders * min(racing.batch, n)
    least = Race([n] * ((k + 1) // 2), rungs=rungs).n_cells
    return least, Race([n] * k, rungs=rungs).n_cells + further, k * rungs[-1] + further


def choice_calls(racing: Racing | None, sizes: Sizes, *, num_finalists: int) -> int:
    """Return how many examples the final choice has to score as a rule, at most.

    The student and the finalists meet the whole selection set; before that the contenders race
    for the finalists' places.
    """
    n = sizes.n_val or sizes.n_train
    if racing is None:  # everybody has met the training set
        return (1 + num_finalists) * n if sizes.n_val else 0
    met = (0, 0) if sizes.n_val else (min(n, racing.start), min(n, racing.rungs[-1]))
    rounds = rounds_of_choice(racing.num_contenders, n_finalists=num_finalists, n_examples=n)
    # What a finalist meets in a round it need not meet later.
    racing_calls = sum((k - num_finalists) * m for k, m in rounds)
    return n - met[0] + num_finalists * (n - met[1]) + racing_calls


def kept_for_the_choice(config: OproConfig, racing: Racing | None, sizes: Sizes) -> int:
    """Return how many metric calls of `max_metric_calls` are held back for the final choice.

    That is what the choice needs as a rule, at most half of the cap; but always enough for the
    student and one other to meet the whole selection set, where that leaves a first step.
    """
    cap = config.max_metric_calls or 0
    needed = choice_calls(racing, sizes, num_finalists=config.num_finalists)
    run = course(config, racing, sizes)
    enough = run.compared if cap >= run.first + run.compared else 0
    return min(needed, max(cap // 2, enough))


def sized(config: OproConfig, racing: Racing | None, sizes: Sizes) -> OproConfig:
    """Return `config` with the steps and the cap on metric calls that its `auto` stands for.

    A run gets 6, 12 or 25 steps for each predictor, and the metric calls that they need as a rule,
    with a tenth to spare.
    """
    if config.auto is None:
        return config
    steps = AUTO_STEPS[config.auto] * max(1, sizes.n_predictors // sizes.per_step)
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
