"""How many calls a run may take: sizes of `auto`, and the range that an estimate starts from."""

from dataclasses import dataclass

from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.race import Race
from opro_dspy.racing import Racing, rounds_of_choice

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


def metric_calls(config: OproConfig, racing: Racing | None, sizes: Sizes) -> tuple[int, int, int]:
    """Return how many examples a run scores: at least, as a rule, and at most.

    At least: half of the proposals are known already, and no leader is measured further. As a
    rule: all are new, and nobody ties. At most: everybody ties and goes on to the end.
    """
    k, n = config.num_candidates * sizes.per_step, sizes.n_train
    if racing is None:
        start, steps = sizes.n_initial * n, [((k + 1) // 2 * n, k * n, k * n)] * config.max_steps
    else:
        start = sizes.n_initial * min(racing.start, n)
        steps = [_calls_of(racing, step, k, n) for step in range(1, config.max_steps + 1)]
    final = choice_calls(racing, sizes, num_finalists=config.num_finalists)
    met = 0 if sizes.n_val else (n if racing is None else min(racing.start, n))
    if racing is not None and sizes.n_val:  # the chosen one meets the rest of the training set
        final += n - min(racing.start, n)
    low, mid, high = (start + sum(calls) for calls in zip((0, 0, 0), *steps, strict=True))
    calls = (low + (sizes.n_val or n) - met, mid + final, high + final)
    cap = config.max_metric_calls
    return calls if cap is None else (min(calls[0], cap), min(calls[1], cap), min(calls[2], cap))


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


def kept_for_the_choice(
    config: OproConfig, racing: Racing | None, sizes: Sizes
) -> tuple[int, int | None]:
    """Return how many metric calls are held back for the final choice, and what a cap lacks.

    That is what the choice needs as a rule, at most half of the cap; but always enough for the
    student and one other to meet the whole selection set, where that leaves a first step.

    Returns:
        The calls kept, and the least cap that leaves a choice if `max_metric_calls` is below it,
        else None.
    """
    cap = config.max_metric_calls or 0
    needed = choice_calls(racing, sizes, num_finalists=config.num_finalists)
    n, k = sizes.n_train, config.num_candidates * sizes.per_step
    start, first = (n, n) if racing is None else (min(n, racing.start), min(n, racing.rungs[0]))
    least = 2 * sizes.n_val if sizes.n_val else 2 * n - start - first
    smallest = sizes.n_initial * start + k * first + least
    if cap < smallest:
        return min(needed, cap // 2), smallest
    return min(needed, max(cap // 2, least)), None


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
    _, usual, most = metric_calls(config, racing, sizes)
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
