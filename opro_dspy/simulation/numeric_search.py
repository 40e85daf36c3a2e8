"""How the simulated numeric optimizer LM makes a new solution from those it has read."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from opro_dspy.simulation.search import ignores_trajectory, repeats_best

Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The numbers of one solution that the simulated LM has read."""

    numbers: Numbers
    value: float


def is_order(shown: Sequence[Shown]) -> bool:
    """Tell whether the simulated LM takes the solutions for orders of the same things."""
    first = sorted(shown[0].numbers)
    whole = all(n == int(n) for n in first) and len(set(first)) == len(first)
    return len(first) > 3 and whole and all(sorted(s.numbers) == first for s in shown)


class NumericSearch:
    """One simulated reading of a meta-prompt, from which new solutions are drawn."""

    def __init__(self, shown: Sequence[Shown], temperature: float, *, decimals: int) -> None:
        """Prepare the simulated search.

        Args:
            shown: Solutions of equally many numbers, worst first, at least one.
            temperature: That of the request, in [0, 2].
            decimals: Decimals that the numbers are written with.
        """
        self._parents = [s.numbers for s in shown]
        self._best = self._parents[-1]
        self._temperature = temperature
        self._decimals = decimals
        self._order = is_order(shown)
        greed = min(12.0, 4.0 / max(temperature, 0.1))
        count = max(1, len(shown) - 1)
        self._weights = [math.exp(greed * rank / count) for rank in range(len(shown))]

    def sample(self, rng: random.Random) -> Numbers:
        """Return one simulated new solution."""
        if len(self._parents) > 5 and rng.random() < repeats_best(self._temperature):
            return self._best
        careless = rng.random() < ignores_trajectory(self._temperature)
        if self._order:
            return self._any_order(rng) if careless else self._changed_order(rng)
        return self._anywhere(rng) if careless else self._moved(rng)

    def _parent(self, rng: random.Random) -> Numbers:
        return rng.choices(self._parents, self._weights)[0]

    def _moved(self, rng: random.Random) -> Numbers:
        """Return a good solution moved on in the direction of improvement, and shaken."""
        base, ahead, behind = self._parent(rng), self._parent(rng), rng.choice(self._parents)
        if self._parents.index(ahead) < self._parents.index(behind):
            ahead, behind = behind, ahead
        reach = rng.choice((0.0, 0.5, 1.0, 1.0, 2.0))
        unit = 10.0**-self._decimals
        heat = 0.3 + self._temperature
        moved = []
        for i, (n, a, b) in enumerate(zip(base, ahead, behind, strict=True)):
            spread = max(p[i] for p in self._parents) - min(p[i] for p in self._parents)
            shake = rng.gauss(0.0, unit + 0.1 * spread) * heat if rng.random() < 0.6 else 0.0
            moved.append(round(n + reach * (a - b) + shake, self._decimals))
        return tuple(moved)

    def _anywhere(self, rng: random.Random) -> Numbers:
        """Return numbers from around the region that is shown."""
        found = []
        for column in zip(*self._parents, strict=True):
            low, high = min(column), max(column)
            margin = max(10.0**-self._decimals, high - low)
            found.append(round(rng.uniform(low - margin, high + margin), self._decimals))
        return tuple(found)

    def _any_order(self, rng: random.Random) -> Numbers:
        fixed = self._num_fixed()
        rest = list(self._best[fixed:])
        rng.shuffle(rest)
        return (*self._best[:fixed], *rest)

    def _changed_order(self, rng: random.Random) -> Numbers:
        """Return a good order with one or a few changes, as a reader without coordinates would."""
        fixed = self._num_fixed()
        order = list(self._parent(rng)[fixed:])
        changes: tuple[Callable[[list[float], random.Random], list[float]], ...] = (
            _reversed_part,
            _moved_part,
            self._mixed,
        )
        count = 1 + sum(rng.random() < 0.25 * self._temperature for _ in range(3))
        for _ in range(count):
            order = rng.choices(changes, (0.45, 0.4, 0.15))[0](order, rng)
        return (*self._best[:fixed], *order)

    def _mixed(self, order: list[float], rng: random.Random) -> list[float]:
        """Keep a part of `order` and put the rest in the order of another good solution."""
        i, j = _two(len(order), rng)
        kept = order[i:j]
        rest = [n for n in self._parent(rng) if n in set(order) - set(kept)]
        return [*rest[:i], *kept, *rest[i:]]

    def _num_fixed(self) -> int:
        """Return 1 if all solutions begin alike, else 0."""
        return int(all(a[0] == b[0] for a, b in pairwise(self._parents)))


def _two(n: int, rng: random.Random) -> tuple[int, int]:
    i, j = sorted(rng.sample(range(n + 1), 2))
    return i, j


def _reversed_part(order: list[float], rng: random.Random) -> list[float]:
    i, j = _two(len(order), rng)
    return [*order[:i], *reversed(order[i:j]), *order[j:]]


def _moved_part(order: list[float], rng: random.Random) -> list[float]:
    i = rng.randrange(len(order))
    j = min(len(order), i + rng.randint(1, 3))
    rest = [*order[:i], *order[j:]]
    place = rng.randint(0, len(rest))
    return [*rest[:place], *order[i:j], *rest[place:]]
