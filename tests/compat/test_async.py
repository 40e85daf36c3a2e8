"""Programs that can be awaited only: the same meter, gate, caches and budgets as all others."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request, Response
from dspy.utils.exceptions import LMRateLimitError

from opro_dspy import LMCallError
from opro_dspy.calling import is_async_only
from opro_dspy.loops import Loops
from tests.compat.kinds import KINDS, Awaited, Outer
from tests.compat.running import optimized
from tests.compat.world import World, world_lm
from tests.fakes import exact, field, request_text
from tests.http_server import ChatServer

(KIND,) = [kind for kind in KINDS if kind.make is Awaited]


class Slow:
    """An asynchronous engine that counts calls in flight, and refuses some."""

    def __init__(self, world: World, *, refuses: int = 0, hangs_on: str | None = None) -> None:
        self.world, self.refuses, self.hangs_on = world, refuses, hangs_on
        self.in_flight = self.most_in_flight = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Slow":
        return self

    async def complete(self, request: Request) -> Response:
        if self.refuses:
            self.refuses -= 1
            raise LMRateLimitError("slow down", retry_after=0.0)
        if self.hangs_on is not None and self.hangs_on in request_text(request):
            await asyncio.sleep(3600)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0.002)
        self.in_flight -= 1
        return self.world.complete(request)


def slow_lm(**options: Any) -> tuple[dspy.LM, Slow]:
    world = World()
    engine = Slow(world, **options)
    lm = dspy.LM("world/slow", engine=world, async_engine=engine, cache=False, num_retries=2)
    return lm, engine


def test_only_programs_without_forward_are_awaited() -> None:
    assert is_async_only(Awaited())
    assert not is_async_only(Outer()) and not is_async_only(dspy.Predict("q -> a"))


def test_awaited_calls_are_metered_and_bounded_by_num_threads() -> None:
    lm, engine = slow_lm()
    result = optimized(KIND, Awaited(), lm, num_threads=2).detailed_results
    assert result.used("scorer").calls == len(engine.world.prompts) > 0
    assert engine.most_in_flight <= 2


def test_awaited_calls_are_tried_again_when_an_lm_pushes_back() -> None:
    lm, _ = slow_lm(refuses=2)  # no more than the LM's retries: nobody is put off, nor cancelled
    result = optimized(KIND, Awaited(), lm).detailed_results
    assert result.used("scorer").failures == 2
    assert not any(c.failures for c in result.candidates)


class Impatient(dspy.Module):  # type: ignore[misc]
    """Cancels its own LM call on some questions."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str) -> Any:
        asking = asyncio.create_task(self.ask.acall(question=question))
        if "1 plus" in question:
            await asyncio.sleep(0.02)
            asking.cancel()
        return await asking


def test_a_call_that_the_program_cancels_is_no_outage_of_the_lm() -> None:
    lm, _ = slow_lm(hangs_on="1 plus")
    options: dict[str, Any] = {"metric": exact, "max_steps": 1, "num_threads": 2}
    result = optimized(KIND, Impatient(), lm, **options).detailed_results
    failures = list(result.baseline.failures.values())
    assert failures and all("asyncio.CancelledError" in said for said in failures)
    assert result.stop_reason.startswith("max_steps")


def test_an_lm_that_stays_away_stops_the_run() -> None:
    lm, _ = slow_lm(refuses=10**6)
    with pytest.raises(LMCallError):
        optimized(KIND, Awaited(), lm)


@pytest.mark.parametrize("cap", [{"max_tokens": 20_000}, {"max_metric_calls": 25}])
def test_awaited_calls_never_pass_a_budget(cap: dict[str, int]) -> None:
    lm, _ = slow_lm()
    lm.kwargs["max_tokens"] = 60
    result = optimized(KIND, Awaited(), lm, **cap).detailed_results
    spent = sum(row.input_tokens + row.output_tokens for row in result.usage)
    met = sum(len(c.scores) + len(c.selection_scores) for c in result.candidates)
    assert spent <= cap.get("max_tokens", spent)
    assert 0 < met <= cap.get("max_metric_calls", met)
    assert next(iter(cap)) in result.stop_reason


def test_awaited_answers_are_paid_once(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        options: dict[str, Any] = {"cache_dir": tmp_path, "num_threads": 1}
        result = optimized(KIND, Awaited(), world_lm(), **options).detailed_results
        found.append((result.used("scorer").calls, result.best.score))
    (calls, score), again = found
    assert calls > 0 and again == (0, score)


def test_it_compiles_inside_a_running_event_loop() -> None:
    async def service() -> Any:
        return optimized(KIND, Awaited(), world_lm())

    result = asyncio.run(service()).detailed_results
    assert result.best.score > result.baseline.score


class Plain(dspy.Module):  # type: ignore[misc]
    """Has `aforward` only, with one call, and notes where it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str) -> Any:
        LOOPS[asyncio.get_running_loop()] = threading.current_thread()
        return await self.ask.acall(question=question)


LOOPS: dict[asyncio.AbstractEventLoop, threading.Thread] = {}


def test_each_thread_has_one_event_loop_and_so_few_connections() -> None:
    LOOPS.clear()
    with ChatServer(lambda text: field("answer", "31")).running() as server:
        lm = dspy.LM("openai/some-model", api_base=server.url, api_key="no", cache=False)
        options: dict[str, Any] = {"metric": exact, "max_steps": 0, "num_threads": 2}
        result = optimized(KIND, Plain(), lm, **options).detailed_results
    assert result.used("scorer").calls == server.requests > 10
    assert result.used("scorer").failures == 0
    assert result.best.score == pytest.approx(1 / 12)  # the first is `30 plus 1`
    assert len(LOOPS) <= 2 and len(server.connections) <= 2


def test_a_threads_event_loop_is_closed_when_the_thread_ends() -> None:
    LOOPS.clear()
    optimized(KIND, Plain(), slow_lm()[0], max_steps=0)
    for thread in LOOPS.values():
        thread.join(timeout=60)
    deadline = time.monotonic() + 60
    while not all(loop.is_closed() for loop in LOOPS) and time.monotonic() < deadline:
        time.sleep(0.005)  # its locals go a moment after it is joined
    assert LOOPS and all(loop.is_closed() for loop in LOOPS)


def test_what_an_example_leaves_running_ends_with_it() -> None:
    left: list[asyncio.Task[None]] = []

    async def leave() -> None:
        left.append(asyncio.create_task(asyncio.sleep(3600)))

    loops = Loops()
    loops.run(leave())
    assert left[0].cancelled()
    loops.run(leave())
    assert left[1].cancelled() and left[0].get_loop() is left[1].get_loop()


def test_a_loop_that_still_runs_when_its_thread_goes_is_left_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops, said = Loops(), list[Any]()
    found: list[asyncio.AbstractEventLoop] = []
    monkeypatch.setattr("sys.unraisablehook", said.append)

    async def go() -> None:
        found.append(asyncio.get_running_loop())
        del loops._local.mine  # as the end of the interpreter does where a call hangs

    loops.run(go())
    found[0].close()
    assert not said
