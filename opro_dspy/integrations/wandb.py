"""A run in Weights & Biases."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opro_dspy.integrations.tracking import (
    result_metrics,
    settings_of,
    step_metrics,
    write_files,
)
from opro_dspy.protocols import Event, ResultKnown, StepEnded
from opro_dspy.result import RunResult


class WandbObserver:
    """Logs each step's numbers to W&B, and at the end settings, result and report.

    It logs to `run`, else to the run that is active (`wandb.run`). Without one it starts a run of
    its own, and finishes it with the compile.

    Example:
        ```python
        OPRO(metric=metric, observers=[WandbObserver(project="prompts")])
        ```

    Args:
        run: What `wandb.init` returned.
        prefix: Begins the name of each number and setting.
        **init: Arguments of `wandb.init` if a run is started, e.g. `project`, `mode="offline"`.

    Raises:
        ImportError: If W&B is not there: `pip install "opro_dspy[wandb]"`.
    """

    def __init__(self, *, run: Any = None, prefix: str = "opro/", **init: Any) -> None:
        self._wandb = _wandb()
        self._given, self._prefix, self._init = run, prefix, init
        self._run: Any = None
        self._own = False

    def __call__(self, event: Event) -> None:
        """Log what `event` brings."""
        if isinstance(event, StepEnded):
            self._begin().log(self._named(step_metrics(event)))
        elif isinstance(event, ResultKnown):
            self._finish(event.result)

    def _begin(self) -> Any:
        if self._run is None:
            active = self._given or self._wandb.run
            self._own = active is None
            self._run = active or self._wandb.init(**{"project": "opro_dspy", **self._init})
            step = self._prefix + "step"
            self._run.define_metric(step)
            self._run.define_metric(self._prefix + "*", step_metric=step)
        return self._run

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self._prefix + name: value for name, value in values.items()}

    def _finish(self, result: RunResult) -> None:
        run, exit_code = self._begin(), 1
        try:
            self._log_result(run, result)
            exit_code = int(result.stop_reason.startswith("error"))
        finally:
            self._run = None
            if self._own:
                run.finish(exit_code=exit_code)

    def _log_result(self, run: Any, result: RunResult) -> None:
        numbers = {f"result/{name}": value for name, value in result_metrics(result).items()}
        run.summary.update(self._named({**numbers, "stop_reason": result.stop_reason}))
        run.config.update(self._named(settings_of(result)), allow_val_change=True)
        with tempfile.TemporaryDirectory() as folder:
            artifact = self._wandb.Artifact(f"opro-{run.id}", type="opro-result")
            for path in write_files(result, Path(folder)):
                artifact.add_file(str(path))
            run.log_artifact(artifact)


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ImportError('this needs W&B: pip install "opro_dspy[wandb]"') from error
    return wandb
