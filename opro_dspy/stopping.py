"""Rules that end a run; they compose with `|`."""

from collections.abc import Callable
from dataclasses import dataclass

from opro_dspy.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop rule that composes: `max_steps(20) | patience(5)` ends with whichever speaks first."""

    rule: Callable[[Trajectory], str | None]

    def __call__(self, trajectory: Trajectory) -> str | None:
        """Return the reason to stop before the next step, or None to go on."""
        return self.rule(trajectory)

    def __or__(self, other: Callable[[Trajectory], str | None]) -> "Stop":
        return Stop(lambda trajectory: self(trajectory) or other(trajectory))


def _done(trajectory: Trajectory) -> int:
    """Return the steps done, step 0 (the initial instructions) not counted."""
    return len(trajectory.steps) - 1


def max_steps(n: int) -> Stop:
    """Stop when `n` steps (≥ 0) are done; step 0, the initial instructions, is not counted."""
    return Stop(lambda t: f"max_steps: {n} steps were done" if _done(t) >= n else None)


def target_score(score: float) -> Stop:
    """Stop when the best training estimate reaches `score`."""

    def rule(trajectory: Trajectory) -> str | None:
        if not len(trajectory):
            return None
        best = trajectory.estimate(trajectory.best.candidate).score
        return f"target_score: {best:.4g} reaches {score:.4g}" if best >= score else None

    return Stop(rule)


def patience(n: int) -> Stop:
    """Stop when the best training estimate has not risen for `n` steps (≥ 1)."""

    def rule(trajectory: Trajectory) -> str | None:
        if _done(trajectory) < n:
            return None
        now, before = (
            trajectory.best_after(_done(trajectory)),
            trajectory.best_after(_done(trajectory) - n),
        )
        if now is None or before is None or now.score > before.score:
            return None
        return f"patience: no improvement for {n} steps"

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
    return Stop(
        lambda t: (
            f"nothing_new: {n} steps in a row brought no new candidate"
            if num_empty_steps(t) >= n
            else None
        )
    )
