"""The simulated scorer LM's answer key: which example a prompt is about, right and wrong values."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

import dspy

from opro_dspy.simulation.landscapes import question_text, render_value
from opro_dspy.simulation.prompts import OutputField, Prompt
from opro_dspy.simulation.tasks import plain_answer
from opro_dspy.simulation.wording import squeeze

QUOTE_LENGTH = 400
"""Characters of an input that a simulated note quotes; enough to find the example again."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_QUOTED = re.compile(r"about «(.*?)»", re.DOTALL)
_LABEL = re.compile(r"^\s*[A-Za-z_ ]{1,20}:\s*")


class AnswerKey:
    """Finds the example that a simulated prompt is about by dictionary look-ups."""

    def __init__(self, examples: Iterable[dspy.Example]) -> None:
        """Index `examples`, each with inputs set; the first of equal inputs counts."""
        self.examples: tuple[dspy.Example, ...] = tuple(examples)
        self.labels: list[dict[str, Any]] = []
        self.questions: list[str] = []
        self._by_value: dict[str, set[int]] = {}
        pools: dict[str, dict[str, Any]] = {}
        for i, example in enumerate(self.examples):
            labels = dict(example.labels().items())
            self.labels.append(labels)
            self.questions.append(question_text(example))
            for name, value in example.inputs().items():
                for text in _renderings(value):
                    for part in {text, text[:QUOTE_LENGTH].strip(), f"{name}\x1f{text}"}:
                        self._by_value.setdefault(part, set()).add(i)
            for name, value in labels.items():
                pools.setdefault(name, {}).setdefault(render_value(value), value)
        self._pools: dict[str, list[Any]] = {
            name: list(values.values()) for name, values in pools.items()
        }

    def find(self, prompt: Prompt) -> int | None:
        """Return the number of the example that the simulated LM is asked about, or None."""
        values = [(name, squeeze(value)) for name, value in prompt.inputs]
        found = self.narrow(f"{name}\x1f{value}" for name, value in values)
        if found is None:
            found = self.narrow(value for _, value in values)
        if found is None:
            quoted = _QUOTED.findall(prompt.user)
            found = self.narrow(squeeze(text)[:QUOTE_LENGTH].strip() for text in quoted)
        return self._find_in_text(prompt.user) if found is None else found

    def narrow(self, values: Iterable[str]) -> int | None:
        """Return the first example of the simulated key that has all known ones of `values`."""
        known = sorted(
            (self._by_value[value] for value in values if value in self._by_value), key=len
        )
        if not known:
            return None
        common = known[0]
        for matches in known[1:]:
            common = (common & matches) or common
        return min(common)

    def _find_in_text(self, text: str) -> int | None:
        found = self.narrow([squeeze(text)])
        if found is not None:
            return found
        for separator in ("\n\n", "\n"):
            for block in reversed(text.split(separator)):
                for candidate in (block, _LABEL.sub("", block)):
                    found = self.narrow([squeeze(candidate)])
                    if found is not None:
                        return found
        return None

    def answers(self, index: int, fields: Sequence[OutputField], *, right: bool) -> dict[str, Any]:
        """Return simulated values for those `fields` that the example has labels for.

        Args:
            index: Number of the example.
            fields: The output fields asked for.
            right: Whether all of the values are right, or all wrong.
        """
        labels = self.labels[index]
        asked = [field for field in fields if field.name in labels]
        if right:
            return {field.name: labels[field.name] for field in asked}
        return {field.name: self._wrong(index, field) for field in asked}

    def _wrong(self, index: int, field: OutputField) -> Any:
        right = self.labels[index][field.name]
        plain = plain_answer(right)
        rng = random.Random(f"{self.questions[index]}:{field.name}")
        others = [choice for choice in field.choices if plain_answer(choice) != plain]
        if others:
            return rng.choice(others)
        if isinstance(right, bool) or plain in ("true", "false"):
            return not right if isinstance(right, bool) else str(plain == "false")
        if plain in ("yes", "no"):
            return "No" if plain == "yes" else "Yes"
        pool = self._pools[field.name]
        for _ in range(4 if rng.random() < 0.5 or not _NUMBER.search(str(right)) else 0):
            other = rng.choice(pool)
            if plain_answer(other) != plain:
                return other
        return _perturbed(right, rng)


def _renderings(value: Any) -> set[str]:
    texts = {squeeze(str(value)), squeeze(render_value(value))}
    if isinstance(value, (list, tuple)):
        texts.add(squeeze("\n".join(f"[{i + 1}] «{item}»" for i, item in enumerate(value))))
    return {text for text in texts if text}


def _perturbed(value: Any, rng: random.Random) -> Any:
    """Return a value near `value` but not equal to it, of the same type."""
    step = rng.choice((-2, -1, 1, 2, 3, 5, 10))
    if isinstance(value, (int, float)):
        return value + step
    if isinstance(value, (list, tuple)):
        return list(value)[:-1] if value else ["nothing"]
    if isinstance(value, dict):
        return dict(list(value.items())[:-1])
    text = str(value)
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return f"not {text}" if text else "unknown"
    last = numbers[-1]
    number = float(last.group().replace(",", "")) + step
    shown = str(int(number)) if number.is_integer() else str(number)
    return text[: last.start()] + shown + text[last.end() :]
