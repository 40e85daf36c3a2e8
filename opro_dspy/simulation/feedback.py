"""A simulated metric that says what was missing, and an optimizer LM that heeds it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import dspy

from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.engine import Asked, load_conditions
from opro_dspy.simulation.ideas import IDEAS, Idea
from opro_dspy.simulation.landscapes import Landscape, question_text
from opro_dspy.simulation.lm import SimulatedLM, simulated_lm
from opro_dspy.simulation.optimizer_engine import SimulatedOptimizer
from opro_dspy.simulation.search import MAX_LENGTH
from opro_dspy.simulation.tasks import exact_match
from opro_dspy.simulation.wording import capitalised, ideas_in, word

_NUM_USEFUL = 5
_SAID = re.compile(r"^Feedback on an output so far:\n[ ]+(.+)$", re.MULTILINE)


class FeedbackMetric:
    """A metric with GEPA's five arguments that also says what a wrong answer was short of.

    It looks into the landscape, as a simulated expert: with the chance `candor` it names one of the
    ideas that help most on that question, else any idea that sounds plausible.
    """

    def __init__(self, landscape: Landscape, *, candor: float = 0.5) -> None:
        """Make the simulated metric; `candor` is a chance in [0, 1]."""
        self.landscape = landscape
        self.candor = candor

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: Any,
        pred_name: str | None,
        pred_trace: Any,
    ) -> dspy.Prediction:
        """Return the score of the simulated answer, and the feedback."""
        if exact_match(gold, pred):
            return dspy.Prediction(score=1.0, feedback="The answer is right.")
        question = question_text(gold)
        rng = random.Random(f"{self.landscape.seed}:feedback:{question}:{pred.answer}")
        idea = rng.choice(self._useful(question) if rng.random() < self.candor else _PLAUSIBLE)
        said = f"The answer is wrong. It would have been better to {rng.choice(idea.phrasings)}."
        return dspy.Prediction(score=0.0, feedback=said)

    def _useful(self, question: str) -> list[Idea]:
        plain = self.landscape.accuracy("", question)
        gains = {
            idea.name: self.landscape.accuracy(f"{capitalised(idea.phrasings[0])}.", question)
            - plain
            for idea in _PLAUSIBLE
        }
        return sorted(_PLAUSIBLE, key=lambda idea: gains[idea.name], reverse=True)[:_NUM_USEFUL]


_PLAUSIBLE = [idea for idea in IDEAS if idea.kind == "plausible"]


class FeedbackOptimizer(SimulatedOptimizer):
    """Engine of a simulated optimizer LM that takes up what feedback in the meta-prompt names.

    It writes what `SimulatedOptimizer` does, and then, with the chance `heed`, adds one idea that
    the feedback names and the text lacks, in the place of another sentence if the text is long.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        heed: float = 0.5,
        latency: Latency | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the simulated engine; the arguments are those of `feedback_optimizer_lm`."""
        super().__init__(seed=seed, latency=latency, faults=faults)
        self.heed = heed

    def answer(self, asked: Asked, sample: str) -> str:
        """Return a simulated new instruction, with what the feedback asks for."""
        answer = super().answer(asked, sample)
        rng = random.Random(f"{self.seed}:heed:{asked.content}:{sample}")
        named = [idea for text in _SAID.findall(asked.user) for idea in ideas_in(text)]
        opening, text, end = _taken_apart(answer)
        lacking = [idea for idea in named if idea not in ideas_in(text)]
        if not lacking or rng.random() >= self.heed:
            return answer
        sentences = [s for s in re.split(r"(?<=\.) ", text) if s]
        said = f"{capitalised(word(rng.choice(lacking), rng))}."
        if len(text) + len(said) > MAX_LENGTH and len(sentences) > 1:
            del sentences[rng.randrange(len(sentences))]
        sentences.insert(rng.randint(0, len(sentences)), said)
        return opening + " ".join(sentences) + end

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated engine as JSON data."""
        return {**super().dump_state(), "heed": self.heed}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> FeedbackOptimizer:
        """Return the simulated engine that `dump_state` wrote."""
        return cls(seed=state["seed"], heed=state["heed"], **load_conditions(state))


def _taken_apart(answer: str) -> tuple[str, str, str]:
    """Return a simulated answer as its opening mark, its text and its end mark."""
    found = re.fullmatch(r"(<\w+>|\[)?(.*?)(</\w+>|\])?", answer, re.DOTALL)
    return (found[1] or "", found[2], found[3] or "") if found else ("", answer, "")


def feedback_optimizer_lm(
    *,
    seed: int = 0,
    heed: float = 0.5,
    latency: Latency | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> SimulatedLM:
    """Return a `dspy.LM` like `optimizer_lm` that also reads feedback; simulated.

    Args:
        seed: Another seed writes other instructions.
        heed: Chance in [0, 1] that a sample takes up what feedback names.
        latency: Simulated latency; None answers at once.
        faults: Simulated faults; None has none.
        options: Passed to `dspy.LM`, e.g. `cache` (True by default), `temperature`, `num_retries`.
    """
    engine = FeedbackOptimizer(seed=seed, heed=heed, latency=latency, faults=faults)
    return simulated_lm(engine, "optimizer", options)
