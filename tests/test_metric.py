"""A user's metric: which are taken, how they are called, and what they may return."""

import functools
from typing import Any

import dspy
import numpy as np
import pytest

from opro_dspy.errors import ConfigurationError, MetricError
from opro_dspy.metric import Metric

EXAMPLE = dspy.Example(question="q", answer="a")


def two(example: Any, prediction: Any) -> bool:
    return bool(example.answer == prediction)


def with_trace(example: Any, prediction: Any, trace: Any = "not given") -> bool:
    return two(example, prediction) and trace == "not given"


def three(example: Any, prediction: Any, trace: Any) -> bool:
    return two(example, prediction) and trace is None


def gepa(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> bool:
    return two(gold, pred) and trace is pred_name is pred_trace is None


def anything(*arguments: Any, **options: Any) -> bool:
    return len(arguments) == 2 and not options and two(*arguments)


def judged(example: Any, prediction: Any, trace: Any = None, *, judge: Any) -> bool:
    return two(example, prediction) and bool(judge)


class Judge:
    def __call__(self, example: Any, prediction: Any, *, strict: bool = True) -> bool:
        return two(example, prediction) and strict

    def method(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return two(example, prediction)


class Program(dspy.Module):  # type: ignore[misc]
    def forward(self, example: Any, prediction: Any) -> bool:
        return two(example, prediction)


@pytest.mark.parametrize(
    "metric",
    [
        two,
        with_trace,
        three,
        gepa,
        anything,
        Judge(),
        Judge().method,
        Program(),
        functools.partial(judged, judge="strict"),
    ],
)
def test_metrics_are_called_with_what_they_require(metric: Any) -> None:
    assert Metric(metric)(EXAMPLE, "a", where="example 0") == 1.0
    assert Metric(metric)(EXAMPLE, "b", where="example 0") == 0.0


def six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (None, "`metric` is missing"),
        (3, "must be callable, got 3"),
        (int, "must be a function, got the class int"),
        (Judge, "got the class Judge. Pass an instance"),
        (dspy.Example, "got the class Example"),
        (lambda example: 1, "cannot be called with 2 positional arguments.*must take"),
        (lambda: 1, "must take"),
        (six, "`six` cannot be called with 5 positional arguments: missing .*'f'"),
        (judged, "`judged` cannot .*: missing .*'judge'.*functools.partial"),
    ],
)
def test_a_metric_that_cannot_be_called_as_we_will_is_refused(metric: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Metric(metric)


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, 1.0),
        (2, 2.0),
        (-0.5, -0.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.array([0.25]), 0.25),
        (dspy.Prediction(score=0.5, feedback="ok"), 0.5),
        (dspy.Prediction(score=np.int64(1)), 1.0),
    ],
)
def test_numbers_of_every_usual_kind_are_scores(value: Any, score: float) -> None:
    assert Metric(lambda e, p: value)(EXAMPLE, None, where="example 0") == score


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), float("inf"), "0.5", [1.0], np.ones(2), dspy.Prediction(answer="x"), 1j],
)
def test_a_value_that_is_no_finite_number_is_named_with_metric_and_example(value: Any) -> None:
    def my_metric(example: Any, prediction: Any) -> Any:
        return value

    with pytest.raises(
        MetricError, match=r"`my_metric` returned [\s\S]* on example 7: .*'question'"
    ):
        Metric(my_metric)(EXAMPLE, None, where="example 7")


def test_an_error_shows_little_of_a_long_value() -> None:
    with pytest.raises(MetricError) as caught:
        Metric(lambda e, p: "x" * 10_000)(EXAMPLE, None, where="example 0")
    assert len(str(caught.value)) < 1000
    assert "xxx… on example 0" in str(caught.value)


def test_errors_of_the_metric_itself_pass_through() -> None:
    def broken(example: Any, prediction: Any) -> float:
        raise KeyError("gold")

    with pytest.raises(KeyError, match="gold"):
        Metric(broken)(EXAMPLE, None, where="example 0")


async def awaited(example: Any, prediction: Any) -> bool:
    return two(example, prediction)


class AwaitedJudge:
    async def __call__(self, example: Any, prediction: Any) -> bool:
        return two(example, prediction)


class AwaitedProgram(dspy.Module):  # type: ignore[misc]
    async def forward(self, example: Any, prediction: Any) -> bool:
        return two(example, prediction)


@pytest.mark.parametrize(
    "metric", [awaited, AwaitedJudge(), AwaitedProgram(), functools.partial(awaited)]
)
def test_a_metric_that_has_to_be_awaited_is_refused(metric: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"got the coroutine function .*`async def`"):
        Metric(metric)
