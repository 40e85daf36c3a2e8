from __future__ import annotations

import random
import re
from typing import Any

import pytest
from dspy.lm15 import Config, Message, Request

from opro_dspy import optimize
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.protocols import MetaPromptContext, Problem
from opro_dspy.records import ShownEntry
from opro_dspy.simulation import numeric_optimizer_lm
from opro_dspy.simulation.numeric_search import NumericSearch, Shown
from opro_dspy.solving.frame import SolutionMetaPrompt

LINE = LinearRegression.random(w=15, b=14, seed=1)
TOUR = TravelingSalesman.random(n=8, seed=1)


def shown(problem: Problem[Any], n: int) -> str:
    solutions = [s for i in range(n) for s in problem.initial(random.Random(i))[:1]]
    ranked = sorted(solutions, key=problem.score, reverse=True)
    entries = tuple(
        ShownEntry(text=problem.format(s), score=f"{problem.score(s):.0f}") for s in ranked
    )
    context = MetaPromptContext(
        component="solution", task=problem.describe(), entries=entries, exemplars=()
    )
    return SolutionMetaPrompt(problem).render(context)


def ask(lm: Any, prompt: str, *, temperature: float = 1.0) -> str:
    request = Request(
        model=lm.model, messages=(Message.user(prompt),), config=Config(temperature=temperature)
    )
    return str(lm.engine.complete(request).text)


@pytest.mark.parametrize("problem", [LINE, TOUR])
def test_the_simulated_answer_is_a_solution_in_the_form_shown(problem: Problem[Any]) -> None:
    lm = numeric_optimizer_lm(slips=0.0)
    read = SolutionMetaPrompt(problem)
    prompt = shown(problem, 6)
    answers = [ask(lm, prompt) for _ in range(20)]
    assert all(read.parse(answer) is not None for answer in answers)
    assert len(set(answers)) > 10


def test_a_simulated_slip_loses_the_form_and_grows_with_the_temperature() -> None:
    lm, read = numeric_optimizer_lm(slips=0.3), SolutionMetaPrompt(TOUR)
    prompt = shown(TOUR, 6)

    def num_invalid(temperature: float) -> int:
        count = 0
        for _ in range(60):
            try:
                read.parse(ask(lm, prompt, temperature=temperature))
            except ValueError:
                count += 1
        return count

    assert num_invalid(0.0) == 0 < num_invalid(0.7) < num_invalid(2.0)


def test_at_temperature_0_the_simulated_answer_depends_on_the_prompt_alone() -> None:
    lm = numeric_optimizer_lm()
    prompt = shown(LINE, 4)
    assert len({ask(lm, prompt, temperature=0.0) for _ in range(5)}) == 1


def test_a_prompt_without_solutions_gets_no_simulated_solution() -> None:
    answer = ask(numeric_optimizer_lm(), SolutionMetaPrompt(LINE).parse.__doc__ or "Hello")
    assert "no solutions" in answer


def test_the_simulation_keeps_decimals_and_knows_numbers_of_any_form() -> None:
    prompt = "<q>a: 1.50 b: -2.25</q>\nvalue: 9\n<q>a: 1.25 b: -2.00</q>\nvalue: 7"
    answer = ask(numeric_optimizer_lm(slips=0.0), prompt)
    assert re.search(r"<q>a: -?\d+\.\d\d b: -?\d+\.\d\d</q>\Z", answer)


def test_the_simulation_moves_on_in_the_direction_of_improvement() -> None:
    line = [Shown((float(i), 50.0), -float(i)) for i in range(10, 20)]
    search = NumericSearch(line, 0.8, decimals=0)
    rng = random.Random(0)
    firsts = [search.sample(rng)[0] for _ in range(200)]
    assert sum(n > 19 for n in firsts) > sum(n < 15 for n in firsts)


@pytest.mark.parametrize("problem", [LINE, TOUR.with_optimum()])
def test_the_simulation_finds_the_optimum(problem: Problem[Any]) -> None:
    result = optimize(
        problem, prompt_model=numeric_optimizer_lm(cache=False), max_steps=200, seed=1
    )
    assert result.stop_reason.startswith("optimal")


def test_a_simulated_numeric_optimizer_survives_its_state() -> None:
    engine = numeric_optimizer_lm(seed=3, slips=0.1).engine
    assert type(engine).load_state(engine.dump_state()).dump_state() == engine.dump_state()
