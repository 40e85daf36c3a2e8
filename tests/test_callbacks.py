"""DSPy's callbacks hear of a compile once, and of every candidate, one after another."""

from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from opro_dspy import LMCallError
from tests.fakes import VAL, compiled, field, scripted_lm


class Notes(BaseCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[Any] = []
        self.exceptions: list[Exception | None] = []
        self.instances: list[Any] = []

    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.events.append(("compile start", call_id))

    def on_compile_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.events.append(("compile end", call_id))

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.events.append(("start", call_id))
        self.instances.append(instance)
        self.inputs.append(inputs)

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.events.append(("end", call_id))
        self.outputs.append(outputs)
        self.exceptions.append(exception)

    def keys(self) -> list[str]:
        return [inputs["callback_metadata"]["metric_key"] for inputs in self.inputs]


@pytest.mark.parametrize("own", [True, False])
def test_each_candidate_is_announced_alone_within_one_compile(own: bool) -> None:
    notes = Notes()
    with dspy.context(callbacks=[] if own else [notes]):
        result = compiled(callbacks=[notes] if own else []).detailed_results
    kinds = [kind for kind, _ in notes.events]
    assert (kinds[0], kinds[-1]) == ("compile start", "compile end")
    assert kinds[1:-1] == ["start", "end"] * (len(notes.inputs))
    pairs = notes.events[1:-1]
    assert all(a[1] == b[1] for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    finalists = [c for c in result.candidates if c.selection is not None]
    n, k = len(result.candidates), len(finalists)
    assert notes.keys() == ["eval_minibatch"] * n + ["eval_full"] * k
    assert k > 1
    assert all(isinstance(instance, dspy.Evaluate) for instance in notes.instances)


def test_what_is_announced_is_what_the_result_holds() -> None:
    notes = Notes()
    result = compiled(callbacks=[notes]).detailed_results
    told = {}
    for inputs, outputs in zip(notes.inputs, notes.outputs, strict=True):
        text = inputs["program"].predictors()[0].signature.instructions
        told[text, inputs["callback_metadata"]["set"]] = outputs
        assert inputs["devset"] == [example for example, *_ in outputs.results]
        for example, prediction, score in outputs.results:
            assert (prediction.answer == example.answer) == bool(score)
    for candidate in result.candidates:
        (text,) = candidate.instructions.values()
        if candidate.selection is not None:
            outputs = told[text, "valset"]
            assert float(outputs) == pytest.approx(100 * candidate.selection.score)
            assert len(outputs.results) == len(VAL)


def test_a_score_of_the_search_is_told_in_percent_as_the_trajectory_has_it() -> None:
    notes = Notes()
    result = compiled(callbacks=[notes], racing=False).detailed_results
    told = [
        float(outputs)
        for inputs, outputs in zip(notes.inputs, notes.outputs, strict=True)
        if inputs["callback_metadata"]["set"] == "trainset"
    ]
    assert max(told) > 1.0
    assert told == pytest.approx([100 * candidate.train.score for candidate in result.candidates])


def test_where_the_training_set_decides_it_is_met_in_full_once() -> None:
    notes = Notes()
    result = compiled(valset=None, racing=False, callbacks=[notes]).detailed_results
    assert notes.keys() == ["eval_full"] * len(result.candidates)
    assert [i["callback_metadata"]["step"] for i in notes.inputs] == [
        c.step for c in result.candidates
    ]


def test_an_evaluation_that_an_outage_ends_is_announced_with_the_error() -> None:
    calls = iter(range(10_000))

    def reply(text: str) -> str | Exception:
        return field("answer", "1") if next(calls) < 12 else dspy.LMAuthError("no key", model="m")

    notes = Notes()
    with pytest.raises(LMCallError) as raised:
        compiled(
            scorer=scripted_lm(reply),
            callbacks=[notes],
            num_threads=1,
            racing=False,
        )
    assert notes.exceptions == [raised.value]
    assert notes.outputs == [None]
    assert [kind for kind, _ in notes.events] == ["compile start", "start", "end", "compile end"]
    assert len(notes.inputs[0]["devset"]) == 12
