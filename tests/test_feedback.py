"""What a metric says in words: kept with the score, shown in the meta-prompt, taken up."""

import random
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, Evaluation
from opro_dspy.exemplars import feedback_by_example, with_feedback
from opro_dspy.metric import MAX_FEEDBACK_CHARS, Metric
from opro_dspy.records import Candidate, Step
from opro_dspy.result import OPROResult
from opro_dspy.simulation import (
    FeedbackMetric,
    feedback_optimizer_lm,
    landscape,
    make_examples,
    scorer_lm,
)
from opro_dspy.trajectory import Trajectory
from tests.fakes import TRAIN, keyword_scorer, word_optimizer

HEADING = "Feedback on an output so far:\n"


def judge(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> dspy.Prediction:
    """A metric as GEPA wants it."""
    right = gold.answer == pred.answer
    said = "" if right else f"It said {pred.answer}, one too few.\nscore: 99"
    return dspy.Prediction(score=float(right), feedback=said)


def test_score_and_feedback_of_a_five_argument_metric_are_read() -> None:
    gold, pred = dspy.Example(answer="2"), dspy.Prediction(answer="1")
    found = Metric(judge).judge(gold, pred, where="example 0")
    assert (found.score, found.feedback) == (0.0, "It said 1, one too few.\nscore: 99")


def test_feedback_may_be_missing_of_another_type_or_long() -> None:
    def said(value: Any) -> str:
        metric = Metric(lambda e, p: value)
        return metric.judge(dspy.Example(), None, where="example 0").feedback

    assert said(1.0) == said(dspy.Prediction(score=1)) == ""
    assert said(dspy.Prediction(score=1, feedback=["a", 1])) == "['a', 1]"
    assert len(said(dspy.Prediction(score=1, feedback="x" * 5000))) == MAX_FEEDBACK_CHARS


def told(*evaluations: Evaluation) -> Trajectory:
    trajectory = Trajectory()
    step = Step(index=0, candidates=tuple(e.candidate for e in evaluations))
    trajectory.append(step, evaluations)
    return trajectory


def test_the_best_candidate_that_got_an_example_wrong_is_the_one_whose_feedback_is_shown() -> None:
    good, bad, hidden = (Candidate({"self": text}) for text in "abc")
    trajectory = told(
        Evaluation(candidate=good, scores={0: 1.0, 1: 0.0, 2: 1.0}, feedback={0: "yes", 1: "mine"}),
        Evaluation(candidate=bad, scores={0: 0.0, 1: 0.0, 2: 0.0}, feedback={0: "no", 1: "not me"}),
        Evaluation(candidate=hidden, scores={2: 0.0}, feedback={2: "never shown"}),
    )
    shown = [bad.key, good.key]
    assert feedback_by_example(trajectory, shown) == {0: "no", 1: "mine"}
    chosen = with_feedback(trajectory, shown=shown, n_examples=5, n=3, rng=random.Random(0))
    assert chosen == [1, 0, 2]  # those with feedback first, then what is wrong without a word


class Bench:
    """Two LMs that every run on it shares."""

    def __init__(self) -> None:
        self.scorer, self.writer = keyword_scorer(cache=True), word_optimizer()

    def run(self, exemplars: str = "with_feedback", **options: Any) -> OPROResult:
        optimizer = OPRO(
            metric=judge,
            prompt_model=self.writer,
            exemplars=exemplars,
            max_steps=2,
            num_threads=4,
            **options,
        )
        with dspy.context(lm=self.scorer):
            compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=TRAIN)
        found: OPROResult = compiled.detailed_results
        return found

    @property
    def calls(self) -> int:
        return int(self.scorer.engine.calls + self.writer.engine.calls)


def prompts(result: OPROResult) -> list[str]:
    return [step.queries[0].meta_prompt for step in result.steps[1:]]


def test_exemplars_carry_the_feedback_on_one_indented_line() -> None:
    for prompt in prompts(Bench().run()):
        said = prompt.split(HEADING)[1:]
        assert len(said) == 3
        assert all(s.startswith("  It said ") and "one too few. score: 99" in s for s in said)
    assert not any(HEADING in prompt for prompt in prompts(Bench().run("current_most_frequent")))


def test_feedback_is_in_the_result_and_its_json() -> None:
    result = Bench().run()
    student = result.candidates[0]
    wrong = {i for i, score in student.scores.items() if score == 0.0}
    assert set(student.feedback) == wrong and wrong
    again = OPROResult.from_json(result.model_dump_json())
    assert again.candidates[0].feedback == student.feedback


@pytest.mark.parametrize("where", ["cache_dir", "log_dir"])
def test_feedback_survives_the_score_cache_and_the_journal(tmp_path: Path, where: str) -> None:
    bench = Bench()
    options: dict[str, Any] = {where: tmp_path}
    first = bench.run(**options)
    paid = bench.calls
    again = bench.run(**options)
    assert bench.calls == paid > 0
    assert HEADING in prompts(first)[0] and prompts(again) == prompts(first)
    assert [c.feedback for c in again.candidates] == [c.feedback for c in first.candidates]


def test_the_simulated_optimizer_takes_up_what_feedback_names() -> None:
    examples = make_examples("arithmetic", 20, seed=1)
    shape = landscape("many_small_effects", seed=1)
    gold = examples[0]
    metric = FeedbackMetric(shape, candor=1.0)
    wrong = metric(gold, dspy.Prediction(answer="nothing"), None, None, None)
    assert wrong.score == 0.0 and wrong.feedback.startswith("The answer is wrong. It would")
    idea = wrong.feedback.rsplit("better to ", 1)[1].rstrip(".")
    prompt = f"text:\nSolve it.\nscore:\n50\n\n{HEADING}  {wrong.feedback}\n\nWrite <INS>…</INS>"
    heeding = feedback_optimizer_lm(heed=1.0, cache=False)(prompt)[0]
    deaf = feedback_optimizer_lm(heed=0.0, cache=False)(prompt)[0]
    assert heeding != deaf and len(heeding) > len(deaf)
    assert heeding.startswith("<INS>") and heeding.endswith("</INS>") and idea
    assert scorer_lm(answer_key=examples, landscape=shape).engine.calls == 0
