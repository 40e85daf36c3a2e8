"""Simulated landscapes: how the quality of an instruction arises. No dspy in here.

The chance that the simulated scorer LM answers a question rightly is logistic in

    base - difficulty(question) + sum of idea effects (each fitting the question more or less)
    + idea pairs + a rare combination + exact wording - length.

Everything comes from the landscape's numbers and BLAKE2 hashes of the texts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from opro_dspy.errors import ConfigurationError
from opro_dspy.simulation.hashing import digest_bytes, gaussian
from opro_dspy.simulation.ideas import IDEAS
from opro_dspy.simulation.wording import hinted, ideas_by_sentence, squeeze

_DEFAULT_START = ("given the fields", "produce the fields")
_HINT_GAIN = 1.3
_CACHE_LIMIT = 50_000
_Weighed = TypeVar("_Weighed")
_INDEX = {idea.name: i for i, idea in enumerate(IDEAS)}


def question_text(example: Any) -> str:
    """Return the text by which a simulated landscape knows an example.

    Args:
        example: A `dspy.Example` with inputs, a mapping of input values, or the text itself.

    Returns:
        The input values in the order of their names, with single spaces.
    """
    if isinstance(example, str):
        return squeeze(example)
    values = example.inputs() if hasattr(example, "inputs") else example
    return squeeze(" ".join(render_value(value) for _, value in sorted(values.items())))


def render_value(value: Any) -> str:
    """Return an input or output value as the simulated LMs' prompts show it."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=plain_data)
    return str(value)


def plain_data(value: Any) -> Any:
    """Return JSON data for `json.dumps(default=...)` in simulated answers: models as dicts."""
    return value.model_dump() if hasattr(value, "model_dump") else str(value)


@dataclass(frozen=True, slots=True)
class _Instruction:
    """What an instruction amounts to."""

    effects: tuple[tuple[int, float], ...]
    offset: float


@dataclass(frozen=True, slots=True)
class _Question:
    """What a question amounts to."""

    difficulty: float
    fits: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """How a simulated scorer LM's accuracy depends on an instruction; all numbers are logits."""

    name: str
    """Name of the kind, one of `LANDSCAPE_NAMES` or your own."""
    seed: int
    """Seed of everything that is hashed."""
    base: float
    """Logit of the average question with an empty instruction."""
    difficulty_sigma: float
    """Standard deviation of the questions' difficulty."""
    weights: Mapping[str, float]
    """Effect of each idea, by name."""
    pairs: tuple[tuple[str, str, float], ...] = ()
    """Extra effect of two ideas together."""
    combination: tuple[str, ...] = ()
    """The ideas of the rare combination."""
    combination_gains: tuple[float, ...] = (0.0,)
    """Effect of 0, 1, 2, … members of the combination being named."""
    clause_sigma: float = 0.1
    """Standard deviation of the effect of the wording of a sentence that names an idea."""
    wording_sigma: float = 0.15
    """Standard deviation of the effect of the exact wording of the whole."""
    fit_sigma: float = 0.6
    """Relative spread, over questions, of an idea's effect."""
    free_length: int = 300
    """Characters that cost nothing."""
    length_cost: float = 0.25
    """Cost of each further 100 characters."""
    _cache: dict[tuple[str, str], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def quality(self, instruction: str) -> float:
        """Return the simulated logit that `instruction` adds on an average question."""
        read = self._read_instruction(instruction)
        return read.offset + sum(effect for _, effect in read.effects)

    def accuracy(self, instruction: str, question: str, *, shift: float = 0.0) -> float:
        """Return the true chance of a right answer of the simulated scorer LM.

        Args:
            instruction: The instruction as the program's signature holds it.
            question: The question's text, as `question_text` gives it.
            shift: Logits added, e.g. for the note of an earlier stage.

        Returns:
            A probability in (0, 1).
        """
        read, asked = self._read_instruction(instruction), self._read_question(question)
        logit = self.base - asked.difficulty + read.offset + shift
        for index, effect in read.effects:
            logit += effect * asked.fits[index] if effect > 0 else effect
        return 1.0 / (1.0 + math.exp(-logit))

    def expected_accuracy(self, instruction: str, examples: Iterable[Any]) -> float:
        """Return the true expectation of the accuracy; for tests and benchmarks of the simulated.

        Args:
            instruction: The instruction as the program's signature holds it.
            examples: Examples, mappings of input values, or question texts.

        Returns:
            The mean chance of a right answer, in [0, 1]; free of sampling noise.

        Raises:
            ConfigurationError: If there are no examples.
        """
        chances = [self.accuracy(instruction, question_text(example)) for example in examples]
        if not chances:
            raise ConfigurationError("`examples` must hold at least one example, got none.")
        return sum(chances) / len(chances)

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated landscape as JSON data; `load_state` reads it."""
        state = asdict(self)
        del state["_cache"]
        return state

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> Landscape:
        """Return the simulated landscape that `dump_state` wrote."""
        tuples = {
            "pairs": tuple((a, b, effect) for a, b, effect in state["pairs"]),
            "combination": tuple(state["combination"]),
            "combination_gains": tuple(state["combination_gains"]),
        }
        return cls(**{**state, **tuples})

    def _read_instruction(self, instruction: str) -> _Instruction:
        return self._cached(("i", instruction), self._weigh_instruction)

    def _weigh_instruction(self, instruction: str) -> _Instruction:
        text = squeeze(instruction)
        if not text or (
            text.lower().startswith(_DEFAULT_START[0])
            and (_DEFAULT_START[1] in text and text.count(".") <= 1)
        ):
            return _Instruction(effects=(), offset=0.0)
        named: dict[str, float] = {}
        offset = self.wording_sigma * gaussian(self.seed, "text", text, limit=1.8)
        for sentence, ideas in ideas_by_sentence(instruction):
            for idea in ideas:
                if idea.name not in named:
                    named[idea.name] = self.weights.get(idea.name, 0.0)
                    noise = gaussian(self.seed, idea.name, sentence.lower(), limit=1.8)
                    offset += self.clause_sigma * noise
        offset += sum(effect for a, b, effect in self.pairs if a in named and b in named)
        members = sum(1 for name in self.combination if name in named)
        offset += self.combination_gains[min(members, len(self.combination_gains) - 1)]
        offset -= self.length_cost * max(0, len(text) - self.free_length) / 100
        effects = tuple((_INDEX[name], effect) for name, effect in named.items() if effect)
        return _Instruction(effects=effects, offset=offset)

    def _read_question(self, question: str) -> _Question:
        return self._cached(("q", question), self._weigh_question)

    def _weigh_question(self, question: str) -> _Question:
        difficulty = self.difficulty_sigma * gaussian(self.seed, "difficulty", question, limit=3.0)
        lowered = question.lower()
        # One hash gives every idea its own uniform number of variance 1.
        numbers = digest_bytes(self.seed, "fits", question)
        fits = []
        for idea, number in zip(IDEAS, numbers, strict=False):
            fit = 1.0 + self.fit_sigma * (number - 127.5) / 73.9
            fits.append(fit * (_HINT_GAIN if hinted(idea, lowered) else 1.0))
        return _Question(difficulty=difficulty, fits=tuple(fits))

    def _cached(self, key: tuple[str, str], weigh: Callable[[str], _Weighed]) -> _Weighed:
        """Return what `weigh` makes of the text in `key`, made once."""
        read: _Weighed | None = self._cache.get(key)
        if read is None:
            read = weigh(key[1])
            if len(self._cache) > _CACHE_LIMIT:
                self._cache.clear()
            self._cache[key] = read
        return read
