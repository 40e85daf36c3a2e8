"""Calls on an executor, a bounded number in flight, results as they come."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import takewhile
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, TypeVar

from opro_dspy.errors import ExecutorError
from opro_dspy.interrupt import Interrupt

K = TypeVar("K")
T = TypeVar("T")
P = ParamSpec("P")

_POLL_S = 1.0
"""How often to look for calls that take too long, at most."""


class DaemonExecutor(Executor):
    """At most so many calls at once, in daemon threads that are used again.

    Unlike `ThreadPoolExecutor` it can let go of a call that hangs: another thread takes its place,
    and the call does not keep the interpreter from exiting.

    Args:
        num_threads: Calls at once, at least 1; those let go of are not among them.
        name: Beginning of the threads' names.
    """

    def __init__(self, num_threads: int, *, name: str) -> None:
        self._limit = num_threads
        self._name = name
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run `fn(*args, **kwargs)` in a thread as soon as one is free."""
        future: Future[T] = Future()
        with self._lock:
            self._work.put((future, partial(fn, *args, **kwargs)))
            self._wake()
        return future

    def let_go(self) -> None:
        """Let one more call run: one that hangs no longer counts."""
        with self._lock:
            self._limit += 1
            if not self._work.empty():
                self._wake()

    def _wake(self) -> None:
        if self._idle:
            self._idle -= 1
        elif self._started < self._limit:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            try:  # an idle thread may be taking the last call at this moment
                return self._work.get_nowait()
            except Empty:
                self._idle += 1
        return self._work.get()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  (goes to whoever asks the future)
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del item, future, call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end, and the others when their call ends; never waits."""
        with self._lock:
            for _ in range(self._started):
                self._work.put(None)


class _Flight(Generic[K]):
    """A call that was handed over."""

    __slots__ = ("key", "seconds", "started")

    def __init__(self, key: K) -> None:
        self.key = key
        self.started: float | None = None
        """When it began to run; None while it waits for a thread."""
        self.seconds = 0.0
        """How long it ran, once it is over."""

    def run(self, context: contextvars.Context, call: Callable[[], T]) -> T:
        self.started = time.monotonic()
        try:
            return context.run(call)
        finally:
            self.seconds = time.monotonic() - self.started


def completed(
    executor: Executor,
    draw: Callable[[], tuple[K, Callable[[], T]] | None],
    *,
    window: int,
    timeout_s: float | None = None,
    waited: Callable[[K], float] = lambda key: 0.0,
    seconds_left: Callable[[], float] = lambda: inf,
    holds: Callable[[], bool] = lambda: False,
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
        window: Calls handed over at once, at least 1: some may wait for a thread.
        timeout_s: Seconds after which a call is yielded though its future is not done; it runs on.
        waited: Tells how many seconds of a call do not count for that.
        holds: Tells whether nothing more may begin: what waits for a thread is then taken back and
            yielded with its future cancelled.
        seconds_left: Tells how long the calls should be waited for. When that is over, so is a call
            that has run for longer than any that came back: it is taken for hung.
        interrupt: Tells of Ctrl-C; looked at before the first call and after each.

    Raises:
        KeyboardInterrupt: If `interrupt` was pressed.
        ExecutorError: If `executor` was shut down.
    """
    interrupt = interrupt or Interrupt()
    interrupt.check()
    context = contextvars.copy_context()
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    flying: dict[Future[T], _Flight[K]] = {}
    longest = 0.0
    try:
        while True:
            while len(flying) < window and not interrupt.pressed and (drawn := draw()) is not None:
                flight = _Flight(drawn[0])
                future = _submitted(executor, flight.run, context.copy(), drawn[1])
                flying[future] = flight
                future.add_done_callback(finished.put)
            if interrupt.pressed:
                _taken_back(flying)
            elif holds() and (held := _taken_back(flying)):
                yield from held
                continue
            if not flying:
                break
            done = _first(finished, timeout_s, seconds_left())
            if done is not None and done in flying:
                _check_not_cancelled(done)
                flight = flying.pop(done)
                longest = max(longest, flight.seconds - waited(flight.key))
                yield flight.key, done
            limit_s = inf if timeout_s is None else timeout_s
            if seconds_left() <= 0.0:
                limit_s = min(limit_s, longest)
            for future in _late(flying, limit_s, waited):
                yield flying.pop(future).key, future
        interrupt.check()
    finally:
        for future in flying:
            future.cancel()


def _submitted(
    executor: Executor, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> "Future[T]":
    try:
        return executor.submit(function, *args, **kwargs)
    except RuntimeError as error:
        raise ExecutorError(f"`executor` takes no work: {error}. Pass one that is open.") from error


def _taken_back(flying: "dict[Future[T], _Flight[K]]") -> list[tuple[K, "Future[T]"]]:
    """Cancel whatever waits for a thread; return keys and futures of that."""
    return [(flying.pop(future).key, future) for future in list(flying) if future.cancel()]


def _check_not_cancelled(future: "Future[T]") -> None:
    if future.cancelled():
        raise ExecutorError("`executor` was shut down and its work cancelled. Keep it open.")


def _first(
    finished: "SimpleQueue[Future[T]]", timeout_s: float | None, seconds_left: float
) -> "Future[T] | None":
    """Return the next future that is done, or None if it is time to look for late ones."""
    if timeout_s is None and seconds_left == inf:
        return finished.get()
    wait = min(_POLL_S, (timeout_s or inf) / 4, max(seconds_left, _POLL_S / 50))
    try:
        return finished.get(timeout=wait)
    except Empty:
        return None


def _late(
    flying: dict["Future[T]", _Flight[K]], limit_s: float, waited: Callable[[K], float]
) -> list["Future[T]"]:
    """Return the futures that have run for longer than `limit_s`; the oldest come first."""
    if limit_s == inf:
        return []
    late = time.monotonic() - limit_s

    def began_before(future: "Future[T]", moment: float) -> bool:
        started = flying[future].started
        return started is not None and started < moment

    old = takewhile(lambda future: began_before(future, late), flying)
    return [future for future in old if began_before(future, late - waited(flying[future].key))]
