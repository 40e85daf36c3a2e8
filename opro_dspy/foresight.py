"""What a run learns of what LM calls may need: it shapes how near the run comes to a cap.

All of it are maxima, so that what several sessions learned is put together in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a model was seen to count what it reads, and to answer."""

    ratio: float = 1.0
    """Highest input tokens over those of a rule of thumb, at least 1."""
    longest: int = 0
    """Most output tokens of an answer; of several answers to one call their mean."""

    def __or__(self, other: "Habits") -> "Habits":
        return Habits(ratio=max(self.ratio, other.ratio), longest=max(self.longest, other.longest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What was learned so far."""

    tokens: int = 0
    """Most tokens that were reserved for an LM call of an example."""
    cost_usd: float = 0.0
    """The same of USD."""
    habits: Mapping[str, Habits] = field(default_factory=dict)
    """By model."""
