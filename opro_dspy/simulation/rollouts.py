"""Telling samples apart: how a rollout_id reaches the simulated engines."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from dspy.utils.callback import BaseCallback


class Rollout:
    """The rollout of one simulated LM call, and how many answers it has had so far."""

    def __init__(self, rollout_id: Any) -> None:
        """Begin a simulated rollout with no answer yet."""
        self.rollout_id = rollout_id
        self.n_answers = 0


_ROLLOUT: ContextVar[Rollout | None] = ContextVar("opro_dspy_simulated_rollout", default=None)


def current_rollout() -> Rollout | None:
    """Return the rollout of the LM call in progress, or None; for simulated engines."""
    return _ROLLOUT.get()


class RolloutRecorder(BaseCallback):  # type: ignore[misc]
    """Tells simulated engines the `rollout_id` that DSPy strips before it asks an engine.

    DSPy runs an LM's own callbacks in the thread or task that then asks the engine, so a context
    variable carries the number there.
    """

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Remember the rollout of the simulated call that begins."""
        rollout_id = {**instance.kwargs, **inputs.get("kwargs", {})}.get("rollout_id")
        _ROLLOUT.set(None if rollout_id is None else Rollout(rollout_id))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Forget the rollout of the simulated call that ended."""
        _ROLLOUT.set(None)
