import itertools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from random import Random
from typing import Any

import dspy
import pytest

from opro_dspy import ConfigurationError, MetricError, ProgramFailedError, Result, View, optimize
from opro_dspy.errors import InvalidSolution, LMCallError, UnknownArgumentError
from opro_dspy.problems import Line, LinearRegression, TravelingSalesman
from opro_dspy.protocols import Event, ExampleScored, StepEnded
from tests.fakes import ScriptedEngine, scripted_lm


@dataclass
class Nearest:
    """Find the whole number nearest to `goal`; the smallest problem there is."""

    goal: int = 7
    higher_is_better: bool = False
    tag: str = "number"
    start: Sequence[int] = (0, 20)
    scored: list[int] = field(default_factory=list, repr=False)

    def describe(self) -> str:
        return "Guess a whole number."

    def initial(self, rng: Random) -> Sequence[int]:
        return self.start

    def format(self, solution: int) -> str:
        return str(solution)

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text):
            raise InvalidSolution("no number")
        return int(text)

    def score(self, solution: int) -> Any:
        self.scored.append(solution)
        distance = abs(solution - self.goal)
        return distance if not self.higher_is_better else -distance


class NearestKnown(Nearest):
    def is_optimal(self, solution: int, value: float) -> bool:
        return value == 0


def counting(*, form: str = "<number>{}</number>") -> dspy.LM:
    """Proposes 1, 2, 3, …"""
    numbers = itertools.count(1)
    lock = threading.Lock()

    def reply(text: str) -> str:
        with lock:
            return form.format(next(numbers))

    return scripted_lm(reply)


def engine_of(lm: dspy.LM) -> ScriptedEngine:
    engine: ScriptedEngine = lm.engine
    return engine


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_the_best_is_found_whichever_way_is_better(higher_is_better: bool) -> None:
    problem = NearestKnown(higher_is_better=higher_is_better)
    result = optimize(problem, prompt_model=counting(), num_candidates=4, num_threads=1)
    assert (result.best.solution, result.best.score, result.best.step) == (7, 0.0, 2)
    assert (result.num_steps, result.num_distinct) == (2, 10)
    assert result.stop_reason == "optimal: nothing is better than 0"
    assert [c.score for c in result.candidates[:2]] == ([-7, -13] if higher_is_better else [7, 13])
    assert sorted(problem.scored) == sorted([0, 20, 1, 2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_the_meta_prompt_shows_true_values_with_the_best_last(higher_is_better: bool) -> None:
    lm = counting()
    optimize(Nearest(higher_is_better=higher_is_better), prompt_model=lm, max_steps=1)
    text = engine_of(lm).requests[0]
    sign = "-" if higher_is_better else ""
    worse, better = text.index(f"value: {sign}13"), text.index(f"value: {sign}7")
    assert worse < better
    assert f"A {'higher' if higher_is_better else 'lower'} value is better." in text


def test_values_in_the_unit_range_are_shown_as_they_are() -> None:
    class Share(Nearest):
        def score(self, solution: int) -> float:
            return abs(solution - 7) / 100

    lm = counting()
    optimize(Share(), prompt_model=lm, max_steps=1)
    assert "value: 0.13" in engine_of(lm).requests[0]


def test_values_can_be_rounded_as_in_the_paper() -> None:
    lm = counting(form="<pair>w={0}, b=3</pair>")
    problem = LinearRegression.random(w=15, b=14, seed=1)
    optimize(problem, prompt_model=lm, max_steps=3, view=View(score_decimals=0))
    values = re.findall(r"value: (\S+)", engine_of(lm).requests[-1])
    assert values and all(value.isdigit() for value in values)


def test_invalid_answers_are_counted_by_reason_and_asked_again_a_bounded_number_of_times() -> None:
    answers = itertools.cycle(["no tag", "<number>1.5</number>", "", "<number>3</number>"])
    lm = scripted_lm(lambda text: next(answers))
    result = optimize(
        Nearest(), prompt_model=lm, num_candidates=1, max_steps=1, max_attempts=2, num_threads=1
    )
    assert result.invalid == {"no number": 2}
    assert engine_of(lm).calls == 2
    (proposal,) = result.steps[1].proposals
    assert (proposal.rejected, proposal.attempts) == ("no number", 2)
    result = optimize(Nearest(), prompt_model=lm, num_candidates=1, max_steps=1, max_attempts=2)
    assert [c.text for c in result.candidates] == ["0", "20", "3"]


def test_an_lm_that_never_answers_validly_ends_the_run() -> None:
    lm = scripted_lm(lambda text: "I cannot say")
    result = optimize(Nearest(), prompt_model=lm, max_empty_steps=2, num_candidates=2)
    assert result.stop_reason.startswith("nothing_new: 2 steps")
    assert result.best.solution == 0
    assert result.invalid == {"no number": 2 * 2 * 3}


def test_a_known_solution_is_never_scored_twice() -> None:
    problem = Nearest()
    lm = scripted_lm(lambda text: "<number>20</number>")
    result = optimize(problem, prompt_model=lm, max_steps=2)
    assert problem.scored == [0, 20]
    assert {p.rejected for s in result.steps for p in s.proposals} == {"already scored"}


def test_the_result_reads_back_from_json_with_its_solutions() -> None:
    problem = LinearRegression.random(w=15, b=14, seed=1)
    lm = counting(form="<pair>[{0}, 3]</pair>")
    result = optimize(problem, prompt_model=lm, max_steps=2, seed=3)
    assert Result.from_json(result.model_dump_json(), problem) == result
    assert isinstance(result.best.solution, Line)
    with pytest.raises(ConfigurationError, match="no `candidates`"):
        Result.from_json('{"format": 1}', problem)


def test_the_same_seed_gives_the_same_run_with_any_number_of_threads() -> None:
    def run(num_threads: int) -> Result[tuple[int, ...]]:
        def reply(text: str) -> str:
            rng = Random(text)
            return f"<trace>{','.join(map(str, [0, *rng.sample(range(1, 6), 5)]))}</trace>"

        problem = TravelingSalesman.random(n=6, seed=2)
        return optimize(
            problem, prompt_model=scripted_lm(reply), max_steps=3, num_threads=num_threads
        )

    one, many = run(1), run(8)
    assert one.candidates == many.candidates
    assert one.steps == many.steps


@pytest.mark.parametrize(
    "wrong",
    [RuntimeError("it broke"), inf, -inf],
)
def test_a_solution_whose_score_fails_ranks_last_and_is_not_tried_again(wrong: Any) -> None:
    class Cliff(Nearest):
        def score(self, solution: int) -> Any:
            super().score(solution)
            if solution not in (3, 4):
                return abs(solution - self.goal)
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

    problem = Cliff(start=(0, 3))
    result = optimize(problem, prompt_model=counting(), num_candidates=5, max_steps=1)
    assert result.best.solution == 5
    assert [(c.solution, c.score) for c in result.candidates if c.failed] == [(3, None), (4, None)]
    assert sorted(problem.scored) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [None, nan, "4"])
def test_a_score_that_is_no_number_stops_the_run_and_names_the_solution(value: Any) -> None:
    class Broken(Nearest):
        def score(self, solution: int) -> Any:
            return value if solution == 2 else abs(solution - 7)

    with pytest.raises(MetricError, match=r"score\(\) of Broken returned .* for '2'") as caught:
        optimize(Broken(), prompt_model=counting(), num_candidates=2)
    kept: Any = caught.value.result
    assert kept.best.solution == 0 and kept.stop_reason.startswith("error: MetricError")


def test_a_score_that_always_fails_stops_the_run_at_once() -> None:
    class Broken(Nearest):
        def score(self, solution: int) -> Any:
            raise KeyError("no data")

    lm = counting()
    with pytest.raises(ProgramFailedError, match=r"failed on all 2 initial solutions.*no data"):
        optimize(Broken(), prompt_model=lm)
    assert engine_of(lm).calls == 0


def test_an_lm_that_fails_keeps_what_was_found() -> None:
    with pytest.raises(LMCallError, match="optimizer LM") as caught:
        optimize(Nearest(), prompt_model=scripted_lm(lambda text: ValueError("down")))
    kept: Any = caught.value.result
    assert kept.num_distinct == 2


@pytest.mark.parametrize(
    ("settings", "reason", "num_distinct"),
    [
        ({"max_steps": 2}, "max_steps", 10),
        ({"stop_at_score": 5}, "target_score: 3 reaches 5", 6),
        ({"max_metric_calls": 7}, "max_metric_calls: 7 of 7", 7),
        ({"max_tokens": 1}, "max_tokens", 2),
        ({"patience": 3, "num_candidates": 1, "initial_solutions": [6]}, "patience", 6),
        ({"stop": lambda trajectory: len(trajectory) > 5 and "enough"}, "enough", 6),
    ],
)
def test_a_run_ends_with_its_reason(
    settings: dict[str, Any], reason: str, num_distinct: int
) -> None:
    settings = {"num_candidates": 4, "num_threads": 1, **settings}
    result = optimize(Nearest(), prompt_model=counting(), **settings)
    assert reason in result.stop_reason
    assert result.num_distinct == num_distinct


def test_ctrl_c_returns_the_best_so_far() -> None:
    def press(event: Event) -> None:
        if isinstance(event, StepEnded) and len(event.trajectory.steps) == 3:
            raise KeyboardInterrupt

    result = optimize(
        Nearest(), prompt_model=counting(), num_candidates=4, observers=[press], num_threads=1
    )
    assert result.stop_reason.startswith("interrupted")
    assert result.best.solution == 7 and result.num_steps == 2


def test_scores_run_on_the_pool_at_once() -> None:
    barrier = threading.Barrier(4, timeout=20)

    class Slow(Nearest):
        def score(self, solution: int) -> Any:
            if solution not in self.start:
                barrier.wait()
            return super().score(solution)

    result = optimize(Slow(), prompt_model=counting(), num_candidates=4, max_steps=1, num_threads=4)
    assert result.num_distinct == 6


def test_observers_see_scores_of_which_higher_is_better() -> None:
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)

    optimize(Nearest(), prompt_model=counting(), max_steps=1, observers=[note])
    scores = {
        e.candidate.texts["solution"]: e.score for e in events if isinstance(e, ExampleScored)
    }
    assert scores["20"] == -13.0
    assert sum(isinstance(event, StepEnded) for event in events) == 2


def test_an_lm_that_the_score_asks_is_counted_as_scorer() -> None:
    class Judged(Nearest):
        def score(self, solution: int) -> Any:
            return float(dspy.settings.lm(f"Rate {solution}")[0])

    judge = scripted_lm(lambda text: text.split()[-1])
    with dspy.context(lm=judge):
        result = optimize(
            Judged(higher_is_better=True), prompt_model=counting(), num_candidates=2, max_steps=1
        )
    assert result.used("scorer").calls == 4
    assert result.used("optimizer").calls == 2
    assert result.best.solution == 20


class Half(Nearest):
    def format(self, solution: int) -> str:
        return str(solution // 2)


class Shut(Nearest):
    def parse(self, text: str) -> int:
        raise InvalidSolution("never")


class Mute(Nearest):
    def describe(self) -> Any:
        return None


class Askew(Nearest):
    def __init__(self, way: Any) -> None:
        super().__init__(higher_is_better=way)


class Typed(LinearRegression):
    """Starts from a text, not from a solution."""

    def initial(self, rng: Random) -> Any:
        return ["w=1, b=2"]


class Picky(Nearest):
    def parse(self, text: str) -> int:
        return {str(n): n for n in (*self.start, 2)}[text.strip()]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: optimize(Nearest()), "there is no optimizer LM"),
        (lambda: optimize(Mute(), prompt_model=counting()), r"describe\(\).* must return a text"),
        (lambda: optimize(Nearest(start=None), prompt_model=counting()), "must return a list"),  # type: ignore[arg-type]
        (
            lambda: optimize(Askew("min"), prompt_model=counting()),
            "`higher_is_better` of the problem must be True, or False to minimise",
        ),
        (
            lambda: optimize(Typed(x=(1, 2), y=(1, 2)), prompt_model=counting()),
            "cannot write the initial solution 'w=1, b=2'",
        ),
        (lambda: optimize(Nearest(), prompt_model="gpt-5"), "must be a dspy.LM"),
        (lambda: optimize(object(), prompt_model=counting()), "without describe, initial"),  # type: ignore[arg-type]
        (lambda: optimize(Nearest, prompt_model=counting()), "Pass an instance"),  # type: ignore[arg-type]
        (lambda: optimize(Nearest(start=()), prompt_model=counting()), "returned no solution"),
        (lambda: optimize(Half(), prompt_model=counting()), "do not go together"),
        (lambda: optimize(Shut(), prompt_model=counting()), "do not go together"),
        (lambda: optimize(Nearest(), prompt_model=counting(), max_steps=-1), "max_steps"),
        (lambda: optimize(Nearest(), prompt_model=counting(), max_cost=1.0), "max_cost"),
        (
            lambda: optimize(Nearest(), prompt_model=counting(), temperature_schedule="warm"),
            "temperature_schedule",
        ),
    ],
)
def test_what_is_wrong_is_refused_at_the_door(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        call()


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean `max_steps`"):
        optimize(Nearest(), prompt_model=counting(), max_step=3)


def test_a_parser_that_stumbles_over_an_answer_counts_it_and_goes_on() -> None:
    result = optimize(
        Picky(), prompt_model=counting(), num_candidates=3, max_steps=1, max_attempts=1
    )
    assert result.best.solution == 2
    assert result.invalid == {"could not be parsed": 2}


def test_initial_solutions_that_all_hang_end_the_run_with_the_remedy() -> None:
    release = threading.Event()

    class Stuck(Nearest):
        def score(self, solution: int) -> Any:
            release.wait()

    try:
        with pytest.raises(ProgramFailedError, match=r"hung on all 2 .*`timeout` higher than 0.05"):
            optimize(Stuck(), prompt_model=counting(), timeout=0.05, cache_dir=None)
    finally:
        release.set()


def test_a_score_that_hangs_from_some_step_on_stops_the_run() -> None:
    release = threading.Event()

    class Stuck(Nearest):
        n_scored = 0

        def score(self, solution: int) -> Any:
            type(self).n_scored += 1
            if self.n_scored > 2:
                release.wait()
            return super().score(solution)

    try:
        with pytest.raises(ProgramFailedError, match=r"score\(\) of Stuck hung on 8 candidates"):
            optimize(Stuck(), prompt_model=counting(), timeout=0.1, cache_dir=None)
    finally:
        release.set()


def test_a_result_of_another_problem_is_not_read() -> None:
    text = optimize(
        Nearest(), prompt_model=counting(), num_candidates=2, max_steps=1
    ).model_dump_json()
    with pytest.raises(ConfigurationError, match="result of another problem: Traveling"):
        Result.from_json(text, TravelingSalesman.random(n=5))
