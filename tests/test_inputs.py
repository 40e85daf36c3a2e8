"""The door: what is refused before the first call of an LM, and how it says so."""

import functools
import logging
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO
from opro_dspy.errors import ConfigurationError
from opro_dspy.inputs import (
    check_instructions,
    check_lm,
    check_lms,
    check_log_dir,
    check_sets,
    initial_candidates,
)
from opro_dspy.program import Program
from tests.fakes import TRAIN, exact, keyword_scorer


def example(**fields: Any) -> dspy.Example:
    return dspy.Example(**{"question": "q", "answer": "a", **fields}).with_inputs("question")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dspy.Example(question="q"), "does not say which fields are inputs"),
        (dspy.Example(question="q").with_inputs(), r"has no inputs: .*\['question'\]"),
        (
            dspy.Example(question="q").with_inputs("quesiton"),
            "has no field 'quesiton'.*Did you mean 'question'",
        ),
        (dspy.Example(question="q").with_inputs("question", "context"), "has no field 'context'"),
        (dspy.Prediction(question="q"), "does not say which fields are inputs"),
    ],
)
def test_an_example_of_which_the_program_would_not_get_its_inputs_is_refused(
    wrong: dspy.Example, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"`trainset\[1\]` {message}"):
        check_sets([example(), wrong], None)
    with pytest.raises(ConfigurationError, match=rf"`valset\[0\]` {message}"):
        check_sets([example()], [wrong])


def test_copies_that_differ_in_dspys_notes_alone_overlap(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="opro_dspy"):
        check_sets(
            [example(dspy_uuid="1", dspy_split="train")],
            [example(dspy_uuid="2", dspy_split="dev"), example(question="other")],
        )
    assert "1 of 2 validation examples are training examples too" in caplog.text


def test_sets_of_any_values_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    odd = example(d={1: 2, "b": 3, (1, 2): {4}}, o=object())
    check_sets([odd], [odd.copy()])
    assert "1 of 1" in caplog.text


@pytest.mark.parametrize("wrong", [None, 3, b"text", [3], [None], [{"self": 3}], {"self": None}])
def test_initial_instructions_that_are_no_texts_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="`initial_instructions` must"):
        check_instructions(wrong)
    with pytest.raises(ConfigurationError, match="`initial_instructions` must"):
        initial_candidates(Program(dspy.Predict("q -> a")), wrong)


def test_initial_instructions_must_name_predictors() -> None:
    with pytest.raises(ConfigurationError, match=r"keys among \['self'\], got {'nobody': 'x'}"):
        initial_candidates(Program(dspy.Predict("q -> a")), [{"nobody": "x"}])


def test_one_text_is_a_list_of_one() -> None:
    assert check_instructions("Go.") == ("Go.",)
    assert check_instructions({"self": "Go."}) == ({"self": "Go."},)
    assert check_instructions(text for text in ["a", "b"]) == ("a", "b")


def test_initial_instructions_are_cleaned_and_a_blank_one_is_the_students_default() -> None:
    program = Program(dspy.Predict("question -> answer"))
    found = initial_candidates(program, ["  ", "", "a \ud800 b", "\n  ", "a \ufffd b"])
    assert [c.texts["self"] for c in found] == [program.candidate.texts["self"], "a \ufffd b"]


@pytest.mark.parametrize("name", ["prompt_model", "dspy.settings.lm"])
def test_a_models_name_is_no_lm(name: str) -> None:
    message = rf"`{name}` must be a dspy.LM, got 'openai/x'. Write dspy.LM\('openai/x'\)"
    with pytest.raises(ConfigurationError, match=message):
        check_lm(name, "openai/x")
    with pytest.raises(ConfigurationError, match="got int"):
        check_lm(name, 3)
    assert check_lm(name, None) is None


def test_the_default_lm_and_those_of_predictors_are_checked() -> None:
    student, lm = dspy.ChainOfThought("q -> a"), dspy.LM("openai/x")
    with dspy.context(lm=lm):
        assert check_lms(Program(student)) is lm
        student.predict.lm = "openai/y"
        with pytest.raises(ConfigurationError, match=r"`self.predict.lm` must be .*'openai/y'"):
            check_lms(Program(student))
        student.predict.lm = None
    with dspy.context(lm="openai/x"), pytest.raises(ConfigurationError, match=r"dspy.settings.lm"):
        check_lms(Program(student))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("json", r"got 'json'\. Write dspy.configure\(adapter=dspy.ChatAdapter\(\)\)"),
        (dspy.JSONAdapter, r"got the class JSONAdapter\. Write .*adapter=JSONAdapter\(\)\)"),
        (object(), "got <object"),
    ],
)
def test_what_is_no_adapter_is_refused_before_the_first_call(adapter: Any, message: str) -> None:
    scorer = keyword_scorer()
    with dspy.context(lm=scorer, adapter=adapter):
        for call in (OPRO(metric=exact).compile, OPRO(metric=exact).estimate):
            with pytest.raises(ConfigurationError, match=f"`dspy.settings.adapter` .*{message}"):
                call(dspy.Predict("question -> answer"), trainset=TRAIN)
    assert scorer.engine.calls == 0


async def listening(event: Any) -> None:
    """What nobody would await."""


class Listening:
    async def __call__(self, event: Any) -> None:
        """What nobody would await."""


@pytest.mark.parametrize("told", [listening, Listening(), functools.partial(listening)])
def test_observers_that_have_to_be_awaited_are_refused(told: Any) -> None:
    scorer = keyword_scorer()
    with dspy.context(lm=scorer):
        with pytest.raises(ConfigurationError, match=r"`on_step` must be a plain .*`def`"):
            OPRO(metric=exact).compile(
                dspy.Predict("question -> answer"), trainset=TRAIN, on_step=told
            )
        with pytest.raises(ConfigurationError, match="`observers` must be a plain"):
            OPRO(metric=exact, observers=[told])
        with pytest.raises(ConfigurationError, match="`stop` must be a plain"):
            OPRO(metric=exact, stop=told)
    assert scorer.engine.calls == 0


@pytest.mark.parametrize("log_dir", ["a\0b", "x" * 5000, 3, ""])
def test_a_log_dir_that_cannot_be_one_is_refused_at_the_door(log_dir: Any) -> None:
    with pytest.raises(ConfigurationError, match="`log_dir`"):
        check_log_dir(log_dir)
