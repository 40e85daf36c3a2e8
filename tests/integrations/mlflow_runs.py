"""Run as a script: compiles in an MLflow store of its own; prints what is there then.

A process of its own, because autologging changes DSPy's global settings and classes.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dspy
import mlflow

from opro_dspy import OPRO, ConfigurationError, LMCallError
from opro_dspy.integrations.autologging import join_autologging
from opro_dspy.integrations.mlflow import MLflowObserver
from tests.fakes import (
    TRAIN,
    compiled,
    exact,
    field,
    keyword_scorer,
    scripted_lm,
    word_optimizer,
)


def runs(experiment: str) -> list[dict[str, Any]]:
    client = mlflow.MlflowClient()
    found = []
    for run in client.search_runs([experiment], order_by=["attributes.start_time ASC"]):
        run_id = run.info.run_id
        history = {
            name: [m.value for m in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        }
        files = [artifact.path for artifact in client.list_artifacts(run_id)]
        found.append(
            {
                "id": run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "parent": run.data.tags.get("mlflow.parentRunId"),
                "params": dict(run.data.params),
                "metrics": history,
                "files": files,
                "best": mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/best_model.json")
                if "best_model.json" in files
                else None,
                "stop_reason": run.data.tags.get("opro/stop_reason"),
            }
        )
    return found


async def compiled_in_thread(observer: MLflowObserver) -> None:
    """Compile as `acompile` does: in another thread than that where the run is active."""
    student = dspy.Predict("question -> answer")
    with dspy.context(lm=keyword_scorer()):
        optimizer = OPRO(
            metric=exact, prompt_model=word_optimizer(), max_steps=1, observers=[observer]
        )
        await optimizer.acompile(student, trainset=TRAIN)


def experiment(name: str, folder: Path) -> str:
    made = str(mlflow.create_experiment(name, artifact_location=(folder / name).as_uri()))
    mlflow.set_experiment(name)
    return made


def refused(folder: Path) -> dict[str, Any]:
    """Return what is left where the store takes no files."""
    unwritable = experiment("unwritable", folder)
    (folder / "unwritable").write_text("no folder", encoding="utf-8")
    with suppress(OSError):
        compiled(observers=[MLflowObserver()], max_steps=0)
    (run,) = mlflow.MlflowClient().search_runs([unwritable])
    return {"status": run.info.status, "active": mlflow.active_run() is not None}


def not_there() -> dict[str, Any]:
    """Return what is said of runs that are not there, and what was paid for by then."""
    client = mlflow.MlflowClient()
    deleted = client.create_run(str(mlflow.create_experiment("of the deleted"))).info.run_id
    client.delete_run(deleted)
    said: dict[str, str] = {}
    paid: list[str] = []

    def reply(text: str) -> str:
        paid.append(text)
        return field("answer", "2")

    for name, run_id in {"unknown": "nope", "deleted": deleted}.items():
        try:
            compiled(scorer=scripted_lm(reply), observers=[MLflowObserver(run_id=run_id)])
        except ConfigurationError as error:
            said[name] = str(error)
    return {"said": said, "paid": len(paid)}


def twice(folder: Path) -> list[int]:
    """Return how often it was told by then that a run holds another compile: after each of two."""
    experiment("twice", folder)
    counts = []
    with recorded("opro_dspy.integrations") as told, mlflow.start_run() as run:
        for _ in range(2):
            compiled(observers=[MLflowObserver()], max_steps=0)
            counts.append(sum(f"{run.info.run_id} holds the result of another" in x for x in told))
    return counts


@contextmanager
def recorded(name: str) -> Iterator[list[str]]:
    """Return a context with the warnings of a logger, as they come."""
    told: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler = Told(logging.WARNING)
    logging.getLogger(name).addHandler(handler)
    yield told
    logging.getLogger(name).removeHandler(handler)


def main(folder: Path) -> None:
    early = MLflowObserver(run_name="mine")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    alone = experiment("alone", folder)
    first = compiled(observers=[early], max_steps=2)
    try:
        broken = scripted_lm(lambda text: dspy.LMAuthError("no key", model="m"))
        compiled(scorer=broken, observers=[MLflowObserver()])
    except LMCallError:
        pass
    scored = field("answer", "2")
    with mlflow.start_run(run_name="outer"):
        compiled(scorer=scripted_lm(lambda text: scored), observers=[MLflowObserver()])
        still_open = mlflow.active_run() is not None

    awaited = experiment("awaited", folder)
    with mlflow.start_run(run_name="of the caller"):
        inside = MLflowObserver()
        asyncio.run(compiled_in_thread(inside))
    compiled(observers=[inside], max_steps=0)
    unwritable = refused(folder)
    wrong = not_there()
    mixed = twice(folder)

    automatic = experiment("automatic", folder)
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
    dspy.configure(lm=keyword_scorer())
    second = compiled(max_steps=2, num_candidates=3, observers=[MLflowObserver()])
    plain = experiment("plain", folder)
    compiled(max_steps=0)
    with recorded("opro_dspy.integrations") as unseen:
        join_autologging({"max_steps": 0})  # as MLflow calls it where it has patched nothing
    said = {
        "plain": runs(plain),
        "unseen": unseen,
        "alone": runs(alone),
        "awaited": runs(awaited),
        "unwritable": unwritable,
        "not_there": wrong,
        "twice": mixed,
        "still_open": still_open,
        "automatic": runs(automatic),
        "first": first.detailed_results.model_dump(mode="json"),
        "second": second.detailed_results.model_dump(mode="json"),
    }
    (folder / "runs.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
