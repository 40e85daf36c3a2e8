"""Amounts of what a budget counts, time aside."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """An amount of everything that a budget counts, time aside."""

    metric_calls: int = 0
    tokens: int = 0
    """Input and output tokens together."""
    cost: float = 0.0
    """USD."""

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(
            metric_calls=self.metric_calls + other.metric_calls,
            tokens=self.tokens + other.tokens,
            cost=self.cost + other.cost,
        )

    def __neg__(self) -> "Spending":
        return Spending(metric_calls=-self.metric_calls, tokens=-self.tokens, cost=-self.cost)


NOTHING = Spending()
