"""Runs are in Weights & Biases, here in its offline mode."""

import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import ConfigurationError, LMCallError, Price, UnknownArgumentError
from opro_dspy.integrations.wandb import WandbObserver
from opro_dspy.protocols import Event, StepEnded
from tests.fakes import compiled, field, keyword_scorer, scripted_lm, word_optimizer

wandb: Any = pytest.importorskip("wandb")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path


class Finished:
    """Notes with which exit code runs are finished, and finishes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.codes: list[int | None] = []
        finish = wandb.Run.finish

        def noted(run: Any, exit_code: int | None = None) -> None:
            self.codes.append(exit_code)
            finish(run, exit_code=exit_code)

        monkeypatch.setattr(wandb.Run, "finish", noted)


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


def test_cost_and_files_are_in_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[set[str]] = []
    monkeypatch.setattr(
        wandb.Run,
        "log_artifact",
        lambda run, artifact: files.append(set(artifact.manifest.entries)),
    )
    scorer, asked = keyword_scorer(), word_optimizer()
    price = Price(input_per_million=1.0, output_per_million=2.0)
    with wandb.init(mode="offline", dir=folder) as run:
        result = compiled(
            scorer=scorer,
            prompt_model=asked,
            prices={scorer.model: price, asked.model: price},
            max_steps=1,
            observers=[WandbObserver(run=run)],
        ).detailed_results
        summary = dict(run.summary)
    assert files == [{"result.json", "instructions.json", "report.html"}]
    cost = sum(row.cost_usd for row in result.usage)
    assert summary["opro/result/cost_usd"] == pytest.approx(cost)
    assert 0.0 < summary["opro/cost_usd"] <= cost


def test_a_run_of_its_own_is_finished_also_by_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Finished(monkeypatch)
    observer = WandbObserver(mode="offline", dir=folder)
    with pytest.raises(LMCallError):
        compiled(
            scorer=scripted_lm(lambda text: dspy.LMAuthError("no key", model="m")),
            observers=[observer],
        )
    assert wandb.run is None
    compiled(max_steps=0, observers=[observer])
    assert wandb.run is None
    assert seen.codes == [1, 0]
    assert len(list(folder.rglob("*.wandb"))) == 2


def test_the_run_it_started_ends_as_failed_when_the_result_cannot_be_logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Finished(monkeypatch)

    def full(*args: Any) -> None:
        raise OSError("disk full")

    observer = WandbObserver(mode="offline", dir=folder)
    with monkeypatch.context() as context:
        context.setattr("opro_dspy.integrations.wandb.write_files", full)
        with pytest.raises(OSError, match="disk full"):
            compiled(max_steps=0, observers=[observer])
    assert (wandb.run, seen.codes) == (None, [1])
    compiled(max_steps=0, observers=[observer])
    assert (wandb.run, seen.codes) == (None, [1, 0])
    assert len(list(folder.rglob("*.wandb"))) == 2


def test_what_is_no_run_and_what_init_does_not_take_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"`run` must be what wandb\.init\(\) returned"):
        WandbObserver(run="abc")
    with pytest.raises(UnknownArgumentError, match=r"`projekt` \(did you mean `project`\?\)"):
        WandbObserver(projekt="prompts")


def test_a_finished_run_is_told_before_anything_is_paid_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = wandb.init(mode="offline", dir=folder)
    run.finish()
    paid: list[str] = []

    def reply(text: str) -> str:
        paid.append(text)
        return field("answer", "2")

    with pytest.raises(ConfigurationError, match=r"is finished.* Pass one that goes on"):
        compiled(scorer=scripted_lm(reply), observers=[WandbObserver(run=run)])
    assert not paid
    assert "An observer failed" not in caplog.text


def test_a_second_compile_in_one_run_is_told_unless_it_goes_on_with_the_first(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StepEnded) and event.step.index == 1:
            raise KeyboardInterrupt

    lms = {"scorer": keyword_scorer(), "prompt_model": word_optimizer()}
    with wandb.init(mode="offline", dir=folder) as run:
        observer = WandbObserver()
        compiled(observers=[observer, stop], log_dir=folder / "run", **lms)
        compiled(observers=[observer], log_dir=folder / "run", **lms)
        assert run.summary["opro/step"] == 3
        assert "holds the result of another compile" not in caplog.text
        compiled(observers=[observer], max_steps=0)
        assert f"The W&B run {run.id} holds the result of another compile" in caplog.text


def test_without_wandb_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r'pip install "opro_dspy\[wandb\]"'):
        WandbObserver()
