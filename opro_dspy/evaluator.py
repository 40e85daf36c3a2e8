"""The scorer's seat: all candidates × examples of a step on one pool."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy

from opro_dspy.errors import LMCallError, MetricError, ProgramFailedError
from opro_dspy.interrupt import Interrupt
from opro_dspy.meter import Meter, lm_failure
from opro_dspy.metric import Metric
from opro_dspy.pool import completed
from opro_dspy.protocols import ExampleScored, Observer, StepStarted
from opro_dspy.records import Candidate, Evaluation
from opro_dspy.trajectory import Trajectory

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Row:
    """One candidate's scores as they come in."""

    candidate: Candidate
    scores: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    limit: int | None = None
    """Example index from which on nothing more is scored, once errors are too many."""


class ProgramEvaluator:
    """Scores candidates with a program, a metric and examples.

    Args:
        build: Makes the program that holds a candidate's instructions.
        metric: Called with each example and prediction.
        examples: The training set.
        executor: Where examples run.
        num_threads: Calls in flight at once.
        context: Makes the context in which the program runs, e.g. a meter's.
        meter: Tells whether the LM ever answered.
        failure_score: Score of an example on which the program or the metric raised.
        max_errors: Such examples at which a candidate is given up, at least 1; for a step-0
            candidate the run stops. As in `dspy.Evaluate`.
        provide_traceback: Log the traceback of such errors.
        interrupt: Tells of Ctrl-C.
        observers: Told of each score.
    """

    def __init__(
        self,
        build: Callable[[Candidate], dspy.Module],
        *,
        metric: Metric,
        examples: Sequence[dspy.Example],
        executor: Executor,
        num_threads: int,
        context: Callable[[], AbstractContextManager[None]],
        meter: Meter,
        failure_score: float = 0.0,
        max_errors: int = 10,
        provide_traceback: bool = False,
        interrupt: Interrupt | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._build = build
        self._metric = metric
        self._examples = examples
        self._executor = executor
        self._num_threads = num_threads
        self._context = context
        self._meter = meter
        self._failure_score = failure_score
        self._max_errors = max_errors
        self._provide_traceback = provide_traceback
        self._interrupt = interrupt
        self._observers = observers
        self.unfinished: tuple[Evaluation, ...] = ()
        """What was scored of candidates whose evaluation an error or Ctrl-C cut short."""

    def evaluate(
        self, candidates: Sequence[Candidate], trajectory: Trajectory
    ) -> Sequence[Evaluation]:
        """Score each candidate on the whole training set; see `Evaluator`.

        Raises:
            LMCallError: If an LM failed.
            MetricError: If the metric returned something that is no number.
            ProgramFailedError: If a candidate of step 0 reached `max_errors`.
        """
        step = len(trajectory.steps)
        evaluations = self.score(candidates, self._examples, step=step)
        dropped = [e for e in evaluations if e.dropped is not None]
        if step == 0 and dropped:
            errors = dropped[0].failures
            first = min(errors)
            raise ProgramFailedError(
                f"the program or the metric failed on {len(errors)} of the first "
                f"{max(errors) + 1} training examples with the initial instruction "
                f"(`max_errors` is {self._max_errors}). "
                f"First error, on example {first}: {errors[first]}"
            )
        return evaluations

    def score(
        self, candidates: Sequence[Candidate], examples: Sequence[dspy.Example], *, step: int
    ) -> Sequence[Evaluation]:
        """Score each candidate on all of `examples`, in one grid; errors as `evaluate`."""
        rows = [_Row(candidate) for candidate in candidates]
        self._tell(StepStarted(step=step, n_scores=len(rows) * len(examples)))
        self.unfinished = ()
        try:
            with self._context():
                self._run(rows, examples)
        except BaseException:
            n = len(examples)
            self.unfinished = tuple(self._close(row, n) for row in rows if row.scores)
            raise
        return [self._close(row, len(examples)) for row in rows]

    def _run(self, rows: Sequence[_Row], examples: Sequence[dspy.Example]) -> None:
        fatal: dict[tuple[int, int], Exception] = {}
        calls = self._calls(rows, examples, fatal)
        results = completed(
            self._executor, calls, window=4 * self._num_threads, interrupt=self._interrupt
        )
        for (r, i), future in results:
            error = future.exception()
            if error is None:
                self._note(rows[r], i, future.result())
            elif not isinstance(error, Exception):
                raise error
            elif (stop := self._fatal(error)) is not None:
                fatal[r, i] = stop
            else:
                self._note_failure(rows[r], i, error)
        if fatal:
            raise fatal[min(fatal)]

    def _calls(
        self,
        rows: Sequence[_Row],
        examples: Sequence[dspy.Example],
        fatal: dict[tuple[int, int], Exception],
    ) -> Iterator[tuple[tuple[int, int], Callable[[], float]]]:
        """Yield the grid's calls, candidate by candidate, as long as they are wanted."""
        for r, row in enumerate(rows):
            program = self._build(row.candidate)
            for i, example in enumerate(examples):
                if fatal:
                    return
                if row.limit is not None and i >= row.limit:
                    break
                yield (r, i), partial(self._score_one, program, example, i)

    def _score_one(self, program: dspy.Module, example: dspy.Example, index: int) -> float:
        prediction = program(**example.inputs())
        return self._metric(example, prediction, where=f"example {index}")

    def _fatal(self, error: Exception) -> Exception | None:
        """Return the error that has to stop the run, or None when the example alone failed."""
        if isinstance(error, MetricError):
            return error
        cause = lm_failure(error, answered=self._meter.answered())
        if cause is None:
            return None
        stop = LMCallError(
            "a scorer LM failed, which says nothing about the candidate: "
            f"{type(cause).__name__}: {cause}"
        )
        stop.__cause__ = error
        return stop

    def _note(self, row: _Row, index: int, score: float, failed: str | None = None) -> None:
        row.scores[index] = score
        self._tell(
            ExampleScored(candidate=row.candidate, example=index, score=score, failed=failed)
        )

    def _note_failure(self, row: _Row, index: int, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        row.failures[index] = said
        if len(row.failures) == self._max_errors:
            row.limit = max(row.failures) + 1
        text = "".join(traceback.format_exception(error)) if self._provide_traceback else said
        logger.warning("Example %d failed and scores %s: %s", index, self._failure_score, text)
        self._note(row, index, self._failure_score, failed=said)

    def _close(self, row: _Row, n_examples: int) -> Evaluation:
        """Return the row's evaluation, the same in whatever order its scores came in."""
        scores, failures, dropped = row.scores, row.failures, None
        if row.limit is not None:
            last = sorted(failures)[self._max_errors - 1]
            failures = {i: said for i, said in failures.items() if i <= last}
            seen = {i: score for i, score in scores.items() if i <= last}
            scores = {i: seen.get(i, self._failure_score) for i in range(n_examples)}
            dropped = f"given up after {len(failures)} errors in {last + 1} examples"
        return Evaluation(
            candidate=row.candidate,
            scores=dict(sorted(scores.items())),
            failures=dict(sorted(failures.items())),
            dropped=dropped,
        )

    def _tell(self, event: Any) -> None:
        for observe in self._observers:
            observe(event)
