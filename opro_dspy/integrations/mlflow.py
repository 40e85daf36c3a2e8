"""A run in MLflow, without autologging or beside it."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.integrations.autologging import PREFIX, log_settings
from opro_dspy.integrations.tracking import (
    result_metrics,
    step_metrics,
    warn_of_another,
    write_files,
)
from opro_dspy.protocols import Event, ResultKnown, StepEnded, StepStarted
from opro_dspy.result import RunResult

_NOT_THERE = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
"""What stores say of a run that they do not have, or whose id is none."""


class MLflowObserver:
    """Logs each step's numbers to MLflow, and at the end settings, result and report.

    It logs to the run that is active in the thread of `compile`, such as the one that
    `mlflow.dspy.autolog(log_compiles=True)` starts; else to the run in which it was made, if that
    still goes on: `acompile` has a thread of its own, where MLflow knows no run of yours. Without
    one it starts a run of its own, and ends it with the compile.

    Example:
        ```python
        OPRO(metric=metric, observers=[MLflowObserver()])
        ```

    Args:
        run_id: The run to log to, whichever is active.
        run_name: Name of the run if one is started.
        prefix: Begins the name of each parameter and metric.

    Raises:
        ConfigurationError: As the run begins, before it pays for anything, if the tracking server
            has no run of this `run_id`, or it was deleted.
        ImportError: If MLflow is not there: `pip install "opro_dspy[mlflow]"`.
    """

    def __init__(
        self, *, run_id: str | None = None, run_name: str | None = None, prefix: str = PREFIX
    ) -> None:
        self._mlflow = _mlflow()
        if run_id is not None and not isinstance(run_id, str):
            raise ConfigurationError(
                f"`run_id` must be a text, got {run_id!r}. Of a run, pass run.info.run_id."
            )
        self._begun = False
        self._given, self._run_name, self._prefix = run_id, run_name, prefix
        made_in = self._mlflow.active_run()
        self._made_in = None if made_in is None else str(made_in.info.run_id)
        self._started: str | None = None

    def __call__(self, event: Event) -> None:
        """Log what `event` brings; begin with the first one, before anything is paid for."""
        if isinstance(event, StepStarted) and not self._begun:
            self._begin()
        elif isinstance(event, StepEnded):
            metrics = step_metrics(event)
            self._log(metrics, step=int(metrics["step"]))
        elif isinstance(event, ResultKnown) and self._begun:
            self._finish(event.result)

    def _begin(self) -> None:
        run_id = self._run_id()
        try:
            run = self._client.get_run(run_id)
            stage, tags = run.info.lifecycle_stage, run.data.tags
        except self._mlflow.MlflowException as error:
            if error.error_code not in _NOT_THERE:
                raise
            stage, tags = "not there", {}
        if stage != "active":
            raise ConfigurationError(
                f"`run_id` of MLflowObserver must be that of a run, but {run_id!r} is {stage} in "
                f"{self._mlflow.get_tracking_uri()}. Pass run.info.run_id of one that is, or call "
                "mlflow.set_tracking_uri() before compile."
            )
        warn_of_another(f"The MLflow run {run_id}", tags.get(self._prefix + "stop_reason"))
        self._begun = True

    @property
    def _client(self) -> Any:
        return self._mlflow.MlflowClient()  # of the tracking URI that is set by now

    def _run_id(self) -> str:
        if self._given is not None:
            return self._given
        active = self._mlflow.active_run()
        if active is None and self._made_in is not None and self._goes_on(self._made_in):
            return self._made_in
        if active is None:
            active = self._mlflow.start_run(run_name=self._run_name)
            self._started = active.info.run_id
        return str(active.info.run_id)

    def _goes_on(self, run_id: str) -> bool:
        return bool(self._client.get_run(run_id).info.status == "RUNNING")

    def _log(self, metrics: Mapping[str, float], *, step: int) -> None:
        now = int(time.time() * 1000)
        logged = [
            self._mlflow.entities.Metric(self._prefix + name, value, now, step)
            for name, value in metrics.items()
        ]
        self._client.log_batch(self._run_id(), metrics=logged)

    def _finish(self, result: RunResult) -> None:
        run_id, status = self._run_id(), "FAILED"
        try:
            self._log_result(run_id, result)
            status = _status(result.stop_reason)
        finally:
            self._begun = False
            if self._started == run_id:
                self._started = None
                self._mlflow.end_run(status)

    def _log_result(self, run_id: str, result: RunResult) -> None:
        self._log({f"result/{n}": v for n, v in result_metrics(result).items()}, step=0)
        log_settings(self._mlflow, run_id, result.settings, prefix=self._prefix)
        self._client.set_tag(run_id, self._prefix + "stop_reason", result.stop_reason)
        with tempfile.TemporaryDirectory() as folder:
            for path in write_files(result, Path(folder)):
                self._client.log_artifact(run_id, str(path))


def _status(stop_reason: str) -> str:
    kind = stop_reason.split(":")[0]
    return {"error": "FAILED", "interrupted": "KILLED"}.get(kind, "FINISHED")


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise ImportError('this needs MLflow: pip install "opro_dspy[mlflow]"') from error
    return mlflow
