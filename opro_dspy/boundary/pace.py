"""What a scored example takes of tokens, USD and seconds, told from what was paid for so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from opro_dspy.boundary.spending import NOTHING, Spending
from opro_dspy.records import Usage, summed

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


Tell = Callable[[Sequence[Usage], int, float], Pace | None]
"""Tells what an example takes, if known, from what so many took, and the seconds by then."""


class Outlook:
    """What later examples will take, with some room.

    It is told by scores alone, and not by calls in flight: so a run that recalls its scores keeps
    as much for later as when it paid for them.

    Args:
        tell: Knows what one takes from what the earlier ones took.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._any, self._n_paid = False, 0
        self._used: tuple[Usage, ...] = ()
        self._pace: Pace | None = None
        self.widest = NOTHING
        """The most that was reserved for an LM call of an example, and may be once more."""

    def widen(self, need: Spending) -> None:
        """Take note of what was reserved for an LM call of an example."""
        tokens, cost = max(need.tokens, self.widest.tokens), max(need.cost, self.widest.cost)
        self.widest = Spending(tokens=tokens, cost=cost)

    def scored(self, used: Sequence[Usage], seconds: float) -> None:
        """Take note of what a scored example used, and of the seconds by then."""
        self._any = True
        if used:  # what was known already says nothing of later ones
            self._n_paid, self._used = self._n_paid + 1, summed([*self._used, *used])
            self._pace = self._tell(self._used, self._n_paid, seconds)

    def fitting(self, left: float, *, of: str) -> float | None:
        """Return how many examples `left` pays for; None if that is not known."""
        each = self._each(of)
        if each is None:
            return None
        return (left - self._spare(of)) / each if each else inf

    def kept(self, n_examples: int, *, cap: float, of: str) -> float:
        """Return what of a cap to keep for so many examples; see `Budget.keep`."""
        if not n_examples or not self._any:  # before a first score there is no choice
            return 0.0
        each, most = self._each(of), MOST_KEPT * cap
        return most if each is None else min(most, n_examples * each + self._spare(of))

    def _spare(self, of: str) -> float:
        return float(getattr(self.widest, of, 0.0))  # nothing is reserved of seconds

    def _each(self, of: str) -> float | None:
        return None if self._pace is None else ROOM * float(getattr(self._pace, of))


def pace_of(
    used: Sequence[Usage], n_examples: int, seconds: float, *, n_predictors: int
) -> Pace | None:
    """Return what an example takes, as if nothing of it were known; None before one was paid for.

    Scores and answers that were known already took nothing, and say nothing of later ones: so an
    example takes what a paid call took, times its calls.

    Args:
        used: What the LM calls of scored examples took.
        n_examples: How many that were.
        seconds: How long the run took for that, the optimizer LM's part included.
        n_predictors: Calls of an example at least.
    """
    answered = sum(row.calls - row.failures for row in used)
    if answered < 1:
        return None
    hits = sum(row.cache_hits for row in used)
    calls = max(n_predictors, (answered + hits) / n_examples)
    tokens = sum(row.input_tokens + row.output_tokens for row in used)
    cost = sum(row.cost_usd or 0.0 for row in used)
    return Pace(
        tokens=calls * tokens / answered,
        cost=calls * cost / answered,
        seconds=calls * seconds / sum(row.calls for row in used),
    )
