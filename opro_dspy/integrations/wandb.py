"""A run in Weights & Biases."""

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.integrations.tracking import (
    flat,
    result_metrics,
    step_metrics,
    warn_of_another,
    write_files,
)
from opro_dspy.names import refuse_unknown
from opro_dspy.protocols import Event, ResultKnown, StepEnded, StepStarted
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
        ConfigurationError: If `run` is no run; as the run begins, before it pays for anything, if
            it is finished by then.
        UnknownArgumentError: If `wandb.init` has no such argument; names the nearest one.
        ImportError: If W&B is not there: `pip install "opro_dspy[wandb]"`.
    """

    def __init__(self, *, run: Any = None, prefix: str = "opro/", **init: Any) -> None:
        self._wandb = _wandb()
        known = inspect.signature(self._wandb.init).parameters
        refuse_unknown("WandbObserver", set(init) - set(known), ["run", "prefix", *known])
        if run is not None and not hasattr(run, "define_metric"):
            raise ConfigurationError(f"`run` must be what wandb.init() returned, got {run!r}.")
        self._given, self._prefix, self._init = run, prefix, init
        self._run: Any = None
        self._own = False

    def __call__(self, event: Event) -> None:
        """Log what `event` brings; begin with the first one, before anything is paid for."""
        if isinstance(event, StepStarted) and self._run is None:
            self._begin()
        elif isinstance(event, StepEnded):
            self._run.log(self._named(step_metrics(event)))
        elif isinstance(event, ResultKnown) and self._run is not None:
            self._finish(self._run, event.result)

    def _begin(self) -> None:
        active = self._given or self._wandb.run
        run = active or self._wandb.init(**{"project": "opro_dspy", **self._init})
        step = self._prefix + "step"
        try:
            run.define_metric(step)
        except self._wandb.errors.UsageError as error:
            raise ConfigurationError(
                f"`run` of WandbObserver cannot be logged to: {error} Pass one that goes on."
            ) from error
        run.define_metric(self._prefix + "*", step_metric=step)
        if active is not None:
            warn_of_another(f"The W&B run {run.id}", run.summary.get(self._prefix + "stop_reason"))
        self._run, self._own = run, active is None

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self._prefix + name: value for name, value in values.items()}

    def _finish(self, run: Any, result: RunResult) -> None:
        exit_code = 1
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
        run.config.update(self._named(flat(result.settings)), allow_val_change=True)
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
