"""From a trajectory to the result of `optimize`."""

from collections.abc import Callable
from typing import Any, TypeVar

from opro_dspy.diagnostics import diagnose, told
from opro_dspy.protocols import Problem
from opro_dspy.solving.frame import COMPONENT
from opro_dspy.solving.result import Result, Solution
from opro_dspy.trajectory import Trajectory

S = TypeVar("S")


def make_result(
    problem: Problem[S],
    trajectory: Trajectory,
    *,
    turn: Callable[[float], float],
    stop_reason: str,
    **more: Any,
) -> Result[S]:
    """Return the result of a run; says which failure signatures it shows.

    Args:
        problem: What was solved.
        trajectory: The run's.
        turn: Makes a value of a score.
        stop_reason: Why it ended.
        **more: Further fields of `Result`.
    """
    best = trajectory.best if len(trajectory) else None
    known = best is not None and best.dropped is None
    return Result(
        candidates=_solutions(problem, trajectory, turn),
        best_index=list(trajectory).index(best) if best is not None and known else None,
        higher_is_better=bool(problem.higher_is_better),
        steps=tuple(trajectory.steps),
        stop_reason=stop_reason,
        diagnostics=() if stop_reason.startswith("optimal") else told(diagnose(trajectory)),
        **more,
    )


def _solutions(
    problem: Problem[S], trajectory: Trajectory, turn: Callable[[float], float]
) -> tuple[Solution[S], ...]:
    born = {c.key: step.index for step in trajectory.steps for c in step.candidates}
    found: list[Solution[S]] = []
    for evaluation in trajectory:
        text = evaluation.candidate.texts[COMPONENT]
        failed = next(iter(evaluation.failures.values()), None)
        score = turn(trajectory.estimate(evaluation.candidate).score)
        found.append(
            Solution(
                solution=problem.parse(text),
                text=text,
                score=None if failed else score,
                step=born[evaluation.candidate.key],
                failed=failed,
            )
        )
    return tuple(found)
