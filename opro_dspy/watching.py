"""Small observers of a run."""

from collections.abc import Callable
from typing import Any

from opro_dspy.boundary.budget import Budget
from opro_dspy.protocols import Event, ExampleScored, Observer, StepEnded
from opro_dspy.records import Spent


class SpentBySteps:
    """Notes what the run had spent by the end of each step.

    Args:
        budget: The run's.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._scored = 0
        self.steps: list[Spent] = []
        """Step 0 first."""

    def __call__(self, event: Event) -> None:
        """Count a score; take note of a step's end."""
        if isinstance(event, ExampleScored):
            self._scored += 1
        elif isinstance(event, StepEnded):
            spent = self._budget.spent
            cost = round(spent.cost, 9)  # the order of a sum shows in its last digits
            self.steps.append(Spent(metric_calls=self._scored, tokens=spent.tokens, cost_usd=cost))


def of_steps(on_step: Callable[[StepEnded], Any]) -> Observer:
    """Return an observer that tells `on_step` of each step's end, and of nothing else."""

    def observe(event: Event) -> None:
        if isinstance(event, StepEnded):
            on_step(event)

    return observe
