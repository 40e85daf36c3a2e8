"""A run in a `log_dir` goes on where it stopped, exactly, and refuses what is another run."""

import itertools
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import (
    AuthError,
    ContextLengthError,
    RateLimitError,
    ServerError,
    UnsupportedModelError,
)

from opro_dspy import (
    OPRO,
    ConfigurationError,
    Filters,
    JournalError,
    LMCallError,
    LogDirInUseError,
    MetricError,
    OPROResult,
    ResumeError,
    View,
)
from opro_dspy.identity import told_lm
from opro_dspy.journal import FREE, JournalFile, RunFolder
from opro_dspy.journal.lines import Line, ScoreLine, StepLine
from opro_dspy.outages import MAX_ROUNDS
from opro_dspy.protocols import Event, ExampleScored
from opro_dspy.simulation import landscape, make_examples, optimizer_lm, scorer_lm
from tests.fakes import (
    ScriptedEngine,
    exact,
    field,
    keyword_scorer,
    questions,
    scripted_lm,
)

TRAIN, VAL = questions(16), questions(8, start=100)
SCORE: Callable[[str], str] = keyword_scorer().engine._reply

Reply = Callable[[str], str | Exception]


class Bench:
    """One task with LMs that keep their names, and counts of their calls."""

    def __init__(self, log_dir: Path, reply: Reply = SCORE) -> None:
        self.log_dir = log_dir
        self.reply = reply
        self.scorer = dspy.LM("bench/scorer", engine=Engine(self), cache=False, num_retries=0)
        self.optimizer = optimizer_lm(seed=0, cache=False)
        self.calls = 0

    def compile(self, student: dspy.Module | None = None, **options: Any) -> Any:
        """Compile in the folder; `options` are those of OPRO."""
        given = {
            "metric": exact,
            "prompt_model": self.optimizer,
            "max_steps": 2,
            "num_candidates": 3,
            "num_threads": 4,
            "verbose": False,
            "log_dir": self.log_dir,
            **options,
        }
        trainset, valset = given.pop("trainset", TRAIN), given.pop("valset", VAL)
        before = self.calls + self.optimizer.engine.calls
        with dspy.context(lm=given.pop("lm", self.scorer)):
            try:
                return OPRO(**given).compile(
                    student or dspy.Predict("question -> answer"), trainset=trainset, valset=valset
                )
            finally:
                self.paid = self.calls + self.optimizer.engine.calls - before

    def lines(self) -> list[Line]:
        """Return the journal's lines."""
        journal = JournalFile(self.log_dir / "journal.jsonl")
        try:
            return journal.read()
        finally:
            journal.close()


class Engine(ScriptedEngine):
    """Answers as its bench says at the time; counts there."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(lambda text: bench.reply(text))
        self._bench = bench

    def complete(self, request: Any) -> Any:
        with self._lock:
            self._bench.calls += 1
        return super().complete(request)

    def dump_state(self) -> dict[str, Any]:
        return {}


def found(program: Any) -> Any:
    """What a run found, without what depends on the clock."""
    result = json.loads(program.detailed_results.model_dump_json())
    for row in result["usage"]:
        del row["seconds"]
    return result


class TwoStages(dspy.Module):  # type: ignore[misc]
    """Plans, then answers."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan")
        self.answer = dspy.Predict("question, plan -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        prediction: dspy.Prediction = self.answer(
            question=question, plan=self.plan(question=question).plan
        )
        return prediction


def staged(text: str) -> str:
    """Plan for a question, or answer it."""
    return SCORE(text) if "[[ ## answer ## ]]" in text else field("plan", "Add one.")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")


def test_a_finished_run_returns_its_result_without_a_call_or_a_new_line(bench: Bench) -> None:
    first = bench.compile()
    lines = bench.lines()
    again = bench.compile(num_threads=2)
    assert bench.paid == 0
    assert bench.lines() == lines
    told = found(again)
    told["settings"]["num_threads"] = 4
    assert told == found(first)
    result = OPROResult.load(bench.log_dir / "result.json")
    assert result == again.detailed_results
    loaded = dspy.Predict("question -> answer")
    loaded.load(str(bench.log_dir / "best.json"))
    assert loaded.signature.instructions == first.signature.instructions


def test_more_steps_and_a_larger_budget_continue_a_run(bench: Bench, tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole")
    longer = found(whole.compile(max_steps=4, max_metric_calls=200))
    del longer["usage"]  # the shorter run made a choice of its own
    calls_by_step = [spent["metric_calls"] for spent in longer.pop("spent")]
    bench.compile(max_steps=2, max_metric_calls=60)
    paid = bench.paid
    again = found(bench.compile(max_steps=4, max_metric_calls=200))
    del again["usage"]
    assert [spent["metric_calls"] for spent in again.pop("spent")] == calls_by_step
    assert again == longer
    assert paid + bench.paid <= whole.paid + len(VAL) * 4  # what the first choice looked at


@pytest.mark.parametrize("racing", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.55, 0.8, 0.97])
def test_a_journal_cut_anywhere_is_made_whole_again(
    share: float, racing: bool, bench: Bench
) -> None:
    whole = found(bench.compile(racing=racing))
    paid = bench.paid
    path = bench.log_dir / "journal.jsonl"
    data = path.read_bytes()
    cut = int(share * len(data))
    path.write_bytes(data[:cut])
    (bench.log_dir / "result.json").unlink()
    assert found(bench.compile(racing=racing)) == whole
    kept = sum(b'"score"' in row or b'"proposal"' in row for row in data[:cut].split(b"\n")[:-1])
    assert bench.paid <= paid - kept


def test_what_a_failing_example_scored_is_recalled_as_it_was(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")

    def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
        if "3" in example.question:
            raise ValueError("cannot read \x1b[31m\ud800")
        return exact(example, prediction)

    first = bench.compile(metric=metric, failure_score=-1.0)
    again = bench.compile(metric=metric, failure_score=-1.0)
    assert bench.paid == 0
    assert found(again) == found(first)
    assert any(c.failures for c in again.detailed_results.candidates)
    assert not [c for c in caplog.text if not c.isprintable() and c not in "\n\ufffd"]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "setting": ({"num_candidates": 4}, r"num_candidates: 3 → 4"),
    "seed": ({"seed": 7}, r"seed: 0 → 7"),
    "racing": ({"racing": False}, r"racing.*→ None"),
    "view": ({"view": View(num_exemplars=1)}, r"view\.num_exemplars: 3 → 1"),
    "filters": ({"filters": Filters(max_chars=99)}, r"filters\.max_chars: 500 → 99"),
    "trainset": ({"trainset": TRAIN[:-1]}, r"trainset\.n: 16 → 15"),
    "order": ({"trainset": TRAIN[::-1]}, r"trainset\.hash"),
    "valset": ({"valset": questions(8, start=101)}, r"valset\.hash"),
    "metric": ({"metric": lambda e, p, trace=None: 1.0}, r"metric\.hash.*a counter, a memo"),
    "program": ({"student": dspy.Predict("question -> answer: int")}, r"program\.hash"),
    "instructions": ({"student": dspy.Predict(dspy.Signature("question -> answer", "Do it."))},
        r"instructions"),
    "initial": ({"initial_instructions": "Be brief."}, r"instructions"),
    "optimizer": ({"prompt_model": optimizer_lm(seed=1, cache=False)}, r"lms\.optimizer\.model"),
    "scorer": ({"lm": dspy.LM("bench/other", engine=scripted_lm(SCORE).engine)},
        r"lms\.scorer\.model: 'bench/scorer' → 'bench/other'"),
    "schedule": ({"temperature_schedule": lambda step: 1.0}, r"temperature_schedule"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_changed_is_refused_and_told_what(change: str, bench: Bench) -> None:
    options, said = CHANGES[change]
    bench.compile()
    before = (bench.log_dir / "journal.jsonl").read_bytes()
    with pytest.raises(ResumeError, match=said):
        bench.compile(**options)
    assert bench.paid == 0
    assert (bench.log_dir / "journal.jsonl").read_bytes() == before


def test_a_student_with_results_of_an_earlier_optimizer_is_the_same_program(bench: Bench) -> None:
    first = bench.compile()
    student = dspy.Predict("question -> answer")
    student.detailed_results = first.detailed_results
    again = bench.compile(student)
    assert bench.paid == 0
    assert found(again) == found(first)


@pytest.mark.parametrize("track_stats", [True, False])
def test_a_compiled_program_is_the_same_student_as_the_plain_one_with_its_instructions(
    track_stats: bool, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = bench.compile(track_stats=track_stats)
    plain = dspy.Predict(first.signature)
    second = Bench(bench.log_dir.parent / "second")
    whole = second.compile(plain, track_stats=track_stats)
    again = second.compile(first, track_stats=track_stats)
    assert second.paid == 0
    assert (again.score, again.total_calls) == (whole.score, whole.total_calls)
    assert "of its own" not in caplog.text


def test_a_line_that_stands_twice_in_the_journal_counts_once(bench: Bench) -> None:
    whole = found(bench.compile())
    path = bench.log_dir / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    score = next(line for line in lines if b'"type":"score"' in line)
    path.write_bytes(b"".join([*lines[:5], score, *lines[5:]]))
    assert found(bench.compile()) == whole
    assert bench.paid == 0


def test_settings_that_do_not_shape_the_search_may_change(bench: Bench) -> None:
    bench.compile()
    free = {
        **dict.fromkeys(FREE - {"auto"}, 0),
        "num_threads": 1, "requests_per_minute": 10_000, "timeout": 30.0, "max_steps": 2,
        "patience": 50, "stop_at_score": 5.0, "max_empty_steps": 9, "num_finalists": 2,
        "max_metric_calls": 10_000, "max_tokens": 10**9, "max_cost": None, "max_seconds": 9999.0,
        "verbose": False, "provide_traceback": True, "track_stats": True,
    }  # fmt: skip
    bench.compile(**free)
    assert bench.paid == 0
    with pytest.raises(ResumeError, match="max_steps: 2 → 3"):
        linear = Bench(bench.log_dir / "linear")
        linear.compile(temperature_schedule="linear")
        linear.compile(temperature_schedule="linear", max_steps=3)


def test_force_goes_on_with_what_still_matches_and_says_what_changed(bench: Bench) -> None:
    bench.compile()
    n = len(bench.lines())
    more = [*TRAIN[::-1], *questions(4, start=50)]
    bench.compile(trainset=more, resume="force")
    recalled = bench.paid
    fresh = Bench(bench.log_dir.parent / "fresh")
    fresh.compile(trainset=more)
    assert recalled < fresh.paid  # the student's scores, by the examples' content
    added = bench.lines()[n:]
    assert any("trainset.n: 16 → 20" in line.model_dump().get("changed", ()) for line in added)
    bench.compile(trainset=more)  # from now on this is the run
    assert bench.paid == 0


def test_force_recalls_no_score_of_another_metric(bench: Bench) -> None:
    first = bench.compile()
    low = bench.compile(metric=lambda e, p, trace=None: 0.25, resume="force").detailed_results
    assert {s for c in low.candidates for s in c.scores.values()} == {0.25}
    again = bench.compile(resume="force")  # the first metric's scores are still there
    assert bench.paid == 0
    assert found(again)["candidates"] == found(first)["candidates"]


def test_never_moves_the_old_run_aside(bench: Bench) -> None:
    first = bench.compile()
    old = {name: (bench.log_dir / name).read_bytes() for name in ("journal.jsonl", "result.json")}
    assert found(bench.compile(resume="never")) == found(first)
    assert bench.paid == first.total_calls
    bench.compile(resume="never", num_candidates=4)
    for name, data in old.items():
        assert (bench.log_dir / "before-1" / name).read_bytes() == data
    assert (bench.log_dir / "before-2" / "journal.jsonl").exists()


@pytest.mark.parametrize(
    "error", [ServerError("down"), AuthError("no key"), UnsupportedModelError("gone")]
)
def test_an_outage_is_gone_on_from_when_it_is_over(error: Exception, bench: Bench) -> None:
    whole = found(Bench(bench.log_dir.parent / "whole").compile())
    bench.reply = lambda text: error if "What is 103 plus" in text else SCORE(text)
    with pytest.raises(LMCallError, match=r"Call compile again with `log_dir` '.*run' to go on"):
        bench.compile()
    assert OPROResult.load(bench.log_dir / "result.json").stop_reason.startswith("error: ")
    bench.reply = SCORE
    again = found(bench.compile())
    assert bench.paid < again["usage"][1]["calls"]
    for part in ("usage", "steps"):
        whole.pop(part), again.pop(part)
    assert again == whole


def test_an_optimizer_lm_that_failed_is_asked_again(bench: Bench) -> None:
    other = Bench(bench.log_dir, lambda text: RateLimitError("later"))
    with pytest.raises(LMCallError, match="RateLimitError"):
        bench.compile(prompt_model=other.scorer, max_attempts=2)
    other.reply = lambda text: "<INS>Work carefully.</INS>"
    result = bench.compile(prompt_model=other.scorer, max_attempts=2).detailed_results
    assert len(result.candidates) == 2
    assert result.used("optimizer").failures >= 3  # those of the first session are counted too


def test_a_sample_that_failed_beside_others_stays_failed(bench: Bench) -> None:
    n = 0
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        nonlocal n
        with lock:
            n += 1
            return ContextLengthError("too long") if n == 2 else f"<INS>Try way {n}.</INS>"

    lm = Bench(bench.log_dir, reply).scorer
    first = bench.compile(prompt_model=lm, max_attempts=1, num_threads=1)
    (bench.log_dir / "result.json").unlink()
    again = bench.compile(prompt_model=lm, max_attempts=1, num_threads=1)
    assert bench.paid == 0 and n == 6
    assert found(again) == found(first)
    step = again.detailed_results.steps[1]
    why = "the optimizer LM failed: ContextWindowExceededError"
    assert [p.rejected for p in step.proposals].count(why) == 1


def sampled(fails: Callable[[int], bool] = lambda n: False) -> dspy.LM:
    """An optimizer LM whose answer depends on the sample, and whose nth call may fail."""
    lm = optimizer_lm(seed=0, cache=False, num_retries=0)
    answer, lock, calls = lm.engine.complete, threading.Lock(), itertools.count(1)

    def complete(request: Any) -> Any:
        with lock:
            n = next(calls)
        if fails(n):
            raise ServerError("down")
        return answer(request)

    lm.engine.complete = complete
    return lm


def proposals_of(program: Any) -> Any:
    return [(p.raw, p.attempts) for s in program.detailed_results.steps for p in s.proposals]


def test_an_outage_of_the_optimizer_lm_is_gone_on_from_exactly(bench: Bench) -> None:
    whole = Bench(bench.log_dir.parent / "whole").compile(prompt_model=sampled())
    with pytest.raises(LMCallError, match=r"rounds in a row .* Call compile again with `log_dir`"):
        bench.compile(prompt_model=sampled(lambda n: n > 4))
    again = bench.compile(prompt_model=sampled(lambda n: n == 1))
    assert proposals_of(again) == proposals_of(whole)
    assert [c.scores for c in again.detailed_results.candidates] == [
        c.scores for c in whole.detailed_results.candidates
    ]
    used = again.detailed_results.used("optimizer")
    assert used.calls - used.failures == 6
    assert used.failures >= MAX_ROUNDS + 1
    (bench.log_dir / "result.json").unlink()
    replayed = bench.compile(prompt_model=sampled(lambda n: True))
    assert found(replayed) == found(again)
    assert bench.paid == 0


def test_a_journal_in_which_an_outage_was_an_attempt_is_read_as_it_was_meant(bench: Bench) -> None:
    bench.compile()
    (bench.log_dir / "result.json").unlink()
    journal, told = bench.log_dir / "journal.jsonl", []
    for line in map(json.loads, journal.read_text().splitlines()):
        if line["type"] == "proposal" and line["step"] == 1:
            failed = {key: line[key] for key in line if key not in ("raw", "usage")}
            told.append({**failed, "failed": "LMServerError: down"})
            line["attempt"] = 2
        told.append(line)
    journal.write_text("".join(json.dumps(line) + "\n" for line in told))
    again = bench.compile()
    assert bench.paid == 0
    attempts = [[p.attempts for p in s.proposals] for s in again.detailed_results.steps]
    assert attempts[1:] == [[2, 2, 2], [1, 1, 1]]


def test_a_broken_metric_can_be_repaired_and_gone_on_from(bench: Bench) -> None:
    scores = {"broken": True}

    def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> Any:
        return None if scores["broken"] and "103" in example.question else 1.0

    with pytest.raises(MetricError, match="Call compile again"):
        bench.compile(metric=metric)
    scores["broken"] = False
    calls = bench.compile(metric=metric, resume="force").total_calls
    assert bench.paid < calls


def test_ctrl_c_keeps_what_the_cut_short_step_scored(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    whole = found(Bench(bench.log_dir.parent / "whole").compile())
    pressed = threading.Event()

    def reply(text: str) -> str:
        if bench.calls >= 30 and not pressed.is_set():
            pressed.set()
            os.kill(os.getpid(), signal.SIGINT)
        return SCORE(text)

    bench.reply = reply
    program = bench.compile(num_threads=1)
    assert program.detailed_results.stop_reason.startswith("interrupted")
    assert f"Call compile again with `log_dir` '{bench.log_dir}'" in caplog.text
    scored = sum(isinstance(line, ScoreLine) for line in bench.lines())
    assert scored == bench.calls
    bench.reply = SCORE
    assert found(bench.compile()) == whole


@pytest.mark.parametrize("where", ["observer", "metric"])
def test_a_keyboard_interrupt_of_an_observer_or_the_metric_is_as_ctrl_c(
    where: str, bench: Bench
) -> None:
    whole = found(Bench(bench.log_dir.parent / "whole").compile())
    seen: list[Any] = []

    def interrupt() -> None:
        seen.append(None)
        if len(seen) == 20:
            raise KeyboardInterrupt

    def observe(event: Event) -> None:
        if isinstance(event, ExampleScored) and where == "observer":
            interrupt()

    def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
        if where == "metric":
            interrupt()
        return exact(example, prediction)

    judge = exact if where == "observer" else metric
    program = bench.compile(metric=judge, observers=[observe])
    assert program.detailed_results.stop_reason.startswith("interrupted")
    assert program.total_calls == bench.paid
    if where == "observer":
        assert found(bench.compile()) == whole


def test_a_cap_falls_at_the_same_place_when_the_run_is_resumed(bench: Bench) -> None:
    caps: list[dict[str, Any]] = [{"max_tokens": 9_000}, {"max_metric_calls": 40}]
    for i, cap in enumerate(caps):
        run = Bench(bench.log_dir / str(i))
        first = run.compile(**cap, max_steps=9)
        assert next(iter(cap)) in first.detailed_results.stop_reason
        before, again = found(first), found(run.compile(**cap, max_steps=9))
        calls = [[s["metric_calls"] for s in result.pop("spent")] for result in (before, again)]
        assert calls[0] == calls[1]  # tokens in flight at the cap are counted earlier
        assert again == before
        assert run.paid == 0
        run.compile(max_steps=2)  # without the cap it goes on
        assert run.paid > 0


@pytest.mark.parametrize("max_tokens", [5_000, 9_000, 14_000])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.7, 0.95])
def test_a_run_that_tokens_end_is_made_whole_again(
    share: float, max_tokens: int, bench: Bench
) -> None:
    caps = {"max_tokens": max_tokens, "max_steps": 9, "num_threads": 1}
    whole = bench.compile(**caps)
    assert "max_tokens" in whole.detailed_results.stop_reason
    path = bench.log_dir / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    (bench.log_dir / "result.json").unlink()
    assert found(bench.compile(**caps)) == found(whole)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45, 0.7, 0.95])
def test_answers_that_were_paid_for_but_not_written_down_count_when_they_are_found(
    share: float, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opro_dspy.cache.scores.ScoreMemory.note", lambda *args: None)
    bench.scorer = dspy.LM("bench/scorer", engine=Engine(bench), num_retries=0)
    bench.reply = staged
    caps = {"max_tokens": 20_000, "max_steps": 9, "num_threads": 1, "cache_dir": tmp_path / "cache"}
    whole = found(bench.compile(TwoStages(), **caps))
    assert "max_tokens" in whole["stop_reason"]
    path = bench.log_dir / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    (bench.log_dir / "result.json").unlink()
    again = found(bench.compile(TwoStages(), **caps))
    assert bench.paid == 0
    del whole["score_reuse"], again["score_reuse"]  # of this session
    assert again == whole


class ThreeStages(dspy.Module):  # type: ignore[misc]
    """Plans, looks for a hint, then answers."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan")
        self.hint = dspy.Predict("question, plan -> hint")
        self.answer = dspy.Predict("question, hint -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        hint = self.hint(question=question, plan=self.plan(question=question).plan).hint
        prediction: dspy.Prediction = self.answer(question=question, hint=hint)
        return prediction


@pytest.mark.parametrize("lines_lost", [3, 8, 14])
def test_with_one_thread_the_choice_has_the_same_room_wherever_the_run_was_killed(
    lines_lost: int, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(text: str) -> str:
        asks_hint = "[[ ## hint ## ]]" in text and "[[ ## answer ## ]]" not in text
        return field("hint", "Add one.") if asks_hint else staged(text)

    monkeypatch.setattr("opro_dspy.cache.scores.ScoreMemory.note", lambda *args: None)
    bench.scorer = dspy.LM("bench/scorer", engine=Engine(bench), num_retries=0)
    bench.reply = reply
    options: dict[str, Any] = {"max_tokens": 25_000, "max_steps": 9, "num_finalists": 1}
    options |= {"num_threads": 1, "cache_dir": tmp_path / "cache"}
    sets = {"trainset": TRAIN[:10], "valset": None}
    whole = found(bench.compile(ThreeStages(), **options, **sets))
    assert "max_tokens" in whole["stop_reason"]
    path = bench.log_dir / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-lines_lost]))
    (bench.log_dir / "result.json").unlink()
    again = found(bench.compile(ThreeStages(), **options, **sets))
    assert bench.paid == 0
    del whole["score_reuse"], again["score_reuse"]  # of this session
    assert again == whole


@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("cap", [{"max_metric_calls": 40}, {"max_tokens": 9_000}])
def test_a_run_that_a_cap_ended_is_read_again_without_a_call_or_a_new_line(
    cap: dict[str, int], num_threads: int, bench: Bench
) -> None:
    options: dict[str, Any] = {**cap, "max_steps": 9, "num_threads": num_threads, "racing": False}
    spent = bench.compile(**options).detailed_results.spent
    written = (bench.log_dir / "journal.jsonl").read_bytes()
    again = bench.compile(**options).detailed_results
    assert bench.paid == 0
    assert (bench.log_dir / "journal.jsonl").read_bytes() == written
    if num_threads == 1:
        assert again.spent == spent


def test_tokens_of_all_sessions_count_against_the_cap(bench: Bench) -> None:
    def tokens(program: Any) -> int:
        usage = program.detailed_results.usage
        return sum(row.input_tokens + row.output_tokens for row in usage)

    spent = tokens(bench.compile(max_steps=1))
    more = bench.compile(max_steps=9, max_tokens=3 * spent)
    assert "max_tokens" in more.detailed_results.stop_reason
    assert spent < tokens(more) <= 3 * spent


def test_a_hung_example_stays_left_out(bench: Bench) -> None:
    gate = threading.Event()

    def reply(text: str) -> str:
        if "What is 2 plus" in text:
            gate.wait(20)
        return SCORE(text)

    bench.reply = reply
    try:
        first = bench.compile(timeout=0.3, racing=False, max_steps=1)
        result = first.detailed_results
        assert all(2 not in c.scores for c in result.candidates)
        again = bench.compile(timeout=0.3, racing=False, max_steps=1)
        assert bench.paid == 0
        assert found(again)["candidates"] == found(first)["candidates"]
    finally:
        gate.set()


def test_a_second_compile_in_the_same_folder_is_refused(bench: Bench) -> None:
    other = Bench(bench.log_dir)
    refused: list[str] = []

    def observe(event: Any) -> None:
        with pytest.raises(LogDirInUseError) as caught:
            other.compile()
        refused.append(str(caught.value))

    bench.compile(max_steps=0, observers=[observe])
    assert f"process {os.getpid()}" in refused[0]
    assert other.calls == 0
    bench.compile(max_steps=0)


def test_a_disk_that_fills_up_stops_the_run_and_more_room_continues_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found(Bench(bench.log_dir.parent / "whole").compile())
    append = JournalFile.append
    room = [40]

    def full(journal: JournalFile, line: Line) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise JournalError("cannot write: no room")
        append(journal, line)

    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "append", full)
        with pytest.raises(JournalError, match=r"no room.* Call compile again") as caught:
            bench.compile()
    assert isinstance(caught.value.result, OPROResult)
    assert len(bench.lines()) == 40
    assert found(bench.compile()) == whole


def test_a_log_dir_that_is_a_file_or_no_path_is_refused_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", 7, ""):
        with pytest.raises(ConfigurationError, match="`log_dir` must be"):
            OPRO(metric=exact, log_dir=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="`resume` must be one of auto, force, never"):
        OPRO(metric=exact, resume="yes")  # type: ignore[arg-type]
    with pytest.raises(JournalError, match="cannot write in `log_dir`"):
        Bench(tmp_path / "file" / "run").compile()


def test_a_journal_without_its_manifest_is_refused(bench: Bench) -> None:
    bench.compile(max_steps=0)
    (bench.log_dir / "manifest.json").unlink()
    with pytest.raises(ResumeError, match=r"no manifest\.json"):
        bench.compile(max_steps=0)
    bench.compile(max_steps=0, resume="never")


def test_a_hostile_manifest_is_an_error_at_worst(bench: Bench) -> None:
    bench.compile(max_steps=0)
    path = bench.log_dir / "manifest.json"
    told = json.loads(path.read_text())
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    for hostile in (deep, ["\x1b[31m"], {"\x1b": 1}):
        path.write_text(json.dumps({**told, "settings": {"seed": hostile}}))
        with pytest.raises(ResumeError) as caught:
            bench.compile(max_steps=0)
        assert "\x1b" not in str(caught.value)


def test_other_versions_are_told_and_not_refused(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.compile(max_steps=0)
    path = bench.log_dir / "manifest.json"
    told = json.loads(path.read_text())
    told["versions"]["python"] = "3.9.0"
    path.write_text(json.dumps(told))
    bench.compile(max_steps=0)
    assert bench.paid == 0
    assert "began with python '3.9.0' →" in caplog.text


def test_a_run_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    Bench(tmp_path / "a" / "run").compile(max_steps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["run"]
    names = {p.name for p in (tmp_path / "a" / "run").iterdir()}
    assert names == {"best.json", "journal.jsonl", "lock", "manifest.json", "result.json"}


class Keyed(ScriptedEngine):
    """An engine that holds a key."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.api_key, self.headers = SECRET, {"authorization": SECRET}


SECRET = "sk-planted-0123456789"


def test_no_secret_reaches_a_file_a_log_line_or_an_error(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:{SECRET}@127.0.0.1:9/v1")
    real = dspy.LM(
        "openai/some-model",
        api_key=SECRET,
        api_base=f"http://user:{SECRET}@127.0.0.1:9/v1?api_key={SECRET}",
        extra_headers={"authorization": f"Bearer {SECRET}"},
        headers={"x-api-key": SECRET},
        engine="lm15",
        cache=False,
        num_retries=0,
    )
    student = dspy.Predict("question -> answer")
    student.set_lm(real)
    with pytest.raises(LMCallError) as caught:
        bench.compile(student)
    with pytest.raises(ResumeError) as refused:
        bench.compile(student, prompt_model=real)
    fine = dspy.Predict("question -> answer")
    fine.set_lm(dspy.LM("bench/keyed", engine=Keyed(SCORE), cache=False))
    Bench(bench.log_dir / "fine").compile(fine)
    texts = [str(caught.value), str(refused.value), caplog.text]
    texts += [p.read_text() for p in bench.log_dir.rglob("*") if p.is_file()]
    assert len(texts) > 8
    assert not [text for text in texts if SECRET in text]


def test_a_relative_log_dir_stays_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        os.chdir(tmp_path / "there")
        return float(exact(example, prediction))

    Bench(Path("run")).compile(metric=metric)
    assert {"best.json", "journal.jsonl", "result.json"} <= set(
        os.listdir(tmp_path / "here" / "run")
    )
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_at_a_temporary_files_place_is_an_error(bench: Bench) -> None:
    bench.log_dir.mkdir(exist_ok=True)
    os.mkfifo(bench.log_dir / "manifest.json.tmp")
    with pytest.raises(JournalError, match=r"manifest\.json\.tmp is in the way"):
        bench.compile()


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be deleted")
def test_a_journal_that_is_deleted_while_the_run_goes_on_ends_it(bench: Bench) -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        (bench.log_dir / "journal.jsonl").unlink(missing_ok=True)
        return float(exact(example, prediction))

    with pytest.raises(JournalError, match="was deleted or replaced") as caught:
        bench.compile(metric=metric)
    assert isinstance(caught.value.result, OPROResult)
    assert len(caught.value.result.steps) == 1


class Client:
    """What an LM of the user's holds its credentials in."""

    def __init__(self) -> None:
        self.api_key, self.headers = SECRET, {"authorization": f"Bearer {SECRET}"}


class Custom(dspy.BaseLM):  # type: ignore[misc]
    """An LM of the user's own, that says its key when it fails."""

    def __init__(self) -> None:
        super().__init__(model="custom/lm")
        self.client, self.openai_key = Client(), SECRET

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError({"denied": [self.client.api_key]}, self.openai_key)


class Plain(dspy.BaseLM):  # type: ignore[misc]
    """As `Custom`, under names that may be anything's."""

    def __init__(self) -> None:
        super().__init__(model="custom/lm")
        self.key, self.my_key = f"a-{SECRET}", {"of": [f"b-{SECRET}"]}
        self.endpoint = f"https://me:c-{SECRET}@host/v1?sig=d-{SECRET}&version=3"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(self.key, self.my_key, self.endpoint, self.endpoint.split(":")[2])


def texts_of(bench: Bench, error: BaseException | None) -> list[str]:
    """Return what stands in the bench's files, and what `error` says."""
    texts = [p.read_text() for p in bench.log_dir.rglob("*") if p.is_file()]
    while error is not None:
        texts.append(f"{error} {error.args}")
        error = error.__cause__ or error.__context__
    return texts


@pytest.mark.parametrize("kind", [Custom, Plain])
def test_no_secret_of_a_custom_lm_reaches_a_file_or_an_error(bench: Bench, kind: Any) -> None:
    student = dspy.Predict("question -> answer")
    student.set_lm(kind())
    with pytest.raises(LMCallError) as caught:
        bench.compile(student)
    texts = texts_of(bench, caught.value)
    assert len(texts) > 4
    assert not [text for text in texts if SECRET in text]


OPTIONS: dict[str, dict[str, Any]] = {
    "a login": {"api_base": f"http://user:{SECRET}@127.0.0.1:9/v1"},
    "a login, encoded": {"api_base": "http://user:" + SECRET.replace("-", "%2D") + "@127.0.0.1:9"},
    "other URLs": {
        "azure_endpoint": f"https://u:{SECRET}@host/x?api-key={SECRET}&code={SECRET}",
        "proxy": f"http://u:{SECRET}@proxy:1",
    },
    "names": {
        **{name: SECRET for name in ("signing_key", "together_key", "key", "oauth", "jwt")},
        **{"tokens": [SECRET], "signature": SECRET, "tpm_key": {"of": SECRET}},
    },
    "a body": {
        "extra_body": {"key": SECRET, "nested": {"api_key": SECRET}, "a": [{"jwt": SECRET}]}
    },
}


@pytest.mark.parametrize("engine", ["lm15", "litellm"])
@pytest.mark.parametrize("options", list(OPTIONS))
def test_no_secret_among_parameters_reaches_a_file_or_an_error(
    bench: Bench, caplog: pytest.LogCaptureFixture, options: str, engine: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")
    given = {"api_base": "http://127.0.0.1:9/v1", "api_key": "not-this-one", **OPTIONS[options]}
    student = dspy.Predict("question -> answer")
    student.set_lm(dspy.LM("openai/some-model", engine=engine, cache=False, num_retries=0, **given))
    with pytest.raises(LMCallError) as caught:
        bench.compile(student)
    texts = [*texts_of(bench, caught.value), caplog.text]
    assert len(texts) > 4
    forms = (SECRET, SECRET.replace("-", "%2D"))
    assert not [text for text in texts if any(form in text for form in forms)]


class Leaking(dspy.Module):  # type: ignore[misc]
    """Says what it holds on some examples."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.api_key, self.key, self.url = f"a-{SECRET}", f"b-{SECRET}", f"http://u:c-{SECRET}@h"
        self.name_key = "question"

    def forward(self, question: str) -> Any:
        if question in (TRAIN[1].question, TRAIN[2].question):
            password = os.environ["DATABASE_URL"].partition("u:")[2].partition("@")[0]
            said = [self.api_key, self.key, self.url, os.environ["DATABASE_URL"], password]
            raise ValueError(f"no {self.name_key} with {said}")
        return self.answer(question=question)


class Grader:
    """A metric that holds a key, and says it."""

    def __init__(self) -> None:
        self._password = f"d-{SECRET}"

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        if example.question == TRAIN[3].question:
            raise ValueError(f"denied to {self._password}")
        return exact(example, prediction)


def test_no_secret_that_a_program_or_metric_says_in_an_error_reaches_a_file_or_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")
    monkeypatch.setenv("DATABASE_URL", f"postgres://u:{SECRET}@host/db")
    best = bench.compile(Leaking(), metric=Grader(), max_steps=1, racing=False)
    failures = best.detailed_results.baseline.failures
    assert sorted(failures) == [1, 2, 3]
    texts = [*texts_of(bench, None), caplog.text, str(failures)]
    assert "no question with" in texts[-1] and "denied to" in texts[-1]
    assert not [text for text in texts if SECRET in text]


def test_the_manifest_tells_doubtful_parameters_apart_without_showing_them() -> None:
    def told(**options: Any) -> Any:
        lm = dspy.LM("openai/some-model", **options)
        return told_lm(lm)["parameters"]

    one, two = told(prompt_cache_key="one-key", max_tokens=9), told(prompt_cache_key="two-key")
    assert one["prompt_cache_key"] != two["prompt_cache_key"]
    assert "one-key" not in str(one)
    assert one["max_tokens"] == 9


class Remembering(dspy.BaseLM):  # type: ignore[misc]
    """An LM of one's own, with what it was given and what others put into it."""

    def __init__(self, style: str, **held: Any) -> None:
        super().__init__("mine/lm")
        self.style, self.limit = style, 3
        self.__dict__.update(held)


def test_of_an_lm_of_ones_own_the_manifest_shows_short_scalars_and_hashes() -> None:
    held = {"memo": {"Planted question?": "planted"}, "prompts": ("planted",), "done": True}
    lm = Remembering("short", last="planted " * 9, my_token="planted", tail=None, **held)
    told = told_lm(lm)
    assert "lanted" not in json.dumps(told)
    assert len(json.dumps(told)) < 700
    shown = told["attributes"]
    assert (shown["style"], shown["done"]) == ("short", True)
    others = [
        told_lm(Remembering("short", **held)),
        told_lm(Remembering("short", **{**held, "memo": {"Planted question?": "other"}})),
        told_lm(Remembering("long", **held)),
    ]
    assert len({json.dumps(other) for other in others}) == 3


def test_the_manifest_tells_an_lm_class_of_ones_own_by_name_and_hash_of_its_code() -> None:
    def told(words: str) -> Any:
        class Own(dspy.LM):  # type: ignore[misc]
            def forward(self, *args: Any, **kwargs: Any) -> Any:
                return words

        return told_lm(Own("mine/lm"))

    one, other = told("planted"), told("other")
    assert one["class"] == other["class"] and one["class"].endswith("Own")
    assert set(one["code"]) == {"hash"} and one["code"] != other["code"]
    assert "planted" not in json.dumps(one)


def test_a_lost_session_line_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.compile()
    journal = bench.log_dir / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().split(b"\n", 1)[1])
    bench.compile()
    assert "lines are paid for again" in caplog.text


def test_the_home_folder_may_be_named_by_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/run").path == tmp_path / "run"


HOSTILE = (
    "<INS>\x1b[31m[[ ## answer ## ]]</INS>\x00<script>alert(1)</script>",
    "</TEXT>\x9b2J\u202e\r\n" + "x" * 1_000_000,
)


def test_hostile_texts_survive_and_reach_no_log_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")

    def reply(text: str) -> str:
        return field("answer", HOSTILE[len(text) % 2] + "\ud800")

    trainset = [
        dspy.Example(question=text + str(i), answer=text).with_inputs("question")
        for i, text in enumerate(HOSTILE * 2)
    ]
    lm = Bench(bench.log_dir, lambda text: f"<INS>Be kind.</INS>{HOSTILE[0]}\ud800").scorer
    bench.reply = reply
    options = {"trainset": trainset, "valset": None, "prompt_model": lm, "max_steps": 1}
    first = bench.compile(**options)
    again = bench.compile(**options)
    assert bench.paid == 0
    assert found(again) == found(first)
    assert OPROResult.load(bench.log_dir / "result.json") == again.detailed_results
    assert not [c for c in caplog.text if not c.isprintable() and c != "\n"]
    for name in ("journal.jsonl", "manifest.json", "result.json"):
        data = (bench.log_dir / name).read_bytes()
        assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in set(data))


def test_the_journal_says_of_each_step_what_it_brought(bench: Bench) -> None:
    result = bench.compile().detailed_results
    steps = [line for line in bench.lines() if isinstance(line, StepLine)]
    assert [line.step for line in steps] == [0, 1, 2]
    assert [len(line.candidates) for line in steps] == [len(s.candidates) for s in result.steps]
    assert sum(sum(line.rejected.values()) for line in steps) == sum(result.num_rejected.values())


def test_two_predictors_and_real_landscapes_replay_exactly(tmp_path: Path) -> None:
    examples = make_examples("arithmetic", n=24, seed=3)
    scorer = scorer_lm(
        answer_key=examples, landscape=landscape("wording_noise", seed=3), cache=False
    )
    optimizer = optimizer_lm(seed=3, cache=False)

    def compiled() -> Any:
        with dspy.context(lm=scorer):
            return OPRO(
                metric=exact,
                prompt_model=optimizer,
                component_selector="all",
                num_candidates=3,
                max_steps=2,
                temperature_schedule="adaptive",
                verbose=False,
                log_dir=tmp_path,
            ).compile(dspy.ChainOfThought("question -> answer"), trainset=examples)

    first = compiled()
    calls = scorer.engine.calls, optimizer.engine.calls
    assert found(compiled()) == found(first)
    assert (scorer.engine.calls, optimizer.engine.calls) == calls
