from __future__ import annotations

import copy
import json
import random
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config, Message, Request

from opro_dspy.simulation import LANDSCAPE_NAMES, landscape, make_examples, optimizer_lm
from opro_dspy.simulation.prompts import read_prompt
from opro_dspy.simulation.reading import scored_texts, shown_instructions
from opro_dspy.simulation.wording import ideas_in

TEXTS = {"Solve the problem.": 41, "Keep a tally as you go.": 58, "Verify each step.": 63}

TAGGED = (
    "Your task is to generate the instruction <INS>. The score ranges from 0 to 100.\n\n"
    + "\n\n".join(f"text:\n{text}\nscore:\n{score}" for text, score in TEXTS.items())
    + "\n\nProblem:\nQ: Ada has 3 coins and 5 cards. How many coins?\nA: <INS>\nAnswer:\n3\n\n"
    "Generate a new instruction with a higher score between <INS> and </INS>."
)
BRACKETED = (
    "Here are texts and their scores.\n\n"
    + "\n\n".join(f"text:\n{text}\nscore:\n{score}" for text, score in TEXTS.items())
    + "\n\nWrite a new text that scores as high as possible, in square brackets."
)
PRETRAINED = "Texts that help.\n\n" + "\n\n".join(
    f"Precision: {score} <TEXT>{text}</TEXT>" for text, score in TEXTS.items()
)
MIPRO_STYLE = "\n\n".join(f"{text} | Score: {score}" for text, score in TEXTS.items())
COPRO_STYLE = "[[ ## attempted_instructions ## ]]\n" + "\n".join(
    f"[{3 * i + 1}] «Instruction #{i}: {text}»\n[{3 * i + 2}] «Prefix #{i}: Answer:»\n"
    f"[{3 * i + 3}] «Resulting Score #{i}: {score}.0»"
    for i, (text, score) in enumerate(TEXTS.items())
)


def ask(lm: Any, prompt: str, *, temperature: float = 1.0) -> str:
    request = Request(
        model=lm.model, messages=(Message.user(prompt),), config=Config(temperature=temperature)
    )
    return str(lm.engine.complete(request).text)


@pytest.mark.parametrize(
    "prompt",
    [
        TAGGED,
        BRACKETED,
        PRETRAINED,
        MIPRO_STYLE,
        COPRO_STYLE,
        TAGGED.replace("63", "63 (measured beside other instructions)"),
        PRETRAINED.replace("63", "63 (measured beside other instructions)"),
        BRACKETED.replace("score:\n", "average score: "),
        "\n\n".join(f"<P>{text}</P>\naccuracy = {score}%" for text, score in TEXTS.items()),
        "\n\n".join(f"score: {score}\ntext: {text}" for text, score in TEXTS.items()),
    ],
)
def test_texts_and_numbers_are_found_in_any_form(prompt: str) -> None:
    assert {item.text: item.score for item in scored_texts(prompt)} == TEXTS


def test_the_frame_and_the_exemplars_are_no_instructions() -> None:
    prompt = TAGGED.replace("Ada has", "score:\n100\nAda has")
    assert {item.text: item.score for item in scored_texts(prompt)} == TEXTS
    assert not scored_texts("The score ranges from 0 to 100. A higher score is better.")


def test_an_unscored_instruction_is_found() -> None:
    fenced = "I gave these instructions:\n```\nVerify each step.\n```\nFeedback: score of 0.0"
    field = "[[ ## basic_instruction ## ]]\nVerify each step.\n\n[[ ## tip ## ]]\nBe bold."
    for prompt in (fenced, field):
        assert [item.text for item in shown_instructions(read_prompt("", prompt))] == [
            "Verify each step."
        ]


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        (TAGGED, r"<INS>[^<>]+</INS>"),
        (BRACKETED, r"\[[^\[\]]+\]"),
        (PRETRAINED + "\n\nPrecision:", r"<TEXT>[^<>]+</TEXT>"),
        (PRETRAINED + "\n\nPrecision: 90 <TEXT>", r"[^<>]+</TEXT>"),
        ("```\nDo it.\n```\nProvide the new instructions within ``` blocks.", r"```\n[^`]+\n```"),
        ("Write an instruction.", r"[^<>\[\]`]+"),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_the_answer_has_the_form_asked_for(prompt: str, form: str, temperature: float) -> None:
    lm = optimizer_lm()
    for _ in range(5):
        answer = ask(lm, prompt, temperature=temperature)
        assert re.fullmatch(form, answer, re.DOTALL)
        assert len(answer) < 500


def test_beginnings_of_an_answer_are_short() -> None:
    lm = optimizer_lm()
    for _ in range(20):
        answer = ask(lm, TAGGED.replace("INS>", "Start>"))
        assert answer.startswith("<Start>")
        assert len(ideas_in(answer)) <= 3


@pytest.mark.parametrize(
    "adapter",
    [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()],
    ids=lambda a: type(a).__name__,
)
def test_every_field_asked_for_is_answered(adapter: Any) -> None:
    writer = dspy.Predict(
        "basic_instruction, module_names: list[str] -> "
        "discussion, proposed_instruction, proposed_prefix, module_advice: dict[str, str], n: int"
    )
    with dspy.context(lm=optimizer_lm(cache=False), adapter=adapter):
        got = writer(basic_instruction="Verify each step.", module_names=["plan", "solve"])
    assert len(ideas_in(got.proposed_instruction)) >= 1
    assert got.discussion
    assert got.proposed_prefix
    if not isinstance(adapter, dspy.XMLAdapter):
        assert set(got.module_advice) == {"plan", "solve"}


def test_distinct_rollouts_give_distinct_repeatable_samples() -> None:
    def sample(rollout_id: int) -> str:
        lm = optimizer_lm(cache=False, temperature=1.0)
        return str(lm(TAGGED, rollout_id=rollout_id)[0])

    assert len({sample(i) for i in range(8)}) == 8
    assert sample(3) == sample(3)


def test_rollouts_do_not_depend_on_threads() -> None:
    lm = optimizer_lm(cache=False, temperature=1.0)
    alone = [lm(TAGGED, rollout_id=i)[0] for i in range(32)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: lm(TAGGED, rollout_id=i)[0], range(32)))
    assert together == alone


def test_a_rollout_reaches_the_engine_by_every_way() -> None:
    lm = optimizer_lm(cache=False)
    direct = lm(TAGGED, temperature=1.0, rollout_id=5)
    assert lm.copy(temperature=1.0, rollout_id=5)(TAGGED) == direct
    assert copy.deepcopy(lm)(TAGGED, temperature=1.0, rollout_id=5) == direct
    program = dspy.Predict("attempted -> new_instruction")
    config = {"temperature": 1.0, "rollout_id": 5}
    with dspy.context(lm=lm):
        by_config = program(attempted=TAGGED, config=config)
    with dspy.context(lm=lm.copy(**config)):
        by_copy = program(attempted=TAGGED)
    assert by_config.new_instruction == by_copy.new_instruction


def test_a_batch_without_rollouts_has_different_samples_and_repeats() -> None:
    batches = [optimizer_lm(cache=False)(TAGGED, n=8, temperature=1.0) for _ in range(2)]
    assert batches[0] == batches[1]
    assert len(set(batches[0])) == 8
    assert len(set(optimizer_lm(cache=False)(TAGGED, n=4, temperature=1.0, rollout_id=1))) == 4


def test_another_seed_writes_other_instructions() -> None:
    assert ask(optimizer_lm(seed=0), TAGGED) != ask(optimizer_lm(seed=1), TAGGED)


def test_at_temperature_0_the_answer_is_a_function_of_the_prompt() -> None:
    lm = optimizer_lm(cache=False)
    assert len({ask(lm, TAGGED, temperature=0.0) for _ in range(5)}) == 1


def test_a_cached_sample_is_exact() -> None:
    lm = optimizer_lm(seed=987, temperature=1.0)
    prompt = TAGGED + str(random.Random().random())
    first = [lm(prompt, rollout_id=i)[0] for i in range(3)]
    assert [lm(prompt, rollout_id=i)[0] for i in range(3)] == first
    assert lm.engine.calls == 3


def climb(name: str, seed: int, temperature: float, *, n_steps: int) -> tuple[float, float, int]:
    """Run the paper's loop; return the true start, the true end, and how many texts it tried."""
    shape = landscape(name, seed)
    train = [e.question for e in make_examples("arithmetic", 50, seed=seed)]
    held_out = [e.question for e in make_examples("arithmetic", 100, seed=seed + 500)]
    lm, rng, start = optimizer_lm(seed=seed), random.Random(seed), "Solve the problem."
    tried: dict[str, float] = {}

    def score(text: str) -> float:
        return sum(rng.random() < shape.accuracy(text, q) for q in train) / len(train)

    tried[start] = score(start)
    for _ in range(n_steps):
        shown = sorted(tried.items(), key=lambda item: item[1])[-20:]
        texts = "\n\n".join(f"text:\n{t}\nscore:\n{round(100 * s)}" for t, s in shown)
        for _ in range(8):
            text = ask(lm, texts + "\n\n<INS>..</INS>", temperature=temperature)[5:-6]
            if text not in tried:
                tried[text] = score(text)
    best = max(tried, key=lambda text: tried[text])
    return (
        shape.expected_accuracy(start, held_out),
        shape.expected_accuracy(best, held_out),
        len(tried),
    )


@pytest.mark.parametrize("name", LANDSCAPE_NAMES)
def test_opro_makes_progress_and_leaves_room(name: str) -> None:
    runs = [climb(name, seed, 1.0, n_steps=8) for seed in range(5)]
    gain = statistics.median(end - start for start, end, _ in runs)
    assert gain > 0.1
    assert statistics.median(end for _, end, _ in runs) < 0.88


def test_temperature_0_gets_stuck_and_higher_ones_explore() -> None:
    stuck = climb("many_small_effects", 0, 0.0, n_steps=5)
    cool = climb("many_small_effects", 0, 0.5, n_steps=5)
    warm = climb("many_small_effects", 0, 1.0, n_steps=5)
    assert stuck[2] < 10 < cool[2] < warm[2]


def test_high_temperature_ignores_the_trajectory() -> None:
    prompt = TAGGED.replace("Verify each step", "Keep a courteous tone. Use an analogy")

    def heeds(temperature: float) -> int:
        lm = optimizer_lm()
        answers = [ask(lm, prompt, temperature=temperature) for _ in range(100)]
        return sum("Keep a courteous tone" in answer for answer in answers)

    assert heeds(1.0) > 2 * heeds(1.6)


def test_the_engines_state_is_json() -> None:
    engine = optimizer_lm(seed=3).engine
    state = json.loads(json.dumps(engine.dump_state()))
    assert type(engine).load_state(state).dump_state() == engine.dump_state()
