import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

import pytest

from opro_dspy.interrupt import Interrupt
from opro_dspy.pool import completed

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour")


def test_every_call_comes_back_once_with_its_key() -> None:
    with ThreadPoolExecutor(4) as pool:
        calls = ((i, partial(pow, i, 2)) for i in range(100))
        assert {k: f.result() for k, f in completed(pool, calls, window=8)} == {
            i: i * i for i in range(100)
        }


def test_a_call_that_raises_keeps_its_error_in_its_future() -> None:
    with ThreadPoolExecutor(2) as pool:
        ((_, future),) = completed(pool, [(0, lambda: 1 / 0)], window=1)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_calls_run_in_copies_of_the_callers_context() -> None:
    COLOUR.set("red")

    def change() -> str:
        seen = COLOUR.get()
        COLOUR.set("blue")
        return seen

    with ThreadPoolExecutor(1) as pool:
        seen = [f.result() for _, f in completed(pool, [(i, change) for i in range(3)], window=1)]
    assert seen == ["red"] * 3
    assert COLOUR.get() == "red"


def test_calls_are_drawn_only_as_they_are_wanted() -> None:
    drawn = count()

    def calls() -> Iterator[tuple[int, partial[None]]]:
        while True:
            yield next(drawn), partial(time.sleep, 0)

    with ThreadPoolExecutor(1) as pool:
        results = completed(pool, calls(), window=3)
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
        list(completed(pool, [(i, work) for i in range(30)], window=5))
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

    seen = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        for key, future in completed(pool, calls(), window=6, interrupt=interrupt):
            interrupt.pressed = True
            release.set()
            seen.append((key, future.result()))
    assert len(seen) == 1 + next(started)
    assert len(seen) < 7


def test_nothing_is_started_after_ctrl_c() -> None:
    interrupt = Interrupt()
    interrupt.pressed = True
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        next(completed(pool, [(0, lambda: 1)], window=1, interrupt=interrupt))


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
