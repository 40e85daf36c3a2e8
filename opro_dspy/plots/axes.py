"""What the axes of a run's figures are: the unit of scores, and what progress is drawn against."""

from dataclasses import dataclass
from typing import Literal

from opro_dspy.errors import ConfigurationError
from opro_dspy.result import OPROResult

Against = Literal["steps", "scored examples", "tokens", "cost"]
"""What a run's progress is drawn against: "steps", "scored examples", "tokens" or "cost" (USD)."""

AXES = {
    "steps": "step",
    "scored examples": "scored examples so far",
    "tokens": "tokens so far",
    "cost": "cost so far, USD",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How scores are shown: in percent where all lie in [0, 1], else as the metric gave them."""

    factor: float
    """What a score is multiplied by to be shown."""
    name: str
    """"%", or empty."""

    @staticmethod
    def of(*results: OPROResult) -> "Unit":
        """Return the unit in which the scores of `results` are shown."""
        scores = (s for r in results for c in r.candidates for s in c.scores.values())
        percent = all(0.0 <= score <= 1.0 for score in scores)
        return Unit(factor=100.0, name="%") if percent else Unit(factor=1.0, name="")

    def label(self, text: str) -> str:
        """Return the label of an axis."""
        return f"{text}, {self.name}" if self.name else f"{text}, in the metric's unit"


def tick(value: float) -> str:
    """Return a number as an axis shows it: 200,000; −0.25."""
    return f"{value:,.10g}".replace("-", "−")


def positions(result: OPROResult, against: Against = "steps") -> list[float]:
    """Return where each step of `result` lies on the axis.

    Raises:
        ConfigurationError: If `against` is unknown, or the result does not tell.
    """
    if against == "steps":
        return [float(step.index) for step in result.steps]
    if against not in AXES:
        raise ConfigurationError(f"`against` must be one of {', '.join(AXES)}, got {against!r}.")
    if len(result.spent) != len(result.steps):
        raise ConfigurationError(
            "this result does not hold what its steps spent (an older version wrote it). "
            'Draw it against="steps".'
        )
    if against == "scored examples":
        return [float(spent.metric_calls) for spent in result.spent]
    if against == "tokens":
        return [float(spent.tokens) for spent in result.spent]
    if not any(spent.cost_usd for spent in result.spent):
        raise ConfigurationError(
            "no call of this run has a known cost. Pass `prices` to OPRO, or draw it "
            'against="tokens".'
        )
    return [spent.cost_usd for spent in result.spent]
