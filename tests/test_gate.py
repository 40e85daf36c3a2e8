import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dspy
import pytest
from dspy.lm15 import (
    AuthError,
    InvalidRequestError,
    RateLimitError,
    Request,
    Response,
    ServerError,
)
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import LMError
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.faults import retry_after
from opro_dspy.boundary.gate import BudgetRefused, CallRefused, Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.boundary.prices import Price, check_prices, known_price
from opro_dspy.boundary.task import Visit
from opro_dspy.boundary.throttle import MOST_PATIENCE, AdaptiveLimit, RequestRate
from opro_dspy.cache import MemoryStore
from opro_dspy.errors import ConfigurationError
from opro_dspy.interrupt import Interrupt
from tests.fakes import ScriptedEngine, field, scripted_lm

HELD_S = 5.0


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


class AsyncEngine:
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(0.001)
        return self._engine.complete(request)


def gate_of(**options: Any) -> Gate:
    return Gate(Meter(), **{"max_in_flight": 4, **options})


def timed_gate(timer: Time, **options: Any) -> Gate:
    return gate_of(clock=timer.clock, wait=timer.wait, **options)


def replies(*outcomes: str | Exception) -> Callable[[str], str | Exception]:
    """Return the outcomes one after another, then the last one for ever."""
    left = list(outcomes)
    return lambda text: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def until(condition: Callable[[], bool]) -> Iterator[None]:
    yield
    deadline = time.monotonic() + HELD_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


# Retries


def test_what_dspy_loads_at_the_first_use_of_an_lm_is_loaded_before_threads_use_it() -> None:
    asked = []

    class Asked(dspy.LM):  # type: ignore[misc]
        @property
        def supports_function_calling(self) -> bool:
            asked.append(threading.current_thread())
            return False

    gate_of().watch(Asked("openai/some-model"))
    assert asked == [threading.current_thread()]


def test_failures_that_may_pass_are_tried_again_and_every_attempt_is_counted() -> None:
    timer = Time()
    lm = scripted_lm(replies(ServerError("a"), RateLimitError("b"), "fine"), num_retries=3)
    gate = timed_gate(timer)
    with gate.meter.role(SCORER):
        assert gate.watch(lm)("hi") == ["fine"]
    (row,) = gate.meter.usage()
    assert (row.calls, row.failures, row.retries) == (lm.engine.calls, 2, 2) == (3, 2, 2)
    assert timer.now - 1000 == pytest.approx(1 + 2)


def test_no_more_attempts_are_made_than_the_lm_was_given() -> None:
    gate, lm = timed_gate(Time()), scripted_lm(lambda text: ServerError("down"), num_retries=2)
    with gate.task() as task, pytest.raises(LMError, match="down") as caught:
        gate.watch(lm)("hi")
    assert lm.engine.calls == 3
    assert task.lm_error is caught.value


def test_an_error_that_stays_is_not_tried_again() -> None:
    gate, lm = gate_of(), scripted_lm(replies("fine", InvalidRequestError("no")), num_retries=5)
    watched = gate.watch(lm)
    with gate.task() as task:
        watched("first")
        with pytest.raises(LMError, match="no"):
            watched("second")
    assert lm.engine.calls == 2
    assert task.lm_error is None
    assert gate.fatal is None


def test_retry_after_holds_back_the_call_and_all_others_of_the_model() -> None:
    timer = Time()
    limited = RateLimitError("slow down", retry_after=7.5)
    lm = scripted_lm(replies(limited, "fine"), num_retries=1)
    gate = timed_gate(timer)
    assert gate.watch(lm)("hi") == ["fine"]
    assert timer.now == pytest.approx(1007.5)
    assert gate.limit(lm.model).held_until == pytest.approx(1007.5)
    assert gate.limit(lm.model).limit == 2


def test_a_retry_after_that_only_the_response_further_down_has_is_found() -> None:
    class Reply:
        headers = {"retry-after": "1.5"}  # noqa: RUF012

    error = RateLimitError("slow down")
    error.__cause__ = ValueError("below")
    error.__cause__.response = Reply()
    assert retry_after(error) == 1.5
    Reply.headers = {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert retry_after(error) == 0.0
    assert retry_after(ValueError("nothing said")) is None


def test_a_call_that_waits_to_be_tried_again_holds_no_place() -> None:
    gate = gate_of(max_in_flight=1)
    slow = gate.watch(
        scripted_lm(replies(RateLimitError("x", retry_after=0.3), "a"), num_retries=1)
    )
    other = gate.watch(scripted_lm(lambda text: "b"))
    with ThreadPoolExecutor(1) as pool:
        with until(lambda: gate.meter.total(SCORER).failures == 1):
            first = pool.submit(slow, "hi")
        began = time.monotonic()
        other("hi")
        assert time.monotonic() - began < 0.2
        assert first.result() == ["a"]


# Calls in flight


def round_trip(limit: AdaptiveLimit, *, allowed: int) -> int:
    """Fill all places; the provider refuses what is beyond `allowed`. Return how many that is."""
    entered = [limit.enter() for _ in range(limit.limit)]
    for i, call in enumerate(reversed(entered)):
        if i < len(entered) - allowed:  # a refusal comes sooner than an answer
            limit.pushed_back(call, soft=False)
        else:
            limit.succeeded()  # and the next call takes its place
    for _ in entered:
        limit.leave()
    return max(0, len(entered) - allowed)


@given(
    outcomes=st.lists(st.sampled_from(["ok", "soft", "hard"]), max_size=200),
    most=st.integers(1, 16),
)
def test_the_limit_stays_between_one_and_the_most(outcomes: list[str], most: int) -> None:
    limit = AdaptiveLimit(most)
    for outcome in outcomes:
        entered = limit.enter()
        if outcome == "ok":
            limit.succeeded()
        else:
            limit.pushed_back(entered, soft=outcome == "soft")
        limit.leave()
        assert 1 <= limit.limit <= most
    for _ in range(MOST_PATIENCE + 2 * most):
        round_trip(limit, allowed=most)
    assert (limit.limit, limit.in_flight) == (most, 0)


def test_one_round_trip_cuts_once() -> None:
    limit = AdaptiveLimit(16)
    entered = [limit.enter() for _ in range(16)]
    for call in entered:
        limit.pushed_back(call, soft=False)
    assert limit.limit == 8
    limit.pushed_back(limit.enter(), soft=False)
    assert limit.limit == 4


@pytest.mark.parametrize("allowed", [1, 2, 3, 7, 15])
def test_the_limit_settles_where_the_provider_sets_it_and_follows_it(allowed: int) -> None:
    limit = AdaptiveLimit(16)

    def trips(n: int, allowed: int) -> int:
        return sum(round_trip(limit, allowed=allowed) > 0 for _ in range(n))

    trips(4 * 16, allowed)
    assert limit.limit == allowed
    assert trips(10 * MOST_PATIENCE, allowed) <= 11
    assert limit.limit in (allowed, allowed + 1)
    trips(MOST_PATIENCE + 2 * 16, 16)
    assert limit.limit == 16
    trips(10, allowed)
    assert limit.limit <= allowed + 1


def test_answers_of_few_calls_at_once_say_nothing_about_a_higher_limit() -> None:
    limit = AdaptiveLimit(16)
    limit.pushed_back(limit.enter(), soft=False)
    for _ in range(500):
        limit.enter()
        limit.leave()
        limit.succeeded()
    assert limit.limit == 8


def test_single_server_errors_do_not_cut_but_two_in_a_row_do() -> None:
    limit = AdaptiveLimit(16)
    for _ in range(50):
        limit.pushed_back(limit.enter(), soft=True)
        limit.succeeded()
    assert limit.limit == 16
    limit.pushed_back(limit.enter(), soft=True)
    limit.pushed_back(limit.enter(), soft=True)
    assert limit.limit == 12


def test_calls_in_flight_never_pass_the_limit_and_fall_when_pushed_back() -> None:
    lm = scripted_lm(lambda text: "fine", delay_s=0.002)
    gate = gate_of(max_in_flight=5)
    watched = gate.watch(lm)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(watched, map(str, range(60))))
        assert lm.engine.most_in_flight == 5
        gate.limit(lm.model).limit = 2
        gate.limit(lm.model).most = 2
        lm.engine.most_in_flight = 0
        list(pool.map(watched, map(str, range(40))))
        assert lm.engine.most_in_flight == 2


def test_requests_a_minute_are_kept_and_cached_answers_are_not_among_them() -> None:
    timer = Time()
    lm = scripted_lm(lambda text: "fine", cache=True)
    gate = timed_gate(timer, requests_per_minute=3)
    watched = gate.watch(lm)
    for _ in range(5):
        for text in ("a", "b", "c"):
            watched(text)
    assert timer.now == 1000.0
    watched("d")
    assert timer.now == pytest.approx(1060.0, abs=0.2)
    assert lm.engine.calls == 4


def test_any_minute_holds_at_most_so_many_requests() -> None:
    timer = Time()
    taken: list[float] = []
    rate = RequestRate(5, timer.clock)
    while len(taken) < 40:
        seconds = rate.take()
        timer.now += seconds
        if seconds == 0.0:
            taken.append(timer.now)
            timer.now += 3.7
    assert all(b - a >= 60.0 for a, b in zip(taken, taken[5:], strict=False))


# Budget


@pytest.mark.parametrize("n_threads", [1, 3, 8])
@pytest.mark.parametrize("cap", [0, 200, 1500])
def test_tokens_never_pass_their_cap(cap: int, n_threads: int) -> None:
    lm = scripted_lm(lambda text: "word " * (len(text) % 40), max_tokens=60)
    gate = gate_of(max_in_flight=n_threads, budget=Budget(max_tokens=cap))
    watched, refused = gate.watch(lm), []

    def call(i: int) -> None:
        with gate.task() as task:
            try:
                watched(f"question {i} " + "x" * (i % 90))
            except BudgetRefused:
                refused.append(task.refused)

    with gate.meter.role(SCORER), ThreadPoolExecutor(n_threads) as pool:
        context = dspy.settings.config
        for future in [pool.submit(in_context, context, call, i) for i in range(100)]:
            future.result()
    row = gate.meter.total(SCORER)
    assert row.input_tokens + row.output_tokens == gate.budget.spent.tokens <= cap
    assert row.calls == lm.engine.calls
    assert refused
    assert all(reason and reason.startswith("max_tokens: ") for reason in refused)
    assert cap - gate.budget.spent.tokens < 160
    assert gate.budget.exhausted is not None


def in_context(config: dict[str, Any], call: Callable[[int], None], i: int) -> None:
    ours = {k: v for k, v in config.items() if k in ("caller_modules", "usage_tracker")}
    with dspy.context(**ours):
        call(i)


def test_a_cached_answer_costs_nothing_and_is_had_from_an_empty_budget() -> None:
    lm = scripted_lm(lambda text: "fine", cache=True, max_tokens=100)
    gate = gate_of(budget=Budget(max_tokens=150))
    watched = gate.watch(lm)
    assert watched("hi") == ["fine"]
    with pytest.raises(BudgetRefused, match=r"max_tokens: \d+ of 150 used"):
        watched("something " * 30)
    heard = Heard()
    with gate.task() as task, dspy.context(callbacks=[heard]):
        assert watched("hi") == ["fine"]
    assert task.refused is None
    assert heard.starts == 1
    assert (lm.engine.calls, gate.meter.total(SCORER).cache_hits) == (1, 1)


class Heard(BaseCallback):  # type: ignore[misc]
    starts = 0

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.starts += 1


def test_cost_is_counted_and_capped_with_a_given_price() -> None:
    lm = scripted_lm(lambda text: "fine", max_tokens=10)
    prices = {lm.model: Price(input_per_million=1e6, output_per_million=2e6)}
    gate = gate_of(budget=Budget(max_cost=60.0), prices=prices)
    watched = gate.watch(lm)
    with (
        gate.meter.role(SCORER),
        pytest.raises(BudgetRefused, match=r"max_cost: \$\d+\.0000 of \$60"),
    ):
        for _ in range(100):
            watched("how are you?")
    row = gate.meter.total(SCORER)
    assert row.cost_usd == row.input_tokens + 2 * row.output_tokens == gate.budget.spent.cost


def test_an_lm_that_a_program_makes_for_itself_is_charged_afterwards() -> None:
    hidden = scripted_lm(lambda text: "fine")
    gate = gate_of(budget=Budget(max_tokens=1))
    with gate.meter.role(SCORER):
        hidden("hello, how are you?")
    row = gate.meter.total(SCORER)
    assert gate.budget.spent.tokens == row.input_tokens + row.output_tokens > 1
    assert gate.budget.exhausted == f"max_tokens: {gate.budget.spent.tokens} of 1 used"


def test_a_price_is_known_of_what_the_metadata_knows_and_else_asked_for() -> None:
    known, unknown = dspy.LM("openai/gpt-4o-mini"), scripted_lm(lambda text: "")
    price = known_price(known)
    assert price is not None
    assert 0 < price.input_per_million < price.output_per_million
    check_prices([known], {})
    check_prices([unknown], {unknown.model: price})
    with pytest.raises(ConfigurationError, match=rf"none is known of '{unknown.model}'.*prices="):
        check_prices([known, unknown], {})


def test_no_time_is_slept_away_beyond_max_seconds() -> None:
    timer = Time()
    lm = scripted_lm(replies(RateLimitError("x", retry_after=3600.0)), num_retries=3)
    gate = timed_gate(timer, budget=Budget(max_seconds=60, clock=timer.clock))
    with gate.task() as task, pytest.raises(BudgetRefused, match="max_seconds"):
        gate.watch(lm)("hi")
    assert task.refused is not None
    assert timer.now == 1000.0


def test_where_time_runs_out_an_lm_that_is_out_is_named_until_one_answers() -> None:
    timer = Time()
    outcomes = replies(*[ServerError("down.")] * 3, "fine")
    gate = timed_gate(timer, budget=Budget(max_seconds=60, clock=timer.clock))
    watched = gate.watch(scripted_lm(outcomes))
    reasons = []
    for _ in range(4):
        with contextlib.suppress(LMError):
            watched("hi")
        timer.now += 60.0
        reasons.append(gate.budget.refusal() or "")
        timer.now -= 60.0
    out = [reason.partition("; ")[2] for reason in reasons]
    assert out[:2] == ["", ""]
    assert re.fullmatch(r"an LM was out: the last 3 calls failed \(LMServerError: .*down\)", out[2])
    assert out[3] == ""


# The end


def test_after_a_fatal_error_nothing_more_is_sent() -> None:
    lm, other = scripted_lm(lambda text: AuthError("bad key")), scripted_lm(lambda text: "fine")
    gate = gate_of()
    with gate.task() as task, pytest.raises(LMError, match="bad key"):
        gate.watch(lm)("hi")
    assert task.lm_error is gate.fatal is not None
    for _ in range(3):
        with gate.task() as task, pytest.raises(CallRefused, match="LMAuthError"):
            gate.watch(other)("hi")
        assert task.lm_error is gate.fatal
    assert (lm.engine.calls, other.engine.calls) == (1, 0)


def test_a_bad_request_alone_says_nothing_of_the_next_one() -> None:
    gate, lm = gate_of(), scripted_lm(replies(InvalidRequestError("what?"), "fine"))
    with gate.task() as task, pytest.raises(LMError, match="what"):
        gate.watch(lm)("hi")
    assert gate.fatal is None and task.bad_request is not None
    assert gate.watch(lm)("hi")[0] == "fine"


def test_a_fresh_task_goes_past_all_caches() -> None:
    answers = Answers(MemoryStore(max_entries=9))
    gate, lm = gate_of(answers=answers), scripted_lm(lambda text: "fine", cache=True)
    for fresh in (False, False, True):
        with gate.task() as task:
            task.fresh = fresh
            gate.watch(lm)("hi")
        assert lm.engine.calls == (2 if fresh else 1)


def test_ctrl_c_wakes_who_waits() -> None:
    interrupt = Interrupt()
    lm = scripted_lm(replies(RateLimitError("x", retry_after=60.0)), num_retries=1)
    gate = gate_of(interrupt=interrupt)
    with ThreadPoolExecutor(1) as pool:
        with until(lambda: gate.meter.total(SCORER).failures == 1):
            future = pool.submit(gate.watch(lm), "hi")
        interrupt.pressed = True
        with pytest.raises(CallRefused, match="Ctrl-C"):
            future.result(timeout=HELD_S)


def test_an_abandoned_task_frees_its_place_and_never_calls_again() -> None:
    release = threading.Event()

    def hang(text: str) -> str:
        if "slow" in text:
            release.wait(HELD_S)
        return "fine"

    lm = scripted_lm(hang, max_tokens=20)
    gate = gate_of(max_in_flight=1, budget=Budget(max_tokens=200))
    watched, tasks = gate.watch(lm), []

    def stuck() -> None:
        with gate.meter.role(SCORER), gate.task() as task:
            tasks.append(task)
            watched("slow")
            watched("never sent")

    with ThreadPoolExecutor(1) as pool:
        with until(lambda: lm.engine.in_flight == 1):
            future = pool.submit(stuck)
        tasks[0].abandon()
        presumed = gate.budget.spent.tokens
        assert presumed > 20
        row = gate.meter.total(SCORER)
        assert (row.calls, row.failures, row.input_tokens) == (1, 1, 0)
        with gate.meter.role(SCORER):
            assert watched("quick") == ["fine"]
        release.set()
        with pytest.raises(CallRefused, match="given up"):
            future.result(timeout=HELD_S)
    row = gate.meter.total(SCORER)
    assert (row.calls, row.failures, lm.engine.calls) == (2, 1, 2)
    assert gate.budget.spent.tokens == row.input_tokens + row.output_tokens < presumed
    assert gate.limit(lm.model).in_flight == 0


def test_a_task_knows_how_long_it_only_waited_to_be_let_in() -> None:
    timer, told = Time(), list[float]()

    def reply(text: str) -> str | Exception:
        told.append(task.waited)
        timer.now += 100.0
        return RateLimitError("slow down", retry_after=7.5) if len(told) == 1 else "fine"

    gate = timed_gate(timer)
    with gate.task() as task:
        assert gate.watch(scripted_lm(reply, num_retries=1))("hi") == ["fine"]
        timer.now += 100.0  # the program is at work
        assert task.waited == pytest.approx(7.5)
    assert told == [0.0, pytest.approx(7.5)]


def test_a_wait_does_not_count_as_one_while_another_call_of_the_task_is_in_flight() -> None:
    timer = Time()
    task = timed_gate(timer).task
    with task() as one:
        visit = Visit(model="m", task=one)
        one.in_flight.append(visit)
        with visit.waiting():
            timer.now += 5.0
            assert one.waited == 0.0
            one.came_back(visit)
            timer.now += 2.0
        timer.now += 9.0
        assert one.waited == 2.0


def test_an_async_call_that_is_cancelled_waits_no_more() -> None:
    gate = gate_of(requests_per_minute=1)
    engine = ScriptedEngine(lambda text: "ok")
    lm = dspy.LM("own/lm", engine=engine, async_engine=AsyncEngine(engine), cache=False)
    watched = gate.watch(lm)

    async def ask() -> float:
        await watched.acall("first")
        with gate.task() as task:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(watched.acall("second"), 0.05)
            waited: float = task.waited
            await asyncio.sleep(0.02)
            assert task.waited == waited > 0.0
        return waited

    assert asyncio.run(ask()) > 0.0


def test_a_program_that_swallows_a_refusal_is_still_known_to_be_refused() -> None:
    gate, lm = gate_of(budget=Budget(max_tokens=0)), scripted_lm(lambda text: "fine")
    watched = gate.watch(lm)

    class Stubborn(dspy.Module):  # type: ignore[misc]
        def forward(self, question: str) -> Any:
            parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
            predict = dspy.Predict("question -> answer")
            parallel([(predict, {"question": question}), (predict, {"question": "?"})])
            return dspy.Prediction(answer="made up")

    with gate.task() as task, dspy.context(lm=watched):
        assert Stubborn()(question="q").answer == "made up"
    assert task.refused is not None
    assert lm.engine.calls == 0


@pytest.mark.parametrize("capped", ["outer", "inner"])
def test_a_refusal_is_known_to_the_tasks_of_the_run_that_refuses_and_of_those_within(
    capped: str,
) -> None:
    budgets = {capped: Budget(max_tokens=0)}
    outer, inner = (gate_of(budget=budgets.get(name)) for name in ("outer", "inner"))
    watched = inner.watch(outer.watch(scripted_lm(lambda text: "1")))
    with outer.task() as around, inner.task() as task, pytest.raises(BudgetRefused):
        watched("a")
    assert task.refused is not None
    assert (around.refused is not None) == (capped == "outer")


def test_a_pause_ends_when_it_is_over_on_ctrl_c_and_where_the_time_would_not_do() -> None:
    timer, interrupt = Time(), Interrupt()
    budget = Budget(max_seconds=60, clock=timer.clock)
    gate = timed_gate(timer, budget=budget, interrupt=interrupt)
    assert gate.pause(8.0) is None
    assert timer.now == pytest.approx(1008.0)
    assert str(gate.pause(3600.0)).startswith("max_seconds: ")
    interrupt.pressed = True
    assert gate.pause(1.0) == "stopped by Ctrl-C"
    assert timer.now == pytest.approx(1008.0)


def outage_of_one(task: Any, watched: Callable[..., Any], text: str, **options: Any) -> None:
    with pytest.raises(LMError):
        watched(text, **options)
    assert task.lm_error is not None


def test_another_lm_that_answers_the_same_makes_up_for_an_outage() -> None:
    gate, down = timed_gate(Time()), scripted_lm(lambda text: ServerError("down"))
    down, spare = gate.watch(down), gate.watch(scripted_lm(lambda text: "fine"))
    with gate.task() as task:
        outage_of_one(task, down, "question")
        spare("something else")
        assert task.lm_error is not None
        spare("question")
        assert task.lm_error is None


def test_the_same_lm_makes_up_for_its_failure_but_a_further_rollout_does_not() -> None:
    gate = timed_gate(Time())
    outcomes = replies(ServerError("down"), "fine")
    lm = gate.watch(scripted_lm(outcomes, temperature=1.0))
    with gate.task() as task:
        outage_of_one(task, lm, "question", rollout_id=1)
        lm("question", rollout_id=2)
        assert task.lm_error is not None
        lm("question", rollout_id=1)
        assert task.lm_error is None


def test_nothing_makes_up_for_an_lm_that_refused_for_good() -> None:
    gate = gate_of()
    bad, spare = scripted_lm(lambda text: AuthError("bad key")), scripted_lm(lambda text: "fine")
    with gate.task() as task:
        outage_of_one(task, gate.watch(bad), "question")
        with pytest.raises(CallRefused):
            gate.watch(spare)("question")
        assert task.lm_error is gate.fatal


# The copy


def test_a_watched_lm_passes_for_what_it_is() -> None:
    gate, lm = gate_of(), scripted_lm(lambda text: "fine", num_retries=4, cache=True)
    watched = gate.watch(lm)
    assert watched is gate.watch(lm)
    assert isinstance(watched, dspy.LM)
    assert (watched.model, watched.engine, watched.history) == (lm.model, lm.engine, lm.history)
    assert (lm.num_retries, type(lm)) == (4, dspy.LM)
    copy = watched.copy(rollout_id=1, temperature=0.5, num_retries=1)
    assert copy("hi") == ["fine"]
    assert vars(copy)["num_retries"] == 1
    assert gate.meter.total(SCORER).calls == 1
    state = gate.watch(dspy.LM("openai/gpt-4o-mini", num_retries=4)).dump_state()
    assert state == dspy.LM("openai/gpt-4o-mini", num_retries=4).dump_state()


def test_answers_asked_for_one_by_one_are_calls_of_their_own() -> None:
    lm = scripted_lm(replies("a", "b", ServerError("x"), "c"), num_retries=1, temperature=1.0)
    gate = timed_gate(Time())
    with gate.meter.role(SCORER):
        assert gate.watch(lm)("hi", n=3) == ["c", "c", "c"]
    row = gate.meter.total(SCORER)
    assert (row.calls, row.failures) == (lm.engine.calls, 1) == (6, 1)


def test_async_calls_go_through_the_same_gate() -> None:
    engine = ScriptedEngine(replies(ServerError("x"), field("answer", "yes")))
    lm = dspy.LM(
        "scripted/async",
        engine=engine,
        async_engine=AsyncEngine(engine),
        num_retries=1,
        cache=True,
    )
    gate = gate_of(max_in_flight=2, budget=Budget(max_tokens=3000))
    program = dspy.Predict("question -> answer")

    async def ask() -> list[Any]:
        calls = [program.acall(question=f"q{i}") for i in range(6)]
        return [*await asyncio.gather(*calls), await program.acall(question="q0")]

    with gate.meter.role(SCORER, lm=gate.watch(lm)), gate.task() as task:
        answers = asyncio.run(ask())
    row = gate.meter.total(SCORER)
    assert {a.answer for a in answers} == {"yes"}
    assert (row.calls, row.failures, row.cache_hits) == (7, 1, 1)
    assert engine.calls == 7
    assert gate.budget.spent.tokens == row.input_tokens + row.output_tokens
    assert task.lm_error is None
    assert gate.limit(lm.model).in_flight == 0
