"""What experiment trackers are told of a run: numbers, settings, files."""

import json
import logging
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from opro_dspy.protocols import StepEnded
from opro_dspy.records import Usage, total_cost
from opro_dspy.result import OPROResult, RunResult

logger = logging.getLogger(__name__)


def step_metrics(event: StepEnded) -> dict[str, float]:
    """Return the numbers of a step.

    Scores are training estimates in the metric's own unit; `mean` and `spread` (standard deviation)
    are of the step's new candidates; calls, tokens and cost (USD) of the run so far. What is not
    known is left out.
    """
    trajectory = event.trajectory
    step = trajectory.steps[-1]
    new = [trajectory.estimate(c).score for c in step.candidates if c in trajectory]
    new = [score for score in new if isfinite(score)]
    found: dict[str, float | None] = {
        "step": step.index,
        "candidates": len(new),
        "best": trajectory.estimate(trajectory.best.candidate).score if len(trajectory) else None,
        "mean": fmean(new) if new else None,
        "spread": pstdev(new) if new else None,
        "temperature": step.queries[0].temperature if step.queries else None,
        **_spent(event.usage),
    }
    return _known(found)


def result_metrics(result: RunResult) -> dict[str, float]:
    """Return the numbers of a finished run; `score` is that on the selection set if it met it."""
    found: dict[str, float | None] = {"steps": result.num_steps, **_spent(result.usage)}
    if isinstance(result, OPROResult) and result.best_index is not None:
        found["score"] = result.best.score
        found["score_stderr"] = (result.best.selection or result.best.train).stderr
        found["baseline_score"] = result.candidates[0].score
    return _known(found)


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as texts, those of options by `option.name`."""
    found = {}
    for name, value in settings.items():
        parts = value if isinstance(value, Mapping) else {"": value}
        for part, item in parts.items():
            found[f"{name}.{part}" if part else name] = str(item)
    return found


def write_files(result: RunResult, folder: Path) -> Sequence[Path]:
    """Write the result, the chosen instructions and the report to `folder`; return the paths."""
    paths = [folder / "result.json"]
    result.save(paths[0])
    if isinstance(result, OPROResult) and result.best_index is not None:
        paths.append(folder / "instructions.json")
        text = json.dumps(result.best.instructions, indent=2, ensure_ascii=False)
        paths[-1].write_text(text + "\n", encoding="utf-8")
    if isinstance(result, OPROResult):
        paths.append(result.report(folder / "report.html"))
    return paths


def warn_of_another(run: str, stop_reason: str | None) -> None:
    """Warn if a compile that came to its end was logged to the same run before.

    Args:
        run: Which run it is.
        stop_reason: What the run holds as such, if anything.
    """
    kind = (stop_reason or "").split(":")[0]
    if kind not in ("", "interrupted", "error"):  # those are gone on with
        logger.warning(
            "%s holds the result of another compile: its numbers and files will be mixed with "
            "those of this one. Log each compile to a run of its own.",
            run,
        )


def _spent(usage: Sequence[Usage]) -> dict[str, float | None]:
    return {
        "calls": sum(row.calls for row in usage),
        "tokens": sum(row.input_tokens + row.output_tokens for row in usage),
        "cost_usd": total_cost(*(row.cost_usd for row in usage)),
    }


def _known(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {n: float(v) for n, v in metrics.items() if v is not None and isfinite(v)}
