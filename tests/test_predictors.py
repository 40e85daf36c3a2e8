"""Programs of several predictors: notes are shared, and every stage is worth optimizing."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError, OPROResult
from opro_dspy.simulation import StagedProgram, make_examples, staged_scorer_lm
from opro_dspy.simulation.ideas import IDEA_BY_NAME
from opro_dspy.trajectory import Trajectory
from tests.fakes import compiled, exact, field, questions, scripted_lm, word_optimizer

N, K = 6, 8


def only(name: str) -> Any:
    """A selector of one's own: always the same predictor."""

    def choose(step: int, components: Sequence[str], trajectory: Trajectory) -> list[str]:
        return [name]

    return choose


def calls_by_stage(predictor: str, *, cache_dir: Path | None, **options: Any) -> tuple[int, int]:
    """Calls for plans and answers that reach the engine when `K` candidates for one stage run."""

    def reply(text: str) -> str:
        number = text.rsplit("What is ", 1)[1].split()[0]
        plan = "output fields are:\n1. `plan`" in text
        return field("plan", f"plan {number}") if plan else field("answer", number)

    lm = scripted_lm(reply, **options)
    optimizer = OPRO(
        metric=exact,
        prompt_model=word_optimizer(),
        component_selector=only(predictor),
        num_candidates=K,
        max_steps=1,
        racing=False,
        num_threads=4,
        cache_dir=cache_dir,
    )
    with dspy.context(lm=lm):
        program = optimizer.compile(StagedProgram(2), trainset=questions(N))
    assert len(program.detailed_results.candidates) == K + 1
    plans = sum("output fields are:\n1. `plan`" in request for request in lm.engine.requests)
    return plans, lm.engine.calls - plans


@pytest.mark.parametrize("temperature", [None, 1.0])
@pytest.mark.parametrize("cached", [True, False])
def test_candidates_for_a_later_stage_pay_for_the_earlier_one_once(
    tmp_path: Path, cached: bool, temperature: float | None
) -> None:
    cache_dir = tmp_path if cached else None
    options = {"cache": True, "temperature": temperature}
    assert calls_by_stage("answer", cache_dir=cache_dir, **options) == (N, N * (K + 1))


def test_equal_notes_of_other_candidates_are_answered_once() -> None:
    assert calls_by_stage("plan", cache_dir=None, cache=True) == (N * (K + 1), N)


def test_an_lm_without_a_cache_is_asked_for_every_note_anew() -> None:
    every = N * (K + 1)
    assert calls_by_stage("answer", cache_dir=None, cache=False) == (every, every)


@pytest.mark.parametrize("selector", [dict, lambda step: ["plan"], 3, "last"])
def test_what_is_no_selector_is_refused_at_the_door(selector: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`component_selector` must .* got "):
        OPRO(metric=exact, component_selector=selector)


class Chain(dspy.Module):  # type: ignore[misc]
    """Five predictors, of which the last one alone answers."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [dspy.Predict("question -> answer") for _ in range(5)]

    def forward(self, question: str) -> Any:
        return self.parts[-1](question=question)


def repeating() -> dspy.LM:
    """Proposes the student's own text, which brings nothing new."""
    own = dspy.Predict("question -> answer").signature.instructions
    return scripted_lm(lambda text: f"<INS>{own}</INS>")


def turns(result: OPROResult) -> list[str]:
    """The predictor of each step."""
    return [query.component for step in result.steps for query in step.queries]


@pytest.mark.parametrize("limit", [{"patience": 1}, {"max_empty_steps": 1}])
def test_every_predictor_has_its_turn_before_a_run_gives_up(limit: dict[str, Any]) -> None:
    result = compiled(Chain(), prompt_model=repeating(), max_steps=20, **limit).detailed_results
    assert turns(result) == [f"parts[{i}]" for i in range(5)]
    assert "1 round of 5 steps" in result.stop_reason


def test_a_selector_that_takes_all_predictors_or_ones_own_counts_steps() -> None:
    for selector in ("all", only("parts[0]")):
        result = compiled(
            Chain(),
            prompt_model=repeating(),
            component_selector=selector,
            max_steps=20,
            max_empty_steps=2,
        ).detailed_results
        assert result.stop_reason.startswith("nothing_new: 2 steps in a row")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"max_steps": 3}, "parts[3], parts[4] will have no turn. Set `max_steps` to 5"),
        ({"max_steps": 5}, ""),
        ({"max_steps": 0}, ""),
        ({"max_steps": 1, "component_selector": "all"}, ""),
    ],
)
def test_predictors_that_get_no_turn_are_named(
    options: dict[str, Any], left: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="opro_dspy"):
        compiled(Chain(), num_candidates=1, racing=False, **options)
    assert (left in caplog.text) if left else ("no turn" not in caplog.text)


@pytest.mark.parametrize("num_stages", [2, 4])
def test_every_stage_of_the_simulated_programs_matters(num_stages: int) -> None:
    examples = make_examples("arithmetic", 40, seed=3)
    engine = staged_scorer_lm(answer_key=examples, num_stages=num_stages, seed=3).engine
    plain = dict.fromkeys(engine.stages, "")
    start = engine.expected_accuracy(plain, examples)
    for name, stage in engine.stages.items():
        ideas = sorted(stage.weights, key=stage.weights.__getitem__)[-5:]
        better = " ".join(f"{IDEA_BY_NAME[idea].phrasings[0]}." for idea in ideas)
        assert engine.expected_accuracy({**plain, name: better}, examples) > start + 0.04
