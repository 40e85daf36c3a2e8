"""The settings of an OPRO run, checked at the door."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from opro_dspy.options import Options


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
