"""What a run has done already stays, though less is asked for."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from opro_dspy import OPROResult, read_run
from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.journal import LENGTH
from opro_dspy.loop import INTERRUPTED
from opro_dspy.runs import UNFINISHED


def settings_that_keep(
    settings: Mapping[str, JsonValue], log_dir: Path | None
) -> dict[str, JsonValue] | None:
    """Return settings with which all steps that were done in `log_dir` stay, and no other is done.

    Args:
        settings: What is asked for.
        log_dir: The run's folder, if it has one.

    Returns:
        Those of a finished run are the ones that it had, so that it calls no LM. None if nothing
        would be lost with `settings`, or no run is there that can be read.
    """
    if log_dir is None:
        return None
    try:
        found = read_run(log_dir)
    except ConfigurationError:  # there is none, or `OPRO` says what is wrong with it
        return None
    finished = not found.stop_reason.startswith((UNFINISHED, INTERRUPTED, "error:"))
    if not _asks_for_fewer(settings, found) and not (finished and _caps_less(settings, found)):
        return None
    others = {name: value for name, value in settings.items() if name != "auto"}
    had = {name: value for name, value in found.settings.items() if name in LENGTH}
    return {**others, **(had if finished else {"max_steps": found.num_steps})}


def _asks_for_fewer(settings: Mapping[str, JsonValue], found: OPROResult) -> bool:
    asked = settings.get("max_steps", OproConfig().max_steps)
    return isinstance(asked, int) and "auto" not in settings and asked < found.num_steps


def _caps_less(settings: Mapping[str, JsonValue], found: OPROResult) -> bool:
    """Tell whether a cap lies below what the steps took, and below what it was."""
    if not found.spent:
        return False
    spent = {
        "max_metric_calls": found.spent[-1].metric_calls,
        "max_cost": found.spent[-1].cost_usd,
    }
    for name, used in spent.items():
        asked, had = settings.get(name), found.settings.get(name)
        if isinstance(asked, int | float) and asked < used and (had is None or asked < had):
            return True
    return False
