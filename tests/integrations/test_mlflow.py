"""Runs are in MLflow: by autologging, which reads DSPy's callbacks, and by our observer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from opro_dspy import ConfigurationError, OPROResult
from opro_dspy.integrations.mlflow import MLflowObserver

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """Return what the script saw; it runs once, also where workers share these tests."""
    pytest.importorskip("mlflow")
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "mlflow_runs"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "runs.json").exists():
            done = subprocess.run(
                [sys.executable, "-m", "tests.integrations.mlflow_runs", str(folder)],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads((folder / "runs.json").read_text(encoding="utf-8"))
    return read


def result_of(said: dict[str, Any], name: str) -> OPROResult:
    return OPROResult.from_json(json.dumps(said[name]))


def test_autologging_makes_one_parent_run_with_all_that_is_known(said: dict[str, Any]) -> None:
    result = result_of(said, "second")
    (parent,) = [run for run in said["automatic"] if run["parent"] is None]
    assert parent["status"] == "FINISHED"
    assert {"best_model.json", "trainset.json", "valset.json"} <= set(parent["files"])
    assert parent["best"]["signature"]["instructions"] == result.best.instructions["self"]
    assert parent["params"]["lm_params"]
    assert len(parent["metrics"]["eval_minibatch"]) == len(result.candidates)
    finalists = [c for c in result.candidates if c.selection is not None]
    assert sorted(parent["metrics"]["eval_full"]) == pytest.approx(
        sorted(100 * c.score for c in finalists)
    )


def test_autologging_makes_one_nested_run_per_candidate(said: dict[str, Any]) -> None:
    result = result_of(said, "second")
    (parent,) = [run for run in said["automatic"] if run["parent"] is None]
    nested = [run for run in said["automatic"] if run["parent"]]
    assert {run["parent"] for run in nested} == {parent["id"]}
    assert {run["status"] for run in nested} == {"FINISHED"}
    searched = [run for run in nested if run["name"].startswith("eval_minibatch")]
    texts = [run["params"]["Predict.signature.instructions"] for run in searched]
    assert texts == [c.instructions["self"] for c in result.candidates]
    series = [run["metrics"]["eval"][0] for run in searched]
    assert series == parent["metrics"]["eval_minibatch"]
    assert all("result_table.json" in run["files"] for run in nested)


def test_the_observer_adds_settings_to_the_run_of_autologging(said: dict[str, Any]) -> None:
    (parent,) = [run for run in said["automatic"] if run["parent"] is None]
    assert parent["params"]["opro/max_steps"] == "2"
    assert parent["metrics"]["opro/best"]


def test_settings_are_in_the_run_of_autologging_without_an_observer(said: dict[str, Any]) -> None:
    (parent,) = [run for run in said["plain"] if run["parent"] is None]
    assert parent["params"]["opro/max_steps"] == "0"
    assert parent["params"]["opro/view.num_entries"] == "20"


def test_a_compile_that_autologging_does_not_see_is_told(said: dict[str, Any]) -> None:
    (told,) = said["unseen"]
    assert "once more, after `import opro_dspy`" in told


def test_a_run_that_is_awaited_is_logged_where_the_observer_was_made(said: dict[str, Any]) -> None:
    outer, later = said["awaited"]
    assert outer["name"] == "of the caller"
    assert outer["metrics"]["opro/step"] == [0.0, 1.0]
    assert later["metrics"]["opro/step"] == [0.0]  # made in a run that is over by then
    assert {outer["status"], later["status"]} == {"FINISHED"}


def test_the_run_it_started_ends_when_the_result_cannot_be_logged(said: dict[str, Any]) -> None:
    assert said["unwritable"] == {"status": "FAILED", "active": False}


def test_the_observer_alone_logs_steps_settings_and_result(said: dict[str, Any]) -> None:
    result = result_of(said, "first")
    (mine,) = [run for run in said["alone"] if run["name"] == "mine"]
    assert mine["status"] == "FINISHED"
    assert mine["stop_reason"] == result.stop_reason
    assert mine["metrics"]["opro/step"] == [0.0, 1.0, 2.0]
    assert mine["metrics"]["opro/temperature"] == [1.0, 1.0]
    assert mine["metrics"]["opro/result/score"] == [pytest.approx(result.best.score)]
    assert mine["params"]["opro/view.num_entries"] == "20"
    assert set(mine["files"]) == {"result.json", "instructions.json", "report.html"}


def test_a_run_that_an_error_ends_is_marked_and_one_of_the_user_stays_open(
    said: dict[str, Any],
) -> None:
    statuses = {run["name"]: run["status"] for run in said["alone"]}
    assert len(statuses) == 3
    assert sorted(statuses.values()) == ["FAILED", "FINISHED", "FINISHED"]
    assert said["still_open"]
    assert statuses["outer"] == "FINISHED"


def test_a_run_that_is_not_there_is_told_before_anything_is_paid_for(said: dict[str, Any]) -> None:
    found = said["not_there"]
    assert "'nope' is not there in sqlite:///" in found["said"]["unknown"]
    assert " is deleted in sqlite:///" in found["said"]["deleted"]
    assert found["paid"] == 0


def test_a_second_compile_in_one_run_is_told(said: dict[str, Any]) -> None:
    assert said["twice"] == [0, 1]


def test_a_run_is_named_by_its_id() -> None:
    pytest.importorskip("mlflow")
    wrong: Any = object()
    with pytest.raises(ConfigurationError, match=r"`run_id` must be a text.*run\.info\.run_id"):
        MLflowObserver(run_id=wrong)


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r'pip install "opro_dspy\[mlflow\]"'):
        MLflowObserver()
