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


def patience(n: int) -> Stop:
    """Stop when the best training estimate has not risen for `n` steps (≥ 1)."""
    _check_count("patience", n, least=1)

    def rule(trajectory: Trajectory) -> str | None:
        if _done(trajectory) < n:
            return None
        now, before = (
            trajectory.best_after(_done(trajectory)),
            trajectory.best_after(_done(trajectory) - n),
        )
        if now is None or before is None or now.score > before.score:
            return None
        return f"patience: no improvement for {counted(n, 'step')}"

    return Stop(rule)


def num_empty_steps(trajectory: Trajectory) -> int:
    """Return how many of the latest steps, one after another, brought no new candidate."""
    count = 0
    for step in reversed(trajectory.steps[1:]):
        if step.candidates:
            break
        count += 1
    return count


def nothing_new(n: int) -> Stop:
    """Stop when `n` steps (≥ 1) in a row brought no new candidate."""
    _check_count("nothing_new", n, least=1)
    return Stop(
        lambda t: (
            f"nothing_new: {counted(n, 'step')} in a row brought no new candidate"
            if num_empty_steps(t) >= n
            else None
        )
    )
