import io
from typing import Any

import pytest
from tqdm import tqdm

from opro_dspy import progress
from opro_dspy.progress import ProgressBars
from opro_dspy.protocols import ExampleScored, RunEnded, StepEnded, StepStarted
from opro_dspy.records import Candidate, Evaluation, Step
from opro_dspy.trajectory import Trajectory


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def one_step() -> Trajectory:
    trajectory, candidate = Trajectory(), Candidate({"p": "a"})
    for index in range(2):
        trajectory.append(
            Step(index=index, candidates=(candidate,)),
            [Evaluation(candidate=candidate, scores={0: 0.25})],
        )
    return trajectory


def play(bars: ProgressBars) -> None:
    trajectory = one_step()
    bars(StepStarted(step=1, n_scores=2))
    bars(ExampleScored(candidate=Candidate({"p": "a"}), example=0, score=1.0))
    bars(StepEnded(trajectory=trajectory))
    bars(RunEnded(trajectory=trajectory, stop_reason="x"))
    bars.close()


def test_the_bars_show_steps_examples_and_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    bars = ProgressBars(num_steps=3)
    play(bars)
    assert "OPRO" in terminal.getvalue()
    assert "step 1" in terminal.getvalue()


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_drawn_off_a_terminal_or_when_off(
    enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream: Any = io.StringIO() if enabled else Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    play(ProgressBars(num_steps=3, enabled=enabled))
    assert stream.getvalue() == ""


def test_other_peoples_bars_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    mine = tqdm(total=3, file=Terminal())
    play(ProgressBars(num_steps=3))
    assert mine in tqdm._instances  # type: ignore[attr-defined]
    mine.close()


def test_a_notebook_with_widgets_gets_bars_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widgets = type("Widgets", (tqdm,), {"__module__": "tqdm.notebook"})
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "tqdm", widgets)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    play(ProgressBars(num_steps=3))
    assert "step 1" in stream.getvalue()
