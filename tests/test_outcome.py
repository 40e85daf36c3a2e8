"""What a run leaves behind: on success, on failure, on Ctrl-C, and beside a program's own names."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import AuthError

from opro_dspy import LMCallError, MetricError, OPROResult, ProgramFailedError
from opro_dspy.protocols import Event, ExampleScored, RunEnded, StepEnded
from tests import fakes
from tests.fakes import TRAIN, VAL, exact, field, scripted_lm

compiled = partial(fakes.compiled, max_steps=2)


@pytest.mark.parametrize("wrapper", [dspy.BestOfN, dspy.Refine])
def test_modules_that_extend_the_trace_are_optimized(wrapper: Any) -> None:
    student = wrapper(
        module=dspy.Predict("question -> answer"),
        N=2,
        reward_fn=lambda args, prediction: 1.0,
        threshold=1.0,
    )
    result = compiled(student).detailed_results
    assert result.best.score > result.baseline.score


def test_an_outage_in_the_search_leaves_result_and_program() -> None:
    calls = iter(range(1000))

    def reply(text: str) -> str | Exception:
        n = next(calls)
        error: Exception = AuthError("the key is gone")
        return error if n >= 8 else f"<INS>Answer carefully {'slowly ' * n}</INS>"

    with pytest.raises(LMCallError, match="9 scored candidates of 2 steps") as caught:
        compiled(prompt_model=scripted_lm(reply))
    result, program = caught.value.result, caught.value.program
    assert isinstance(result, OPROResult)
    assert result.selection_set == "training estimates"
    assert result.stop_reason.startswith("error: LMCallError")
    assert isinstance(program, dspy.Predict)
    assert program.signature.instructions == result.best.instructions["self"]


@pytest.mark.parametrize("racing", [True, False])
def test_after_ctrl_c_the_student_stays_unless_another_did_better(racing: bool) -> None:
    seen: list[str] = []

    def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        seen.append(example.question)
        if len(seen) == 100:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    program = compiled(metric=metric, num_threads=1, num_candidates=2, racing=racing)
    result = program.detailed_results
    assert result.stop_reason.startswith("interrupted") and len(result.candidates) > 1
    assert result.best_index == 0
    assert program.signature.instructions == result.candidates[0].instructions["self"]


def test_an_outage_in_the_final_choice_leaves_result_and_program() -> None:
    def reply(text: str) -> str | Exception:
        error: Exception = AuthError("the key is gone")
        return (
            error
            if "What is 10" in text and "plus 1" in text and "10 plus" not in text
            else (field("answer", "1"))
        )

    with pytest.raises(LMCallError) as caught:
        compiled(scorer=scripted_lm(reply))
    result = caught.value.result
    assert isinstance(result, OPROResult)
    assert result.num_steps == 2
    assert isinstance(caught.value.program, dspy.Predict)


def test_a_broken_metric_halfway_leaves_what_was_found() -> None:
    seen: list[int] = []

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> Any:
        seen.append(1)
        return None if len(seen) > 60 else exact(example, prediction)

    with pytest.raises(MetricError) as caught:
        compiled(metric=metric, racing=False)
    result = caught.value.result
    assert isinstance(result, OPROResult)
    assert result.unfinished_step is not None and result.unfinished_step.index == 1
    assert result.unfinished_set == "trainset"
    assert len(result.candidates) == 1


def test_an_error_of_an_observer_carries_the_result() -> None:
    def observe(event: Event) -> None:
        if isinstance(event, StepEnded) and len(event.trajectory.steps) == 2:
            raise OSError("the tracker is away")

    with pytest.raises(OSError, match="tracker") as caught:
        compiled(observers=[observe])
    result: Any = vars(caught.value)["result"]
    assert result.num_steps == 1


def test_after_ctrl_c_the_result_says_what_the_choice_was_made_on() -> None:
    def observe(event: Event) -> None:
        if isinstance(event, ExampleScored) and event.candidate.texts["self"].endswith("slowly"):
            signal.raise_signal(signal.SIGINT)

    program = compiled(observers=[observe])
    assert program.detailed_results.stop_reason.startswith("interrupted")
    assert program.detailed_results.selection_set == "training estimates"


def test_ctrl_c_after_the_choice_is_told_and_the_choice_stands(tmp_path: Path) -> None:
    due: list[bool] = []

    def observe(event: Event) -> None:
        if isinstance(event, RunEnded):
            due.append(True)

    def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
        if due and example in TRAIN:
            due.pop()
            os.kill(os.getpid(), signal.SIGINT)
        return exact(example, prediction)

    settings: Any = {"observers": [observe], "cache_dir": tmp_path, "num_threads": 1}
    result = compiled(metric=metric, **settings).detailed_results
    assert not due
    assert result.stop_reason.startswith("interrupted") and result.selection_set == "valset"


class Judging(dspy.Module):  # type: ignore[misc]
    """Has methods and attributes that are named like an optimizer's results."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.results_latest = {"keep": "me"}
        self.trial_logs = ["mine"]

    def score(self, answer: str) -> str:
        return answer + self.results_latest["keep"] * 0

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.score(self.answer(question=question).answer))


def test_a_programs_own_names_stay_what_they_are(caplog: pytest.LogCaptureFixture) -> None:
    program = compiled(Judging())
    assert program.score("x") == "x"
    assert program.trial_logs == ["mine"] and program.results_latest == {"keep": "me"}
    assert program.detailed_results.best.score > program.detailed_results.baseline.score
    assert "has a `score` of its own" in caplog.text


def test_failures_on_the_validation_set_are_kept() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if example.question in {"What is 100 plus 1?", "What is 101 plus 1?"}:
            raise ValueError("cannot judge")
        return float(exact(example, prediction))

    best = compiled(metric=metric).detailed_results.best
    assert best.selection_failures == {n: "ValueError: cannot judge" for n in (0, 1)}
    assert len(best.selection_scores) == len(VAL)


def test_a_student_that_fails_on_the_validation_set_is_an_error_not_a_score() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if int(example.answer) > 100:
            raise ValueError("cannot judge")
        return float(exact(example, prediction))

    said = (
        r"failed on the valset .*`max_errors` is 5.* ValueError: cannot judge.* raise `max_errors`"
    )
    with pytest.raises(ProgramFailedError, match=said) as caught:
        compiled(metric=metric, max_errors=5)
    assert isinstance(caught.value.__cause__, ValueError)
    result = caught.value.result
    assert isinstance(result, OPROResult) and len(result.candidates) > 1


def test_candidate_programs_stand_best_first_those_of_the_selection_set_ahead() -> None:
    programs = compiled().candidate_programs
    order = [(not c["on_selection_set"], -c["score"]) for c in programs[1:]]
    assert order == sorted(order)
    assert programs[0]["on_selection_set"]


def test_odd_characters_in_errors_do_not_break_the_result(tmp_path: Path) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if example.question == "What is 3 plus 1?":
            raise ValueError("boom \ud800")
        return 1.0

    result = compiled(metric=metric, racing=False).detailed_results
    result.save(tmp_path / "result.json")
    assert OPROResult.load(tmp_path / "result.json") == result


def test_many_failures_are_told_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if int(example.answer) % 6 == 0:
            raise ValueError("line one\nline two")
        return 1.0

    result = compiled(metric=metric, racing=False).detailed_results
    lines = [record for record in caplog.records if record.name == "opro_dspy.failures"]
    assert len(lines) <= 2 * len(result.candidates) + 8
    assert all("\n" not in record.getMessage() for record in lines)
    assert any(
        " examples of the trainset failed with the instructions " in r.getMessage() for r in lines
    )
