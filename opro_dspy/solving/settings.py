"""What `optimize` was told, resolved and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import dspy

from opro_dspy.asking import View
from opro_dspy.boundary.prices import Price
from opro_dspy.cache import CacheDir
from opro_dspy.config import OproConfig
from opro_dspy.protocols import Observer, Problem, Schedule
from opro_dspy.records import Candidate
from opro_dspy.stopping import Stop

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Given(Generic[S]):
    """What `optimize` was told, resolved and checked."""

    problem: Problem[S]
    config: OproConfig
    optimizer_lm: dspy.BaseLM
    scorer_lm: dspy.BaseLM | None
    """`dspy.settings.lm`, which a problem may ask for its scores."""
    initial: Sequence[Candidate]
    schedule: Schedule
    view: View
    stop: Stop | None
    prices: Mapping[str, Price]
    observers: Sequence[Observer]
    cache_dir: CacheDir | None
    log_dir: str | Path | None
    resume: str
    settings: Mapping[str, Any]
    """The settings as JSON values."""
    custom: Mapping[str, Any]
    """By setting, what a user brought in the place of a name."""
