"""The simulated optimizer LM: reads any optimizer's prompt and writes new instructions."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any

from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.engine import Asked, SimulatedEngine, load_conditions
from opro_dspy.simulation.lm import SimulatedLM, simulated_lm
from opro_dspy.simulation.prompts import OutputField, Prompt, read_prompt
from opro_dspy.simulation.reading import question_words, shown_instructions
from opro_dspy.simulation.rendering import filler, render_answer
from opro_dspy.simulation.search import Search
from opro_dspy.simulation.wording import ideas_in

_CLOSING = re.compile(r"</(\w+)>")
_OPENED = re.compile(r"<(\w+)>\s*\Z")
_BEGINNING = re.compile(r"\b(?:begin|start)\w*\b[^.\n]{0,30}\bof (?:the|an|each|its) answer", re.I)
_WANTED = re.compile(r"instruction|prompt|rule|advice|guideline")
_MODULES = re.compile(r"\[\[ ## module_names ## \]\]\n(\[.*?\])", re.DOTALL)
_PREFIXES = ("Answer:", "The answer is", "Result:", "So the answer is")
_DESCRIPTIONS = (
    "The program reads the inputs of a question and produces its answer.",
    "Short questions, each with one definite answer, are answered one at a time.",
    "The questions ask for one result that follows from the facts in them.",
)


class SimulatedOptimizer(SimulatedEngine):
    """Engine of a simulated optimizer LM.

    At temperature 0 the answer is a function of the prompt; above, also of the sample: the
    `rollout_id` where the caller gives one, else how often the same was asked before.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        latency: Latency | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the simulated engine; the arguments are those of `optimizer_lm`."""
        super().__init__(latency=latency, faults=faults)
        self.seed = seed

    def answer(self, asked: Asked, sample: str) -> str:
        """Return a simulated new instruction in the form asked for."""
        rng = random.Random(f"{self.seed}:{asked.content}:{sample}")
        prompt = read_prompt(asked.system, asked.user, json_wanted=asked.json_wanted)
        if prompt.outputs:
            values = {
                field.name: _field_value(field, prompt, asked.temperature, rng)
                for field in prompt.outputs
            }
            return render_answer(values, prompt.form)
        return _wrapped(prompt, asked.temperature, rng)

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated engine as JSON data."""
        return {**super().dump_state(), "seed": self.seed}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> SimulatedOptimizer:
        """Return the simulated engine that `dump_state` wrote."""
        return cls(seed=state["seed"], **load_conditions(state))


def _search(prompt: Prompt, temperature: float, *, max_ideas: int = 8) -> Search:
    read = shown_instructions(prompt)
    return Search(read, question_words(prompt.user), temperature, max_ideas=max_ideas)


def _field_value(field: OutputField, prompt: Prompt, temperature: float, rng: random.Random) -> Any:
    if "prefix" in field.name:
        return filler(field, rng.choice(_PREFIXES))
    if not _WANTED.search(field.name):
        return filler(field, rng.choice(_DESCRIPTIONS))
    if field.annotation.startswith(("dict", "Dict")):
        names = _MODULES.search(prompt.user)
        modules = json.loads(names.group(1)) if names else ["self"]
        advice = Search((), question_words(prompt.user), temperature, max_ideas=2)
        return {str(name): advice.sample(rng) for name in modules}
    return filler(field, _search(prompt, temperature).sample(rng))


def _wrapped(prompt: Prompt, temperature: float, rng: random.Random) -> str:
    """Return a new instruction in the wrapping that the end of the prompt asks for."""
    tail = prompt.user[-500:]
    closing = _CLOSING.findall(prompt.user)
    tag = closing[-1] if closing else None
    if tag == "Start" or _BEGINNING.search(tail):
        text = _as_beginning(_search(prompt, temperature, max_ideas=3).sample(rng))
    else:
        text = _search(prompt, temperature).sample(rng)
    opened = _OPENED.search(prompt.user)
    if opened:
        return f"{text}</{opened.group(1)}>"
    if "```" in tail[-200:]:
        return f"```\n{text}\n```"
    if "square bracket" in tail:
        return f"[{text}]"
    return f"<{tag}>{text}</{tag}>" if tag and f"<{tag}>" in prompt.user else text


def _as_beginning(text: str) -> str:
    """Return an instruction as the beginning of an answer."""
    if text.startswith(("Let", "First", "I ")) or not ideas_in(text):
        return text
    return "Let us " + text[:1].lower() + text[1:]


def optimizer_lm(
    *,
    seed: int = 0,
    latency: Latency | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> SimulatedLM:
    """Return a `dspy.LM` with a simulated optimizer engine; its `engine` is a `SimulatedOptimizer`.

    Args:
        seed: Another seed writes other instructions.
        latency: Simulated latency; None answers at once.
        faults: Simulated faults; None has none.
        options: Passed to `dspy.LM`, e.g. `cache` (True by default), `temperature`, `num_retries`.
    """
    engine = SimulatedOptimizer(seed=seed, latency=latency, faults=faults)
    return simulated_lm(engine, "optimizer", options)
