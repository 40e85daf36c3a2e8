import math
from collections.abc import Callable
from typing import Any

import pytest

from opro_dspy.errors import ConfigurationError
from opro_dspy.schedules import (
    adaptive,
    clamp,
    constant,
    linear,
    resolve_schedule,
    temperature_at,
)
from opro_dspy.trajectory import Trajectory
from tests.test_stopping import run_of


def test_linear_goes_from_start_to_end() -> None:
    schedule = linear(1.0, 0.0, num_steps=5)
    assert [schedule(step, Trajectory()) for step in (1, 3, 5, 9)] == [1.0, 0.5, 0.0, 0.0]
    assert linear(1.0, 0.0, num_steps=1)(1, Trajectory()) == 1.0


def test_adaptive_rises_when_the_best_stands_still_and_falls_when_it_improves() -> None:
    schedule = adaptive(1.0)
    assert schedule(1, run_of(0.5)) == 1.0
    assert schedule(3, run_of(0.5, 0.5, 0.4)) == pytest.approx(1.2)
    assert schedule(3, run_of(0.5, 0.6, 0.7)) == pytest.approx(0.8)


def test_adaptive_rises_when_candidates_repeat() -> None:
    assert adaptive(1.0)(2, run_of(0.5, 0.6, repeats=1)) > 1.0


def test_adaptive_stays_within_its_bounds() -> None:
    assert adaptive(1.0)(30, run_of(*[0.5] * 30)) == 1.6
    assert adaptive(1.0)(30, run_of(*[i / 30 for i in range(30)])) == 0.3


def test_a_callable_of_the_step_alone_is_a_schedule() -> None:
    schedule = resolve_schedule(lambda step: 1.0 / step, init_temperature=1.0, num_steps=3)
    assert schedule(2, Trajectory()) == 0.5


def raises(step: int) -> float:
    raise KeyError("no such step")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("steep", "one of constant, linear, adaptive"),
        (3, "or a callable"),
        (lambda step: 7.0, r"<lambda> returned 7\.0 at step 1.*in \[0, 2\]"),
        (lambda step: -0.1, "returned -0.1"),
        (lambda step: math.nan, "returned nan"),
        (lambda step: None, "returned None"),
        (lambda step: "x", "returned 'x'"),
        (lambda step: True, "returned True"),
        (raises, "temperature_schedule raises raised KeyError at step 1: 'no such step'"),
    ],
)
def test_a_wrong_schedule_is_refused_at_the_door(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        resolve_schedule(wrong, init_temperature=1.0, num_steps=3)
    assert "temperature_schedule" in str(caught.value)


def test_a_schedule_that_looks_at_the_best_so_far_passes_the_door() -> None:
    def schedule(step: int, trajectory: Trajectory) -> float:
        return 1.0 - trajectory.estimate(trajectory.best.candidate).score

    resolved = resolve_schedule(schedule, init_temperature=1.0, num_steps=3)
    assert resolved(2, run_of(0.25)) == 0.75


@pytest.mark.parametrize("wrong", [math.nan, "x", None, False])
def test_what_is_no_number_is_refused_at_any_step(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"returned .* at step 7\. It must return a temp"):
        temperature_at(lambda step, trajectory: wrong, 7, Trajectory())


@pytest.mark.parametrize(
    "make",
    [
        lambda: constant(2.5),
        lambda: constant(math.nan),
        lambda: linear(-1.0, 0.0, num_steps=3),
        lambda: linear(1.0, 3.0, num_steps=3),
        lambda: adaptive(9.0),
    ],
)
def test_a_schedule_of_ours_takes_temperatures_only(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a temperature in \[0, 2\], got"):
        make()


def test_clamp_keeps_a_temperature_in_range() -> None:
    assert (clamp(-1.0), clamp(3.0), clamp(0.7)) == (0.0, 2.0, 0.7)
