"""Which way is better: the one place where signs are turned."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Direction:
    """Turns the values of a problem into scores, of which a higher one is always better, and back.

    The trajectory, stop rules and observers know scores only; the meta-prompt and the result show
    values.
    """

    higher_is_better: bool

    def turn(self, number: float) -> float:
        """Return the score of a value, or the value of a score: it is its own inverse."""
        return number if self.higher_is_better else 0.0 - number
