"""Simulated programs of several stages: each passes a note on, the last one answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.simulation.answer_key import AnswerKey
from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.engine import load_conditions
from opro_dspy.simulation.kinds import landscape
from opro_dspy.simulation.landscapes import Landscape
from opro_dspy.simulation.lm import SimulatedLM, simulated_lm
from opro_dspy.simulation.prompts import Prompt
from opro_dspy.simulation.scorer import NOTE_SHIFT, SimulatedScorer

STAGES: Mapping[int, tuple[str, ...]] = {
    2: ("plan", "answer"),
    4: ("facts", "plan", "draft", "answer"),
}
"""Number of stages to what each of them writes, in order."""


class StagedProgram(dspy.Module):  # type: ignore[misc]
    """A program for the simulated LMs whose stages each have an instruction of their own.

    A stage reads the question and the note of the stage before it; the last one reads all notes,
    and writes `answer`. Its predictors are named for what they write.
    """

    def __init__(self, num_stages: int = 2) -> None:
        """Make a simulated program of two or four stages.

        Raises:
            ConfigurationError: If `num_stages` is another number.
        """
        super().__init__()
        self.names = _names(num_stages)
        for i, name in enumerate(self.names):
            notes = self.names[:i] if i == len(self.names) - 1 else self.names[max(0, i - 1) : i]
            setattr(self, name, dspy.Predict(f"{', '.join(('question', *notes))} -> {name}"))

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question, stage by stage."""
        known = {"question": question}
        for name in self.names:
            stage = getattr(self, name)
            inputs = {field: known[field] for field in stage.signature.input_fields}
            known[name] = stage(**inputs)[name]
        return dspy.Prediction(answer=known[self.names[-1]])

    def frozen_but_last(self) -> StagedProgram:
        """Return a copy of the simulated program in which only the last stage is optimized."""
        program: StagedProgram = self.deepcopy()
        for name in self.names[:-1]:
            getattr(program, name)._compiled = True
        return program


class StagedScorer(SimulatedScorer):
    """Engine of a simulated scorer LM for which each stage has a landscape of its own."""

    def __init__(
        self,
        *,
        answer_key: Sequence[dspy.Example],
        landscapes: Sequence[Landscape],
        note_shift: float = NOTE_SHIFT,
        latency: Latency | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the simulated engine; `landscapes` holds one for each stage, in order."""
        super().__init__(
            answer_key=answer_key, landscape=landscapes[-1], latency=latency, faults=faults
        )
        self.stages = dict(zip(_names(len(landscapes)), landscapes, strict=True))
        self.note_shift = note_shift

    def expected_accuracy(
        self, instructions: Mapping[str, str], examples: Sequence[dspy.Example]
    ) -> float:
        """Return the true expectation of a `StagedProgram`'s accuracy with the simulated LM.

        Args:
            instructions: Stage name to instruction.
            examples: Examples with inputs set.

        Returns:
            The mean chance of a right answer, in [0, 1]; for tests and benchmarks only.
        """
        questions = AnswerKey(examples).questions
        return sum(self._expected(instructions, question) for question in questions) / len(
            questions
        )

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated engine as JSON data."""
        stages = [landscape.dump_state() for landscape in self.stages.values()]
        return {**super().dump_state(), "stages": stages, "note_shift": self.note_shift}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> StagedScorer:
        """Return the simulated engine that `dump_state` wrote."""
        key = [
            dspy.Example(**row["values"]).with_inputs(*row["inputs"]) for row in state["answer_key"]
        ]
        landscapes = [Landscape.load_state(stage) for stage in state["stages"]]
        return cls(
            answer_key=key,
            landscapes=landscapes,
            note_shift=state["note_shift"],
            **load_conditions(state),
        )

    def _expected(self, instructions: Mapping[str, str], question: str) -> float:
        """Sum over all ways in which the notes may turn out."""
        *writers, last = self.stages
        total = 0.0
        for notes in product((True, False), repeat=len(writers)):
            chance, shift = 1.0, 0.0
            for name, clear in zip(writers, notes, strict=True):
                p = self.stages[name].accuracy(instructions[name], question, shift=shift)
                chance *= p if clear else 1 - p
                shift = self.note_shift if clear else -self.note_shift
            shift = sum(self.note_shift if clear else -self.note_shift for clear in notes)
            total += chance * self.stages[last].accuracy(instructions[last], question, shift=shift)
        return total

    def _chance(self, instruction: str, prompt: Prompt, index: int) -> float:
        stage = next((f.name for f in prompt.outputs if f.name in self.stages), None)
        shape = self.landscape if stage is None else self.stages[stage]
        shift = self._shift(prompt)
        return shape.accuracy(instruction, self.key.questions[index], shift=shift)


def staged_scorer_lm(
    *,
    answer_key: Sequence[dspy.Example],
    landscape_name: str = "many_small_effects",
    num_stages: int = 2,
    note_shift: float = NOTE_SHIFT,
    seed: int = 0,
    latency: Latency | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> SimulatedLM:
    """Return a `dspy.LM` for a `StagedProgram`; its `engine` is a `StagedScorer`.

    Args:
        answer_key: Examples with inputs set; their labels are the right answers.
        landscape_name: Kind of the stages' landscapes, one of `LANDSCAPE_NAMES`.
        num_stages: Stages of the program, 2 or 4.
        note_shift: Logits that a clear note of an earlier stage adds for a later one, and a muddled
            one takes: with 1.6 a good instruction makes up for a muddled note on most questions,
            with 3 it hardly does.
        seed: Decides which ideas matter for which stage.
        latency: Simulated latency; None answers at once.
        faults: Simulated faults; None has none.
        options: Passed to `dspy.LM`, e.g. `cache` (True by default), `temperature`, `num_retries`.
    """
    landscapes = [landscape(landscape_name, seed=10 * seed + i) for i in range(num_stages)]
    engine = StagedScorer(
        answer_key=answer_key,
        landscapes=landscapes,
        note_shift=note_shift,
        latency=latency,
        faults=faults,
    )
    return simulated_lm(engine, "scorer", options)


def _names(num_stages: int) -> tuple[str, ...]:
    if num_stages not in STAGES:
        raise ConfigurationError(
            f"`num_stages` must be one of {', '.join(map(str, STAGES))}, got {num_stages!r}."
        )
    return STAGES[num_stages]
