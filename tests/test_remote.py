"""Work on an executor: what travels, what it may cost, and whose fault it is when it fails."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import cloudpickle
import dspy
import pytest
from dspy.lm15 import Message, Request, Response, TextPart, Usage
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMRateLimitError,
)

from opro_dspy import (
    OPRO,
    ConfigurationError,
    ExecutorError,
    LMCallError,
    MetricError,
    Price,
    ProgramFailedError,
)
from opro_dspy.boundary.faults import GarbledAnswerError, is_retryable, retry_after
from opro_dspy.executing import Workers
from opro_dspy.restoring import WorkerTraceback, restored, told
from opro_dspy.simulation import exact_match, make_examples, optimizer_lm
from opro_dspy.worker import Allowance, unpack
from tests.executors import Elsewhere, Shared, found, shared, simulated
from tests.fakes import (
    TRAIN,
    VAL,
    compiled,
    exact,
    field,
    keyword_scorer,
    questions,
    scripted_lm,
    word_optimizer,
)

KEY = "sk-planted-0123456789"


@pytest.mark.parametrize("racing", [True, False])
@pytest.mark.parametrize("executor", [Elsewhere, lambda: ThreadPoolExecutor(3)])
def test_the_result_is_that_of_threads(executor: Callable[[], Executor], racing: bool) -> None:
    here = simulated(racing=racing)
    assert found(simulated(racing=racing, executor=executor())) == found(here)


class Drafts(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        drafts = [
            self.predict(question=question, config={"rollout_id": i, "temperature": 1.0})
            for i in range(3)
        ]
        return drafts[-1]


def test_simulated_lms_tell_rollouts_apart_there_too() -> None:
    here = found(simulated(Drafts(), max_steps=1))
    assert here != found(simulated(max_steps=1))
    assert found(simulated(Drafts(), max_steps=1, executor=Elsewhere())) == here


class Tunes(dspy.Module):  # type: ignore[misc]
    """Compiles another program before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.tuner = OPRO(
            metric=exact_match,
            prompt_model=optimizer_lm(seed=0),
            max_steps=1,
            num_candidates=1,
            num_threads=1,
            verbose=False,
        )

    def forward(self, question: str) -> Any:
        self.tuner.compile(
            dspy.Predict("question -> answer"),
            trainset=make_examples("arithmetic", n=20, seed=0)[:2],
        )
        return self.predict(question=question)


def test_what_a_compile_within_the_program_takes_is_counted_there_too() -> None:
    here = found(simulated(Tunes(), max_steps=0, racing=False))
    there = found(simulated(Tunes(), max_steps=0, racing=False, executor=Elsewhere()))
    assert there["usage"] == here["usage"]
    assert sum(row["calls"] for row in here["usage"]) > 3 * 8


def test_a_threads_executor_runs_the_program_itself() -> None:
    lock = threading.Lock()

    class Counts(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict, self.lock = dspy.Predict("question -> answer"), lock

        def forward(self, question: str) -> Any:
            with self.lock:
                names[threading.current_thread().name.split("_")[0]] += 1
            return self.predict(question=question)

    names: Counter[str] = Counter()
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as executor:
        compiled(Counts(), executor=executor, max_steps=1)
        assert set(names) == {"mine"}
        assert executor.submit(int, "1").result() == 1  # not shut down


def test_a_job_is_small_and_the_program_travels_once_for_each_worker() -> None:
    demos = [dspy.Example(question=f"{i} What? What? " * 50, answer=str(i)) for i in range(8)]
    student = dspy.Predict("question -> answer")
    student.demos = demos
    executor = Elsewhere()
    simulated(student, executor=executor, num_threads=8)
    jobs = [content for content in executor.sent if b"What? What?" not in content]
    kits = [content for content in executor.sent if b"What? What?" in content]
    assert len(kits) == 1 and len(kits[0]) > 8_000
    assert len(jobs) > 40 and max(map(len, jobs)) < 2_000


class Judged(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        headers = {"Authorization": KEY}
        self.judge = dspy.LM("openai/x", api_key=KEY, extra_headers=headers, seed=1)

    def forward(self, question: str) -> Any:
        told = self.judge.kwargs
        assert told["seed"] == 1 and not {"api_key", "extra_headers"} & told.keys()
        return self.predict(question=question)


def test_no_key_and_no_header_travels() -> None:
    student = Judged()
    student.judge.history.append({"messages": KEY})
    executor = Elsewhere()
    program = simulated(student, executor=executor, max_steps=1)
    assert not program.detailed_results.baseline.failures
    assert len(executor.sent) > 10
    assert [content for content in executor.sent if KEY.encode() in content] == []
    assert student.judge.kwargs["api_key"] == KEY


def test_a_credential_in_the_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    student = dspy.Predict("question -> answer")
    student.tool_header = os.environ["SOME_API_KEY"]
    with pytest.raises(ConfigurationError, match="the program holds a credential that would"):
        simulated(student, executor=Elsewhere())
    monkeypatch.delenv("SOME_API_KEY")
    student = Judged()
    student.note = f"Bearer {KEY}"
    with pytest.raises(ConfigurationError, match="the program holds a credential that would"):
        simulated(student, executor=Elsewhere())


class Judge:
    """A metric with a key."""

    def __init__(self) -> None:
        self.api_key = KEY

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return exact(example, prediction)


class Search:
    """A tool with a key."""

    def __init__(self) -> None:
        self.api_key = KEY


def test_what_has_the_name_of_a_credential_is_refused_in_modules_metric_and_settings() -> None:
    for name, value in (
        ("api_key", KEY),
        ("search", Search()),
        ("connection", {"password": KEY}),
    ):
        inner = dspy.Predict("question -> answer")
        setattr(inner, name, value)
        student = dspy.Refine(inner, N=1, reward_fn=lambda *_: 1.0, threshold=0.0)
        with pytest.raises(ConfigurationError, match="the program holds a credential that would"):
            simulated(student, executor=Elsewhere())
    with pytest.raises(ConfigurationError, match="the metric holds a credential that would"):
        simulated(metric=Judge(), executor=Elsewhere())
    with (
        dspy.context(rm=Search()),
        pytest.raises(ConfigurationError, match=r"dspy\.settings\.rm holds a credential"),
    ):
        simulated(executor=Elsewhere())


class Metered:
    def __init__(self) -> None:
        self.api_key = KEY

    def judge(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return exact(example, prediction)


class InClass:
    API_KEY = KEY

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return exact(example, prediction)


@dataclass(slots=True)
class InSlot:
    api_key: str

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return exact(example, prediction)


def keyed(example: Any, prediction: Any, trace: Any = None, *, api_key: str = "") -> bool:
    return exact(example, prediction)


def by_default(
    example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, api_key: str = KEY
) -> bool:
    return exact(example, prediction)


@pytest.mark.parametrize(
    "metric",
    [
        Metered().judge,
        partial(keyed, api_key=KEY),
        partial(partial(Metered().judge), trace=None),
        InSlot(KEY),
        InClass(),
        by_default,
        lambda example, prediction, *, api_key=KEY: True,
    ],
    ids=["method", "partial", "partial of a method", "slot", "class", "default", "keyword"],
)
def test_a_key_is_found_wherever_a_metric_holds_it_as_an_attribute(metric: Any) -> None:
    with as_of_a_script(), pytest.raises(ConfigurationError, match="the metric holds"):
        simulated(metric=metric, executor=Elsewhere())


@contextmanager
def as_of_a_script() -> Iterator[None]:
    """Let what stands in this module travel by value, as if it stood in the user's script."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_key_in_a_demo_is_refused_and_a_text_of_that_name_is_not() -> None:
    student = dspy.Predict("question, token -> answer")
    student.demos = [dspy.Example(question="1?", token="a token of our gratitude", answer="1")]
    program = simulated(student, executor=Elsewhere(), max_steps=0)
    assert program.detailed_results.best.score >= 0.0
    student.demos = [dspy.Example(question="1?", token=KEY, answer="1")]
    with pytest.raises(ConfigurationError, match="the program holds a credential"):
        simulated(student, executor=Elsewhere())


def test_text_under_a_name_that_only_sounds_like_a_credential_may_travel() -> None:
    student = dspy.Predict("question -> answer")
    student.answer_key = "the-2nd-field-of-the-answer"
    program = simulated(student, executor=Elsewhere(), max_steps=1)
    assert not program.detailed_results.baseline.failures


def test_the_password_in_an_address_stays_here() -> None:
    student = dspy.Predict("question -> answer")
    student.judge = dspy.LM("openai/x", api_base=f"https://me:{KEY}@host.example/v1?seed=1")
    executor = Elsewhere()
    simulated(student, executor=executor, max_steps=0)
    assert [content for content in executor.sent if KEY.encode() in content] == []
    assert any(b"https://host.example/v1?seed=1" in content for content in executor.sent)
    assert KEY in student.judge.kwargs["api_base"]


def test_what_cannot_travel_is_refused_before_the_first_call() -> None:
    scorer, optimizer = shared(keyword_scorer()), word_optimizer()
    lock = threading.Lock()

    def locked(example: Any, prediction: Any, trace: Any = None) -> bool:
        with lock:
            return exact(example, prediction)

    student = dspy.Predict("question -> answer")
    options: dict[str, Any] = {
        "scorer": scorer,
        "prompt_model": optimizer,
        "executor": Elsewhere(),
    }
    with pytest.raises(ConfigurationError, match="the metric cannot travel to the workers"):
        compiled(student, metric=locked, **options)
    student.lock = lock
    with pytest.raises(ConfigurationError, match="the program cannot travel to the workers"):
        compiled(student, **options)
    with (
        dspy.context(rm=lock),
        pytest.raises(ConfigurationError, match=r"dspy\.settings\.rm cannot travel"),
    ):
        compiled(**options)
    locked_up = dspy.Example(question="What is 1 plus 1?", answer=lock).with_inputs("question")
    with pytest.raises(ConfigurationError, match=r"`valset\[1\]` cannot travel"):
        compiled(valset=[VAL[0], locked_up], **options)
    assert scorer.engine._engine.calls == optimizer.engine.calls == 0


def test_an_estimate_packs_nothing() -> None:
    student = dspy.Predict("question -> answer")
    student.lock = threading.Lock()
    optimizer = OPRO(metric=exact, prompt_model=word_optimizer(), executor=Elsewhere())
    with dspy.context(lm=keyword_scorer()):
        assert optimizer.estimate(student, trainset=TRAIN).scorer.calls


def test_settings_travel() -> None:
    def adapter(example: Any, prediction: Any, trace: Any = None) -> bool:
        return (
            type(dspy.settings.adapter).__name__ == "JSONAdapter" and dspy.settings.lm is not None
        )

    def reply(text: str) -> str:
        return json.dumps({"answer": "1"})

    with dspy.context(adapter=dspy.JSONAdapter()):
        program = compiled(
            scorer=shared(scripted_lm(reply)), metric=adapter, executor=Elsewhere(), max_steps=0
        )
    assert program.detailed_results.best.score == 1.0


def test_an_answer_of_another_engine_is_not_taken_from_dspys_cache() -> None:
    class Says:
        def __init__(self, word: str) -> None:
            self.word = word

        def dump_state(self) -> dict[str, str]:
            return {"word": self.word}

        def complete(self, request: Request) -> Response:
            usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
            text = TextPart(field("answer", self.word))
            return Response(
                id=None,
                model=request.model,
                message=Message.assistant([text]),
                finish_reason="stop",
                usage=usage,
            )

    def says_one(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(prediction.answer == "one")

    model = f"scripted/{uuid4().hex}"
    options: dict[str, Any] = {"metric": says_one, "max_steps": 0}
    for word, score in (("two", 0.0), ("one", 1.0)):
        lm = dspy.LM(model, engine=Says(word), cache=True)
        program = compiled(scorer=lm, executor=Elsewhere(), **options)
        assert program.detailed_results.best.score == score


def test_an_adapters_own_lm_travels_and_is_counted() -> None:
    answer = shared(keyword_scorer(max_tokens=40))
    long = field("answer", "1 " * 2_400)
    reader = shared(scripted_lm(lambda text: long, max_tokens=1_250))
    options: dict[str, Any] = {"max_steps": 0, "racing": False, "valset": None}
    with dspy.context(adapter=dspy.TwoStepAdapter(reader)):
        here = compiled(scorer=answer, **options).detailed_results
        calls = reader.engine._engine.calls
        there = compiled(scorer=answer, executor=Elsewhere(), **options).detailed_results
        capped = compiled(
            scorer=answer, executor=Elsewhere(), **{**options, "max_tokens": 1_000}
        ).detailed_results
    used = {row.model: row.calls for row in there.usage}
    assert used == {row.model: row.calls for row in here.usage}
    assert used[reader.model] == calls == len(TRAIN)
    assert sum(u.input_tokens + u.output_tokens for u in capped.usage) <= 1_000
    assert capped.stop_reason.startswith("max_tokens")


@pytest.mark.parametrize(
    ("cap", "most"), [("max_tokens", 6_000), ("max_cost", 0.006), ("max_metric_calls", 40)]
)
def test_caps_hold_and_are_used(cap: str, most: float) -> None:
    scorer, optimizer = shared(keyword_scorer(max_tokens=40)), word_optimizer(max_tokens=40)
    price = Price(input_per_million=1.0, output_per_million=1.0)
    options: dict[str, Any] = {
        "prices": {scorer.model: price, optimizer.model: price},
        "max_steps": 20,
        cap: most,
    }
    program = compiled(scorer=scorer, prompt_model=optimizer, executor=Elsewhere(), **options)
    result = program.detailed_results
    used = {
        "max_tokens": sum(u.input_tokens + u.output_tokens for u in result.usage),
        "max_cost": sum(u.cost_usd or 0.0 for u in result.usage),
        "max_metric_calls": scorer.engine._engine.calls,
    }
    assert 0.4 * most < used[cap] <= most
    assert result.stop_reason.startswith(cap)
    assert result.used("scorer").calls == scorer.engine._engine.calls


def test_a_job_that_needs_more_than_those_before_is_sent_again_with_more() -> None:
    class Draft(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            number = int(question.split()[2])
            return [self.one(question=question, config={"rollout_id": i}) for i in range(number)][
                -1
            ]

    scorer = shared(keyword_scorer(max_tokens=40))
    with dspy.context(lm=scorer):
        program = OPRO(
            metric=exact,
            prompt_model=word_optimizer(),
            max_steps=0,
            max_tokens=100_000,
            executor=Elsewhere(),
            num_threads=1,
        ).compile(Draft(), trainset=questions(6, start=1))
    assert program.detailed_results.best.scores.keys() == set(range(6))
    assert 21 < program.detailed_results.used("scorer").calls == scorer.engine._engine.calls < 42


def test_an_lm_that_refuses_for_good_stops_the_run() -> None:
    scorer = shared(scripted_lm(lambda text: LMAuthError(f"no key {KEY}", status=401)))
    with pytest.raises(LMCallError, match="LMAuthError") as caught:
        compiled(scorer=scorer, executor=Elsewhere())
    assert isinstance(caught.value.__cause__, LMAuthError)
    assert scorer.engine._engine.calls <= 8  # those in flight, and DSPy's second adapter


def test_an_outage_is_sat_out_and_no_score() -> None:
    failed: Counter[str] = Counter()
    answer = keyword_scorer().engine._reply

    def reply(text: str) -> Any:
        failed[text] += 1
        return LMRateLimitError("slow down", status=429) if failed[text] == 1 else answer(text)

    program = compiled(scorer=shared(scripted_lm(reply)), executor=Elsewhere(), max_steps=1)
    result = program.detailed_results
    assert result.used("scorer").failures > 10
    assert all(not candidate.failures for candidate in result.candidates)


def test_a_prompt_too_long_is_the_examples_fault_there_as_here() -> None:
    def reply(text: str) -> Any:
        number = text.split("What is ")[-1].split()[0]
        return ContextWindowExceededError() if number == "3" else field("answer", "1")

    def run(**options: Any) -> Any:
        program = compiled(
            scorer=shared(scripted_lm(reply)), max_steps=0, racing=False, valset=None, **options
        )
        return program.detailed_results.baseline.failures

    assert list(run()) == [3]
    assert run() == run(executor=Elsewhere())


class Odd(ValueError):
    """Raised by a program; cannot be made from a text alone."""

    def __init__(self, question: str, number: int) -> None:
        super().__init__(f"{question} {number}")


class Picky(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        if question.startswith("What is 3 "):
            raise Odd(question, 3)
        if question.startswith("What is 4 "):
            raise KeyError("four")
        return self.predict(question=question)


def test_errors_of_the_program_are_told_as_on_threads() -> None:
    def run(**options: Any) -> Any:
        program = compiled(
            Picky(),
            scorer=shared(keyword_scorer()),
            max_steps=0,
            racing=False,
            valset=None,
            **options,
        )
        return program.detailed_results.baseline.failures

    assert run() == {3: "Odd: What is 3 plus 1? 3", 4: "KeyError: 'four'"}
    assert run(executor=Elsewhere()) == run()


class Leaves(dspy.Module):  # type: ignore[misc]
    """A program that ends the process it runs in, on one example."""

    def __init__(self, kind: type[BaseException], *args: Any) -> None:
        super().__init__()
        self.predict, self.kind, self.args = dspy.Predict("question -> answer"), kind, args

    def forward(self, question: str) -> Any:
        if question.startswith("What is 9 "):
            raise self.kind(*self.args)
        return self.predict(question=question)


class Noting(Elsewhere):
    """Keeps what came of each call: one that raises would end a worker of Dask's."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.came.append(super().submit(fn, *args, **kwargs))
        return self.came[-1]


@pytest.mark.parametrize("code", ["bye", 3])
def test_a_program_that_exits_ends_the_run_as_on_threads_and_no_worker(code: Any) -> None:
    options: dict[str, Any] = {"max_steps": 0, "racing": False, "valset": None}
    workers = Noting()
    for executor in (None, workers):
        student = Leaves(SystemExit, code)
        with pytest.raises(SystemExit) as caught:
            compiled(student, scorer=shared(keyword_scorer()), executor=executor, **options)
        assert caught.value.code == code
    assert [f for f in workers.came if f.exception() is not None] == []


def test_ctrl_c_in_a_program_ends_the_run_as_on_threads_and_no_worker() -> None:
    options: dict[str, Any] = {"max_steps": 0, "racing": False, "valset": None}
    workers, reasons = Noting(), []
    for executor in (None, workers):
        program = compiled(
            Leaves(KeyboardInterrupt),
            scorer=shared(keyword_scorer()),
            executor=executor,
            **options,
        )
        reasons.append(program.detailed_results.stop_reason)
    assert reasons[0].startswith("interrupted") and reasons[1] == reasons[0]
    assert [f for f in workers.came if f.exception() is not None] == []


def broken(example: Any, prediction: Any, trace: Any = None) -> Any:
    raise RuntimeError("the metric is broken")


def no_number(example: Any, prediction: Any, trace: Any = None) -> Any:
    return None


def test_a_broken_metric_stops_the_run_and_shows_where() -> None:
    scorer = shared(keyword_scorer())
    with pytest.raises(ProgramFailedError, match="the metric is broken") as caught:
        compiled(scorer=scorer, metric=broken, executor=Elsewhere())
    cause = caught.value.__cause__
    assert cause is not None and isinstance(cause.__cause__, WorkerTraceback)
    assert "in broken" in str(cause.__cause__)
    with pytest.raises(MetricError, match="`no_number` returned None on example"):
        compiled(scorer=scorer, metric=no_number, executor=Elsewhere())


def test_a_broken_executor_is_an_error_of_its_own_and_the_run_goes_on_later(tmp_path: Path) -> None:
    log_dir = str(tmp_path / "run")
    with pytest.raises(ExecutorError, match=r"a process died.*Call compile again") as caught:
        simulated(executor=Elsewhere(breaks_after=60), log_dir=log_dir)
    assert len(caught.value.result.steps) >= 1  # type: ignore[attr-defined]
    again = Elsewhere()
    program = simulated(executor=again, log_dir=log_dir)
    calm = Elsewhere()
    assert found(program) == found(simulated(executor=calm, log_dir=str(tmp_path / "calm")))
    assert len(again.sent) <= len(calm.sent) - 50


def test_a_function_makes_the_next_executor_when_one_breaks() -> None:
    made: list[Elsewhere] = []

    def make() -> Executor:
        made.append(Elsewhere(breaks_after=None if made else 20))
        return made[-1]

    assert found(simulated(executor=make)) == found(simulated())
    assert len(made) == 2


def test_workers_that_always_die_are_given_up() -> None:
    with pytest.raises(ExecutorError, match="died 3 times under example"):
        simulated(executor=lambda: Elsewhere(breaks_after=0))


def large_student() -> dspy.Module:
    """One whose kit no other run has sent, and larger than any job."""
    student = dspy.Predict("question -> answer")
    student.demos = [dspy.Example(question=f"{uuid4().hex} " * 200, answer="0")]
    return student


def test_workers_that_die_of_the_program_itself_are_no_failure_of_the_candidate() -> None:
    for executor in (lambda: Elsewhere(most_bytes=5_000), Elsewhere(most_bytes=5_000)):
        with pytest.raises(ExecutorError, match="died") as caught:
            simulated(large_student(), executor=executor)
        assert not caught.value.result.used("scorer").calls  # type: ignore[attr-defined]
        assert not caught.value.result.unfinished  # type: ignore[attr-defined]


def test_a_function_that_raises_is_no_failure_of_the_candidate(tmp_path: Path) -> None:
    def make() -> Executor:
        raise ValueError("no such queue")

    log_dir = str(tmp_path / "run")
    with pytest.raises(ExecutorError, match="raised ValueError: no such queue"):
        simulated(executor=make, log_dir=log_dir)
    program = simulated(log_dir=log_dir)  # the journal holds no failure
    assert all(not candidate.failures for candidate in program.detailed_results.candidates)


def test_what_goes_wrong_on_the_drivers_side_is_no_failure_of_the_candidate() -> None:
    class Garbled(Elsewhere):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            future: Future[Any] = Future()
            future.set_result({})
            return future

    with pytest.raises(ExecutorError, match="says nothing about the candidate: KeyError"):
        simulated(executor=Garbled())


class KilledWorker(Exception):
    """Dask's, by name."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenExecutor("a process died."), r"a process died\. One of its .* Pass a function that"),
        (
            RuntimeError("cannot schedule new futures after shutdown"),
            r"shutdown\. Pass one that is",
        ),
        (CancelledError(), r"CancelledError\. It cancelled its work: is its scheduler up"),
        (KilledWorker("on 4 workers."), r"on 4 workers\. See what its workers say: too little mem"),
        (ConnectionError("gone"), r"gone\. Are its workers and its scheduler up, with opro_dspy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_executor_that_fails_is_told_with_its_cure(error: Exception, said: str) -> None:
    class Gone(Elsewhere):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            raise error

    with pytest.raises(ExecutorError, match=rf"says nothing about the candidate: .*{said}"):
        simulated(executor=Gone())


def test_threads_that_were_shut_down_are_told() -> None:
    executor = ThreadPoolExecutor(2)
    executor.shutdown()
    with pytest.raises(ExecutorError, match="takes no work: cannot schedule new futures after"):
        simulated(executor=executor)
    busy = ThreadPoolExecutor(1)

    def shuts(example: Any, prediction: Any, trace: Any = None) -> bool:
        busy.shutdown(wait=False, cancel_futures=True)
        return True

    with pytest.raises(ExecutorError, match=r"(takes no work|work cancelled)"):
        simulated(metric=shuts, executor=busy)


def test_a_function_that_makes_no_executor_is_told() -> None:
    with pytest.raises(ExecutorError, match=r"must return a concurrent\.futures\.Executor, got 4"):
        simulated(executor=lambda: 4)


class Stranger(dspy.Module):  # type: ignore[misc]
    """A program that workers cannot unpack."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stranger":
        return Stranger()

    def __reduce__(self) -> Any:
        return __import__, ("a_module_of_the_driver",)

    def forward(self, question: str) -> Any:
        return self.predict(question=question)


def test_a_worker_that_cannot_unpack_the_program_says_why() -> None:
    with pytest.raises(ExecutorError, match=r"cannot unpack the program: .*a_module_of_the_driver"):
        simulated(Stranger(), executor=Elsewhere())


def test_what_a_worker_says_holds_no_key_of_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    kit = b"cbuiltins\n" + f"no_{KEY}\n.".encode()
    said = unpack("a kit that names a key", kit, "1")["broken"]
    assert "no_[redacted]" in said and KEY not in said


def test_workers_that_forget_the_program_get_it_with_each_job() -> None:
    class Forgetful(Elsewhere):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            name, *rest = args
            return super().submit(fn, f"{name}{uuid4().hex}", *rest, **kwargs)

    assert found(simulated(executor=Forgetful(), max_steps=1)) == found(simulated(max_steps=1))


def test_a_hung_example_is_left_out() -> None:
    go_on = threading.Event()
    answer = keyword_scorer().engine._reply

    def reply(text: str) -> Any:
        if "What is 3 plus" in text:
            go_on.wait(30)
        return answer(text)

    result = compiled(
        scorer=shared(scripted_lm(reply)),
        executor=Elsewhere(),
        timeout=0.3,
        max_steps=0,
        racing=False,
        valset=None,
    ).detailed_results
    go_on.set()
    assert result.baseline.scores.keys() == set(range(len(TRAIN))) - {3}


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ({}, r"`executor` has no worker: .* Start workers and wait until they are up"),
        ({"tcp://worker": 2}, r"hung on \d examples.*set a longer `timeout`"),
        (OSError("no answer"), r"hung on \d examples.*set a longer `timeout`"),
    ],
)
def test_it_is_told_if_nothing_comes_back_since_there_is_no_worker(workers: Any, said: str) -> None:
    class Client:
        status = "running"

        def nthreads(self, *, callback_timeout: float) -> Any:
            if isinstance(workers, Exception):
                raise workers
            return workers

    class Deserted(Executor):
        """Takes jobs as Dask's does that waits for workers."""

        def __init__(self) -> None:
            self._client = Client()

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
            return Future()

    with pytest.raises(ExecutorError, match=said):
        simulated(executor=Deserted(), timeout=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"executor": 4}, "must be a concurrent.futures.Executor, or a function"),
        ({"executor": ThreadPoolExecutor}, "must be a concurrent.futures.Executor, or a function"),
        ({"executor": Elsewhere(), "requests_per_minute": 9}, "cannot be held on the workers"),
    ],
)
def test_a_wrong_executor_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        OPRO(metric=exact, **options)


def test_an_lm_error_keeps_what_decides_about_it() -> None:
    garbled = GarbledAnswerError("no JSON", model="m", status=200)
    late = LMRateLimitError("slow down", provider="p", status=429, retry_after=7.5)
    for error in (garbled, late):
        back = restored(json.loads(json.dumps(told(error))))
        assert isinstance(error, type(back)) and str(back) == str(error)
        assert is_retryable(back) == is_retryable(error) is True
        assert retry_after(back) == retry_after(error)


def test_an_allowance_knows_what_was_wanted() -> None:
    allowance = Allowance(max_tokens=100)
    first = allowance.admit(tokens=60)
    assert first is not None
    first.settle(tokens=50, cost=0.0)
    assert not allowance.too_small
    assert allowance.admit(tokens=60) is None
    assert allowance.too_small and allowance.needed.tokens == 110


def test_engines_are_shared_in_these_tests() -> None:
    engine = Shared(None)
    assert engine.__reduce__()[0](*engine.__reduce__()[1]) is engine


def test_a_job_that_a_closed_client_will_never_finish_is_an_executors_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Client:
        status = "connecting"

    class Lost(Executor):
        """Takes a job while it looks for its scheduler, as Dask's does, and then gives up."""

        def __init__(self) -> None:
            self._client = Client()

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            threading.Timer(0.03, setattr, (self._client, "status", "closed")).start()
            return Future()

    monkeypatch.setattr("opro_dspy.executing.POLL_S", 0.01)
    with pytest.raises(ExecutorError, match="its client was closed"):
        Workers(Lost()).run("example 0", dict)
