"""What MLflow's autologging leaves out of a compile, where it is on."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from opro_dspy.integrations.tracking import flat

logger = logging.getLogger(__name__)

PREFIX = "opro/"
"""Begins the name of each parameter and metric, where it is not set."""
_MAX_PARAM_CHARS = 500


def join_autologging(settings: Mapping[str, Any]) -> None:
    """Log an optimizer's settings to the run of MLflow's autologging, if that logs compiles.

    MLflow itself logs the arguments of `compile`. It patches the optimizers that are there when
    `mlflow.dspy.autolog` is called: if that was before `import opro_dspy`, a warning says so.
    """
    if "mlflow.dspy" not in sys.modules:
        return
    import mlflow
    from mlflow.utils.autologging_utils import autologging_is_disabled, get_autologging_config

    if autologging_is_disabled("dspy") or not get_autologging_config("dspy", "log_compiles", False):
        return
    run = mlflow.active_run()
    if run is None:
        logger.warning(
            "MLflow's autologging does not see this compile: it knows the optimizers that were "
            "imported before. Call mlflow.dspy.autolog(…) once more, after `import opro_dspy`."
        )
        return
    try:
        log_settings(mlflow, run.info.run_id, settings)
    except mlflow.MlflowException:
        logger.warning("The settings could not be logged to MLflow.", exc_info=True)


def log_settings(
    mlflow: Any, run_id: str, settings: Mapping[str, Any], *, prefix: str = PREFIX
) -> None:
    """Log those settings that a run does not have: MLflow refuses to change a parameter."""
    client = mlflow.MlflowClient()
    known = client.get_run(run_id).data.params
    new = [
        mlflow.entities.Param(prefix + name, value[:_MAX_PARAM_CHARS])
        for name, value in flat(settings).items()
        if prefix + name not in known
    ]
    client.log_batch(run_id, params=new)
