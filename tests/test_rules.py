"""Stop rules, temperature schedules, selectors, filters: small pure rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import ALREADY_SCORED, Filters, polish
from opro_dspy.records import Candidate, Evaluation, Proposal, Step
from opro_dspy.schedules import adaptive, clamp, linear, resolve_schedule
from opro_dspy.selectors import every, resolve_selector, round_robin
from opro_dspy.stopping import max_steps, nothing_new, patience, target_score
from opro_dspy.trajectory import Trajectory


def run_of(*scores: float | None, repeats: int = 0) -> Trajectory:
    """A trajectory whose steps brought one candidate of that score, or none."""
    trajectory = Trajectory()
    for index, score in enumerate(scores):
        candidates = () if score is None else (Candidate({"p": f"{index}"}),)
        proposals = (Proposal(component="p", raw="x", rejected=ALREADY_SCORED),) * repeats
        step = Step(index=index, candidates=candidates, proposals=proposals)
        trajectory.append(
            step, [Evaluation(candidate=c, scores={0: score or 0.0}) for c in candidates]
        )
    return trajectory


def test_max_steps_does_not_count_the_initial_step() -> None:
    assert max_steps(2)(run_of(0.1, 0.2)) is None
    assert max_steps(2)(run_of(0.1, 0.2, 0.3)) == "max_steps: 2 steps were done"
    assert max_steps(0)(run_of(0.1)) is not None


def test_target_score_stops_when_reached() -> None:
    assert target_score(0.5)(run_of(0.4)) is None
    assert target_score(0.5)(run_of(0.4, 0.5)) == "target_score: 0.5 reaches 0.5"


def test_patience_counts_steps_without_improvement() -> None:
    assert patience(2)(run_of(0.5, 0.4)) is None
    assert patience(2)(run_of(0.5, 0.4, 0.5)) == "patience: no improvement for 2 steps"
    assert patience(2)(run_of(0.5, 0.6, 0.4)) is None


def test_nothing_new_counts_the_latest_empty_steps() -> None:
    assert nothing_new(2)(run_of(0.5, None, 0.4, None)) is None
    assert nothing_new(2)(run_of(0.5, 0.4, None, None)) is not None


def test_stop_rules_compose_and_the_first_speaks() -> None:
    rule = target_score(0.9) | max_steps(1)
    assert rule(run_of(0.5)) is None
    assert str(rule(run_of(0.5, 0.6))).startswith("max_steps")
    assert str(rule(run_of(0.5, 0.95))).startswith("target_score")


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


@pytest.mark.parametrize("wrong", ["steep", 3, lambda step: 7.0, lambda step: None])
def test_a_wrong_schedule_is_refused_at_the_door(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="temperature_schedule"):
        resolve_schedule(wrong, init_temperature=1.0, num_steps=3)  # type: ignore[arg-type]


def test_clamp_keeps_a_temperature_in_range() -> None:
    assert (clamp(-1.0), clamp(3.0), clamp(float("nan"))) == (0.0, 2.0, 1.0)


def test_selectors() -> None:
    names, trajectory = ("a", "b"), Trajectory()
    assert [round_robin(step, names, trajectory) for step in (1, 2, 3)] == [["a"], ["b"], ["a"]]
    assert every(1, names, trajectory) == names
    assert resolve_selector("all") is every
    with pytest.raises(ConfigurationError, match="round_robin"):
        resolve_selector("none")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("x" * 501, "too long: 501 characters, at most 500"),
        ("Use <INS> here", "contains a placeholder tag"),
        ("Use </ start > here", "contains a placeholder tag"),
        ("Write [[ ## answer ## ]]", "contains a field marker"),
        ("Think in 3 steps", None),
    ],
)
def test_filters_say_why_they_refuse(text: str, reason: str | None) -> None:
    assert Filters().reason_to_reject(text) == reason


def test_digits_are_refused_when_asked() -> None:
    assert Filters(allow_digits=False).reason_to_reject("In 3 steps") == "contains digits"


def test_polish_strips_drops_stars_and_capitalises() -> None:
    assert polish("  **solve** it.\n") == "Solve it."


@given(st.text())
def test_polish_is_idempotent(text: str) -> None:
    assert polish(polish(text)) == polish(text)
