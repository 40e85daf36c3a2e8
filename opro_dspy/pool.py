"""Calls on an executor, a bounded number in flight, results as they come."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from opro_dspy.interrupt import Interrupt

K = TypeVar("K")
T = TypeVar("T")
P = ParamSpec("P")

_POLL_S = 1.0
"""How often to look for calls that take too long, at most."""


class DaemonExecutor(Executor):
    """A thread for each call in flight, used again when it is free.

    Unlike `ThreadPoolExecutor` it never queues behind a call that hangs, and such a call does not
    keep the interpreter from exiting. Whoever submits bounds the number of calls.
    """

    def __init__(self, *, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle = 0
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._num_threads = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run `fn(*args, **kwargs)` in a thread at once."""
        future: Future[T] = Future()
        with self._lock:
            self._work.put((future, lambda: fn(*args, **kwargs)))
            if self._idle:
                self._idle -= 1
            else:
                self._num_threads += 1
                name = f"{self._name}-{self._num_threads}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  (goes to whoever asks the future)
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            with self._lock:
                self._idle += 1
            del item, future, call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end, and the others when their call ends; never waits."""
        with self._lock:
            for _ in range(self._num_threads):
                self._work.put(None)


def completed(
    executor: Executor,
    draw: Callable[[], tuple[K, Callable[[], T]] | None],
    *,
    window: int,
    timeout_s: float | None = None,
    interrupt: Interrupt | None = None,
) -> Iterator[tuple[K, "Future[T]"]]:
    """Run calls on `executor` and yield each key with its finished future.

    Each call runs in a copy of the caller's context (contextvars, and so DSPy's settings).
    Constant work for each call.

    On Ctrl-C nothing more is started; the calls in flight are waited for and yielded, then
    KeyboardInterrupt is raised.

    Args:
        executor: Where the calls run.
        draw: Returns the next key and call, or None when there is none before another result
            came. Asked again after each result; the end is when nothing is in flight either.
        window: Calls in flight at once, at least 1.
        timeout_s: Seconds after which a call is yielded though its future is not done; it runs on.
        interrupt: Tells of Ctrl-C; looked at before the first call and after each.

    Raises:
        KeyboardInterrupt: If `interrupt` was pressed.
    """
    interrupt = interrupt or Interrupt()
    interrupt.check()
    context = contextvars.copy_context()
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    flying: dict[Future[T], tuple[K, float]] = {}
    try:
        while True:
            while len(flying) < window and not interrupt.pressed and (drawn := draw()) is not None:
                future = executor.submit(context.copy().run, drawn[1])
                flying[future] = (drawn[0], time.monotonic())
                future.add_done_callback(finished.put)
            if not flying:
                break
            done = _first(finished, timeout_s)
            if done is not None and done in flying:
                yield flying.pop(done)[0], done
            for future in _late(flying, timeout_s):
                yield flying.pop(future)[0], future
        interrupt.check()
    finally:
        for future in flying:
            future.cancel()


def _first(finished: "SimpleQueue[Future[T]]", timeout_s: float | None) -> "Future[T] | None":
    """Return the next future that is done, or None if it is time to look for late ones."""
    try:
        return finished.get(timeout=None if timeout_s is None else min(_POLL_S, timeout_s / 4))
    except Empty:
        return None


def _late(flying: dict["Future[T]", tuple[K, float]], timeout_s: float | None) -> list["Future[T]"]:
    """Return the futures that have run for longer than `timeout_s`; the oldest come first."""
    if timeout_s is None:
        return []
    late = time.monotonic() - timeout_s
    return list(takewhile(lambda future: flying[future][1] <= late, flying))
