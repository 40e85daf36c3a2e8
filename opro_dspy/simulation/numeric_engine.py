"""The simulated numeric optimizer LM: reads a problem's meta-prompt and writes a new solution."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.engine import Asked, SimulatedEngine, load_conditions
from opro_dspy.simulation.lm import SimulatedLM, simulated_lm
from opro_dspy.simulation.numeric_search import Numbers, NumericSearch, Shown, is_order

_NUMBER = re.compile(r"(?<![\w.])[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.]*\w)")
_ENTRY = re.compile(
    r"<(\w+)>((?:(?!</?\1>).)*)</\1>\s*(?:value|length|score)\s*:\s*(\S+)", re.DOTALL
)
_SLIPS = (
    lambda numbers: numbers[:-1],
    lambda numbers: (*numbers, numbers[-1]),
    lambda numbers: (),
)
"""Ways of losing the form: a number too few, one too many, none."""


class SimulatedNumericOptimizer(SimulatedEngine):
    """Engine of a simulated optimizer LM for problems whose solutions are numbers.

    It knows nothing but the text: the solutions shown, their values and their order. Solutions
    that are orders of the same whole numbers are changed as orders, others number by number.
    At temperature 0 the answer is a function of the prompt.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        slips: float = 0.05,
        latency: Latency | None = None,
        faults: Faults | None = None,
    ) -> None:
        """Make the simulated engine; the arguments are those of `numeric_optimizer_lm`."""
        super().__init__(latency=latency, faults=faults)
        self.seed = seed
        self.slips = slips

    def answer(self, asked: Asked, sample: str) -> str:
        """Return a simulated new solution in the form that the prompt shows."""
        rng = random.Random(f"{self.seed}:{asked.content}:{sample}")
        entries = _ENTRY.findall(asked.user)
        if not entries:
            return "I see no solutions with values, so I have nothing to go by."
        tag, form, _ = entries[-1]
        shown, decimals = _read(entries)
        numbers = NumericSearch(shown, asked.temperature, decimals=decimals).sample(rng)
        if rng.random() < self.slips * asked.temperature:
            numbers = rng.choice(_SLIPS)(numbers)
        text = _written(numbers, form, decimals, order=is_order(shown))
        return f"{_opening(rng)}<{tag}>{text}</{tag}>"

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated engine as JSON data."""
        return {**super().dump_state(), "seed": self.seed, "slips": self.slips}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> SimulatedNumericOptimizer:
        """Return the simulated engine that `dump_state` wrote."""
        return cls(seed=state["seed"], slips=state["slips"], **load_conditions(state))


def _read(entries: Sequence[tuple[str, str, str]]) -> tuple[list[Shown], int]:
    """Return what the simulated LM sees of the entries, and the decimals they are written with.

    The prompt has the best last; entries of another form than that are passed over.
    """
    found = []
    for _, text, value in entries:
        said = _NUMBER.findall(text)
        if number := _NUMBER.fullmatch(value):
            found.append((said, Shown(tuple(map(float, said)), float(number[0]))))
    said = found[-1][0]
    decimals = max((len(n.partition(".")[2]) for n in said if "e" not in n.lower()), default=0)
    return [shown for other, shown in found if len(other) == len(said)], decimals


def _written(numbers: Numbers, form: str, decimals: int, *, order: bool) -> str:
    """Return the numbers in the places of those in `form`."""
    said = [f"{n:.0f}" if order else f"{n + 0.0:.{decimals}f}" for n in numbers]
    if len(said) == len(_NUMBER.findall(form)):
        left = iter(said)
        return _NUMBER.sub(lambda _: next(left), form).strip()
    return ",".join(said) or "none"


def _opening(rng: random.Random) -> str:
    """Return what the simulated LM says before its solution: mostly nothing."""
    return rng.choice(("", "", "I follow the best ones.\n", "One more try near the best:\n"))


def numeric_optimizer_lm(
    *,
    seed: int = 0,
    slips: float = 0.05,
    latency: Latency | None = None,
    faults: Faults | None = None,
    **options: Any,
) -> SimulatedLM:
    """Return a `dspy.LM` that plays an optimizer LM on problems of numbers, for `optimize`.

    Args:
        seed: Another seed proposes other solutions.
        slips: Chance at temperature 1 that an answer does not keep the form; grows with it.
        latency: Simulated latency; None answers at once.
        faults: Simulated faults; None has none.
        options: Passed to `dspy.LM`, e.g. `cache` (True by default), `temperature`, `num_retries`.
    """
    engine = SimulatedNumericOptimizer(seed=seed, slips=slips, latency=latency, faults=faults)
    return simulated_lm(engine, "numeric-optimizer", options)
