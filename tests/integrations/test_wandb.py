"""Runs are in Weights & Biases, here in its offline mode."""

import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import LMCallError
from opro_dspy.integrations.wandb import WandbObserver
from tests.fakes import compiled, scripted_lm

wandb: Any = pytest.importorskip("wandb")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


def test_a_users_run_has_steps_settings_and_result_and_stays_open(folder: Path) -> None:
    run = wandb.init(mode="offline", project="test", dir=folder)
    result = compiled(max_steps=2, observers=[WandbObserver(run=run)]).detailed_results
    assert run.step == 3
    assert run.config["opro/max_steps"] == "2"
    summary = dict(run.summary)
    assert summary["opro/step"] == 2
    assert summary["opro/stop_reason"] == result.stop_reason
    assert summary["opro/result/score"] == pytest.approx(result.best.score)
    assert {"opro/best", "opro/mean", "opro/spread", "opro/temperature"} <= set(summary)
    run.finish()


def test_a_run_of_its_own_is_finished_also_by_an_error(folder: Path) -> None:
    observer = WandbObserver(mode="offline", dir=folder)
    with pytest.raises(LMCallError):
        compiled(
            scorer=scripted_lm(lambda text: dspy.LMAuthError("no key", model="m")),
            observers=[observer],
        )
    assert wandb.run is None
    compiled(max_steps=0, observers=[observer])
    assert wandb.run is None
    assert len(list(folder.rglob("*.wandb"))) == 2


def test_without_wandb_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r'pip install "opro_dspy\[wandb\]"'):
        WandbObserver()
