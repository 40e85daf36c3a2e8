"""Tells DSPy's callbacks of evaluations as `dspy.Evaluate` does, one candidate after another."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import dspy
from dspy.evaluate import EvaluationResult
from dspy.utils.callback import with_callbacks

from opro_dspy.metric import Metric
from opro_dspy.program import Program
from opro_dspy.protocols import Event, StepEnded
from opro_dspy.records import Candidate, Evaluation

Output = Callable[[Candidate, str, int], str]
"""Candidate, name of the set and index of the example to what the program answered, in short."""


class _Announcement(dspy.Evaluate):  # type: ignore[misc]
    """An evaluation that is over: a call tells the callbacks, and nothing is scored again."""

    def __init__(self, outcome: EvaluationResult | Exception, **options: Any) -> None:
        super().__init__(**options)
        self._outcome = outcome

    @with_callbacks  # type: ignore[untyped-decorator]
    def __call__(
        self,
        program: dspy.Module,
        metric: Callable[..., Any] | None = None,
        devset: list[dspy.Example] | None = None,
        callback_metadata: Mapping[str, Any] | None = None,
    ) -> EvaluationResult:
        """Return what came of the evaluation, or raise what ended it."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Announcer:
    """An observer that calls `on_evaluate_start` and `on_evaluate_end` for each candidate.

    The candidates of a step are scored together, so it speaks when they are done: starts and ends
    never interleave. `callback_metadata["metric_key"]` is "eval_full" where a candidate met the
    whole selection set, else "eval_minibatch"; its "step" and "set" say more. The score is that of
    the trajectory, in percent as `dspy.Evaluate` tells it.

    Args:
        program: Makes the program that callbacks see.
        metric: The metric.
        sets: Name of the set to its examples: "trainset" and "valset".
        selection_set: The one of them that the choice is made on.
        callbacks: The optimizer's own; those of DSPy's settings are told too.
        output: What the program answered to an example.
    """

    def __init__(
        self,
        program: Program,
        metric: Metric,
        *,
        sets: Mapping[str, Sequence[dspy.Example]],
        selection_set: str,
        callbacks: Sequence[Any],
        output: Output,
    ) -> None:
        self._program, self._metric = program, metric
        self._sets, self._selection_set = sets, selection_set
        self._callbacks, self._output = list(callbacks), output
        self._full: set[str] = set()
        self._step = 0

    def __call__(self, event: Event) -> None:
        """Tell of a step's new candidates."""
        if not isinstance(event, StepEnded) or not self._heard:
            return
        trajectory = event.trajectory
        self._step = trajectory.steps[-1].index
        for candidate in trajectory.steps[-1].candidates:
            if candidate in trajectory:
                score = trajectory.estimate(candidate).score
                self._tell("trainset", trajectory.evaluation(candidate), score)

    def chosen(self, selection: Mapping[str, Evaluation]) -> None:
        """Tell of those that met the selection set, whoever was told of in full before apart."""
        for key, evaluation in selection.items() if self._heard else ():
            if key not in self._full:
                self._tell(self._selection_set, evaluation, evaluation.estimate.score)

    def cut_short(self, set_name: str, unfinished: Sequence[Evaluation], error: Exception) -> None:
        """Tell of evaluations that `error` ended."""
        for evaluation in unfinished if self._heard else ():
            with suppress(type(error)):
                self._tell(set_name, evaluation, error)

    @property
    def _heard(self) -> bool:
        return bool(self._callbacks or dspy.settings.get("callbacks"))

    def _tell(self, set_name: str, evaluation: Evaluation, outcome: float | Exception) -> None:
        candidate, examples = evaluation.candidate, self._sets[set_name]
        devset = [examples[i] for i in evaluation.scores]
        full = set_name == self._selection_set and len(devset) == len(examples)
        if full:
            self._full.add(candidate.key)
        if not isinstance(outcome, Exception):
            answers = [self._prediction(candidate, set_name, i) for i in evaluation.scores]
            results = list(zip(devset, answers, evaluation.scores.values(), strict=True))
            outcome = EvaluationResult(score=100.0 * outcome, results=results)
        announcement = _Announcement(outcome, devset=devset, metric=self._metric.function)
        announcement.callbacks = self._callbacks
        announcement(
            self._program.compiled(candidate),
            metric=self._metric.function,
            devset=devset,
            callback_metadata={
                "metric_key": "eval_full" if full else "eval_minibatch",
                "step": self._step,
                "set": set_name,
            },
        )

    def _prediction(self, candidate: Candidate, set_name: str, example: int) -> dspy.Prediction:
        text = self._output(candidate, set_name, example)
        try:
            fields = json.loads(text or "{}")
        except ValueError:  # it was too long to be kept whole
            fields = None
        return dspy.Prediction(**(fields if isinstance(fields, dict) else {"output": text}))
