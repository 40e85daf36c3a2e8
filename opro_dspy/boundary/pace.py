"""What a scored example takes of tokens, USD and seconds, told from what was paid for so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from opro_dspy.boundary.meter import SCORER
from opro_dspy.records import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a scored example takes on average."""

    tokens: float
    cost: float
    """USD."""
    seconds: float
    """Of the run's time, so that calls at once share them."""


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
