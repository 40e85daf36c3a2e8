"""LM answers are kept by content: found again, shared, and asked for once."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import (
    AuthError,
    Config,
    Message,
    Request,
    Response,
    ServerError,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
)
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import LMError

import opro_dspy
from opro_dspy import ConfigurationError
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.gate import CallRefused, Gate
from opro_dspy.boundary.meter import OPTIMIZER, SCORER, Meter
from opro_dspy.boundary.passage import Passage
from opro_dspy.boundary.prices import Price
from opro_dspy.boundary.steps import CallResult, prepared
from opro_dspy.cache import CacheDir, DiskStore, MemoryStore, Store
from opro_dspy.interrupt import Interrupt
from tests.fakes import request_text, scripted_lm

HELD_S = 5.0


class AsyncEngine:
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(0.001)
        found: Response = self._engine.complete(request)
        return found


class Served:
    """An engine that returns responses of any kind; told by its name."""

    def __init__(self, name: str, respond: Callable[[Request], Response]) -> None:
        self.name, self._respond = name, respond
        self._calls = 0

    @property
    def calls(self) -> int:
        return self._calls

    def __deepcopy__(self, memo: dict[int, Any]) -> "Served":
        return self

    def dump_state(self) -> dict[str, Any]:
        return {"name": self.name}

    def complete(self, request: Request) -> Response:
        self._calls += 1
        return self._respond(request)


def response(*parts: Any, **more: Any) -> Response:
    usage = dspy.lm15.Usage(input_tokens=10, output_tokens=5, total_tokens=15)
    return Response(
        id="r-1",
        model="m",
        message=Message.assistant(list(parts) or [TextPart("fine")]),
        finish_reason="stop",
        usage=usage,
        **more,
    )


def counting(reply: str = "fine", **options: Any) -> dspy.LM:
    """An LM that is the same in every process, whose answers are numbered."""
    engine = Served("counting", lambda request: response(TextPart(f"{reply} {engine.calls}")))
    options = {"engine": engine, "async_engine": AsyncEngine(engine), "num_retries": 0, **options}
    return dspy.LM("own/model", **options)


def gate_of(store: Store | None = None, **options: Any) -> Gate:
    answers = Answers(MemoryStore() if store is None else store)
    return Gate(Meter(), answers=answers, **{"max_in_flight": 4, **options})


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return DiskStore(CacheDir(path=tmp_path)) if request.param == "disk" else MemoryStore()


# Found again


def test_an_answer_is_found_again_with_history_callbacks_and_no_usage(store: Store) -> None:
    class Heard(BaseCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.outputs: list[Any] = []
            self.inputs: list[Any] = []

        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.inputs.append(inputs)

        def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.outputs.append(outputs)

    heard = Heard()
    lm = counting(temperature=1.0, callbacks=[heard])
    gates = [gate_of(store), gate_of(store)]
    tracker = dspy.utils.usage_tracker.UsageTracker()
    with dspy.context(usage_tracker=tracker):
        for gate in gates:
            with gate.meter.role(SCORER):
                assert gate.watch(lm)("hi") == ["fine 1"]
    assert lm.engine.calls == 1
    assert heard.outputs == [["fine 1"]] * 2
    assert heard.inputs[0] == heard.inputs[1]
    assert set(heard.inputs[0]) == {"prompt", "messages", "kwargs"}
    first, second = lm.history
    assert second["usage"] == {}
    assert {**first, **_moment(second), "usage": {}, "cost": second["cost"]} == second
    (used,), (saved,) = (gate.meter.usage() for gate in gates)
    assert (used.calls, used.cache_hits, used.input_tokens_saved) == (1, 0, 0)
    assert (saved.calls, saved.cache_hits, saved.input_tokens, saved.output_tokens) == (0, 1, 0, 0)
    assert (saved.input_tokens_saved, saved.output_tokens_saved) == (10, 5)
    assert len(tracker.usage_data["own/model"]) == 1


def test_an_answer_that_was_kept_saves_its_usd_by_the_given_price() -> None:
    lm, store = counting(), MemoryStore()
    price = Price(input_per_million=1e6, output_per_million=1e5)
    gates = [gate_of(store, prices={lm.model: price}) for _ in range(2)]
    assert [gate.watch(lm)("hi") for gate in gates] == [["fine 1"]] * 2
    (used,), (saved,) = (gate.meter.usage() for gate in gates)
    assert (used.cost_usd, used.cost_usd_saved) == (10.5, None)
    assert (saved.cost_usd, saved.cost_usd_saved) == (None, 10.5)


def _moment(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("timestamp", "uuid")}


def _as_text(lm: dspy.LM) -> Any:
    return lm("hi", temperature=0.5)


def _as_messages(lm: dspy.LM) -> Any:
    return lm(messages=[{"role": "user", "content": "hi"}], temperature=0.5)


def _as_request(lm: dspy.LM) -> Any:
    return lm(
        Request(model=lm.model, messages=[Message.user("hi")], config=Config(temperature=0.5))
    )


@pytest.mark.parametrize("ask", [_as_text, _as_messages, _as_request])
def test_every_way_of_asking_is_kept(store: Store, ask: Callable[[dspy.LM], Any]) -> None:
    lm = counting()
    first, second = ask(gate_of(store).watch(lm)), ask(gate_of(store).watch(lm))
    assert first == second
    assert lm.engine.calls == 1


def test_sync_and_async_calls_share_their_answers(store: Store) -> None:
    lm = counting()
    assert asyncio.run(gate_of(store).watch(lm).acall("a")) == ["fine 1"]
    assert gate_of(store).watch(lm)("a") == ["fine 1"]
    assert gate_of(store).watch(lm)("b") == ["fine 2"]
    assert asyncio.run(gate_of(store).watch(lm).acall("b")) == ["fine 2"]


def test_whatever_dspys_cache_is_set_to_does_not_matter(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dspy.clients.cache import Cache

    off = Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
    monkeypatch.setattr(dspy, "cache", off)
    lm = counting()
    assert [gate_of(store).watch(lm)("hi") for _ in range(2)] == [["fine 1"]] * 2


def test_dspys_cache_is_filled_as_before(store: Store) -> None:
    lm = counting(model_type="chat")
    asked = f"filled {time.monotonic_ns()}"
    gate_of(store).watch(lm)(asked)
    assert lm(asked) == ["fine 1"]
    assert lm.engine.calls == 1


def test_what_only_dspys_cache_knows_of_an_engine_object_is_not_taken(store: Store) -> None:
    asked = f"foreign {time.monotonic_ns()}"
    assert counting("foreign")(asked) == ["foreign 1"]
    lm = counting("mine")
    assert lm(asked) == ["foreign 1"]  # DSPy's keys leave the engine out
    assert gate_of(store).watch(lm)(asked) == ["mine 1"]
    assert asyncio.run(gate_of(MemoryStore()).watch(lm).acall(asked)) == ["mine 2"]


def test_answers_that_a_user_wants_fresh_are_not_kept(store: Store) -> None:
    lm = counting(cache=False)
    gate = gate_of(store)
    with gate.meter.role(SCORER):
        assert [gate.watch(lm)("hi") for _ in range(2)] == [["fine 1"], ["fine 2"]]
    kept = counting()
    with gate.meter.role(SCORER):
        watched = gate.watch(kept)
        assert [watched("hi", cache=False) for _ in range(2)] == [["fine 1"], ["fine 2"]]


def test_proposals_are_kept_in_any_case(store: Store) -> None:
    lm = counting(cache=False)
    for _ in range(2):
        gate = gate_of(store)
        with gate.meter.role(OPTIMIZER):
            assert gate.watch(lm)("hi", rollout_id=1, temperature=1.0) == ["fine 1"]
            assert gate.watch(lm)("hi", rollout_id=2, temperature=1.0) == ["fine 2"]


def test_failures_are_not_kept(store: Store) -> None:
    left = [AuthError("no"), ServerError("down")]

    def respond(request: Request) -> Response:
        if left:
            raise left.pop()
        return response()

    lm = dspy.LM("own/model", engine=Served("failing", respond), num_retries=0)
    for _ in range(2):
        with pytest.raises(LMError):
            gate_of(store).watch(lm)("hi")
    assert gate_of(store).watch(lm)("hi") == ["fine"]


def test_a_prompt_that_dspy_refuses_is_refused_as_before(store: Store) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        gate_of(store).watch(counting())("\ud800")


# Keys


def _key(lm: dspy.LM, *args: Any, **kwargs: Any) -> str:
    asked = prepared(lm, args, kwargs)
    assert asked is not None
    return Answers(MemoryStore()).key(lm, type(lm), asked.call)


def lm_of(**options: Any) -> dspy.LM:
    return dspy.LM(**{"model": "openai/m", **options})


def test_everything_that_has_a_part_in_an_answer_is_in_its_key() -> None:
    class Other(dspy.LM):  # type: ignore[misc]
        pass

    tools = [{"type": "function", "function": {"name": "f", "parameters": {"token": 1}}}]
    others = [{"type": "function", "function": {"name": "f", "parameters": {"token": 2}}}]
    keys = [
        _key(lm_of(), "hi"),
        _key(lm_of(), "ho"),
        _key(lm_of(model="openai/n"), "hi"),
        _key(lm_of(model_type="text"), "hi"),
        _key(lm_of(temperature=1.0), "hi"),
        _key(lm_of(), "hi", temperature=0.9),
        _key(lm_of(temperature=1.0), "hi", rollout_id=1),
        _key(lm_of(temperature=1.0), "hi", rollout_id=2),
        _key(lm_of(), "hi", n=2),
        _key(lm_of(), "hi", tools=tools),
        _key(lm_of(), "hi", tools=others),
        _key(lm_of(api_base="http://one/v1"), "hi"),
        _key(lm_of(api_base="http://two/v1"), "hi"),
        _key(lm_of(), "hi", api_base="http://three/v1"),
        _key(Other("openai/m"), "hi"),
        _key(lm_of(engine=Served("a", lambda r: response())), "hi"),
        _key(lm_of(engine=Served("b", lambda r: response())), "hi"),
        _key(lm_of(), Request(model="openai/m", messages=[Message.user("hi")])),
        _key(lm_of(), messages=[{"role": "system", "content": "hi"}]),
    ]
    assert len(set(keys)) == len(keys)


def test_code_and_state_of_an_lm_class_of_ones_own_are_in_its_keys() -> None:
    def own(words: str, prefix: str = "") -> dspy.LM:
        class Own(dspy.LM):  # type: ignore[misc]
            def __init__(self, prefix: str) -> None:
                super().__init__("openai/m")
                self.prefix = prefix

            def _get_cached_completion_fn(self, *args: Any) -> Any:
                return words

        return Own(prefix)

    keys = [_key(lm, "hi") for lm in (own("a"), own("b"), own("a", "c"))]
    assert len(set(keys)) == 3
    assert _key(own("a"), "hi") == keys[0]


def test_what_has_no_part_in_an_answer_is_not_in_its_key() -> None:
    base = _key(lm_of(), "hi")
    assert _key(lm_of(api_key="sk-planted"), "hi") == base
    assert _key(lm_of(timeout=3, num_retries=0, cache=False), "hi") == base
    assert _key(lm_of(), "hi", headers={"Authorization": "x"}) == base
    assert _key(lm_of(), messages=[{"content": "hi", "role": "user"}]) == base
    copy = lm_of().copy()
    assert _key(copy, "hi") == base


# Round trips


LOGPROBS = (TokenLogprob(token="a", logprob=-0.25, bytes=(97,), top=()),)

RESPONSES = [
    response(TextPart("plain")),
    response(TextPart("\x00\x1b[31m\u2028 [[ ## answer ## ]] <b>\u00e9\U0001f600")),
    response(TextPart("lone \ud800 surrogate")),
    response(TextPart("x" * 1_000_000)),
    response(ThinkingPart("hm"), TextPart("fine")),
    response(ToolCallPart(id="1", name="f", input={"a": [1, {"b": None}]})),
    response(TextPart("fine"), logprobs=LOGPROBS),
    response(TextPart("fine"), provider_data={"x": [1, 2.5, None]}),
]


@pytest.mark.parametrize("made", RESPONSES, ids=range(len(RESPONSES)))
@pytest.mark.parametrize("n", [1, 3])
def test_answers_of_every_kind_come_back_as_they_were(store: Store, made: Response, n: int) -> None:
    lm = dspy.LM("own/model", engine=Served("any", lambda request: made), num_retries=0)
    options = {"logprobs": True} if made.logprobs else {}
    first = gate_of(store).watch(lm)("hi", n=n, **options)
    again = gate_of(store).watch(lm)("hi", n=n, **options)
    assert first == again
    assert lm.engine.calls == n
    assert lm.history[0]["response"] == lm.history[1]["response"]
    assert lm.history[0]["outputs"] == lm.history[1]["outputs"]
    if n == 1 and not options:
        request = Request(model="own/model", messages=[Message.user("hi")])
        typed = [gate_of(store).watch(lm)(request) for _ in range(2)]
        assert typed == [made, made]


def test_an_answer_that_json_does_not_hold_is_not_kept() -> None:
    store = MemoryStore()
    answers = Answers(store)
    for wrong in (float("nan"), object(), {1, 2}):
        answers.keep("answer:1", CallResult(outputs=[wrong], raw={"a": 1}))
    answers.keep("answer:1", CallResult(outputs=[{1: "a"}], raw={"a": 1}))
    assert store.get("answer:1") is None or answers.find("answer:1") is not None
    answers.keep("answer:2", CallResult((response(),), ["fine"], {}))
    found = answers.find("answer:2")
    assert found is not None
    assert found.result.outputs == ["fine"]


@pytest.mark.parametrize(
    "record",
    [
        None, 3, [], {}, {"format": 1}, {"format": 2, "result": {}}, {"format": 1, "result": 7},
        {"format": 1, "result": {"responses": [{"x": 1}]}},
        {"format": 1, "result": {"responses": 3, "outputs": [], "usage": {}, "cost": 0}},
        {"format": 1, "result": {"responses": [], "outputs": 3, "usage": 4, "cost": "x"}},
    ],
)  # fmt: skip
def test_a_damaged_answer_is_asked_for_again(record: Any) -> None:
    lm, store = counting(), MemoryStore()
    store.put(_key(lm, "hi"), record)
    assert gate_of(store).watch(lm)("hi") == ["fine 1"]
    assert gate_of(store).watch(lm)("hi") == ["fine 1"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cost": "x"}, {"cost": 10**400}, {"cost": -5.0}, {"usage": {"prompt_tokens": 10**400}},
        {"usage": {"prompt_tokens": -5}}, {"usage": {"details": {"cached": -1}}},
    ],
)  # fmt: skip
def test_an_answer_that_took_the_impossible_is_asked_for_again(wrong: dict[str, Any]) -> None:
    lm, store = counting(), MemoryStore()
    assert gate_of(store).watch(lm)("hi") == ["fine 1"]
    record = store.get(_key(lm, "hi"))
    store.put(_key(lm, "hi"), {**record, "result": {**record["result"], **wrong}})
    assert gate_of(store).watch(lm)("hi") == ["fine 2"]


# One asks, others wait


def _at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_equal_requests_at_the_same_time_are_sent_once(store: Store) -> None:
    lm = scripted_lm(lambda text: text[-1], delay_s=0.02, cache=True, temperature=1.0)
    gate = gate_of(store, max_in_flight=16)
    watched = gate.watch(lm)
    found = _at_once([partial(watched, word) for word in "aaaabbbbaabb"])
    assert found == [[word] for word in "aaaabbbbaabb"]
    assert lm.engine.calls == 2
    assert gate.meter.total(SCORER).cache_hits == 10


def test_equal_asynchronous_requests_are_sent_once(store: Store) -> None:
    lm = counting()
    watched = gate_of(store).watch(lm)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(watched.acall("hi") for _ in range(8)))

    assert asyncio.run(ask()) == [["fine 1"]] * 8


def test_when_the_first_fails_the_next_one_asks(store: Store) -> None:
    outcomes: list[Any] = [ServerError("one"), ServerError("two"), "fine"]
    lm = scripted_lm(
        lambda text: outcomes.pop(0) if len(outcomes) > 1 else "fine", delay_s=0.02, cache=True
    )
    watched = gate_of(store).watch(lm)

    def ask() -> Any:
        try:
            return watched("hi")
        except LMError:
            return None

    found = _at_once([ask] * 6)
    assert sorted(map(str, found)) == sorted(map(str, [None] * 2 + [["fine"]] * 4))
    assert lm.engine.calls == 3


class Hanging(Served):
    """An engine that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__("hanging", self._wait)
        self._started, self._go = threading.Event(), threading.Event()

    def _wait(self, request: Request) -> Response:
        if self.calls > 1:
            return response(TextPart("second"))
        self._started.set()
        assert self._go.wait(HELD_S)
        return response(TextPart("late"))


def test_whoever_waits_holds_no_place_at_the_gate() -> None:
    engine = Hanging()
    gate = gate_of(max_in_flight=2)
    slow = gate.watch(dspy.LM("own/slow", engine=engine))
    quick = gate.watch(counting())
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(slow, "hi") for _ in range(6)]
        assert engine._started.wait(HELD_S)
        assert quick("hi") == ["fine 1"]
        engine._go.set()
        assert [f.result() for f in futures] == [["late"]] * 6
    assert engine.calls == 1


def test_when_the_first_hangs_and_is_given_up_the_next_one_asks(store: Store) -> None:
    engine = Hanging()
    gate = gate_of(store)
    watched = gate.watch(dspy.LM("own/slow", engine=engine))
    tasks = []

    def ask() -> Any:
        with gate.task() as task:
            tasks.append(task)
            return watched("hi")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert engine._started.wait(HELD_S)
        second = pool.submit(ask)
        tasks[0].abandon()
        assert second.result(HELD_S) == ["second"]
        engine._go.set()
        assert first.result(HELD_S) == ["late"]
    assert watched("hi") == ["second"]
    assert engine.calls == 2


def test_waiting_for_the_answer_of_another_is_not_held_against_an_example() -> None:
    engine, gate, other = Hanging(), gate_of(), gate_of()
    other.desk = replace(other.desk, answers=gate.desk.answers)
    lm = dspy.LM("own/slow", engine=engine)
    tasks: list[Any] = []

    def ask(gate: Gate) -> Any:
        with gate.task() as task:
            tasks.append(task)
            return gate.watch(lm)("hi")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(ask, gate)]
        assert engine._started.wait(HELD_S)
        futures.append(pool.submit(ask, gate))
        until = time.monotonic() + HELD_S
        while (len(tasks) < 2 or not tasks[1].waited) and time.monotonic() < until:
            time.sleep(0.01)
        futures.append(pool.submit(ask, other))  # of a run that may never give it up
        while len(tasks) < 3:
            time.sleep(0.01)
        time.sleep(0.05)
        engine._go.set()
        assert [f.result(HELD_S) for f in futures] == [["late"]] * 3
    assert tasks[1].waited > 0.0
    assert tasks[2].waited < 0.01


def test_waiting_ends_with_ctrl_c_and_when_the_example_is_given_up() -> None:
    engine, interrupt = Hanging(), Interrupt()
    gate = gate_of(interrupt=interrupt)
    watched = gate.watch(dspy.LM("own/slow", engine=engine))
    tasks: list[Any] = []

    def ask() -> Any:
        with gate.task() as task:
            tasks.append(task)
            return watched("hi")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask)
        assert engine._started.wait(HELD_S)
        second = pool.submit(ask)
        while len(tasks) < 2:
            time.sleep(0.001)
        tasks[1].abandon()
        with pytest.raises(CallRefused, match="given up"):
            second.result(HELD_S)
        third = pool.submit(ask)
        interrupt.pressed = True
        with pytest.raises(CallRefused, match="Ctrl-C"):
            third.result(HELD_S)
        assert tasks[2].refused is not None
        engine._go.set()
        assert first.result(HELD_S) == ["late"]


def test_a_cancelled_asynchronous_call_blocks_nobody() -> None:
    engine = Hanging()
    lm = dspy.LM("own/slow", engine=engine, async_engine=_Forever())
    watched = gate_of().watch(lm)

    async def ask() -> None:
        task = asyncio.create_task(watched.acall("hi"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    engine._go.set()
    assert watched("hi") == ["late"]


class _Forever:
    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(HELD_S)
        raise AssertionError


# `cached`


def test_a_cached_lm_answers_from_the_cache_and_passes_for_its_own_kind(tmp_path: Path) -> None:
    lm = opro_dspy.cached(counting(temperature=1.0), cache_dir=tmp_path)
    assert lm("hi") == ["fine 1"]
    other = opro_dspy.cached(counting("never"), cache_dir=tmp_path)
    assert other("hi", temperature=1.0) == ["fine 1"]
    assert other("hi", temperature=1.0, cache=False) == ["never 1"]
    assert asyncio.run(other.acall("hi", temperature=1.0)) == ["fine 1"]
    assert isinstance(lm, dspy.LM)
    assert (type(lm).__module__, type(lm).__qualname__) == ("dspy.clients.lm", "LM")
    assert deepcopy(lm)("hi") == lm.copy()("hi") == ["fine 1"]
    for wrong in ("openai/m", None, dspy.utils.DummyLM([])):
        with pytest.raises(ConfigurationError, match=r"`lm` must be a dspy\.LM"):
            opro_dspy.cached(wrong)


def test_compile_and_a_cached_lm_share_their_answers(tmp_path: Path) -> None:
    store = DiskStore(CacheDir(path=tmp_path))
    assert gate_of(store).watch(counting())("hi") == ["fine 1"]
    assert opro_dspy.cached(counting("never"), cache_dir=tmp_path)("hi") == ["fine 1"]


def test_a_program_with_a_cached_lm_is_saved_as_with_the_plain_one(tmp_path: Path) -> None:
    program = dspy.Predict("question -> answer")
    program.lm = opro_dspy.cached(dspy.LM("openai/m", temperature=0.5), cache_dir=tmp_path / "c")
    program.save(tmp_path / "program.json")
    assert json.loads((tmp_path / "program.json").read_text())["lm"]["model"] == "openai/m"
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json")
    assert type(loaded.lm) is dspy.LM
    assert loaded.lm.kwargs["temperature"] == 0.5


def test_a_cached_lm_goes_through_the_gate_as_others_do(tmp_path: Path) -> None:
    lm = opro_dspy.cached(counting(), cache_dir=tmp_path)
    gate = gate_of()
    with gate.meter.role(SCORER):
        assert [gate.watch(lm)("hi") for _ in range(2)] == [["fine 1"]] * 2
    (row,) = gate.meter.usage()
    assert (row.calls, row.cache_hits) == (1, 1)


# Secrets

PLANTED = "sk-planted-0123456789"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": PLANTED},
        {"extra_headers": {"A": f"Bearer {PLANTED}"}},
        {"extra_body": {"nested": [{"api_key": PLANTED}]}},
        {"api_base": f"http://user:{PLANTED}@host/v1"},
        {"proxy": "http://user:" + PLANTED.replace("-", "%2D") + "@host/v1"},
        {"api_base": f"http://host/v1?code={PLANTED}"},
    ],
    ids=str,
)
def test_a_key_that_the_provider_echoes_is_not_in_the_error(options: Any) -> None:
    gate = gate_of()
    lm = gate.watch(dspy.LM("openai/m", num_retries=0, cache=False, **options))

    def failing(*args: Any, **kwargs: Any) -> Any:
        try:
            raise KeyError(f"denied for {PLANTED}")
        except KeyError as error:
            raise ServerError(f"bad key Bearer {PLANTED}") from error

    with pytest.raises(ServerError, match="bad key") as caught:
        Passage(gate.desk, lm, type(lm), ("hi",), {}).go(failing)
    said = f"{caught.value} {vars(caught.value)} {caught.value.__cause__}"
    assert PLANTED not in said


def test_no_key_of_an_engine_or_the_environment_reaches_a_file_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", PLANTED)
    engine = Served("served", lambda request: response(TextPart(request_text(request))))
    engine.api_key = PLANTED  # type: ignore[attr-defined]
    gate_of(DiskStore(CacheDir(path=tmp_path))).watch(dspy.LM("own/model", engine=engine))("hi")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert all(PLANTED.encode() not in file.read_bytes() for file in files)
