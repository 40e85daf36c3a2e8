"""Which examples a program takes: the names of their inputs, before anything is paid for."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO
from opro_dspy.accepting import check_inputs
from opro_dspy.errors import ConfigurationError
from tests.fakes import TRAIN, exact, keyword_scorer, word_optimizer


def given(*names: str) -> dspy.Example:
    return dspy.Example(**dict.fromkeys(names, "x"), answer="a").with_inputs(*names)


class Asking(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")


class Plain(Asking):
    def forward(self, question: str, context: str = "") -> Any:
        return self.ask(question=question)


class Anything(Asking):
    def forward(self, **row: Any) -> Any:
        return self.ask(question=row["query"])


class Partly(Asking):
    def forward(self, question: str, **rest: Any) -> Any:
        return self.ask(question=question)


class Awaited(Asking):
    async def aforward(self, question: str) -> Any:
        return await self.ask.acall(question=question)


class AtTheCall(Asking):
    def __call__(self, query: str) -> Any:
        return self.ask(question=query)

    def forward(self, question: str) -> Any:
        return self.ask(question=question)


def renaming(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def renamed(self: Any, query: str) -> Any:
        return function(self, question=query)

    return renamed


class Decorated(Asking):
    @renaming
    def forward(self, question: str) -> Any:
        return self.ask(question=question)


class Optional(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: str = dspy.InputField()
    hint: str | None = dspy.InputField()
    tone: str = dspy.InputField(default="calm")
    answer: str = dspy.OutputField()


QA, QUESTION = "question -> answer", ["question"]


def tool(n: int) -> int:
    """Return n."""
    return n


@pytest.mark.parametrize(
    ("student", "names", "message"),
    [
        (dspy.Predict(QA), ["query"], r"\['query'\], but Predict reads \['question'\]: no prompt"),
        (dspy.ChainOfThought(QA), ["query"], r"ChainOfThought reads \['question'\]"),
        (dspy.ReAct(QA, [tool]), ["query"], r"ReAct reads \['question'\]"),
        (Plain(), ["query"], r"Plain.forward takes \(question, context=''\): .*'que(ry|stion)'"),
        (Plain(), ["question", "id"], "got an unexpected keyword argument 'id'"),
        (Plain(), ["context"], "missing a required argument: 'question'"),
        (Partly(), ["query"], "missing a required argument: 'question'"),
        (Awaited(), ["query"], r"Awaited.aforward takes \(question\)"),
        (Decorated(), ["question"], r"Decorated.forward takes \(query\)"),
    ],
)
def test_inputs_that_a_program_cannot_take_are_refused_and_the_example_is_named(
    student: dspy.Module, names: list[str], message: str
) -> None:
    good = given("query" if isinstance(student, Decorated) else "question")
    with pytest.raises(ConfigurationError, match=rf"`trainset\[2\]` gives .*{message}"):
        check_inputs(student, {"trainset": [good, good, given(*names)], "valset": []})
    with pytest.raises(ConfigurationError, match=rf"`valset\[0\]` gives .*{message}"):
        check_inputs(student, {"trainset": [good], "valset": [given(*names)]})


@pytest.mark.parametrize(
    ("student", "names"),
    [
        (dspy.Predict(QA), [QUESTION]),
        (dspy.Predict(Optional), [QUESTION, ["question", "hint"], ["question", "tone"]]),
        (dspy.Predict(QA), [["question", "demos"]]),
        (dspy.ChainOfThought(QA), [QUESTION]),
        (Plain(), [QUESTION, ["question", "context"]]),
        (Anything(), [["query", "id"]]),
        (Partly(), [["question", "id"], ["question", "note"]]),
        (Awaited(), [QUESTION]),
        (AtTheCall(), [["query"]]),
        (Decorated(), [["query"]]),
        (dspy.BestOfN(AtTheCall(), N=2, reward_fn=exact, threshold=1.0), [["query"]]),
    ],
)
def test_what_may_work_is_let_in_without_a_word(
    student: dspy.Module, names: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check_inputs(student, {"trainset": [given(*n) for n in names], "valset": []})
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("student", "other", "said"),
    [
        (
            dspy.Predict("question, context -> answer"),
            ["question"],
            "`valset[1]` does not give the inputs ['context'] that Predict reads",
        ),
        (
            dspy.Predict("question, context -> answer"),
            ["question", "context", "id"],
            "`valset[1]` gives the inputs ['id'] that are no input fields of Predict",
        ),
        (
            Anything(),
            ["query"],
            "`valset[1]` gives the inputs ['query'], but `trainset[0]` ['context', 'question']",
        ),
    ],
)
def test_what_a_program_may_not_use_is_said_once(
    student: dspy.Module, other: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = given("question", "context")
    with caplog.at_level(logging.WARNING, logger="opro_dspy"):
        check_inputs(
            student, {"trainset": [whole] * 3, "valset": [whole, given(*other), given(*other)]}
        )
    assert said in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize("student", [dspy.Predict(QA), Plain()])
@pytest.mark.parametrize("place", ["trainset", "valset"])
def test_wrong_input_names_cost_nothing(student: dspy.Module, place: str) -> None:
    sets: Any = {"trainset": TRAIN, place: [*TRAIN[:5], given("query")]}
    scorer, proposer = keyword_scorer(), word_optimizer()
    optimizer = OPRO(metric=exact, prompt_model=proposer)
    for call in (optimizer.compile, optimizer.estimate):
        refused = pytest.raises(ConfigurationError, match=rf"`{place}\[5\]` gives the inputs")
        with dspy.context(lm=scorer), refused:
            call(student, **sets)
    assert scorer.engine.calls == proposer.engine.calls == 0


class AsyncForward(Asking):
    async def forward(self, question: str) -> Any:
        return await self.ask.acall(question=question)


class Both(AsyncForward):
    async def aforward(self, question: str) -> Any:
        return await self.ask.acall(question=question)


@pytest.mark.parametrize(
    ("student", "advice"),
    [(AsyncForward(), "Name it `aforward`"), (Both(), "Take it away: `aforward` is awaited")],
)
def test_an_async_forward_is_refused_with_its_right_name(student: dspy.Module, advice: str) -> None:
    with dspy.context(lm=keyword_scorer()), pytest.raises(ConfigurationError, match=advice):
        OPRO(metric=exact).compile(student, trainset=TRAIN)
