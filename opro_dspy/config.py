"""The settings of an OPRO run, checked at the door."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict, Field

from opro_dspy.errors import UnknownArgumentError
from opro_dspy.options import Options

OTHER_NAMES = {
    "breadth": "num_candidates",
    "depth": "max_steps",
    "num_trials": "max_steps",
    "num_iterations": "max_steps",
    "bsize": "num_candidates",
    "reflection_lm": "prompt_model",
    "optimizer_lm": "prompt_model",
    "scorer_lm": "task_model",
    "teacher_settings": "prompt_model",
    "temperature": "init_temperature",
    "temperature_for_sampling": "init_temperature",
    "temperature_for_candidates": "init_temperature",
    "perfect_score": "stop_at_score",
    "devset": "valset",
}
"""What other optimizers call a parameter, and what it is called here."""


class OproConfig(Options):
    """The plain settings of `OPRO`; each is documented there."""

    model_config = ConfigDict(strict=True)

    num_candidates: int = Field(default=8, ge=1)
    auto: Literal["light", "medium", "heavy"] | None = None
    max_steps: int = Field(default=10, ge=0)
    init_temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    end_temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    num_finalists: int = Field(default=2, ge=1)
    num_threads: int | None = Field(default=None, ge=1)
    max_errors: int | None = Field(default=None, ge=1)
    max_attempts: int = Field(default=3, ge=1)
    max_empty_steps: int = Field(default=3, ge=1)
    instruction_position: Literal["start", "Q_begin", "Q_end", "A_begin"] | None = None
    failure_score: float = Field(default=0.0, allow_inf_nan=False)
    provide_traceback: bool | None = None
    max_metric_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    max_seconds: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    requests_per_minute: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=600.0, gt=0.0, allow_inf_nan=False)
    patience: int | None = Field(default=None, ge=1)
    stop_at_score: float | None = Field(default=None, allow_inf_nan=False)
    seed: int = 0
    track_stats: bool = True
    verbose: bool = True


def checked(**settings: Any) -> OproConfig:
    """Return the settings as a config.

    Raises:
        ConfigurationError: If one is wrong; names it, what was given and what it may be.
    """
    plain = {
        name: value.item() if type(value).__module__ == "numpy" else value
        for name, value in settings.items()
    }
    return OproConfig(**plain)


def refuse_unknown(where: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise UnknownArgumentError if there is any unknown name, with the nearest one of ours."""
    known = [name for name in known if name not in ("self", "unknown")]
    told = []
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        ours = OTHER_NAMES.get(name)
        nearest = ours if ours in known else (close[0] if close else None)
        told.append(f"`{name}`" + (f" (did you mean `{nearest}`?)" if nearest else ""))
    if told:
        raise UnknownArgumentError(
            f"{where} has no argument {', '.join(told)}. It takes: {', '.join(known)}."
        )
