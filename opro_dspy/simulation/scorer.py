"""The simulated scorer LM: answers questions, better or worse as the instruction deserves."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from opro_dspy.simulation.answer_key import QUOTE_LENGTH, AnswerKey
from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.engine import Asked, SimulatedEngine, load_conditions
from opro_dspy.simulation.hashing import uniform
from opro_dspy.simulation.landscapes import Landscape
from opro_dspy.simulation.lm import SimulatedLM, simulated_lm
from opro_dspy.simulation.prompts import OutputField, Prompt, read_prompt
from opro_dspy.simulation.rendering import filler, render_answer, typed
from opro_dspy.simulation.wording import squeeze

NOTE_SHIFT = 1.6
"""Logits that a clear note of an earlier stage adds for a later one; a muddled one takes them."""

_CLEAR = ("The situation is clear", "This much is clear", "A clear account")
_MUDDLED = ("The situation is muddled", "This part stays muddled", "A muddled account")
_REASONS = (
    "Going through what is given and combining it leads to the result.",
    "The facts in the question are taken one after the other.",
    "What is asked follows from the given information.",
)
_HARMLESS = "There is nothing to add."


class SimulatedScorer(SimulatedEngine):
    """Engine of a simulated scorer LM.

    At temperature 0 the answer is a function of the prompt; above, also of the sample: the
    `rollout_id` where the caller gives one, else how often the same was asked before.
    Demos in the prompt change the draw, not the chance.
    """

    note_shift = NOTE_SHIFT

    def __init__(
        self,
        *,
        answer_key: Sequence[dspy.Example],
        landscape: Landscape,
        latency: Latency | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the simulated engine; the arguments are those of `scorer_lm`."""
        super().__init__(latency=latency, faults=faults)
        self.landscape = landscape
        self.key = AnswerKey(answer_key)

    def answer(self, asked: Asked, sample: str) -> str:
        """Return the simulated answer in the form asked for."""
        prompt = read_prompt(asked.system, asked.user, json_wanted=asked.json_wanted)
        index = self.key.find(prompt)
        if prompt.form == "raw":
            return self._raw_answer(asked, prompt, index, sample)
        if index is None:
            values = {field.name: filler(field, _HARMLESS) for field in prompt.outputs}
            return render_answer(values, prompt.form)
        chance = self._chance(prompt.instruction, prompt, index)
        right = self._draw(asked, sample) < chance
        rng = random.Random(asked.content + sample)
        known = self.key.answers(index, prompt.outputs, right=right)
        note = rng.choice(_REASONS) if known else self._note(prompt, index, right, rng)
        values = {
            field.name: typed(known[field.name], field)
            if field.name in known
            else filler(field, note)
            for field in prompt.outputs
        }
        return render_answer(values, prompt.form)

    def expected_chain_accuracy(
        self, instructions: Sequence[str], examples: Sequence[dspy.Example]
    ) -> float:
        """Return the true expectation of a simulated program whose stages pass notes along.

        Args:
            instructions: One per stage, the answering stage last; each stage reads the note of
                the one before it.
            examples: Examples with inputs set.

        Returns:
            The mean chance of a right answer, in [0, 1]; for tests and benchmarks only.
        """
        questions = AnswerKey(examples).questions
        total = 0.0
        for question in questions:
            chance = self.landscape.accuracy(instructions[0], question)
            for text in instructions[1:]:
                clear = self.landscape.accuracy(text, question, shift=self.note_shift)
                muddled = self.landscape.accuracy(text, question, shift=-self.note_shift)
                chance = chance * clear + (1 - chance) * muddled
            total += chance
        return total / len(questions)

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated engine as JSON data, answer key and all."""
        key = [
            {"values": dict(example.items()), "inputs": sorted(example.inputs().keys())}
            for example in self.key.examples
        ]
        own = {"answer_key": key, "landscape": self.landscape.dump_state()}
        return {**super().dump_state(), **own}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> SimulatedScorer:
        """Return the simulated engine that `dump_state` wrote."""
        key = [
            dspy.Example(**row["values"]).with_inputs(*row["inputs"]) for row in state["answer_key"]
        ]
        shape = Landscape.load_state(state["landscape"])
        return cls(answer_key=key, landscape=shape, **load_conditions(state))

    def _chance(self, instruction: str, prompt: Prompt, index: int) -> float:
        question, shift = self.key.questions[index], self._shift(prompt)
        return self.landscape.accuracy(instruction, question, shift=shift)

    def _shift(self, prompt: Prompt) -> float:
        """Return the logits that the notes of earlier stages add."""
        shift = 0.0
        for _, value in prompt.inputs:
            shift += value.startswith(_CLEAR) or value.startswith(_as_list(_CLEAR))
            shift -= value.startswith(_MUDDLED) or value.startswith(_as_list(_MUDDLED))
        return shift * self.note_shift

    def _draw(self, asked: Asked, sample: str) -> float:
        return uniform(self.landscape.seed, "draw", asked.content, sample)

    def _note(self, prompt: Prompt, index: int, right: bool, rng: random.Random) -> str:
        quoted = next(
            (value for _, value in prompt.inputs if self.key.narrow([squeeze(value)]) == index),
            self.key.questions[index],
        )
        opening = rng.choice(_CLEAR if right else _MUDDLED)
        return f"{opening} about «{squeeze(quoted)[:QUOTE_LENGTH]}»."

    def _raw_answer(self, asked: Asked, prompt: Prompt, index: int | None, sample: str) -> str:
        if index is None:
            return _HARMLESS
        question = self.key.questions[index]
        instruction = prompt.instruction or squeeze(asked.user).replace(question, " ")
        right = self._draw(asked, sample) < self._chance(instruction, prompt, index)
        fields = [OutputField(name, "str") for name in self.key.labels[index]]
        return render_answer(self.key.answers(index, fields, right=right), "raw")


def _as_list(openings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(mark + opening for opening in openings for mark in ('["', "[1] «"))


def scorer_lm(
    *,
    answer_key: Sequence[dspy.Example],
    landscape: Landscape,
    latency: Latency | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> SimulatedLM:
    """Return a `dspy.LM` with a simulated scorer engine; its `engine` is a `SimulatedScorer`.

    Args:
        answer_key: Examples with inputs set; their labels are the right answers.
        landscape: The chance of a right answer, by instruction and question.
        latency: Simulated latency; None answers at once.
        faults: Simulated faults; None has none.
        options: Passed to `dspy.LM`, e.g. `cache` (True by default), `temperature`, `num_retries`.
    """
    engine = SimulatedScorer(
        answer_key=answer_key, landscape=landscape, latency=latency, faults=faults
    )
    return simulated_lm(engine, "scorer", options)
