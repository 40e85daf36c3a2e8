from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys

import pytest

from opro_dspy.simulation import LANDSCAPE_NAMES, Landscape, landscape, make_examples
from opro_dspy.simulation.ideas import IDEA_BY_NAME, IDEAS
from opro_dspy.simulation.landscapes import question_text
from opro_dspy.simulation.wording import compose, ideas_in, word

QUESTIONS = [question_text(example) for example in make_examples("arithmetic", 120)]
SEEDS = range(5)


def best_found(shape: Landscape) -> str:
    """Climb greedily on the true quality, idea by idea."""
    rng = random.Random(0)
    parts: list[str] = [IDEA_BY_NAME[name].phrasings[0] for name in shape.combination]
    best, text = shape.quality(""), ""
    for _ in range(9):
        tries = []
        for idea in IDEAS:
            for _ in range(2):
                candidate = [*parts, word(idea, rng)]
                said = compose(candidate, rng, opening=0.0)
                tries.append((shape.quality(said), said, candidate))
        quality, said, candidate = max(tries)
        if quality <= best:
            break
        best, text, parts = quality, said, candidate
    return text


@pytest.mark.parametrize("name", LANDSCAPE_NAMES)
@pytest.mark.parametrize("start", ["", "Given the fields `question`, produce the fields `answer`."])
def test_a_start_without_ideas_reaches_a_third_to_a_half(name: str, start: str) -> None:
    for seed in SEEDS:
        assert 0.35 <= landscape(name, seed).expected_accuracy(start, QUESTIONS) <= 0.5


@pytest.mark.parametrize("name", LANDSCAPE_NAMES)
def test_the_reachable_best_is_high_but_not_perfect(name: str) -> None:
    found = []
    for seed in SEEDS:
        shape = landscape(name, seed)
        found.append(shape.expected_accuracy(best_found(shape), QUESTIONS))
    assert 0.85 <= statistics.mean(found) <= 0.95
    assert max(found) < 0.98


def test_many_small_effects_have_no_idea_that_decides_alone() -> None:
    shape = landscape("many_small_effects")
    start = shape.expected_accuracy("", QUESTIONS)
    for idea in IDEAS:
        alone = shape.expected_accuracy(idea.phrasings[0].capitalize() + ".", QUESTIONS)
        assert alone - start < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rare_combination_is_worth_much_more_than_its_parts(seed: int) -> None:
    shape = landscape("rare_combination", seed)
    said = [IDEA_BY_NAME[name].phrasings[0] for name in shape.combination]
    start = shape.expected_accuracy("", QUESTIONS)
    alone = [shape.expected_accuracy(text, QUESTIONS) - start for text in said]
    together = shape.expected_accuracy(". ".join(said), QUESTIONS) - start
    assert max(alone) < 0.1
    assert together > 0.2
    assert together > 3 * max(alone)


def test_wording_noise_parts_near_paraphrases_by_tens_of_points() -> None:
    shape = landscape("wording_noise")
    texts = [f"{a}hink step by step{b}" for a in ("T", "Please t", "Always t") for b in (".", "!")]
    reached = [shape.expected_accuracy(text, QUESTIONS) for text in texts]
    assert max(reached) - min(reached) > 0.2


def test_paraphrases_differ_in_every_landscape() -> None:
    for name in LANDSCAPE_NAMES:
        shape = landscape(name)
        a = shape.expected_accuracy("Think step by step.", QUESTIONS)
        b = shape.expected_accuracy("Work through it step-by-step.", QUESTIONS)
        assert a != b


def test_an_overlong_instruction_loses() -> None:
    shape = landscape("many_small_effects")
    filler = "The sky over the harbour stays grey. " * 40
    assert shape.quality(filler) < shape.quality("The sky over the harbour stays grey.") - 1


def test_questions_differ_widely_in_difficulty() -> None:
    chances = [landscape("many_small_effects").accuracy("", question) for question in QUESTIONS]
    assert min(chances) < 0.05
    assert max(chances) > 0.95


def test_another_seed_values_other_ideas() -> None:
    assert landscape("many_small_effects", 0).weights != landscape("many_small_effects", 1).weights


def test_every_phrasing_names_its_own_idea_only() -> None:
    for idea in IDEAS:
        for phrasing in idea.phrasings:
            assert ideas_in(phrasing) == [idea]


def test_a_landscape_survives_json() -> None:
    shape = landscape("rare_combination", 4)
    assert Landscape.load_state(json.loads(json.dumps(shape.dump_state()))) == shape


def test_an_unknown_landscape_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"must be one of many_small_effects.* got 'flat'"):
        landscape("flat")


def test_no_examples_have_no_expectation() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        landscape("wording_noise").expected_accuracy("", [])


_PROBE = """
from dspy.lm15 import Config, Message, Request
from opro_dspy.simulation import *
ex = make_examples("object_counting", 3, seed=5)
shape = landscape("wording_noise", seed=2)
lm = scorer_lm(answer_key=ex, landscape=shape, latency=Latency(mean_s=0.001))
opt = optimizer_lm(seed=1)
ask = Request(model="m", messages=(Message.user("text:\\na\\nscore:\\n5\\n<INS></INS>"),),
              config=Config(temperature=1.0))
print(lm.model, opt.model, ex, shape.expected_accuracy("Verify each step.", ex),
      [opt.engine.complete(ask).text for _ in range(3)], lm.engine.latency.seconds("x"))
"""


def test_nothing_depends_on_pythons_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
