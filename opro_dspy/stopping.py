"""Rules that end a run; they compose with `|`."""

import math
from dataclasses import dataclass

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import counted
from opro_dspy.protocols import StopRule
from opro_dspy.seats import name_of, wrong
from opro_dspy.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop rule that composes: `max_steps(20) | patience(5)` ends with whichever speaks first."""

    rule: StopRule

    def __call__(self, trajectory: Trajectory) -> str | None:
        """Return the reason to stop before the next step, or None to go on.

        Raises:
            ConfigurationError: If the rule answers with something that is no text.
        """
        reason = self.rule(trajectory)
        if reason and not isinstance(reason, str):
            expected = "a text that says why to stop, or None to go on"
            raise wrong(f"stop rule {name_of(self.rule)}", _done(trajectory), reason, expected)
        return reason or None

    def __or__(self, other: StopRule) -> "Stop":
        then = other if isinstance(other, Stop) else Stop(other)
        return Stop(lambda trajectory: self(trajectory) or then(trajectory))


def _done(trajectory: Trajectory) -> int:
    """Return the steps done, step 0 (the initial instructions) not counted."""
    return len(trajectory.steps) - 1


def _check_count(rule: str, n: object, *, least: int) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise ConfigurationError(f"{rule} takes a whole number of at least {least}, got {n!r}.")


def max_steps(n: int) -> Stop:
    """Stop when `n` steps (≥ 0) are done; step 0, the initial instructions, is not counted."""
    _check_count("max_steps", n, least=0)
    said = f"max_steps: {counted(n, 'step')} {'was' if n == 1 else 'were'} done"
    return Stop(lambda t: said if _done(t) >= n else None)


def target_score(score: float) -> Stop:
    """Stop when the best training estimate reaches `score`, a finite number."""
    if not math.isfinite(score):
        raise ConfigurationError(f"target_score takes a finite number, got {score!r}.")

    def rule(trajectory: Trajectory) -> str | None:
        best = trajectory.best_after(_done(trajectory)) if trajectory.steps else None
        if best is None or best.score < score:
            return None
        return f"target_score: {best.score:.4g} reaches {score:.4g}"

    return Stop(rule)


def _rounds(n: int, per_round: int) -> str:
    """Return `n` rounds in words."""
    if per_round == 1:
        return counted(n, "step")
    return f"{counted(n, 'round')} of {per_round} steps"


def patience(n: int, *, per_round: int = 1) -> Stop:
    """Stop when the best training estimate has not risen for `n` rounds (≥ 1).

    Args:
        n: How many.
        per_round: Steps of a round (≥ 1): the predictors, if each step optimizes one in turn.
    """
    _check_count("patience", n, least=1)
    _check_count("per_round", per_round, least=1)

    def rule(trajectory: Trajectory) -> str | None:
        done = _done(trajectory)
        if done < n * per_round:
            return None
        now, before = trajectory.best_after(done), trajectory.best_after(done - n * per_round)
        if now is None or before is None or now.score > before.score:
            return None
        return f"patience: no improvement for {_rounds(n, per_round)}"

    return Stop(rule)


def num_empty_steps(trajectory: Trajectory) -> int:
    """Return how many of the latest steps, one after another, brought no new candidate."""
    count = 0
    for step in reversed(trajectory.steps[1:]):
        if step.candidates:
            break
        count += 1
    return count


def nothing_new(n: int, *, per_round: int = 1) -> Stop:
    """Stop when `n` rounds (≥ 1) in a row brought no new candidate.

    Args:
        n: How many.
        per_round: Steps of a round (≥ 1); see `patience`.
    """
    _check_count("nothing_new", n, least=1)
    _check_count("per_round", per_round, least=1)
    said = f"nothing_new: {_rounds(n, per_round)} in a row brought no new candidate"
    return Stop(lambda t: said if num_empty_steps(t) >= n * per_round else None)
