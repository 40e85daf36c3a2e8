"""`optimize` with a folder for the run, and with caches."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from opro_dspy import LMCallError, Result, ResumeError, optimize
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.simulation import numeric_optimizer_lm
from opro_dspy.solving.identity import is_told_in_full, problem_key
from tests.fakes import scripted_lm

LINE = LinearRegression.random(w=25, b=23, seed=1)
STEPS = 6


def run(tmp_path: Path, **options: Any) -> tuple[Result[Any], int]:
    """The result, and the calls that reached the LM."""
    lm = numeric_optimizer_lm(cache=False)
    given = {"max_steps": STEPS, "seed": 3, "num_threads": 4, "log_dir": tmp_path, **options}
    result = optimize(given.pop("problem", LINE), prompt_model=given.pop("lm", lm), **given)
    return result, lm.engine.calls


def same(a: Result[Any], b: Result[Any]) -> bool:
    return (a.candidates, a.steps, a.best_index) == (b.candidates, b.steps, b.best_index)


class Stopped(Exception):
    """Stands for a process that ends."""


@pytest.mark.parametrize("after", [1, 9, 20, 44])
def test_a_run_that_was_cut_off_goes_on_exactly(tmp_path: Path, after: int) -> None:
    whole, n_calls = run(tmp_path / "whole")
    scored = []

    def stop(event: object) -> None:
        scored.append(event)
        if len(scored) > after:
            raise Stopped

    with pytest.raises(Stopped):
        run(tmp_path / "cut", observers=[stop])
    resumed, n_more = run(tmp_path / "cut")
    assert same(resumed, whole)
    assert n_more < n_calls or after == 1  # cut before the first call
    again, n_none = run(tmp_path / "cut")
    assert same(again, whole) and n_none == 0


def test_a_finished_run_goes_on_with_more_steps(tmp_path: Path) -> None:
    run(tmp_path, max_steps=2)
    longer, n_calls = run(tmp_path)
    whole, n_all = run(tmp_path / "whole")
    assert same(longer, whole)
    assert n_calls < n_all


def test_scores_are_never_computed_twice_for_one_run(tmp_path: Path) -> None:
    log = tmp_path / "scored.txt"

    @dataclass(frozen=True)
    class Noted(TravelingSalesman):
        points: Any = ((0, 0), (0, 3), (4, 3), (4, 0), (9, 9))

        def score(self, solution: tuple[int, ...]) -> float:
            with log.open("a") as file:
                file.write(self.format(solution) + "\n")
            return super().score(solution)

    first, _ = run(tmp_path / "run", problem=Noted(), max_steps=2)
    second, _ = run(tmp_path / "run", problem=Noted(), max_steps=2)
    assert same(first, second)
    assert len(log.read_text().splitlines()) == first.num_distinct


def test_invalid_answers_are_counted_again_after_a_resume(tmp_path: Path) -> None:
    answers = iter(["?", "<pair>w=1, b=2</pair>"])
    lm = scripted_lm(lambda text: next(answers))
    first, _ = run(tmp_path, lm=lm, max_steps=1, num_candidates=1)
    second, _ = run(tmp_path, lm=lm, max_steps=1, num_candidates=1)
    assert first.invalid == second.invalid == {"no pair of numbers": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problem": LinearRegression.random(w=25, b=23, seed=2)}, "trainset.hash"),
        ({"problem": TravelingSalesman.random(n=5)}, "program.name"),
        ({"seed": 4}, "seed"),
        ({"num_candidates": 3}, "num_candidates"),
        ({"lm": numeric_optimizer_lm(seed=9)}, "optimizer"),
        ({"temperature_schedule": lambda step: 0.5}, "temperature_schedule"),
    ],
)
def test_what_shapes_the_search_may_not_change(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run(tmp_path, max_steps=1)
    with pytest.raises(ResumeError, match=said):
        run(tmp_path, max_steps=1, **change)


def test_the_folder_holds_the_best_solution_and_the_result(tmp_path: Path) -> None:
    result, _ = run(tmp_path)
    assert json.loads((tmp_path / "best.json").read_text()) == {"solution": result.best.text}
    assert same(Result.from_json((tmp_path / "result.json").read_text(), LINE), result)


def test_an_outage_says_how_to_go_on(tmp_path: Path) -> None:
    lm = scripted_lm(lambda text: ValueError("down"))
    with pytest.raises(LMCallError, match="Call optimize again with `log_dir`"):
        run(tmp_path, lm=lm)


def test_a_second_run_with_a_cache_asks_no_lm_and_computes_no_score(tmp_path: Path) -> None:
    cache = {"log_dir": None, "cache_dir": tmp_path}
    first, n_calls = run(tmp_path, **cache)
    second, n_more = run(tmp_path, **cache)
    assert same(first, second)
    assert n_calls > 0 == n_more
    assert second.score_reuse.hits == second.num_distinct
    _, n_other = run(tmp_path, problem=LinearRegression.random(w=25, b=23, seed=2), **cache)
    assert n_other > 0


class Plain:
    """A problem that is no dataclass."""

    higher_is_better = True
    tag = "n"

    def __init__(self, goal: int) -> None:
        self.goal = goal

    def describe(self) -> str:
        return "Guess."

    def initial(self, rng: Random) -> list[int]:
        return [0]

    def format(self, solution: int) -> str:
        return str(solution)

    def parse(self, text: str) -> int:
        return int(text)

    def score(self, solution: int) -> float:
        return -abs(self.goal - solution)


class Hidden(Plain):
    def __init__(self, goal: int) -> None:
        super().__init__(3)
        self._table = {goal: 1.0}

    def score(self, solution: int) -> float:
        return self._table.get(solution, 0.0)


def test_scores_of_a_problem_that_hides_something_are_not_shared(tmp_path: Path) -> None:
    assert is_told_in_full(LINE) and is_told_in_full(Plain(3)) and not is_told_in_full(Hidden(3))
    assert problem_key(Plain(3)) == problem_key(Plain(3)) != problem_key(Plain(4))

    def best(make: Callable[[int], Plain], goal: int) -> float | None:
        lm = scripted_lm(lambda text: "<n>5</n>")
        result = optimize(make(goal), prompt_model=lm, max_steps=1, cache_dir=tmp_path)
        return result.best.score

    assert [best(Hidden, goal) for goal in (5, 6, 5)] == [1.0, 0.0, 1.0]
    assert [best(Plain, goal) for goal in (5, 6)] == [0.0, -1.0]
