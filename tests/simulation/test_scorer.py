from __future__ import annotations

import asyncio
import copy
import json
import math
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from opro_dspy.simulation import (
    SimulatedScorer,
    exact_match,
    landscape,
    make_examples,
    scorer_lm,
)
from opro_dspy.simulation.prompts import read_prompt
from tests.simulation.conftest import BAD, GOOD

ADAPTERS = [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()]


class Verdict(dspy.Signature):  # type: ignore[misc]
    """Judge the review."""

    review: str = dspy.InputField()
    place: str = dspy.InputField()
    positive: bool = dspy.OutputField()
    stars: int = dspy.OutputField()
    price: float = dspy.OutputField()
    tone: Literal["warm", "cold", "dry (very)"] = dspy.OutputField()
    words: list[str] = dspy.OutputField()
    comment: str = dspy.OutputField()


def reviews(n: int) -> list[dspy.Example]:
    return [
        dspy.Example(
            review=f"Review number {i}:\n\nthe soup was <hot> & fine.",
            place="Oslo",
            positive=i % 2 == 0,
            stars=i % 5,
            price=i + 0.5,
            tone=("warm", "cold", "dry (very)")[i % 3],
            words=["soup", f"w{i}"],
        ).with_inputs("review", "place")
        for i in range(n)
    ]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_typed_outputs_parse_and_are_right_or_wrong_together(adapter: Any) -> None:
    examples = reviews(40)
    lm = scorer_lm(answer_key=examples, landscape=landscape("wording_noise"), cache=False)
    judge = dspy.Predict(Verdict)
    n_right = 0
    with dspy.context(lm=lm, adapter=adapter):
        for example in examples:
            got = judge(**example.inputs())
            hits = [getattr(got, name) == value for name, value in example.labels().items()]
            assert all(hits) or not any(hits)
            assert got.comment
            n_right += all(hits)
    assert 5 < n_right < 35
    assert lm.engine.calls == len(examples)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
def test_chain_of_thought_parses_in_every_form(
    adapter: Any, scorer: Any, examples: list[dspy.Example]
) -> None:
    program = dspy.ChainOfThought("question -> answer: int")
    with dspy.context(adapter=adapter):
        got = [program(question=example.question) for example in examples[:20]]
    assert all(isinstance(one.answer, int) and one.reasoning for one in got)
    assert any(exact_match(e, p) for e, p in zip(examples, got, strict=False))
    assert scorer.engine.calls == 20


def test_observed_frequency_matches_the_expectation() -> None:
    examples = make_examples("arithmetic", 1200, seed=11)
    lm = scorer_lm(answer_key=examples, landscape=landscape("rare_combination"), cache=False)
    program = dspy.Predict(dspy.Signature("question -> answer", GOOD))
    with dspy.context(lm=lm, trace=None, disable_history=True):
        n_right = sum(exact_match(e, program(question=e.question)) for e in examples)
    expected = lm.engine.landscape.expected_accuracy(GOOD, examples)
    error = math.sqrt(expected * (1 - expected) / len(examples))
    assert abs(n_right / len(examples) - expected) < 3 * error


def test_at_temperature_0_an_answer_is_a_function_of_the_prompt(scorer: Any) -> None:
    asked = ["Kim", *(e.question for e in make_examples("arithmetic", 60, seed=3))]
    program = dspy.Predict("question -> answer")
    first = [program(question=q).answer for q in asked]
    assert first == [program(question=q).answer for q in asked]


def test_at_a_higher_temperature_answers_depend_on_the_rollout(
    scorer: Any, examples: list[dspy.Example]
) -> None:
    program = dspy.Predict("question -> answer")

    def ask(rollout_id: int) -> list[str]:
        config = {"temperature": 1.0, "rollout_id": rollout_id}
        return [program(question=e.question, config=config).answer for e in examples]

    assert ask(1) != ask(2)
    assert ask(1) == ask(1)


def test_the_instruction_decides(examples: list[dspy.Example]) -> None:
    shape = landscape("many_small_effects")
    more = make_examples("arithmetic", 400, seed=2)
    lm = scorer_lm(answer_key=more, landscape=shape, cache=False)

    def reached(instruction: str) -> float:
        program = dspy.Predict(dspy.Signature("question -> answer", instruction))
        with dspy.context(lm=lm, trace=None):
            return sum(exact_match(e, program(question=e.question)) for e in more) / len(more)

    assert reached(GOOD) > reached(BAD) + 0.3


class TwoStage(dspy.Module):  # type: ignore[misc]
    def __init__(self, plan: str, solve: str, *, passes_question: bool = True) -> None:
        super().__init__()
        inputs = "question, plan" if passes_question else "plan"
        self.plan = dspy.Predict(dspy.Signature("question -> plan", plan))
        self.solve = dspy.ChainOfThought(dspy.Signature(f"{inputs} -> answer", solve))
        self.passes_question = passes_question

    def forward(self, question: str) -> Any:
        plan = self.plan(question=question).plan
        extra = {"question": question} if self.passes_question else {}
        return self.solve(plan=plan, **extra)


@pytest.mark.parametrize("passes_question", [True, False])
def test_both_stages_of_a_program_count(passes_question: bool) -> None:
    shape = landscape("many_small_effects")
    more = make_examples("arithmetic", 300, seed=8)
    lm = scorer_lm(answer_key=more, landscape=shape, cache=False)
    seen = {}
    for plan, solve in ((GOOD, GOOD), (BAD, GOOD), (GOOD, BAD)):
        program = TwoStage(plan, solve, passes_question=passes_question)
        with dspy.context(lm=lm, trace=None):
            n_right = sum(exact_match(e, program(question=e.question)) for e in more)
        expected = lm.engine.expected_chain_accuracy([plan, solve], more)
        error = math.sqrt(expected * (1 - expected) / len(more))
        assert abs(n_right / len(more) - expected) < 3.5 * error
        seen[plan, solve] = expected
    assert seen[GOOD, GOOD] > max(seen[BAD, GOOD], seen[GOOD, BAD]) + 0.1


def test_a_question_outside_the_key_gets_a_harmless_answer(scorer: Any) -> None:
    got = dspy.ChainOfThought("question -> answer: int")(question="Who are you?")
    assert got.answer == 0


def test_an_agent_finishes(scorer: Any, examples: list[dspy.Example]) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    agent = dspy.ReAct("question -> answer", tools=[look_up])
    assert agent(question=examples[0].question).answer


def test_plain_text_is_answered_plainly(examples: list[dspy.Example]) -> None:
    engine = SimulatedScorer(answer_key=examples, landscape=landscape("wording_noise"))
    for text in (examples[4].question, f"Q: {examples[4].question}\nA: Think step by step."):
        request = Request(model="m", messages=(Message.user(text),))
        assert str(engine.complete(request).text).isdigit()


def test_gsm8k_style_labels_stay_solutions() -> None:
    rows = [
        dspy.Example(question=f"Q{i}?", answer=f"2 + {i}\n#### {i + 2}").with_inputs("question")
        for i in range(40)
    ]
    lm = scorer_lm(answer_key=rows, landscape=landscape("wording_noise"), cache=False)
    program = dspy.Predict("question -> answer")
    with dspy.context(lm=lm):
        hits = [exact_match(row, program(question=row.question)) for row in rows]
        assert all("####" in program(question=row.question).answer for row in rows)
    assert 5 < sum(hits) < 35


def test_the_instruction_is_found_as_the_adapter_wrote_it() -> None:
    signature = dspy.Signature("question, hints -> answer: bool", "First line.\n\nSecond line.")
    for adapter in ADAPTERS:
        messages = adapter.format(signature, [], {"question": "Is it?", "hints": "No"})
        prompt = read_prompt(messages[0]["content"], messages[-1]["content"])
        assert prompt.instruction == "First line.\n\nSecond line."
        assert dict(prompt.inputs) == {"question": "Is it?", "hints": "No"}
        assert [(f.name, f.annotation) for f in prompt.outputs] == [("answer", "bool")]


def test_usage_is_about_a_quarter_of_the_characters(scorer: Any) -> None:
    request = Request(model=scorer.model, messages=(Message.user("x" * 400),))
    usage = scorer(request).usage
    assert usage.input_tokens == 101
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_copies_share_the_engine_and_its_count(scorer: Any) -> None:
    for other in (scorer.copy(temperature=1.0), copy.deepcopy(scorer)):
        assert other.engine is scorer.engine
        other("Hello")
    assert scorer.engine.calls == 2


def test_a_program_with_a_simulated_lm_can_be_saved(
    scorer: Any, examples: list[dspy.Example], tmp_path: Path
) -> None:
    program = dspy.Predict("question -> answer")
    program.set_lm(scorer)
    before = [program(question=e.question).answer for e in examples]
    program.save(str(tmp_path / "program.json"))
    loaded = dspy.Predict("question -> answer")
    loaded.load(str(tmp_path / "program.json"), allow_unsafe_lm_state=True)
    assert json.loads((tmp_path / "program.json").read_text())["lm"]
    assert [loaded(question=e.question).answer for e in examples] == before
    assert loaded.lm.engine is not scorer.engine
    assert asyncio.run(loaded.acall(question=examples[0].question)).answer == before[0]


def test_lms_that_answer_differently_have_different_names(examples: list[dspy.Example]) -> None:
    def name(seed: int, n: int) -> str:
        shape = landscape("many_small_effects", seed)
        return str(scorer_lm(answer_key=examples[:n], landscape=shape).model)

    assert name(0, 60) == name(0, 60)
    assert len({name(0, 60), name(1, 60), name(0, 59)}) == 3


def test_streams_carry_the_same_answer(scorer: Any, examples: list[dspy.Example]) -> None:
    request = Request(
        model="m", messages=(Message.user(examples[0].question),), config=Config(temperature=0.0)
    )
    events = list(scorer.engine.stream(request))
    text = "".join(getattr(getattr(e, "delta", None), "text", "") for e in events)
    assert text == scorer.engine.complete(request).text
