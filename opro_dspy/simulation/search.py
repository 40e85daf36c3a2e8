"""How the simulated optimizer LM makes a new instruction from those it has read."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence

from opro_dspy.simulation.ideas import IDEAS, Idea
from opro_dspy.simulation.reading import Scored
from opro_dspy.simulation.wording import compose, hinted, ideas_by_sentence, ideas_in, word

MAX_LENGTH = 420
"""Characters that a simulated instruction hardly exceeds."""

_PRIOR = {"plausible": 1.0, "idle": 0.5, "harmful": 0.2}
_HINTED = 1.6

_Part = tuple[str, list[Idea]]


def ignores_trajectory(temperature: float) -> float:
    """Return the chance, in [0, 0.9], that a simulated sample does not heed what it read."""
    return min(0.9, max(0.0, (temperature - 1.2) / 0.4))


def repeats_best(temperature: float) -> float:
    """Return the chance, in [0, 0.7], that a simulated sample just repeats the best text."""
    return min(0.7, max(0.0, 0.7 * (1 - temperature / 0.8)))


class Search:
    """One simulated reading of a prompt, from which samples are drawn."""

    def __init__(
        self, read: Sequence[Scored], questions: str, temperature: float, *, max_ideas: int = 8
    ) -> None:
        """Prepare the simulated search.

        Args:
            read: Instructions found; scored ones count by their rank.
            questions: Lower-case text of the examples shown.
            temperature: That of the request, in [0, 2].
            max_ideas: Most ideas in one instruction, at least 1.
        """
        scored = [item for item in read if item.score is not None]
        scored.sort(key=lambda item: item.score or 0.0)
        self.scored = scored
        self.parents = scored or list(read)
        self.questions = questions
        self.temperature = temperature
        self.max_ideas = max_ideas
        self.credit = _credits(scored)
        self._settled = bool(scored) and len(ideas_in(scored[-1].text)) > 1
        greed = min(12.0, 4.0 / max(temperature, 0.1))
        count = max(1, len(self.parents) - 1)
        self._weights = [math.exp(greed * rank / count) for rank in range(len(self.parents))]

    def sample(self, rng: random.Random) -> str:
        """Return one simulated new instruction."""
        if self._settled and rng.random() < repeats_best(self.temperature):
            return self.scored[-1].text
        parts = self._inherit(rng)
        self._mutate(parts, rng)
        self._trim(parts, rng)
        if rng.random() < 0.1 * self.temperature:
            rng.shuffle(parts)
        said = [text for text, _ in parts]
        bare = all(ideas for _, ideas in parts)
        return compose(said, rng, opening=0.15 if bare else 0.0)

    def _inherit(self, rng: random.Random) -> list[_Part]:
        if not self.parents or rng.random() < ignores_trajectory(self.temperature):
            count = rng.randint(1, min(4, self.max_ideas))
            return [(word(idea, rng), [idea]) for idea in self._fresh([], count, rng)]
        first, second = rng.choices(self.parents, self._weights, k=2)
        parts: list[_Part] = []
        for text, ideas in ideas_by_sentence(first.text):
            if rng.random() < self._keeps(ideas, 0.92 if ideas else 0.5) and len(text) < 200:
                parts.append((text, ideas))
        have = {idea.name for _, ideas in parts for idea in ideas}
        for text, ideas in ideas_by_sentence(second.text):
            new = ideas and not any(idea.name in have for idea in ideas)
            if new and rng.random() < self._keeps(ideas, 0.35):
                parts.append((text, ideas))
                have.update(idea.name for idea in ideas)
        return parts

    def _keeps(self, ideas: Sequence[Idea], chance: float) -> float:
        credit = sum(self.credit.get(idea.name, 0.0) for idea in ideas)
        return min(0.98, max(0.05, chance + credit))

    def _mutate(self, parts: list[_Part], rng: random.Random) -> None:
        heat = 0.25 + min(self.temperature, 2.0)
        changes = sum(rng.random() < 0.3 * heat for _ in range(4))
        if sum(len(ideas) for _, ideas in parts) < 2:
            changes += rng.randint(1, 3)
        for _ in range(changes):
            kind = rng.random()
            if kind > 0.6 and len(parts) > 2:
                del parts[self._worst(parts, rng)]
            if kind < 0.8:
                have = [idea for _, ideas in parts for idea in ideas]
                for idea in self._fresh(have, 1, rng):
                    parts.insert(rng.randint(0, len(parts)), (word(idea, rng), [idea]))
        for i, (_, ideas) in enumerate(parts):
            if len(ideas) == 1 and rng.random() < 0.15 * heat:
                parts[i] = (word(ideas[0], rng), ideas)

    def _fresh(self, have: Sequence[Idea], count: int, rng: random.Random) -> list[Idea]:
        pool = [idea for idea in IDEAS if idea not in have]
        weights = [self._appeal(idea) for idea in pool]
        chosen: list[Idea] = []
        for idea in rng.choices(pool, weights, k=count):
            if idea not in chosen:
                chosen.append(idea)
        return chosen

    def _appeal(self, idea: Idea) -> float:
        appeal = _PRIOR[idea.kind] * (_HINTED if hinted(idea, self.questions) else 1.0)
        heed = 1.0 - ignores_trajectory(self.temperature)
        return appeal * math.exp(4.0 * heed * self.credit.get(idea.name, 0.0))

    def _worst(self, parts: Sequence[_Part], rng: random.Random) -> int:
        """Return the number of a part to drop: the one of less credit among two."""
        pair = rng.sample(range(len(parts)), 2)
        return min(pair, key=lambda i: self._credit_of(parts[i][1]))

    def _credit_of(self, ideas: Sequence[Idea]) -> float:
        return sum(self.credit.get(idea.name, 0.0) for idea in ideas)

    def _trim(self, parts: list[_Part], rng: random.Random) -> None:
        while len(parts) > 1 and (
            sum(len(text) + 2 for text, _ in parts) > MAX_LENGTH
            or sum(len(ideas) for _, ideas in parts) > self.max_ideas
        ):
            del parts[self._worst(parts, rng)]


def _credits(scored: Sequence[Scored]) -> dict[str, float]:
    """Return by idea how much better the texts with it score, shrunk toward 0; in [-1, 1]."""
    if len(scored) < 3:
        return {}
    scores = [item.score or 0.0 for item in scored]
    low, high = min(scores), max(scores)
    if high <= low:
        return {}
    mean = sum(scores) / len(scores)
    seen: dict[str, list[float]] = defaultdict(list)
    for item, score in zip(scored, scores, strict=True):
        named = {idea.name for _, ideas in ideas_by_sentence(item.text) for idea in ideas}
        for name in named:
            seen[name].append((score - mean) / (high - low))
    return {name: sum(values) / (len(values) + 2) for name, values in seen.items()}
