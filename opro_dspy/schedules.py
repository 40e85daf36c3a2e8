"""Temperature schedules: how boldly the optimizer LM samples at each step."""

import inspect
import math
from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import cast

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import ALREADY_SCORED
from opro_dspy.protocols import Schedule
from opro_dspy.records import Candidate, Evaluation, Step
from opro_dspy.seats import called, name_of, wrong
from opro_dspy.trajectory import Trajectory

MAX_TEMPERATURE = 2.0
SCHEDULE_NAMES = ("constant", "linear", "adaptive")


def constant(temperature: float) -> Schedule:
    """Sample at `temperature` in every step (the paper's setting is 1.0)."""
    check_temperature("temperature", temperature)
    return lambda step, trajectory: temperature


def linear(start: float, end: float, *, num_steps: int) -> Schedule:
    """Go from `start` at step 1 to `end` at step `num_steps`, as the reference code can."""
    check_temperature("start", start)
    check_temperature("end", end)

    def schedule(step: int, trajectory: Trajectory) -> float:
        share = min(1.0, (step - 1) / (num_steps - 1)) if num_steps > 1 else 0.0
        return start + (end - start) * share

    return schedule


def adaptive(start: float, *, delta: float = 0.1, low: float = 0.3, high: float = 1.6) -> Schedule:
    """Explore more when the search repeats itself or stands still, less while it improves.

    After a step that raised the best estimate the temperature falls by `delta`; after one that did
    not, or in which at least half of the proposals were known already, it rises by `delta`. It
    stays within [`low`, `high`] (or at `start`, where that lies outside).

    Source:
        Our own; the bounds follow OPRO, section 5.3: at 0.5 and below the search gets stuck, at
        1.5 and above it ignores the trajectory.
    """
    check_temperature("start", start)
    low, high = min(low, start), max(high, start)

    def schedule(step: int, trajectory: Trajectory) -> float:
        temperature = start
        for done in trajectory.steps[1:]:
            now, before = trajectory.best_after(done.index), trajectory.best_after(done.index - 1)
            improved = now is not None and before is not None and now.score > before.score
            repeats = sum(p.rejected == ALREADY_SCORED for p in done.proposals)
            stuck = 2 * repeats >= max(1, len(done.proposals))
            temperature += -delta if improved and not stuck else delta
            temperature = min(high, max(low, temperature))
        return temperature

    return schedule


def resolve_schedule(
    schedule: str | Callable[..., float],
    *,
    init_temperature: float,
    end_temperature: float = 0.0,
    num_steps: int,
) -> Schedule:
    """Return the schedule of that name, or a user's callable of `(step)` or `(step, trajectory)`.

    Raises:
        ConfigurationError: If the name is unknown, the value is no callable, or the callable does
            not return a temperature in [0, 2] for step 1.
    """
    if schedule == "constant":
        return constant(init_temperature)
    if schedule == "linear":
        return linear(init_temperature, end_temperature, num_steps=num_steps)
    if schedule == "adaptive":
        return adaptive(init_temperature)
    if not callable(schedule):
        raise ConfigurationError(
            f"`temperature_schedule` must be one of {', '.join(SCHEDULE_NAMES)} or a callable of "
            f"the step, got {schedule!r}."
        )
    return _checked(schedule)


def _checked(schedule: Callable[..., float]) -> Schedule:
    try:
        inspect.signature(schedule).bind(1, None)
        adapted = cast(Schedule, schedule)
    except TypeError:

        @wraps(schedule)  # a callable of the step alone
        def adapted(step: int, trajectory: Trajectory) -> float:
            return schedule(step)

    temperature_at(adapted, 1, _at_step_1())
    return adapted


def _at_step_1() -> Trajectory:
    """Return a trajectory as step 1 may find it, for trying a schedule out."""
    start = Candidate({"instruction": ""})
    trajectory = Trajectory()
    step = Step(index=0, candidates=(start,))
    trajectory.append(step, [Evaluation(candidate=start, scores={0: 0.0})])
    return trajectory


def temperature_at(schedule: Schedule, step: int, trajectory: Trajectory) -> float:
    """Return what `schedule` says for `step`; from step 2 on it may lie outside [0, 2].

    Raises:
        ConfigurationError: If it raises or returns no number; for step 1, also if the number is
            no temperature.
    """
    seat = f"temperature_schedule {name_of(schedule)}"
    value: object = called(seat, step, lambda: schedule(step, trajectory))
    known = isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)
    if not known or (step == 1 and clamp(cast(float, value)) != value):
        raise wrong(seat, step, value, f"a temperature in [0, {MAX_TEMPERATURE:g}]")
    return float(cast(float, value))


def check_temperature(name: str, value: float) -> None:
    """Raise ConfigurationError if `value` is no temperature in [0, 2]."""
    if not 0.0 <= value <= MAX_TEMPERATURE:
        raise ConfigurationError(
            f"`{name}` must be a temperature in [0, {MAX_TEMPERATURE:g}], got {value!r}."
        )


def clamp(value: float) -> float:
    """Return `value` within [0, 2]."""
    return min(MAX_TEMPERATURE, max(0.0, float(value)))
