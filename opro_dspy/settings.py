"""What `OPRO` was told, resolved and checked."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from opro_dspy.asking import View
from opro_dspy.boundary.prices import Price
from opro_dspy.cache import CacheDir
from opro_dspy.config import OproConfig
from opro_dspy.filters import Filters
from opro_dspy.metric import Metric
from opro_dspy.protocols import (
    ComponentSelector,
    ExemplarChoice,
    MetaPrompt,
    Observer,
    Schedule,
)
from opro_dspy.racing import Racing
from opro_dspy.stopping import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """Who sits where: what `OPRO` was told, resolved and checked."""

    config: OproConfig
    metric: Metric
    prompt_model: dspy.LM | None
    task_model: dspy.LM | None
    schedule: Callable[..., Schedule]
    """Makes the temperature schedule for `num_steps`, which `auto` may have to find out."""
    meta_prompt: MetaPrompt
    exemplar_choice: ExemplarChoice
    selector: ComponentSelector
    initial_instructions: Sequence[str | Mapping[str, str]]
    warm_start: Sequence[Mapping[str, str]]
    """The best instructions of an earlier run."""
    view: View
    filters: Filters
    racing: Racing | None
    prices: Mapping[str, Price]
    cache_dir: CacheDir | None
    stop: Stop | None
    observers: Sequence[Observer]
    settings: Mapping[str, Any]
    """The settings as JSON values, for the result."""
    custom: Mapping[str, Any]
    """By setting, what a user brought in the place of a name: a callable, an object."""
    executor: Executor | Callable[[], Executor] | None
    log_dir: str | Path | None
    resume: str
