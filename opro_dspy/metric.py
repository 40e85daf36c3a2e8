"""Calling a user's metric and reading what it returns."""

import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError, MetricError
from opro_dspy.filters import clipped, printable
from opro_dspy.seats import is_async, name_of

MAX_FEEDBACK_CHARS = 1000
"""Of a metric's feedback, so much is kept."""

_PREVIEW_CHARS = 200
_MAX_POSITIONAL = 5
"""Example, prediction, trace, and GEPA's pred_name and pred_trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a metric says of a prediction."""

    score: float
    """A finite number, higher is better."""
    feedback: str = ""
    """What it says in words, as GEPA's metrics do; at most `MAX_FEEDBACK_CHARS` long."""


class Metric:
    """A user's metric as a function of example and prediction to a finite number.

    Takes the two-argument metrics of `dspy.Evaluate`, those with a third argument `trace`, and
    GEPA's with five; everything past the prediction is None.

    Raises:
        ConfigurationError: If the metric is missing, cannot be called, has to be awaited, or
            takes other arguments.
    """

    def __init__(self, metric: Callable[..., Any] | None) -> None:
        if metric is None:
            raise ConfigurationError(
                "`metric` is missing. Pass a function of (example, prediction, trace=None) that "
                "returns a number, higher is better."
            )
        if not callable(metric):
            raise ConfigurationError(
                f"`metric` must be callable, got {metric!r}. Pass a function of "
                "(example, prediction, trace=None)."
            )
        if isinstance(metric, dspy.BaseLM):
            raise ConfigurationError(
                "`metric` must be a function of (example, prediction, trace=None), got the LM "
                f"{metric.model!r}. Name the arguments: OPRO(metric=..., prompt_model=...)."
            )
        if isinstance(metric, type):
            raise ConfigurationError(
                f"`metric` must be a function, got the class {metric.__name__}. Pass an instance "
                "that can be called with (example, prediction, trace=None)."
            )
        forward = type(metric).forward if isinstance(metric, dspy.Module) else None
        if is_async(metric) or is_async(forward):
            raise ConfigurationError(
                f"`metric` must return a number, got the coroutine function {name_of(metric)!r}: "
                "nobody would await it. Write `def`, not `async def`, and asyncio.run(...) in it."
            )
        self.name = getattr(metric, "__name__", type(metric).__name__)
        self.function = metric
        """The user's own."""
        self._rest = (None,) * (_num_positional(metric, self.name) - 2)

    @property
    def holders(self) -> list[Any]:
        """What may hold credentials: the metric, and what it is a method of."""
        return [self.function, getattr(self.function, "__self__", None)]

    def __call__(self, example: dspy.Example, prediction: Any, *, where: str) -> float:
        """Return the score alone; see `judge`."""
        return self.judge(example, prediction, where=where).score

    def judge(self, example: dspy.Example, prediction: Any, *, where: str) -> Judgement:
        """Return score and feedback; exceptions of the metric itself pass through.

        Raises:
            MetricError: If it returns None, NaN, an infinity or no number; names the metric and
                `where`.
        """
        value = self.function(example, prediction, *self._rest)
        score = as_number(value)
        if score is None:
            shown, returned = (clipped(repr(x), _PREVIEW_CHARS) for x in (example, value))
            raise MetricError(
                f"the metric `{self.name}` returned {returned} on {where}: {shown}. It must return "
                "a finite number, a bool, or a dspy.Prediction with such a `score`."
            )
        return Judgement(score=score, feedback=_feedback(value))


def _feedback(value: Any) -> str:
    """Return what a `dspy.Prediction` says in words; "" for anything else."""
    said = value.get("feedback") if isinstance(value, dspy.Prediction) else None
    text = "" if said is None else printable(str(said)).strip()
    return clipped(text, MAX_FEEDBACK_CHARS)


def _num_positional(metric: Callable[..., Any], name: str) -> int:
    """Return how many positional arguments to pass: two, and those beyond that are required."""
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):  # builtins need not tell their signature
        return 2
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in signature.parameters.values() if p.kind in kinds]
    n = min(max(2, sum(p.default is inspect.Parameter.empty for p in positional)), _MAX_POSITIONAL)
    try:
        signature.bind(*(None,) * n)
    except TypeError as error:
        raise ConfigurationError(
            f"the metric `{name}` cannot be called with {n} positional arguments: {error}. It must "
            "take (example, prediction), and may take (trace, pred_name, pred_trace) after them; "
            "give all else a default, or use functools.partial."
        ) from None
    return n


def as_number(value: Any) -> float | None:
    """Return the finite number that `value` is or holds, or None."""
    if isinstance(value, dspy.Prediction):
        value = value.get("score")
    if hasattr(value, "item") and not isinstance(value, numbers.Number):
        value = value.item() if getattr(value, "size", 1) == 1 else None  # numpy scalars
    if not isinstance(value, numbers.Real):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
