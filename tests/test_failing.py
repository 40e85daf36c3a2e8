"""Who is given up for failing, and when the run stops."""

from collections.abc import Callable
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy import OPRO, ProgramFailedError, Racing
from opro_dspy.failing import broken, without_the_failing
from opro_dspy.records import Candidate, Evaluation
from tests.fakes import TRAIN, VAL, compiled, exact, keyword_scorer, word_optimizer

START = dspy.Predict("question -> answer").signature.instructions


def met(name: str, passed: set[int], failed: set[int], error: str = "ValueError: x") -> Evaluation:
    return Evaluation(
        candidate=Candidate({"predict": name}),
        scores=dict.fromkeys(sorted(passed | failed), 0.0),
        failures=dict.fromkeys(sorted(failed), error),
    )


def dropped(found: list[Evaluation]) -> list[str | None]:
    return [evaluation.dropped for evaluation in found]


def test_two_failures_of_two_are_enough_where_another_did_not_fail() -> None:
    found = without_the_failing([met("a", set(), {3, 5}), met("b", {3, 5}, set())], [])
    assert dropped(found) == ["given up after 2 errors in 2 examples", None]


def test_the_student_shows_too_that_an_example_can_be_met() -> None:
    student = met("student", {3, 5}, set())
    assert dropped(without_the_failing([met("a", set(), {3, 5})], [student])) != [None]
    assert dropped(without_the_failing([met("a", set(), {3, 5})], [])) == [None]


def test_half_of_the_examples_are_not_most() -> None:
    found = without_the_failing([met("a", {5}, {3}), met("b", {3, 5}, set())], [])
    assert dropped(found) == [None, None]


@given(st.sets(st.integers(0, 9)), st.integers(2, 8))
def test_an_example_on_which_everybody_fails_blames_nobody(failed: set[int], k: int) -> None:
    found = [met(str(i), set(range(10)) - failed, failed) for i in range(k)]
    assert without_the_failing(found, []) == found


def test_all_alike_means_broken_three_at_least_those_of_earlier_steps_among_them() -> None:
    student = met("student", {0, 1}, set())
    bad = [met(str(i), set(), {3, 5}) for i in range(3)]
    assert broken(bad, [student])
    assert not broken(bad[:2], [student])
    assert broken(bad[2:], [student, *bad[:2]])
    assert not broken([*bad[:2], met("c", set(), {3, 5}, "KeyError: x")], [student])
    assert not broken([*bad[:2], met("c", {3}, {5})], [student])
    assert not broken([])


def test_examples_on_which_the_student_failed_too_do_not_mean_broken() -> None:
    bad = [met(str(i), set(), {3, 5}) for i in range(3)]
    assert not broken(bad, [met("student", {0}, {3, 5})])
    assert broken(bad, [met("student", {0}, {3})])


class Picky(dspy.Module):  # type: ignore[misc]
    """Raises where `refuses` says so of instruction and question."""

    def __init__(self, refuses: Callable[[str, str], bool]) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.refuses = refuses

    def forward(self, question: str) -> dspy.Prediction:
        if self.refuses(self.answer.signature.instructions, question):
            raise ValueError("cannot do that")
        return self.answer(question=question)


def test_a_candidate_that_fails_in_a_scouting_step_is_given_up_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    student = Picky(lambda text, _: "carefully" in text)
    result = compiled(student, max_steps=1, num_threads=1).detailed_results
    (found,) = [c for c in result.candidates if "carefully" in c.instructions["answer"]]
    assert found.dropped == "given up after 2 errors in 2 examples"
    assert found is result.ranked[-1]
    assert caplog.text.count("ValueError: cannot do that") == 2  # the error, and the diagnostic
    (said,) = [d for d in result.diagnostics if d.name == "failing candidates"]
    assert "1 of 9 candidates" in said.seen and "cannot do that" in said.seen


@pytest.mark.parametrize("num_candidates", [2, 8])
def test_the_run_stops_when_all_that_is_proposed_fails(num_candidates: int) -> None:
    scorer = keyword_scorer()
    student = Picky(lambda text, _: text != START)
    with pytest.raises(ProgramFailedError, match="with the instructions of the last") as caught:
        compiled(student, scorer=scorer, num_candidates=num_candidates, max_steps=9)
    result: Any = caught.value.result
    assert result.num_steps == (0 if num_candidates == 8 else 1)
    assert scorer.engine.calls <= 12 + 2 * 2  # the student's, and as a leader's


def test_two_examples_that_nobody_can_do_do_not_stop_the_run() -> None:
    asked: list[str] = []

    def refuses(text: str, question: str) -> bool:
        if text != START and len(set(asked)) < 2:
            asked.append(question)  # the two that the first step meets first
        return question in asked

    result = compiled(Picky(refuses), max_steps=1, num_threads=1).detailed_results
    assert result.num_steps == 1
    assert [c.dropped for c in result.candidates] == [None] * 9


def test_who_is_given_up_in_the_final_choice_says_so() -> None:
    student = Picky(lambda text, question: text != START and int(question.split()[2]) >= 100)
    result = compiled(student, max_steps=1).detailed_results
    told = [c for c in result.candidates if c.dropped is not None]
    assert result.best_index == 0 and told
    assert all("of the valset" in str(c.dropped) and c.selection_failures for c in told)
    assert "failing candidates" in [d.name for d in result.diagnostics]


def test_a_candidate_that_copes_where_the_student_fails_is_chosen() -> None:
    student = Picky(lambda text, question: text == START and int(question.split()[2]) >= 100)
    result = compiled(student, max_steps=1).detailed_results
    assert result.best_index and result.best.selection is not None
    assert len(result.best.selection_scores) == len(VAL) and not result.best.selection_failures
    assert "of the valset" in str(result.baseline.dropped) and result.baseline.selection is None


def test_a_metric_that_fails_on_half_of_the_valset_does_not_lose_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    student = Picky(lambda text, question: int(question.split()[2]) in range(101, 120, 2))
    result = compiled(student, max_errors=10).detailed_results
    assert result.best_index is not None and result.best.selection is None
    assert result.selection_set == "training estimates"
    assert result.baseline.dropped == "given up after 10 errors in 20 examples of the valset"
    assert "Nobody could be compared on the whole valset" in caplog.text
    assert "cannot do that" in caplog.text


def test_scores_below_the_failure_score_are_told_though_only_the_valset_has_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return exact(example, prediction) - (1.0 if int(example.answer) > 100 else 0.0)

    compiled(metric=metric, max_steps=1)
    assert caplog.text.count("Set `failure_score` below") == 1


def test_the_rule_holds_with_other_rungs_and_without_racing() -> None:
    for racing in (Racing(rungs=(1, 2), scouting_steps=0), False):
        student = Picky(lambda text, _: "slowly" in text)
        with dspy.context(lm=keyword_scorer()):
            result = (
                OPRO(metric=exact, prompt_model=word_optimizer(), max_steps=1, racing=racing)
                .compile(student, trainset=TRAIN, valset=VAL)
                .detailed_results
            )
        told = {c.instructions["answer"] for c in result.candidates if c.dropped}
        assert told == {c.instructions["answer"] for c in result.candidates if c.failures}
        assert len(told) == 1
