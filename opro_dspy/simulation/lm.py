"""The `dspy.LM` around a simulated engine."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import dspy

from opro_dspy.simulation.engine import AsyncSimulatedEngine, SimulatedEngine
from opro_dspy.simulation.hashing import fingerprint
from opro_dspy.simulation.rollouts import RolloutRecorder


class SimulatedLM(dspy.LM):  # type: ignore[misc]
    """A `dspy.LM` whose engine is simulated; `engine` gives that engine."""

    def __init__(self, model: str, **options: Any) -> None:
        """Make the LM of a simulated engine; `options` are those of `dspy.LM`."""
        callbacks = list(options.pop("callbacks", None) or [])
        if not any(isinstance(callback, RolloutRecorder) for callback in callbacks):
            callbacks.append(RolloutRecorder())
        engine = options.get("engine")
        if isinstance(engine, SimulatedEngine) and options.get("async_engine") is None:
            options["async_engine"] = AsyncSimulatedEngine(engine)
        super().__init__(model, callbacks=callbacks, **options)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle; an LM that travelled without its callbacks still tells rollouts apart."""
        super().__setstate__(state)
        callbacks: list[Any] = state["callbacks"]
        if not any(isinstance(callback, RolloutRecorder) for callback in callbacks):
            self.callbacks = [*callbacks, RolloutRecorder()]

    @property
    def engine(self) -> Any:
        """The simulated engine behind this LM, shared by its copies."""
        return self._engine_spec

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated LM as JSON data; the async engine is made anew when loading."""
        state: dict[str, Any] = dspy.LM.dump_state(self.copy(async_engine=None))
        return state


@functools.cache
def _source() -> str:
    """Return a fingerprint of this package's code, which the answers depend on."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return fingerprint(*(file.read_text(encoding="utf-8") for file in files))


def model_name(engine: SimulatedEngine, role: str) -> str:
    """Return a name for the model of a simulated engine, made from its state.

    DSPy's cache knows LMs by name only: engines that answer differently need different names.
    """
    state = engine.dump_state()
    del state["latency"]
    told = json.dumps(state, sort_keys=True, default=str)
    return f"simulated/{role}-{fingerprint(told, _source())[:12]}"


def simulated_lm(engine: SimulatedEngine, role: str, options: dict[str, Any]) -> SimulatedLM:
    """Return the LM of a simulated engine; `options` go to `dspy.LM`."""
    model = options.pop("model", None) or model_name(engine, role)
    return SimulatedLM(model, engine=engine, **options)
