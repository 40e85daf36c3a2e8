"""`await optimizer.acompile(...)`: the same engine in a running event loop, and cancellable."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, LMCallError, OPROResult, UnknownArgumentError
from opro_dspy.simulation import optimizer_lm
from tests.fakes import TRAIN, VAL, exact, keyword_scorer, scripted_lm
from tests.test_callbacks import Notes

STUDENT = dspy.Predict("question -> answer")
RIGHT = keyword_scorer().engine._reply


def opro(**options: Any) -> OPRO:
    options.setdefault("prompt_model", optimizer_lm(seed=0, cache=False))
    options = {"max_steps": 2, "num_candidates": 3, "num_threads": 4, **options}
    return OPRO(metric=exact, **options)


def texts(program: Any) -> list[dict[str, str]]:
    return [c.instructions for c in program.detailed_results.candidates]


def test_awaiting_gives_what_compile_gives() -> None:
    with dspy.context(lm=keyword_scorer()):
        expected = opro().compile(STUDENT, trainset=TRAIN, valset=VAL)
        program = asyncio.run(opro().acompile(STUDENT, trainset=TRAIN, valset=VAL))
    assert texts(program) == texts(expected)
    assert program.detailed_results.best == expected.detailed_results.best


def test_the_loop_goes_on_meanwhile() -> None:
    alive = threading.Event()

    def reply(text: str) -> str | Exception:
        assert alive.wait(timeout=60), "the event loop stood still"
        answer: str | Exception = RIGHT(text)
        return answer

    async def service() -> Any:
        running = asyncio.create_task(opro(max_steps=0).acompile(STUDENT, trainset=TRAIN))
        await asyncio.sleep(0)
        alive.set()
        return await running

    with dspy.context(lm=scripted_lm(reply)):
        assert asyncio.run(service()).score > 0


def test_settings_and_contextvars_of_the_task_hold_in_the_run() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    seen = set()

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        seen.add(tenant.get())
        return exact(example, prediction)

    async def one(name: str) -> Any:
        tenant.set(name)
        with dspy.context(lm=keyword_scorer()):
            optimizer = OPRO(metric=metric, prompt_model=optimizer_lm(seed=0), max_steps=0)
            return await optimizer.acompile(STUDENT, trainset=TRAIN)

    async def both() -> Any:
        return await asyncio.gather(one("a"), one("b"))

    first, second = asyncio.run(both())
    assert seen == {"a", "b"}
    assert texts(first) == texts(second)


def test_callbacks_hear_of_one_compile() -> None:
    notes = Notes()
    with dspy.context(lm=keyword_scorer()):
        asyncio.run(opro(max_steps=0, callbacks=[notes]).acompile(STUDENT, trainset=TRAIN))
    assert [kind for kind, _ in notes.events] == [
        "compile start",
        *("start", "end"),  # the student on what it met of the training set
        *("start", "end"),  # and on all of it
        "compile end",
    ]


def test_errors_come_through() -> None:
    scorer = scripted_lm(lambda text: dspy.LMAuthError("no key", model="m"))
    with dspy.context(lm=scorer):
        with pytest.raises(LMCallError) as raised:
            asyncio.run(opro().acompile(STUDENT, trainset=TRAIN))
        assert isinstance(raised.value.result, OPROResult)
        with pytest.raises(UnknownArgumentError, match="compile has no argument `depth`"):
            asyncio.run(opro().acompile(STUDENT, trainset=TRAIN, depth=3))


class Service:
    """Runs in a folder, cancels itself after so many scorer calls, counts what is paid."""

    def __init__(self, log_dir: Path, *, cancel_after: int = 0) -> None:
        self.log_dir, self.cancel_after = log_dir, cancel_after
        self.reached, self.released = threading.Event(), threading.Event()
        self.lock, self.calls = threading.Lock(), 0
        engine = scripted_lm(self.reply).engine
        self.scorer = dspy.LM("service/scorer", engine=engine, cache=False, num_retries=0)
        self.optimizer = optimizer_lm(seed=0, cache=False)

    def reply(self, text: str) -> str | Exception:
        with self.lock:
            self.calls += 1
            number = self.calls
        if self.cancel_after and number >= self.cancel_after:  # in flight until it is cancelled
            self.reached.set()
            self.released.wait(timeout=60)
        answer: str | Exception = RIGHT(text)
        return answer

    @property
    def paid(self) -> int:
        return self.calls + int(self.optimizer.engine.calls)

    async def run(self) -> Any:
        optimizer = opro(prompt_model=self.optimizer, log_dir=self.log_dir, racing=False)
        with dspy.context(lm=self.scorer):
            return await optimizer.acompile(STUDENT, trainset=TRAIN, valset=VAL)

    async def cancelled(self) -> asyncio.CancelledError:
        task = asyncio.create_task(self.run())
        await asyncio.to_thread(self.reached.wait)
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
        self.released.set()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return raised.value


@pytest.mark.parametrize("after", [10, 60])
def test_a_cancelled_run_loses_nothing_and_goes_on_without_paying_again(
    after: int, tmp_path: Path
) -> None:
    whole = Service(tmp_path / "whole")
    expected = asyncio.run(whole.run())

    first = Service(tmp_path / "log", cancel_after=after)
    error: Any = asyncio.run(first.cancelled())
    assert after <= first.calls < after + 3 * 4, "only what was handed over came back"
    result = error.result
    assert result.stop_reason.startswith("interrupted: ")
    assert result.used("scorer").calls == first.calls
    assert len(result.candidates) == (0 if after < len(TRAIN) else 1)
    assert isinstance(error.program, dspy.Predict)

    second = Service(tmp_path / "log")
    program = asyncio.run(second.run())
    assert texts(program) == texts(expected)
    assert program.detailed_results.best == expected.detailed_results.best
    assert first.paid + second.paid == whole.paid


def test_cancelled_twice_the_task_waits_no_longer() -> None:
    release = threading.Event()
    started = threading.Event()

    def reply(text: str) -> str | Exception:
        started.set()
        release.wait(timeout=60)
        answer: str | Exception = RIGHT(text)
        return answer

    async def impatient() -> Any:
        with dspy.context(lm=scripted_lm(reply)):
            task = asyncio.create_task(opro().acompile(STUDENT, trainset=TRAIN))
            await asyncio.to_thread(started.wait)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done, "the calls in flight are waited for"
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        release.set()
        return raised.value

    assert not hasattr(asyncio.run(impatient()), "program")


async def cancelled_task() -> None:
    """Await a task of one's own that was cancelled."""
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(3600)


class Awaited(dspy.Module):  # type: ignore[misc]
    """Fails on one question in its own way."""

    def __init__(self, failing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self.ask, self.failing = STUDENT.deepcopy(), failing

    async def aforward(self, question: str) -> Any:
        if question == TRAIN[3].question:
            await self.failing()
        return self.ask(question=question)


class Plain(dspy.Module):  # type: ignore[misc]
    """Raises what no coroutine of its own is cancelled for."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = STUDENT.deepcopy()

    def forward(self, question: str) -> Any:
        if question == TRAIN[3].question:
            raise asyncio.CancelledError
        return self.ask(question=question)


def cancelled_metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    if example is TRAIN[3]:
        raise asyncio.CancelledError("by the metric")
    return exact(example, prediction)


CANCELLED = [
    (Plain(), exact),
    (Awaited(cancelled_task), exact),
    (Awaited(cancels_itself), exact),
    (STUDENT, cancelled_metric),
]


@pytest.mark.parametrize("awaiting", [False, True])
@pytest.mark.parametrize(("student", "metric"), CANCELLED)
def test_an_example_that_is_cancelled_from_within_fails_alone(
    student: dspy.Module, metric: Any, awaiting: bool
) -> None:
    optimizer = OPRO(
        metric=metric,
        prompt_model=optimizer_lm(seed=0, cache=False),
        max_steps=1,
        num_threads=2,
        racing=False,
        failure_score=0.25,
    )
    with dspy.context(lm=keyword_scorer()):
        if awaiting:
            program = asyncio.run(optimizer.acompile(student, trainset=TRAIN))
        else:
            program = optimizer.compile(student, trainset=TRAIN)
    result = program.detailed_results
    assert result.stop_reason.startswith("max_steps")
    assert [list(c.failures) for c in result.candidates] == [[3]] * len(result.candidates)
    assert result.baseline.scores[3] == 0.25
    assert "asyncio.CancelledError" in result.baseline.failures[3]
