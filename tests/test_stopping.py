import math
from collections.abc import Callable
from typing import Any, cast

import pytest

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import ALREADY_SCORED
from opro_dspy.protocols import StopRule
from opro_dspy.records import Candidate, Evaluation, Proposal, Step
from opro_dspy.stopping import Stop, max_steps, nothing_new, patience, target_score
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
    assert max_steps(1)(run_of(0.1, 0.2)) == "max_steps: 1 step was done"
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


def test_a_round_has_as_many_steps_as_predictors() -> None:
    rule = patience(2, per_round=3)
    assert rule(run_of(0.5, *[0.4] * 5)) is None
    assert rule(run_of(0.5, *[0.4] * 6)) == "patience: no improvement for 2 rounds of 3 steps"
    assert rule(run_of(0.5, *[0.4] * 5, 0.6, 0.4)) is None
    empty = nothing_new(1, per_round=3)
    assert empty(run_of(0.5, None, None)) is None
    said = "nothing_new: 1 round of 3 steps in a row brought no new candidate"
    assert empty(run_of(0.5, None, None, None)) == said


def test_stop_rules_compose_and_the_first_speaks() -> None:
    rule = target_score(0.9) | max_steps(1)
    assert rule(run_of(0.5)) is None
    assert str(rule(run_of(0.5, 0.6))).startswith("max_steps")
    assert str(rule(run_of(0.5, 0.95))).startswith("target_score")


@pytest.mark.parametrize("wrong", [0, -3, 1.5, True, "5", None])
@pytest.mark.parametrize("rule", [patience, nothing_new])
def test_a_count_of_steps_is_at_least_one(rule: Callable[[Any], Stop], wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{rule.__name__} takes .* at least 1, got"):
        rule(wrong)


@pytest.mark.parametrize("rule", [patience, nothing_new])
def test_a_round_has_at_least_one_step(rule: Callable[..., Stop]) -> None:
    with pytest.raises(ConfigurationError, match=r"per_round takes .* at least 1, got 0"):
        rule(2, per_round=0)


@pytest.mark.parametrize("wrong", [-3, 2.0, False, "5"])
def test_max_steps_is_at_least_zero(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_steps takes .* at least 0, got"):
        max_steps(wrong)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_target_that_is_never_reached_or_always_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigurationError, match="target_score takes a finite number, got"):
        target_score(wrong)


@pytest.mark.parametrize("answer", [True, 3, ["done"]])
def test_a_rule_that_answers_with_no_text_is_named_with_the_step(answer: object) -> None:
    def my_rule(trajectory: Trajectory) -> object:
        return answer

    rule = max_steps(5) | cast(StopRule, my_rule)
    with pytest.raises(
        ConfigurationError,
        match=r"stop rule .*my_rule returned .* at step 1\. It must return a text",
    ):
        rule(run_of(0.5, 0.6))


@pytest.mark.parametrize("answer", [None, "", False])
def test_a_rule_that_has_nothing_to_say_lets_the_run_go_on(answer: object) -> None:
    assert Stop(cast(StopRule, lambda trajectory: answer))(run_of(0.5)) is None


def test_a_dropped_candidate_reaches_no_target_and_stops_no_patience() -> None:
    trajectory = Trajectory()
    for index, (score, dropped) in enumerate([(0.0, "gave up"), (-3.0, None), (-2.0, None)]):
        candidate = Candidate({"p": str(index)})
        evaluation = Evaluation(candidate=candidate, scores={0: score}, dropped=dropped)
        trajectory.append(Step(index=index, candidates=(candidate,)), [evaluation])
        assert target_score(-1.0)(trajectory) is None
    assert patience(2)(trajectory) is None
