"""The scorer's seat of a problem: solutions are scored on the pool, one cell each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, Generic, TypeVar

import dspy

from opro_dspy.conditions import Conditions
from opro_dspy.errors import InvalidSolution, MetricError, ProgramFailedError
from opro_dspy.failing import ALIKE
from opro_dspy.grid import Grid
from opro_dspy.inquiry import Control
from opro_dspy.metric import Metric, as_number
from opro_dspy.protocols import Problem, StepStarted
from opro_dspy.race import Race
from opro_dspy.records import Candidate, Evaluation
from opro_dspy.solving.frame import COMPONENT
from opro_dspy.trajectory import Trajectory

S = TypeVar("S")

FAILED = "its score could not be computed"


def metric_of(turn: Callable[[float], float]) -> Metric:
    """Return the metric that makes a score of the value that stands for the prediction."""

    def score(example: dspy.Example, value: float) -> float:
        return turn(value)

    return Metric(score)


class SolutionEvaluator(Generic[S]):
    """Scores solutions: each is a candidate that meets a single example, number 0.

    Args:
        problem: Scores a solution.
        example: Stands for the problem.
        conditions: How; its `metric` is `metric_of` the problem's direction.
    """

    def __init__(
        self, problem: Problem[S], example: dspy.Example, *, conditions: Conditions
    ) -> None:
        self._problem = problem
        self._conditions = conditions
        self._example = example
        self.unfinished: tuple[Evaluation, ...] = ()
        """What was scored in an evaluation that an error or Ctrl-C cut short."""
        self._n_races, self._control = 0, Control()

    def evaluate(
        self, candidates: Sequence[Candidate], trajectory: Trajectory
    ) -> Sequence[Evaluation]:
        """Score each candidate; see `Evaluator`.

        Raises:
            LMCallError: If an LM that the problem calls failed.
            MetricError: If `score` returned something that is no number.
            ProgramFailedError: If all initial solutions failed or hung, or several of a step all
                failed alike.
        """
        self.unfinished = ()
        if not candidates:
            return []
        step = len(trajectory.steps)
        for observe in self._conditions.observers:
            observe(StepStarted(step=step, n_scores=len(candidates)))
        self._n_races += 1
        grid = Grid(
            self._conditions,
            Race([1] * len(candidates), rungs=(1,), in_turn=True),
            candidates=candidates,
            programs=[partial(self._value, c.texts[COMPONENT]) for c in candidates],
            examples=[self._example],
            orders=[[0]] * len(candidates),
            number=self._n_races,
            control=self._control,
        )
        try:
            grid.run()
        except BaseException:
            self.unfinished = tuple(e for e in self._found(grid, candidates) if e.scores)
            raise
        found = self._found(grid, candidates)
        scored = [e for e in found if e.scores]
        if step == 0 and not scored and not grid.books.refused:
            raise ProgramFailedError(
                f"score() of {type(self._problem).__name__} hung on all {len(found)} initial "
                f"solutions. Set `timeout` higher than {self._conditions.timeout_s:g} s."
            )
        self._check(step, scored)
        return found

    def _found(self, grid: Grid, candidates: Sequence[Candidate]) -> list[Evaluation]:
        found = [grid.books.evaluation(lane) for lane in range(len(candidates))]
        return [replace(e, dropped=FAILED) if e.failures else e for e in found]

    def _value(self, text: str) -> float:
        value: Any = self._problem.score(self._problem.parse(text))
        number = as_number(value)
        if number is not None:
            return number
        if isinstance(value, Real) and math.isinf(value):
            raise InvalidSolution(f"its score is {value}")
        raise MetricError(
            f"score() of {type(self._problem).__name__} returned {value!r} for {text[:200]!r}. It "
            "must return a number, finite unless the solution is impossible."
        )

    def _check(self, step: int, evaluations: Sequence[Evaluation]) -> None:
        """Stop the run when nothing can be learned from it."""
        errors = [said for e in evaluations for said in e.failures.values()]
        if not errors or len(errors) < len(evaluations):
            return
        alike = len(errors) >= ALIKE and len({said.split(":")[0] for said in errors}) == 1
        if step == 0 or alike:
            what = "initial solutions" if step == 0 else f"solutions of step {step}"
            raise ProgramFailedError(
                f"score() of {type(self._problem).__name__} failed on all {len(errors)} {what}. "
                f"First error: {errors[0]}"
            )
