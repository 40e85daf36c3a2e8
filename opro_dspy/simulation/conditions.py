"""What a network does to LM calls, simulated: latency with jitter, and faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dspy import lm15

from opro_dspy.errors import ConfigurationError
from opro_dspy.simulation.hashing import gaussian, uniform

_ERRORS: dict[str, tuple[Any, int | None]] = {
    "rate_limit": (lm15.RateLimitError, 429),
    "server_error": (lm15.ServerError, 500),
    "timeout": (lm15.TimeoutError, 504),
    "transport": (lm15.TransportError, None),
    "auth": (lm15.AuthError, 401),
}
_SPOILT = ("malformed", "truncated")
FAULT_KINDS: tuple[str, ...] = (*_ERRORS, *_SPOILT)
"""Kinds of simulated faults; the last two spoil the text instead of raising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Simulated latency of an LM: lognormal, and the same for the same request."""

    mean_s: float
    """Mean of the distribution in seconds, at least 0."""
    sigma: float = 0.5
    """Standard deviation of the logarithm: the jitter; 0 makes every call take `mean_s`."""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        if self.mean_s < 0 or self.sigma < 0:
            raise ConfigurationError(
                f"`mean_s` and `sigma` must be at least 0, got {self.mean_s!r}, {self.sigma!r}."
            )

    def seconds(self, content: str) -> float:
        """Return how long the simulated call with this content takes, in seconds."""
        if not self.mean_s:
            return 0.0
        number = gaussian("latency", content, limit=6.0)
        return self.mean_s * math.exp(self.sigma * number - self.sigma**2 / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Simulated faults: drawn from the request and how often it was tried, so retries can pass."""

    rate: float
    """Chance of a fault at each attempt, in [0, 1]."""
    kinds: tuple[str, ...] = ("rate_limit", "server_error", "timeout", "transport")
    """Which faults, drawn evenly; from `FAULT_KINDS`."""
    seed: int = 0
    """Decides which attempts fail."""
    retry_after_s: float | None = 0.02
    """Seconds that a raised error asks to wait; None lets DSPy wait for whole seconds."""

    def __post_init__(self) -> None:
        """Refuse a rate that is no fraction, and unknown kinds."""
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(f"`rate` must be a fraction in [0, 1], got {self.rate!r}.")
        unknown = [kind for kind in self.kinds if kind not in FAULT_KINDS]
        if unknown or not self.kinds:
            raise ConfigurationError(
                f"`kinds` must be some of {', '.join(FAULT_KINDS)}, got {self.kinds!r}."
            )

    def draw(self, content: str, attempt: int) -> str | None:
        """Return the simulated fault of this attempt, or None.

        Args:
            content: Stands for the request.
            attempt: How often the same request came before, from 0.

        Returns:
            One of `kinds`, or None if all goes well.
        """
        if uniform(self.seed, "fault", content, attempt) >= self.rate:
            return None
        choice = uniform(self.seed, "kind", content, attempt)
        return self.kinds[int(choice * len(self.kinds))]

    def error(self, kind: str) -> Exception | None:
        """Return the dspy.lm15 error of a simulated fault; None for those that spoil the text."""
        if kind in _SPOILT:
            return None
        error, status = _ERRORS[kind]
        wait = None if kind == "auth" else self.retry_after_s
        made: Exception = error(
            f"simulated {kind}", provider="simulated", status=status, retry_after=wait
        )
        return made

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated faults as JSON data."""
        return {**asdict(self), "kinds": list(self.kinds)}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> Faults:
        """Return the simulated faults that `dump_state` wrote."""
        return cls(**{**state, "kinds": tuple(state["kinds"])})


def spoil(text: str, kind: str) -> str:
    """Return `text` as a simulated LM that malfunctions would send it.

    Args:
        text: The answer.
        kind: `truncated` keeps the first third; `malformed` breaks the form.
    """
    if kind == "truncated":
        return text[: len(text) // 3]
    return "~~ " + text.replace("[[ ##", "[[").replace("{", "(").replace("<", "(") + " ~~"
