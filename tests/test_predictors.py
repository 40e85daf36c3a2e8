"""Programs of several predictors: notes are shared, and every stage is worth optimizing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError
from opro_dspy.simulation import StagedProgram, make_examples, staged_scorer_lm
from opro_dspy.simulation.ideas import IDEA_BY_NAME
from opro_dspy.trajectory import Trajectory
from tests.fakes import exact, field, questions, scripted_lm, word_optimizer

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
        compiled = optimizer.compile(StagedProgram(2), trainset=questions(N))
    assert len(compiled.detailed_results.candidates) == K + 1
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
