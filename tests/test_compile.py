"""compile() end to end on scripted LMs."""

import copy
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest
from dspy.lm15 import AuthError, RateLimitError

from opro_dspy import (
    OPRO,
    ConfigurationError,
    LMCallError,
    MetricError,
    OPROResult,
    ProgramFailedError,
    Racing,
    UnknownArgumentError,
    View,
)
from tests.fakes import (
    TRAIN,
    VAL,
    compiled,
    exact,
    field,
    keyword_scorer,
    request_text,
    scripted_lm,
    word_optimizer,
)


class TwoStage(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.Predict("question, draft -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        draft = self.first(question=question).answer
        answer: dspy.Prediction = self.second(question=question, draft=draft)
        return answer


def test_the_result_beats_the_student_and_the_student_is_not_changed() -> None:
    student = dspy.Predict("question -> answer")
    student.demos = [dspy.Example(question="What is 7 plus 1?", answer="8")]
    before = student.dump_state()
    program = compiled(student)
    assert student.dump_state() == before
    assert type(program) is dspy.Predict
    assert program.demos == student.demos
    assert program.signature.instructions != student.signature.instructions
    result = program.detailed_results
    assert result.best.score > result.baseline.score
    assert program.score == pytest.approx(100 * result.best.score)


def test_a_result_survives_json() -> None:
    result = compiled().detailed_results
    assert OPROResult.from_json(result.model_dump_json()) == result


def test_the_result_is_written_and_read(tmp_path: Path) -> None:
    result = compiled(max_steps=1).detailed_results
    result.save(tmp_path / "result.json")
    assert OPROResult.load(tmp_path / "result.json") == result


def test_the_result_holds_what_led_to_it() -> None:
    result = compiled().detailed_results
    step = result.steps[1]
    assert "score:" in step.queries[0].meta_prompt
    assert step.queries[0].temperature == 1.0
    assert step.proposals[0].raw.startswith("<INS>")
    assert len(result.candidates[0].scores) == Racing().start
    assert len(result.candidates[0].selection_scores) == len(VAL)
    assert result.stop_reason == "max_steps: 3 steps were done"
    assert {u.role for u in result.usage} == {"optimizer", "scorer"}
    assert result.versions["dspy"].startswith("3.")
    assert (result.num_train, result.num_val, result.selection_set) == (30, 20, "valset")


def test_candidate_programs_are_sorted_and_are_programs() -> None:
    program = compiled()
    scores = [c["score"] for c in program.candidate_programs if c["on_selection_set"]]
    assert scores == sorted(scores, reverse=True)
    best = program.candidate_programs[0]["program"]
    assert best.signature.instructions == program.signature.instructions
    assert [name for name, _ in program.named_predictors()] == ["self"]


def test_without_track_stats_only_score_and_calls_are_attached() -> None:
    program = compiled(track_stats=False, max_steps=1)
    assert program.score > 0 and program.total_calls > 0
    assert not hasattr(program, "detailed_results")
    assert not hasattr(program, "candidate_programs")


def test_without_a_valset_the_training_set_decides_without_further_calls() -> None:
    scorer = keyword_scorer()
    result = compiled(scorer=scorer, valset=None, racing=False).detailed_results
    assert result.selection_set == "trainset"
    assert scorer.engine.calls == len(TRAIN) * len(result.candidates)
    assert result.best.score == max(c.train.score for c in result.candidates)


def test_never_worse_than_the_student_on_the_selection_set() -> None:
    bad = scripted_lm(lambda text: "<INS>Get it wrong</INS>")
    student = dspy.Predict(dspy.Signature("question -> answer", "Answer carefully and calmly."))
    program = compiled(student, prompt_model=bad)
    assert program.signature.instructions == "Answer carefully and calmly."


def test_calls_are_counted_as_the_engines_count_them() -> None:
    scorer, optimizer = keyword_scorer(), word_optimizer()
    program = compiled(scorer=scorer, prompt_model=optimizer)
    result = program.detailed_results
    assert result.used("scorer").calls == scorer.engine.calls
    assert result.used("optimizer").calls == optimizer.engine.calls
    assert program.total_calls == scorer.engine.calls + optimizer.engine.calls
    assert result.used("scorer").input_tokens == sum(len(t) // 4 for t in scorer.engine.requests)


def test_all_of_a_steps_scores_share_one_pool_and_samples_are_concurrent() -> None:
    scorer, optimizer = keyword_scorer(delay_s=0.002), word_optimizer(delay_s=0.05)
    compiled(scorer=scorer, prompt_model=optimizer, num_threads=8, max_steps=1)
    assert optimizer.engine.most_in_flight == 8
    assert scorer.engine.most_in_flight == 8


def test_every_sample_is_its_own_request_and_is_repeatable() -> None:
    seen: list[Any] = []

    class Spy(dspy.utils.callback.BaseCallback):  # type: ignore[misc]
        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            if "rollout_id" in inputs["kwargs"]:
                seen.append(inputs["kwargs"]["rollout_id"])

    runs = []
    for _ in range(2):
        seen.clear()
        compiled(prompt_model=word_optimizer(callbacks=[Spy()]), max_steps=2)
        runs.append(sorted(seen))
    assert len(set(runs[0])) == 16
    assert runs[0] == runs[1]


DETERMINISM = """
import sys, json, dspy
from opro_dspy import OPRO
from opro_dspy.simulation import (
    exact_match, landscape, make_examples, optimizer_lm, scorer_lm,
)
examples = make_examples("arithmetic", n=40, seed=0)
scorer = scorer_lm(answer_key=examples, landscape=landscape("wording_noise", seed=0), cache=False)
for threads, seed in json.loads(sys.argv[1]):
    with dspy.context(lm=scorer):
        program = OPRO(
            metric=exact_match, prompt_model=optimizer_lm(seed=0, cache=False), max_steps=3,
            num_threads=threads, seed=seed, exemplars="accumulative_most_frequent",
        ).compile(dspy.Predict("question -> answer"), trainset=examples[:25], valset=examples[25:])
    result = program.detailed_results.model_dump_json(exclude={"usage", "settings"})
    print(json.dumps(json.loads(result), sort_keys=True))
"""


def run_determinism(*runs: tuple[int, int], hash_seed: int) -> list[str]:
    """Return the results of runs, of so many threads and such a seed each, in a new process."""
    return subprocess.run(
        [sys.executable, "-c", DETERMINISM, json.dumps(runs)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    ).stdout.splitlines()


def test_the_same_seed_gives_the_same_run_over_threads_and_hash_seeds() -> None:
    first, other = run_determinism((1, 0), (4, 1), hash_seed=1)
    assert run_determinism((16, 0), hash_seed=2) == [first]
    assert other != first


def test_a_program_with_two_predictors_is_optimized_in_turn() -> None:
    program = compiled(TwoStage(), max_steps=4)
    components = [s.queries[0].component for s in program.detailed_results.steps[1:]]
    assert components == ["first", "second", "first", "second"]
    assert program.detailed_results.best.score > program.detailed_results.baseline.score


def test_frozen_modules_stay_as_they_are() -> None:
    student = TwoStage()
    student.first = dspy.ChainOfThought("question -> answer")
    student.first._compiled = True
    program = compiled(student, max_steps=1, scorer=answering_reasoning())
    assert set(program.detailed_results.best.instructions) == {"second"}


def answering_reasoning() -> dspy.LM:
    return scripted_lm(lambda text: "[[ ## reasoning ## ]]\nHm.\n\n" + field("answer", "1"))


def test_predictors_keep_their_own_lm_and_it_is_counted() -> None:
    own, default = keyword_scorer(), keyword_scorer()
    student = TwoStage()
    student.first.lm = own
    program = compiled(student, scorer=default, max_steps=1)
    assert program.first.lm is own and program.second.lm is None
    calls = {u.model: u.calls for u in program.detailed_results.usage if u.role == "scorer"}
    assert calls == {own.model: own.engine.calls, default.model: default.engine.calls}


def test_callbacks_of_the_student_come_along() -> None:
    class Quiet(dspy.utils.callback.BaseCallback):  # type: ignore[misc]
        pass

    student, callback = TwoStage(), Quiet()
    student.first.callbacks = [callback]
    assert compiled(student, max_steps=0).first.callbacks == [callback]


def test_a_program_compiled_before_can_be_compiled_again() -> None:
    once = compiled(max_steps=1)
    assert not hasattr(once.candidate_programs[0]["program"], "candidate_programs")
    twice = compiled(once, max_steps=1)
    assert twice.detailed_results.num_steps == 1
    assert copy.deepcopy(twice).signature.instructions == twice.signature.instructions


def test_a_compiled_program_is_saved_and_loaded(tmp_path: Path) -> None:
    program = compiled()
    program.save(tmp_path / "program.json")
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json")
    assert loaded.signature.instructions == program.signature.instructions


def test_the_users_initial_instructions_compete() -> None:
    good = " ".join(["Answer carefully slowly briefly twice aloud calmly exactly boldly"])
    program = compiled(initial_instructions=good, max_steps=0)
    assert program.signature.instructions == good
    with pytest.raises(ConfigurationError, match="mapping of predictor name"):
        compiled(TwoStage(), initial_instructions=["x"])
    program = compiled(TwoStage(), initial_instructions=[{"second": good}], max_steps=0)
    assert program.detailed_results.best.instructions["second"] == good


def test_progress_and_logs_leave_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    compiled(max_steps=1, verbose=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step" not in captured.err


def test_the_users_trace_and_settings_are_left_alone() -> None:
    before = dict(dspy.settings.config)
    with dspy.context(trace=[]):
        compiled(max_steps=1)
        assert dspy.settings.trace == []
    assert dict(dspy.settings.config) == before


def test_an_outer_usage_tracker_hears_of_every_call() -> None:
    scorer = keyword_scorer()
    with dspy.track_usage() as tracker:
        compiled(scorer=scorer, max_steps=1)
    assert len(tracker.usage_data[scorer.model]) == scorer.engine.calls


# --- metrics ---------------------------------------------------------------------------------


def right(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return exact(example, prediction)


@pytest.mark.parametrize(
    "metric",
    [
        right,
        lambda e, p: int(right(e, p)),
        lambda e, p, trace=None: float(right(e, p)),
        lambda e, p, trace=None: np.float32(right(e, p)),
        lambda e, p, trace=None: np.bool_(right(e, p)),
        lambda e, p, trace=None: dspy.Prediction(score=float(right(e, p)), feedback="ok"),
        lambda gold, pred, trace, pred_name, pred_trace: right(gold, pred),
    ],
)
def test_metrics_of_every_usual_kind_work(metric: Any) -> None:
    result = compiled(metric=metric, max_steps=1).detailed_results
    assert result.best.score > result.baseline.score


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", [1.0]])
def test_a_metric_that_returns_no_number_is_named_with_the_example(value: Any) -> None:
    def my_metric(example: Any, prediction: Any, trace: Any = None) -> Any:
        return value

    with pytest.raises(MetricError, match=r"my_metric.* on example \d+: .*What is"):
        compiled(metric=my_metric)


def test_scores_are_not_rounded() -> None:
    result = compiled(metric=lambda e, p: 0.500041 + right(e, p) / 1e6).detailed_results
    assert result.baseline.score != round(result.baseline.score, 4)


# --- failures --------------------------------------------------------------------------------


def test_an_error_of_the_program_on_an_example_scores_the_failure_score() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if example.question == "What is 3 plus 1?":
            raise ValueError("cannot judge")
        return 1.0

    result = compiled(metric=metric, failure_score=-1.0, max_steps=1).detailed_results
    assert result.candidates[0].scores[3] == -1.0
    assert result.candidates[0].failures == {3: "ValueError: cannot judge"}


def test_a_student_that_fails_on_max_errors_examples_stops_the_run() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        raise ValueError("broken")

    scorer = keyword_scorer()
    with pytest.raises(ProgramFailedError, match=r"`max_errors` is 3.*ValueError: broken"):
        compiled(metric=metric, max_errors=3, scorer=scorer, num_threads=2)
    assert scorer.engine.calls < len(TRAIN)


def test_a_candidate_that_fails_on_max_errors_examples_is_given_up_and_told() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if "calmly" in prediction.answer:
            raise ValueError("calm")
        return 0.5

    def reply(text: str) -> str:
        return field("answer", "calmly" if "calmly" in text else "x")

    outcomes = []
    for num_threads in (1, 8):
        result = compiled(
            metric=metric,
            max_errors=4,
            racing=False,
            num_threads=num_threads,
            scorer=scripted_lm(reply),
            prompt_model=word_optimizer(),
            max_steps=1,
        ).detailed_results
        (dropped,) = [c for c in result.candidates if c.dropped]
        outcomes.append((dropped.failures, dropped.scores, dropped.dropped))
        assert dropped.train.score == 0.0
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == "given up after 4 errors in 4 examples"


@pytest.mark.parametrize("error", [AuthError("no"), RateLimitError("slow down")])
def test_an_lm_error_stops_the_run_and_is_no_bad_candidate(error: Exception) -> None:
    calls = iter(range(10_000))

    def reply(text: str) -> str | Exception:
        return error if next(calls) >= 20 else field("answer", "1")

    with pytest.raises(LMCallError, match="scorer LM failed") as caught:
        compiled(scorer=scripted_lm(reply))
    result = caught.value.result
    assert isinstance(result, OPROResult)
    assert len(result.candidates) == 1
    assert all(not e.failures for e in result.unfinished)
    assert "1 scored candidates" in str(caught.value)


def test_a_failing_sample_costs_only_itself() -> None:
    calls = iter(range(10_000))
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            n = next(calls)
        if n % 4 == 0:
            error: Exception = RateLimitError("slow down")
            return error
        return "<INS></INS>" if n % 4 == 1 else f"<INS>Try {n}</INS>"

    optimizer = scripted_lm(reply)
    result = compiled(prompt_model=optimizer, max_steps=1).detailed_results
    failed = [p for p in result.steps[1].proposals if p.rejected]
    assert len(result.candidates) == 9 - len(failed)
    assert max(p.attempts for p in result.steps[1].proposals) > 1


def test_an_optimizer_lm_that_fails_altogether_stops_the_run() -> None:
    optimizer = scripted_lm(lambda text: RateLimitError("slow down"))
    with pytest.raises(LMCallError, match=r"optimizer LM .* failed at step 1 \(8 of 8 samples\)"):
        compiled(prompt_model=optimizer)
    assert optimizer.engine.calls == 8 + 4 + 2 + 1 + 1  # ever fewer, in rounds


def test_an_optimizer_lm_that_never_parses_ends_with_nothing_new(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="opro_dspy"):
        program = compiled(prompt_model=scripted_lm(lambda text: " "), max_steps=9)
    assert program.detailed_results.stop_reason.startswith("nothing_new: 3 steps")
    assert "nothing new" in caplog.text or "no new candidate" in caplog.text


def test_a_model_that_takes_no_temperature_is_told_and_gets_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from opro_dspy.proposer import takes_temperature

    assert not takes_temperature(dspy.LM("openai/gpt-5"))
    assert takes_temperature(dspy.LM("openai/gpt-4o-mini"))


# --- the door --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": None}, "`metric` is missing"),
        ({"metric": 3}, "must be callable"),
        ({"metric": lambda example: 1}, "must take"),
        ({"num_candidates": 0}, "`num_candidates`.*greater than or equal to 1, got 0"),
        ({"max_steps": -1}, "`max_steps`"),
        ({"num_threads": 0}, "`num_threads`"),
        ({"init_temperature": 2.5}, "`init_temperature`.*got 2.5"),
        ({"patience": 0}, "`patience`"),
        ({"meta_prompt": "taged"}, "tagged"),
        ({"exemplars": "rand"}, "random"),
        ({"component_selector": "some"}, "round_robin"),
        ({"prices": {"openai/gpt-5": 1}}, "`prices` must map model names to prices"),
        ({"prices": "cheap"}, "`prices` must map"),
        ({"prompt_model": "openai/gpt-5"}, r"dspy.LM\('openai/gpt-5'\)"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OPRO(**{"metric": exact, **options})


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("breadth", "num_candidates"),
        ("depth", "max_steps"),
        ("reflection_lm", "prompt_model"),
        ("max_step", "max_steps"),
        ("number_candidates", "num_candidates"),
    ],
)
def test_an_unknown_argument_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UnknownArgumentError, match=rf"`{given}` \(did you mean `{nearest}`\?\)"):
        OPRO(metric=exact, **{given: 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="compile has no argument `train`"):
        OPRO(metric=exact).compile(dspy.Predict("q -> a"), trainset=TRAIN, train=1)


class NoPredictor(dspy.Module):  # type: ignore[misc]
    def forward(self, question: str) -> None:
        return None


@pytest.mark.parametrize(
    ("student", "sets", "message"),
    [
        (dspy.Predict("question -> answer"), {"trainset": []}, "`trainset` is empty"),
        (
            dspy.Predict("question -> answer"),
            {"trainset": [dspy.Example(question="q")]},
            r"`trainset\[0\]` does not say which fields are inputs",
        ),
        (dspy.Predict("q -> a"), {"trainset": [{"q": 1}]}, r"`trainset\[0\]` must be a dspy"),
        (dspy.Predict("q -> a"), {"trainset": "abc"}, "must be a list"),
        (dspy.Predict("q -> a"), {"trainset": TRAIN, "valset": [3]}, r"`valset\[0\]`"),
        (NoPredictor(), {"trainset": TRAIN}, "no predictor to optimize"),
        (dspy.Predict, {"trainset": TRAIN}, "an instance of your program"),
    ],
)
def test_wrong_inputs_are_refused_before_the_first_call(
    student: Any, sets: dict[str, Any], message: str
) -> None:
    scorer = keyword_scorer()
    with dspy.context(lm=scorer), pytest.raises(ConfigurationError, match=message):
        OPRO(metric=exact).compile(student, **sets)
    assert scorer.engine.calls == 0


def test_without_any_lm_the_door_says_so() -> None:
    with dspy.context(lm=None):
        with pytest.raises(ConfigurationError, match="no scorer LM"):
            OPRO(metric=exact).compile(dspy.Predict("question -> answer"), trainset=TRAIN)
        with pytest.raises(ConfigurationError, match="no optimizer LM"):
            OPRO(metric=exact, task_model=keyword_scorer()).compile(
                dspy.Predict("question -> answer"), trainset=TRAIN
            )


def test_a_valset_that_overlaps_the_trainset_is_a_warning_with_the_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiled(valset=[*VAL, *TRAIN[:7]], max_steps=0)
    assert "7 of 27 validation examples are training examples too" in caplog.text


# --- Ctrl-C ----------------------------------------------------------------------------------

INTERRUPTED = """
import dspy, os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from opro_dspy import OPRO
from tests.fakes import *
scorer = keyword_scorer(delay_s=0.02)
def press():
    while scorer.engine.calls < {after}:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
with dspy.context(lm=scorer):
    optimizer = OPRO(metric=exact, prompt_model=word_optimizer(), max_steps=50, num_threads=4)
    program = optimizer.compile(
        dspy.Predict("question -> answer"), trainset=questions(30), valset=questions(9, start=99))
calls = scorer.engine.calls
time.sleep(0.1)
result = program.detailed_results
counted = result.used("scorer").calls
print(result.stop_reason, "|", scorer.engine.calls - calls, "|", counted - calls)
print(len(result.candidates), len(result.unfinished))
"""


@pytest.mark.parametrize("after", [2, 150])
def test_ctrl_c_returns_the_best_so_far_after_the_calls_in_flight(after: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED).format(after=after)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "interrupted: stopped by the user (Ctrl-C, or cancelled) | 0 | 0"
    n_candidates, n_unfinished = map(int, second.split())
    assert n_candidates >= 1 or n_unfinished == 1


def test_the_view_is_a_setting() -> None:
    result = compiled(view=View(num_entries=2, num_exemplars=0)).detailed_results
    assert {s.queries[0].n_entries for s in result.steps[2:]} == {2}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_target_score_ends_the_run() -> None:
    result = compiled(stop_at_score=0.3, max_steps=9).detailed_results
    assert result.stop_reason.startswith("target_score")


def test_the_optimizer_lm_reads_the_task(tmp_path: Path) -> None:
    optimizer = word_optimizer()
    compiled(TwoStage(), prompt_model=optimizer, max_steps=1)
    text = optimizer.engine.requests[0]
    assert "`question` and writes `answer`" in text
    assert "predictor 1 of 2" in text
    assert request_text is not None


def test_a_run_that_repeats_itself_says_so_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    lm = scripted_lm(lambda text: "<INS>Always the same words</INS>")
    result = compiled(prompt_model=lm, max_steps=4, max_empty_steps=9).detailed_results
    names = [diagnostic.name for diagnostic in result.diagnostics]
    assert "repeats" in names
    assert "Seen in this run: repeats:" in caplog.text
    assert OPROResult.from_json(result.model_dump_json()).diagnostics == result.diagnostics
