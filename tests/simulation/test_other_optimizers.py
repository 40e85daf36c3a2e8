"""The optimizers that come with DSPy run on the simulated LMs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

QUIET = {"num_threads": 2, "display_progress": False}


class Solve(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        return self.solve(question=question)


def copro(lm: Any, scorer: Any, train: list[Any]) -> Any:
    copro = dspy.COPRO(prompt_model=lm, metric=exact_match, breadth=5, depth=2)
    return copro.compile(Solve(), trainset=train, eval_kwargs=QUIET)


def mipro(lm: Any, scorer: Any, train: list[Any]) -> Any:
    pytest.importorskip("optuna")
    mipro = dspy.MIPROv2(
        metric=exact_match,
        prompt_model=lm,
        task_model=scorer,
        auto=None,
        num_candidates=6,
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        num_threads=2,
    )
    return mipro.compile(Solve(), trainset=train, valset=train, num_trials=6, minibatch=False)


def gepa(lm: Any, scorer: Any, train: list[Any]) -> Any:
    def metric(gold: Any, pred: Any, trace: Any = None, name: Any = None, part: Any = None) -> Any:
        score = float(exact_match(gold, pred))
        return dspy.Prediction(score=score, feedback=f"The right answer is {gold.answer}.")

    gepa = dspy.GEPA(metric=metric, reflection_lm=lm, max_metric_calls=300, num_threads=2)
    return gepa.compile(Solve(), trainset=train, valset=train)


def simba(lm: Any, scorer: Any, train: list[Any]) -> Any:
    simba = dspy.SIMBA(
        metric=exact_match,
        prompt_model=lm,
        bsize=12,
        num_candidates=3,
        max_steps=3,
        max_demos=0,
        num_threads=2,
    )
    return simba.compile(Solve(), trainset=train, seed=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimize", [copro, mipro, gepa, simba])
def test_an_optimizer_of_dspy_runs_and_gets_no_worse(
    optimize: Callable[[Any, Any, list[Any]], Any],
) -> None:
    gains = []
    for seed in range(3):
        train = make_examples("arithmetic", 40, seed=seed)
        shape = landscape("many_small_effects", seed)
        scorer = scorer_lm(answer_key=train, landscape=shape, cache=False, temperature=0.0)
        lm = optimizer_lm(seed=seed, cache=False, temperature=1.0)
        with dspy.context(lm=scorer, num_threads=2):
            compiled = optimize(lm, scorer, train)
        found = compiled.predictors()[0].signature.instructions
        held_out = make_examples("arithmetic", 100, seed=seed + 100)
        start = shape.expected_accuracy("", held_out)
        gains.append(shape.expected_accuracy(found, held_out) - start)
        assert lm.engine.calls > 0
    assert statistics.median(gains) >= 0
