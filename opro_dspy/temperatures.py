"""Which sampling temperatures the optimizer LM takes, learned from what it refuses."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMInvalidRequestError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

logger = logging.getLogger(__name__)


class Tried(NamedTuple):
    """A temperature that was sent, None for a request without one, and how it went."""

    temperature: float | None
    taken: bool
    """True when the LM answered; False when it refused the request."""


class Temperatures:
    """What may be sent to a model: between what it refused, else the nearest that it took.

    Nothing is learned within a step, so that concurrent samples cannot influence each other.

    Args:
        model: The LM's name, for messages.
        never: Whether to send none in the first place.
    """

    def __init__(self, model: str, *, never: bool = False) -> None:
        self._model = model
        self._never = never
        self._taken: tuple[float, float] | None = None
        """The lowest and the highest temperature that was taken."""
        self._refused = (float("-inf"), float("inf"))
        """The nearest refused ones around `_taken`."""
        self._told: set[str] = set()

    def to_send(self, wanted: float) -> float | None:
        """Return the temperature to send for the wanted one; None is to send none."""
        if self._never:
            return None
        low, high = self._refused
        return wanted if low < wanted < high else self.instead_of(wanted)

    def instead_of(self, refused: float) -> float | None:
        """Return what was taken nearest to `refused`; None, to send none, if nothing was."""
        if self._taken is None:
            return None
        low, high = self._taken
        return min(high, max(low, refused))

    def learn(self, tried: Sequence[Tried], *, step: int) -> None:
        """Note how the requests of a step went, in any order.

        A refusal counts as one of the temperature only if requests of the step were answered,
        and none of them at that temperature.
        """
        answered = {t.temperature for t in tried if t.taken}
        refused = {t.temperature for t in tried if not t.taken} - answered
        numbers = sorted(t for t in answered if t is not None)
        if numbers:
            low, high = self._taken or (numbers[0], numbers[0])
            self._taken = min(low, numbers[0]), max(high, numbers[-1])
        if answered:
            for temperature in sorted(t for t in refused if t is not None):
                self._note_refusal(temperature, step)

    def _note_refusal(self, temperature: float, step: int) -> None:
        if self._taken is None:
            self._never = True
            self._tell("all", f"{temperature:g} at step {step}", "none is sent")
            return
        low, high = self._refused
        if temperature > self._taken[1]:
            self._refused = low, min(high, temperature)
            then = f"from there up, {self._taken[1]:g} is sent"
            self._tell("up", f"{temperature:g} at step {step}", then)
        elif temperature < self._taken[0]:
            self._refused = max(low, temperature), high
            then = f"from there down, {self._taken[0]:g} is sent"
            self._tell("down", f"{temperature:g} at step {step}", then)

    def _tell(self, direction: str, what: str, then: str) -> None:
        if direction not in self._told:
            self._told.add(direction)
            logger.warning(
                "The optimizer LM %s refused the temperature %s: from now on, %s. Choose "
                "`init_temperature` and `temperature_schedule` within what the model takes.",
                self._model,
                what,
                then,
            )


def may_be_the_temperature(error: Exception) -> bool:
    """Tell whether a request may have been refused for its temperature."""
    return isinstance(error, (LMInvalidRequestError, LMUnsupportedFeatureError)) and not isinstance(
        error, (ContextWindowExceededError, LMUnsupportedModelError)
    )
