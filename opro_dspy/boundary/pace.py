"""What a scored example takes of tokens, USD and seconds, told from what was paid for so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from opro_dspy.boundary.meter import SCORER
from opro_dspy.boundary.spending import NOTHING, Spending
from opro_dspy.records import Usage

ROOM = 1.5
"""Times what examples took so far that is set aside for a later one, which may be longer."""

MOST_KEPT = 0.5
"""Share of a cap that is kept for later at most, and as long as examples are scored for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a scored example takes on average."""

    tokens: float
    cost: float
    """USD."""
    seconds: float
    """Of the run's time, so that calls at once share them."""


Tell = Callable[[int, float], Pace | None]
"""Tells from the number of scored examples and the seconds so far what one takes, if known."""


class Outlook:
    """What later examples will take, with some room; looks anew when further ones are scored.

    Args:
        tell: Knows what the earlier ones took.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell, self._known_at = tell, 0
        self._pace: Pace | None = None
        self.widest = NOTHING
        """The most that was reserved for an LM call of an example, and may be once more."""

    def widen(self, need: Spending) -> None:
        """Take note of what was reserved for an LM call of an example."""
        tokens, cost = max(need.tokens, self.widest.tokens), max(need.cost, self.widest.cost)
        self.widest = Spending(tokens=tokens, cost=cost)

    def look(self, n_examples: int, seconds: float) -> None:
        """Look how far the run is."""
        if n_examples != self._known_at:
            self._known_at, self._pace = n_examples, self._tell(n_examples, seconds)

    def fitting(self, left: float, *, of: str) -> float | None:
        """Return how many examples `left` pays for; None if that is not known."""
        each = self._each(of)
        if each is None:
            return None
        return (left - self._spare(of)) / each if each else inf

    def kept(self, n_examples: int, *, cap: float, of: str) -> float:
        """Return what of a cap to keep for so many examples; see `Budget.keep`."""
        if not n_examples or not self._known_at:  # before a first score there is no choice
            return 0.0
        each, most = self._each(of), MOST_KEPT * cap
        return most if each is None else min(most, n_examples * each + self._spare(of))

    def _spare(self, of: str) -> float:
        return float(getattr(self.widest, of, 0.0))  # nothing is reserved of seconds

    def _each(self, of: str) -> float | None:
        return None if self._pace is None else ROOM * float(getattr(self._pace, of))


def pace_of(
    usage: Sequence[Usage], *, n_predictors: int, n_examples: int, seconds: float
) -> Pace | None:
    """Return what an example takes, as if nothing of it were known; None before one was paid for.

    Scores and answers that were known already took nothing, and say nothing of later ones: so an
    example takes what a paid call took, times its calls.

    Args:
        usage: What LMs did so far, by role and model.
        n_predictors: Calls of an example at least.
        n_examples: Examples scored so far.
        seconds: How long that took, the optimizer LM's part included.
    """
    scored = [row for row in usage if row.role == SCORER]
    answered = sum(row.calls - row.failures for row in scored)
    if answered < 1 or n_examples < 1:
        return None
    hits = sum(row.cache_hits for row in scored)
    calls = max(n_predictors, (answered + hits) / n_examples)
    tokens = sum(row.input_tokens + row.output_tokens for row in scored)
    cost = sum(row.cost_usd or 0.0 for row in scored)
    return Pace(
        tokens=calls * tokens / answered,
        cost=calls * cost / answered,
        seconds=calls * seconds / sum(row.calls for row in usage),
    )
