"""What trackers are told: numbers of a step, numbers and files of a result."""

import json
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import dspy
import pytest

from opro_dspy import LMCallError, OPROResult, Price, optimize
from opro_dspy.integrations.tracking import result_metrics, step_metrics, write_files
from opro_dspy.problems import LinearRegression
from opro_dspy.protocols import Event, ResultKnown, StepEnded
from opro_dspy.simulation import numeric_optimizer_lm
from tests.fakes import compiled, keyword_scorer, scripted_lm, word_optimizer


class Notes:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.metrics: list[dict[str, float]] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StepEnded):
            self.metrics.append(step_metrics(event))


def run(**options: Any) -> tuple[Notes, OPROResult]:
    notes = Notes()
    return notes, compiled(observers=[notes], **options).detailed_results


def test_a_steps_numbers_are_those_of_its_candidates() -> None:
    notes, result = run(racing=False)
    for step, metrics in zip(result.steps, notes.metrics, strict=True):
        scores = [c.train.score for c in result.candidates if c.step == step.index]
        assert metrics["step"] == step.index
        assert metrics["mean"] == pytest.approx(fmean(scores))
        assert metrics["spread"] == pytest.approx(pstdev(scores))
    assert notes.metrics[-1]["best"] == max(c.train.score for c in result.candidates)
    assert "temperature" not in notes.metrics[0]
    assert notes.metrics[1]["temperature"] == 1.0


def test_calls_grow_to_those_of_the_result() -> None:
    notes, result = run()
    calls = [metrics["calls"] for metrics in notes.metrics]
    assert calls == sorted(calls)
    assert result_metrics(result)["calls"] == result.total_calls >= calls[-1]
    assert result_metrics(result)["score"] == result.best.score


def test_cost_grows_to_that_of_the_result_and_is_left_out_where_it_is_not_known() -> None:
    scorer, asked = keyword_scorer(), word_optimizer()
    price = Price(input_per_million=1.0, output_per_million=2.0)
    prices = {scorer.model: price, asked.model: price}
    notes, result = run(scorer=scorer, prompt_model=asked, prices=prices)
    costs = [metrics["cost_usd"] for metrics in notes.metrics]
    assert costs == sorted(costs)
    cost = sum(row.cost_usd or 0.0 for row in result.usage)
    assert result_metrics(result)["cost_usd"] == pytest.approx(cost)
    assert cost >= costs[-1] > costs[0] > 0.0
    unpriced, _ = run()
    assert not any("cost_usd" in metrics for metrics in unpriced.metrics)


def test_the_result_is_the_last_event() -> None:
    notes, result = run()
    last = notes.events[-1]
    assert isinstance(last, ResultKnown)
    assert last.result == result
    assert sum(isinstance(event, ResultKnown) for event in notes.events) == 1


def test_the_result_is_told_when_an_error_ends_the_run() -> None:
    notes = Notes()
    with pytest.raises(LMCallError) as raised:
        compiled(observers=[notes], prompt_model=scripted_lm(lambda text: OSError("away")))
    last = notes.events[-1]
    assert isinstance(last, ResultKnown)
    assert last.result is raised.value.result
    assert last.result.stop_reason.startswith("error: ")


def full(event: Event) -> None:
    """Fail when the result is known, as a tracker whose server is away by then."""
    if isinstance(event, ResultKnown):
        raise OSError("disk full")


@pytest.mark.parametrize("student_fails", [True, False])
def test_an_observer_that_fails_is_told_but_hides_no_error_of_the_run(
    student_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()
    lm = scripted_lm(lambda text: dspy.LMAuthError("no key", model="m"))
    options = {"scorer": lm} if student_fails else {}
    expected = LMCallError if student_fails else OSError
    with pytest.raises(expected):
        compiled(observers=[full, notes], max_steps=0, **options)
    assert ("An observer failed at the end of a failed run." in caplog.text) == student_fails
    assert isinstance(notes.events[-1], ResultKnown)


def test_an_error_of_an_observer_at_the_end_carries_program_and_result(tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(OSError, match="disk full") as raised:
        compiled(observers=[full, notes], log_dir=tmp_path / "run")
    last = notes.events[-1]
    assert isinstance(last, ResultKnown)
    program, result = (getattr(raised.value, name) for name in ("program", "result"))
    assert result == last.result == program.detailed_results
    assert instructions_of(program) == list(result.best.instructions.values())
    fresh = dspy.Predict("question -> answer")
    fresh.load(tmp_path / "run" / "best.json")
    assert instructions_of(fresh) == instructions_of(program)


def instructions_of(program: dspy.Module) -> list[str]:
    return [predictor.signature.instructions for predictor in program.predictors()]


def test_an_error_of_an_observer_at_the_end_of_a_problem_carries_the_result() -> None:
    problem = LinearRegression.random(w=15, b=14, seed=1)
    with pytest.raises(OSError, match="disk full") as raised:
        optimize(problem, prompt_model=numeric_optimizer_lm(), max_steps=1, observers=[full])
    assert getattr(raised.value, "result").num_steps == 1  # noqa: B009


def test_a_problem_of_any_kind_is_tracked() -> None:
    notes = Notes()
    problem = LinearRegression.random(w=15, b=14, seed=1)
    result = optimize(
        problem, prompt_model=numeric_optimizer_lm(), max_steps=2, seed=1, observers=[notes]
    )
    steps = [metrics["step"] for metrics in notes.metrics]
    assert steps == [step.index for step in result.steps]
    last = notes.events[-1]
    assert isinstance(last, ResultKnown)
    assert last.result == result


def test_result_instructions_and_report_are_files(tmp_path: Path) -> None:
    _, result = run(max_steps=1)
    paths = write_files(result, tmp_path)
    assert [path.name for path in paths] == ["result.json", "instructions.json", "report.html"]
    assert OPROResult.load(paths[0]) == result
    assert json.loads(paths[1].read_text(encoding="utf-8")) == result.best.instructions
