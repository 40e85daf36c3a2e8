from __future__ import annotations

from typing import Any

import dspy
import pytest

from opro_dspy.simulation import TASK_NAMES, exact_match, make_examples


@pytest.mark.parametrize("task", TASK_NAMES)
def test_the_same_arguments_give_the_same_distinct_examples(task: str) -> None:
    examples = make_examples(task, 500, seed=7)
    assert [dict(e) for e in examples] == [dict(e) for e in make_examples(task, 500, seed=7)]
    assert len({e.question for e in examples}) == 500
    assert set(examples[0].inputs().keys()) == {"question"}


@pytest.mark.parametrize("task", TASK_NAMES)
def test_another_seed_gives_other_questions(task: str) -> None:
    first, second = ({e.question for e in make_examples(task, 500, seed=s)} for s in (0, 1))
    assert not first & second


def test_boolean_answers_are_those_of_python() -> None:
    for example in make_examples("boolean_expressions", 100):
        expression = example.question.removeprefix("Evaluate this expression: ")
        value = eval(expression.removesuffix(" is"), {"__builtins__": {}})
        assert str(value) == example.answer


def test_labels_are_mixed() -> None:
    answers = [e.answer for e in make_examples("boolean_expressions", 300)]
    assert 0.3 < answers.count("True") / 300 < 0.7


@pytest.mark.parametrize(
    ("label", "said", "same"),
    [
        ("18", "18.0", True),
        ("18", "$18", True),
        ("18", " 18. ", True),
        ("1800", "1,800", True),
        ("She has 9.\n#### 18", "18", True),
        ("True", "true", True),
        ("True", True, True),
        ("New  York", "new york.", True),
        (["a", "B"], ["A", "b"], True),
        ("18", "19", False),
        ("18", None, False),
        (["a"], ["a", "b"], False),
    ],
)
def test_exact_match_forgives_form_only(label: Any, said: Any, same: bool) -> None:
    example = dspy.Example(question="q", answer=label).with_inputs("question")
    assert exact_match(example, dspy.Prediction(answer=said)) is same


def test_exact_match_wants_every_label() -> None:
    example = dspy.Example(question="q", answer="4", unit="cm").with_inputs("question")
    assert exact_match(example, dspy.Prediction(answer="4", unit="CM"))
    assert not exact_match(example, dspy.Prediction(answer="4", unit="m"))


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"must be one of arithmetic.* got 'chess'"):
        make_examples("chess", 3)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        make_examples("arithmetic", -1)
