"""What the simulated optimizer LM writes for any optimizer: known ideas, never example text."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from opro_dspy import OPRO
from opro_dspy.simulation import (
    Landscape,
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)
from opro_dspy.simulation.ideas import IDEAS, MODIFIERS, OPENINGS
from opro_dspy.simulation.prompts import read_prompt
from opro_dspy.simulation.reading import shown_instructions
from opro_dspy.simulation.wording import ideas_in, sentences
from tests.simulation.test_other_optimizers import Solve, copro, gepa, mipro, simba

Optimize = Callable[[Any, Any, list[Any]], Any]

STUDENT = "Given a score of 5 or text: {x}, reply.\n\nUse one number; ```no``` code.\n- Be brief"
DEFAULT = {
    sentence.lower()
    for sentence in sentences("Given the fields `question`, produce the fields `answer`.")
}
WORDINGS = {
    sentence.lower()
    for modifier, idea in product(MODIFIERS, IDEAS)
    for phrasing in idea.phrasings
    for sentence in sentences(modifier.format(phrasing))
}
FILLERS = {sentence.lower() for text in OPENINGS for sentence in sentences(text)}


def gepa_with_scores_as_feedback(lm: Any, scorer: Any, train: list[Any]) -> Any:
    def metric(gold: Any, pred: Any, trace: Any = None, name: Any = None, part: Any = None) -> Any:
        return float(exact_match(gold, pred))

    gepa = dspy.GEPA(metric=metric, reflection_lm=lm, max_metric_calls=400, num_threads=2)
    return gepa.compile(Solve(), trainset=train, valset=train)


def opro(lm: Any, scorer: Any, train: list[Any]) -> Any:
    optimizer = OPRO(metric=exact_match, prompt_model=lm, max_steps=4, num_threads=2, verbose=False)
    return optimizer.compile(Solve(), trainset=train)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every instruction that the simulated scorer LM answers with."""
    seen: set[str] = set()
    accuracy = Landscape.accuracy

    def recording(self: Landscape, instruction: str, question: str, *, shift: float = 0.0) -> float:
        seen.add(instruction)
        return accuracy(self, instruction, question, shift=shift)

    monkeypatch.setattr(Landscape, "accuracy", recording)
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "optimize", [opro, copro, mipro, gepa, gepa_with_scores_as_feedback, simba]
)
@pytest.mark.parametrize("task", ["arithmetic", "boolean_expressions"])
def test_an_optimizer_scores_known_wordings_only(
    optimize: Optimize, task: str, scored: set[str]
) -> None:
    train = make_examples(task, 40, seed=1)
    shape = landscape("many_small_effects", 1)
    scorer = scorer_lm(answer_key=train, landscape=shape, cache=False, temperature=0.0)
    with dspy.context(lm=scorer, num_threads=2):
        optimize(optimizer_lm(seed=1, cache=False, temperature=1.0), scorer, train)
    assert len(scored) > 4
    said = {sentence.lower() for text in scored for sentence in sentences(text)}
    assert said - WORDINGS - FILLERS - DEFAULT == set()
    assert len(said & WORDINGS) > 4


SIDE = [
    {
        "Inputs": {"question": "score: 90\ntext: Viktor has 64 ribbons. Then Viktor buys 13 more."},
        "Generated Outputs": {"reasoning": "Verify each step.", "answer": "7"},
        "Feedback": "This trajectory got a score of 0.0.",
    },
    {
        "Inputs": {"question": "<INS>Make a plan</INS>\nscore: 100", "n": "\n```json\n{}\n```"},
        "Generated Outputs": "[[ ## answer ## ]]\n\n```\n7\n```\n",
        "Feedback": "Instructions: List the facts.\nAccuracy: 1.0",
    },
]


def gepa_prompt(instruction: str) -> tuple[str, str]:
    """Return GEPA's system and user text in DSPy."""
    proposer = pytest.importorskip("dspy.teleprompt.gepa.instruction_proposal")
    inputs = {"current_instruction": instruction, "examples_with_feedback": SIDE}
    system, user = dspy.JSONAdapter().format(proposer.ProposeInstruction, [], inputs)
    return system["content"], user["content"]


def standalone_gepa_prompt(instruction: str) -> tuple[str, str]:
    """Return GEPA's system and user text without DSPy."""
    proposal = pytest.importorskip("gepa.strategies.instruction_proposal")
    inputs = {"current_instruction_doc": instruction, "dataset_with_feedback": SIDE}
    return "", proposal.InstructionProposalSignature.prompt_renderer(inputs)


@pytest.mark.parametrize("render", [gepa_prompt, standalone_gepa_prompt])
def test_gepas_instruction_is_found_and_its_examples_are_not(
    render: Callable[[str], tuple[str, str]],
) -> None:
    for text in ("Keep a tally. Give a score of 3 or more.", "Be brief.\n\n- Use {x}."):
        shown = shown_instructions(read_prompt(*render(text)))
        assert [(item.text, item.score) for item in shown] == [(" ".join(text.split()), None)]


@pytest.mark.parametrize("render", [gepa_prompt, standalone_gepa_prompt])
def test_what_is_written_for_gepa_builds_on_the_instruction_shown(
    render: Callable[[str], tuple[str, str]],
) -> None:
    lm = optimizer_lm()
    system, user = render("Keep a tally as you go. Verify each step.")
    request = Request(
        model=lm.model,
        system=system or None,
        messages=(Message.user(user),),
        config=Config(temperature=1.0),
    )
    answers = [str(lm.engine.complete(request).text) for _ in range(20)]
    texts = [json.loads(a)["new_instruction"] if a[0] == "{" else a.strip("`") for a in answers]
    said = {sentence.lower() for text in texts for sentence in sentences(text)}
    assert said <= WORDINGS | FILLERS
    assert sum("verify" in {idea.name for idea in ideas_in(text)} for text in texts) > 10


def test_mipro_and_simba_show_data_that_is_no_instruction() -> None:
    data = json.dumps(SIDE, indent=2)
    fields = {
        "program_code": "instructions='Make a plan.'\nscore: 5",
        "task_demos": f"Text: Make a plan.\nScore: 90\n\n{data}",
        "better_program_trajectory": data,
        "better_reward_value": "1.0",
        "basic_instruction": STUDENT,
    }
    user = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
    assert [i.text for i in shown_instructions(read_prompt("", user))] == [
        " ".join(STUDENT.split())
    ]
    earlier = "[[ ## previous_instructions ## ]]\nList the facts. | Score: 40\n\n"
    shown = shown_instructions(read_prompt("", earlier + user))
    assert [(item.text, item.score) for item in shown] == [("List the facts.", 40.0)]


def test_json_in_a_plain_prompt_holds_no_instruction() -> None:
    data = json.dumps({"text": "Make a plan.", "note": "Text: Make a plan. Score: 90"}, indent=2)
    for shown in (data, f"[{data}]", "{'text': 'Make a plan.', 'score': 'score: 90'}"):
        prompt = f"{shown}\n\ntext:\nList the facts.\nscore:\n40\n\n{shown}\n\nWrite a new text."
        read = shown_instructions(read_prompt("", prompt))
        assert [(item.text, item.score) for item in read] == [("List the facts.", 40.0)]
