import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from math import inf
from typing import Any, TypeVar

import pytest

from opro_dspy.interrupt import Interrupt
from opro_dspy.pool import DaemonExecutor, completed

K = TypeVar("K")
T = TypeVar("T")
COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour")


def drawn_from(calls: Iterable[tuple[K, Callable[[], T]]]) -> Callable[[], Any]:
    source = iter(calls)
    return lambda: next(source, None)


def test_every_call_comes_back_once_with_its_key() -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = drawn_from((i, partial(pow, i, 2)) for i in range(100))
        assert {k: f.result() for k, f in completed(pool, calls, window=8)} == {
            i: i * i for i in range(100)
        }


def test_a_call_that_raises_keeps_its_error_in_its_future() -> None:
    with ThreadPoolExecutor(2) as pool:
        ((_, future),) = completed(pool, drawn_from([(0, lambda: 1 / 0)]), window=1)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_calls_run_in_copies_of_the_callers_context() -> None:
    COLOUR.set("red")

    def change() -> str:
        seen = COLOUR.get()
        COLOUR.set("blue")
        return seen

    with ThreadPoolExecutor(1) as pool:
        calls = drawn_from((i, change) for i in range(3))
        seen = [f.result() for _, f in completed(pool, calls, window=1)]
    assert seen == ["red"] * 3
    assert COLOUR.get() == "red"


def test_calls_are_drawn_only_as_they_are_wanted() -> None:
    drawn = count()

    def calls() -> Iterator[tuple[int, partial[None]]]:
        while True:
            yield next(drawn), partial(time.sleep, 0)

    with ThreadPoolExecutor(1) as pool:
        results = completed(pool, drawn_from(calls()), window=3)
        next(results)
        results.close()  # type: ignore[attr-defined]
    assert next(drawn) == 3


def test_at_most_the_window_is_in_flight() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    with ThreadPoolExecutor(16) as pool:
        list(completed(pool, drawn_from((i, work) for i in range(30)), window=5))
    assert most == 5


def test_after_ctrl_c_the_calls_in_flight_are_waited_for_and_the_rest_is_not_started() -> None:
    interrupt, release, started = Interrupt(), threading.Event(), count()

    def work() -> int:
        n = next(started)
        release.wait(5)
        return n

    def calls() -> Iterator[tuple[int, Callable[[], int]]]:
        yield 0, lambda: -1
        for i in range(1, 100):
            yield i, work

    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        for key, future in completed(pool, drawn_from(calls()), window=6, interrupt=interrupt):
            interrupt.pressed = True
            release.set()
            seen.append((key, future.result()))
    assert len(seen) == 1 + next(started)
    assert len(seen) < 7


def test_nothing_is_started_after_ctrl_c() -> None:
    interrupt = Interrupt()
    interrupt.pressed = True
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        next(completed(pool, drawn_from([(0, lambda: 1)]), window=1, interrupt=interrupt))


def test_the_first_ctrl_c_is_noted_and_the_second_raised() -> None:
    before, interrupt = signal.getsignal(signal.SIGINT), Interrupt()
    with interrupt.listening():
        signal.raise_signal(signal.SIGINT)
        assert interrupt.pressed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)

    def listen() -> bool:
        with Interrupt().listening():
            return signal.getsignal(signal.SIGINT) is before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(listen).result()


def test_a_call_that_takes_too_long_is_yielded_once_and_runs_on() -> None:
    release = threading.Event()
    pool = DaemonExecutor(1, name="test")
    calls = drawn_from([(0, lambda: release.wait(5)), (1, lambda: True), (2, lambda: True)])
    seen = {}
    for key, future in completed(pool, calls, window=3, timeout_s=0.1):
        seen[key] = future.done()
        if not future.done():
            pool.let_go()
    release.set()
    assert seen == {0: False, 1: True, 2: True}


def test_what_a_call_waited_does_not_count_for_its_timeout() -> None:
    release, waited = threading.Event(), {0: 0.0, 1: inf}
    calls = drawn_from([(0, lambda: release.wait(30)), (1, lambda: release.wait(30))])
    seen = {}
    pool = DaemonExecutor(2, name="test")
    for key, future in completed(
        pool, calls, window=2, timeout_s=0.1, waited=lambda key: waited[key]
    ):
        seen[key] = future.done()
        release.set()
    assert seen == {0: False, 1: True}


def test_while_it_is_held_what_waits_for_a_thread_is_taken_back() -> None:
    release, held, drawn = threading.Event(), [False], iter(range(4))
    taken: list[int] = []

    def draw() -> tuple[int, Callable[[], object]] | None:
        if held[0]:
            return None
        key = taken.pop() if taken else next(drawn, None)
        return None if key is None else (key, lambda: release.wait(30) if key == 1 else None)

    pool, seen = DaemonExecutor(1, name="test"), []
    for key, future in completed(pool, draw, window=4, holds=lambda: held[0]):
        if future.cancelled():
            taken.append(key)
            if len(taken) == 2:
                held[0] = False
                release.set()
        else:
            seen.append(key)
            held[0] = key == 0
    assert sorted(seen) == [0, 1, 2, 3]


def test_when_the_time_is_up_a_call_that_hangs_is_waited_for_no_more() -> None:
    release, left = threading.Event(), [60.0]
    pool = DaemonExecutor(2, name="test")
    calls = drawn_from([(0, lambda: False), (1, lambda: release.wait(30))])
    seen = {}
    for key, future in completed(pool, calls, window=2, seconds_left=lambda: left[0]):
        seen[key] = future.done()
        left[0] = 0.0
    release.set()
    assert seen == {0: True, 1: False}


def test_when_the_time_is_up_a_call_is_waited_for_as_long_as_others_took() -> None:
    second, left = threading.Event(), [60.0]

    def first() -> None:
        time.sleep(0.3)
        second.set()

    pool = DaemonExecutor(1, name="test")
    calls = drawn_from([(0, first), (1, lambda: second.wait(30))])
    seen = {}
    for key, future in completed(pool, calls, window=2, seconds_left=lambda: left[0]):
        seen[key] = future.done()
        left[0] = 0.0
    assert seen == {0: True, 1: True}


def test_a_source_may_have_nothing_for_a_while() -> None:
    """What is drawn may depend on what came back."""
    ready = [0]

    def draw() -> tuple[int, Callable[[], int]] | None:
        return (n := ready.pop(), lambda: n) if ready else None

    seen = []
    pool = DaemonExecutor(4, name="test")
    for key, _ in completed(pool, draw, window=4):
        seen.append(key)
        if key < 3:
            ready.append(key + 1)
    assert seen == [0, 1, 2, 3]


def test_a_daemon_executor_uses_its_threads_again_up_to_its_limit() -> None:
    pool, names = DaemonExecutor(5, name="test"), set()
    for _ in range(20):
        names.add(pool.submit(lambda: threading.current_thread().name).result())
        time.sleep(0.001)
    assert len(names) < 5
    gate = threading.Barrier(6)
    waiting = [pool.submit(gate.wait, 5) for _ in range(6)]
    time.sleep(0.05)
    assert gate.n_waiting == 5
    pool.let_go()
    assert all(future.result() is not None for future in waiting)
    assert all(t.daemon for t in threading.enumerate() if t.name.startswith("test-"))
    pool.shutdown()


def test_an_error_in_a_daemon_executors_call_stays_in_its_future() -> None:
    with pytest.raises(ZeroDivisionError):
        DaemonExecutor(1, name="test").submit(lambda: 1 / 0).result()
