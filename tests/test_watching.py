from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError
from opro_dspy.protocols import StepEnded
from tests.fakes import TRAIN, VAL, compiled, exact, keyword_scorer, word_optimizer


def compiled_with(on_step: Any, **options: Any) -> Any:
    optimizer = OPRO(metric=exact, prompt_model=word_optimizer(), max_steps=2, **options)
    with dspy.context(lm=keyword_scorer()):
        return optimizer.compile(
            dspy.Predict("question -> answer"), trainset=TRAIN, valset=VAL, on_step=on_step
        )


def test_on_step_is_told_of_each_step_with_what_was_found_by_then() -> None:
    seen: list[StepEnded] = []
    bests: list[float | None] = []

    def on_step(event: StepEnded) -> None:
        seen.append(event)
        bests.append(None if event.best is None else event.best.score)

    result = compiled_with(on_step, racing=False).detailed_results
    assert len(seen) == 3
    assert seen[-1].step == result.steps[-1]
    assert bests[-1] == max(c.train.score for c in result.candidates)


def test_on_step_must_be_callable() -> None:
    with pytest.raises(ConfigurationError, match="`on_step` must be callable, got 3"):
        compiled_with(3)


def test_an_exception_in_on_step_stops_the_run_and_keeps_what_was_found() -> None:
    def on_step(event: StepEnded) -> None:
        if event.step.index == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        compiled_with(on_step)
    assert getattr(caught.value, "result").num_steps == 1  # noqa: B009


def test_the_result_tells_what_each_step_had_spent() -> None:
    result = compiled(racing=False, valset=None).detailed_results
    calls = [spent.metric_calls for spent in result.spent]
    new = [len(step.candidates) for step in result.steps]
    assert calls == [len(TRAIN) * sum(new[: i + 1]) for i in range(len(new))]
    tokens = [spent.tokens for spent in result.spent]
    assert tokens == sorted(tokens)
    assert tokens[-1] <= sum(row.input_tokens + row.output_tokens for row in result.usage)


def test_the_result_holds_the_examples_on_which_student_and_best_differ() -> None:
    result = compiled(racing=False).detailed_results
    differ = {i for i, (before, after) in result.compared.items() if before != after}
    assert differ
    assert set(result.examples) == differ
    assert all(
        shown.inputs["question"] == VAL[i].question and shown.outputs["answer"] == VAL[i].answer
        for i, shown in result.examples.items()
    )
