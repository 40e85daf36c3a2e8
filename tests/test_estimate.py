"""What a run will cost: the range holds for every setting, as long as nothing fails."""

import hashlib
import itertools
import random
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO
from opro_dspy.estimate import RunEstimate
from opro_dspy.racing import Racing
from opro_dspy.result import OPROResult
from tests.fakes import field, keyword_scorer, questions, scripted_lm

TINY = Racing(rungs=(4, 16, 64), scouting_steps=0)


class Quick(dspy.Module):  # type: ignore[misc]
    """A program of some predictors that answers with their instructions, at once."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.parts = [dspy.Predict("question -> answer") for _ in range(n)]

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=[part.signature.instructions for part in self.parts])


class Looping(dspy.Module):  # type: ignore[misc]
    """A program that calls its predictor five times."""

    def __init__(self) -> None:
        super().__init__()
        self.part = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return [self.part(question=question) for _ in range(5)][-1]


def chance(*of: object) -> float:
    """A number in [0, 1) that depends on nothing but `of`."""
    return int(hashlib.md5(repr(of).encode(), usedforsecurity=False).hexdigest()[:8], 16) / 16**8


METRICS: dict[str, Any] = {
    "all right": lambda question, answer: 1.0,
    "coin": lambda question, answer: float(chance(question, answer) < 0.5),
    "skill": lambda question, answer: float(chance(question, answer) < chance(answer)),
    "fractions": lambda question, answer: chance(question, answer),
    "losses": lambda question, answer: -chance(question, answer),
}


def planned_and_done(
    student: dspy.Module, *, n_train: int, n_val: int = 0, metric: str = "coin", **options: Any
) -> tuple[RunEstimate, int, int, OPROResult]:
    """Estimate and run; return what was told, the metric's and the optimizer LM's calls."""
    new = itertools.count()
    optimizer = scripted_lm(lambda text: f"<INS>Think {next(new)}</INS>")
    scored = itertools.count()

    def counting(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
        next(scored)
        return float(METRICS[metric](example.question, str(prediction.answer)))

    sets: Any = {"trainset": questions(n_train), "valset": questions(n_val, start=1000) or None}
    with dspy.context(lm=keyword_scorer()):
        opro = OPRO(metric=counting, prompt_model=optimizer, verbose=False, **options)
        told = opro.estimate(student, **sets)
        result = opro.compile(student, **sets).detailed_results
    return told, next(scored), optimizer.engine.calls, result


def random_case(rng: random.Random) -> dict[str, Any]:
    rungs = sorted(rng.sample(range(1, rng.choice([4, 10, 40])), rng.randint(1, 3)))
    racing = Racing(
        rungs=tuple(rungs),
        scouting_steps=rng.choice([0, 1, 3, 6]),
        start=rng.choice([1, 2, 5, 12, 40]),
        batch=rng.choice([1, 2, 7]),
        num_leaders=rng.choice([0, 1, 2, 5]),
        num_contenders=rng.choice([1, 2, 3, 5, 9, 24]),
        z=rng.choice([0.1, 1.645, 4.0]),
    )
    n = rng.choice([1, 1, 2, 3])
    some = rng.randint(1, n)
    selectors = ["round_robin", "all", lambda step, components, trajectory: components[:some]]
    return {
        "student": Quick(n),
        "n_train": rng.choice([1, 2, 3, 4, 8, 13, 30, 80]),
        "n_val": rng.choice([0, 0, 1, 2, 9, 17, 60]),
        "metric": rng.choice(sorted(METRICS)),
        "racing": rng.choice([False, True, racing, racing, racing]),
        "component_selector": rng.choice(selectors),
        "num_candidates": rng.choice([1, 2, 3, 8]),
        "max_steps": rng.choice([0, 1, 2, 3, 5]),
        "num_finalists": rng.choice([1, 2, 3, 6]),
        "num_threads": rng.choice([1, 4]),
        "initial_instructions": ["Start"][: rng.choice([0, 1]) if n == 1 else 0],
    }


@pytest.mark.parametrize("part", range(3))
def test_no_setting_leaves_the_range_while_all_proposals_are_new(part: int, tmp_path: Any) -> None:
    for case in range(8):
        rng = random.Random(f"{part} {case}")
        cache_dir = tmp_path if rng.random() < 0.3 else None  # then the chosen one meets all
        options = random_case(rng)
        told, scored, asked, result = planned_and_done(**options, cache_dir=cache_dir)
        assert result.stop_reason.startswith("max_steps")
        assert told.metric_calls[0] <= scored <= told.metric_calls[1], options
        assert told.optimizer.calls[0] <= asked <= told.optimizer.calls[1], options


@pytest.mark.parametrize(
    ("n_predictors", "options"),
    [
        (1, {"n_train": 3}),
        (1, {"n_train": 4}),
        (1, {"n_train": 20, "racing": TINY, "max_steps": 3}),
        (2, {"n_train": 4, "component_selector": "all", "metric": "fractions", "racing": False}),
    ],
)
def test_small_sets_and_long_rungs_stay_below_the_most(
    n_predictors: int, options: dict[str, Any]
) -> None:
    told, scored, _, _ = planned_and_done(Quick(n_predictors), **{"metric": "all right", **options})
    assert told.metric_calls[0] <= scored <= told.metric_calls[1]


def test_a_run_sized_by_auto_comes_to_its_end_with_rungs_beyond_the_training_set() -> None:
    racing = Racing(rungs=(2, 8), scouting_steps=0)
    told, scored, _, result = planned_and_done(
        Quick(1), n_train=6, metric="fractions", racing=racing, auto="light"
    )
    assert result.stop_reason.startswith("max_steps") and scored <= told.metric_calls[1]


def test_a_loop_of_the_programs_own_is_not_known_and_the_estimate_says_what_it_assumes() -> None:
    scorer = scripted_lm(lambda text: field("answer", "1"))
    told = estimate(Looping(), scorer)
    assert told.scorer_calls == (1, 2)
    assert " calls (1 to 2 an example)" in str(told)


def test_turns_of_an_agent_count() -> None:
    agent = dspy.ReAct("question -> answer", tools=[str.upper], max_iters=5)
    told = estimate(agent, keyword_scorer())
    assert told.scorer_calls == (2, 2 * 2 * 6)  # both predictors, a last turn, a second try
    assert told.scorer.calls[1] == told.metric_calls[1] * 24


def estimate(student: dspy.Module, scorer: dspy.LM) -> RunEstimate:
    with dspy.context(lm=scorer):
        return OPRO(metric=lambda *_: 1.0).estimate(student, trainset=questions(10))


@pytest.mark.parametrize("sets", [{"n_train": 200}, {"n_train": 30, "n_val": 200}])
def test_on_a_large_set_the_race_for_the_finals_takes_no_more_than_the_search(
    sets: dict[str, Any],
) -> None:
    told, scored, _, result = planned_and_done(Quick(1), max_steps=3, **sets)
    searched = sum(c.train.n_examples for c in result.candidates)
    finals = 3 * 200 + sets["n_train"] * ("n_val" in sets)  # student and two finalists; the rest
    assert scored <= 2 * searched + finals
    assert told.metric_calls[0] <= scored <= told.metric_calls[1]
