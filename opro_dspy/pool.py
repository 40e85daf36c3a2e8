"""Calls on an executor, a bounded number in flight, results as they come."""

import contextvars
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

from opro_dspy.interrupt import Interrupt

K = TypeVar("K")
T = TypeVar("T")


def completed(
    executor: Executor,
    calls: Iterable[tuple[K, Callable[[], T]]],
    *,
    window: int,
    interrupt: Interrupt | None = None,
) -> Iterator[tuple[K, "Future[T]"]]:
    """Run `calls` on `executor` and yield each key with its finished future.

    `calls` is drawn from lazily, so its maker may change what is still to come in the light of
    what came back. Each call runs in a copy of the caller's context (contextvars, and so DSPy's
    settings). Constant work for each call.

    On Ctrl-C nothing more is started; the calls in flight are waited for and yielded, then
    KeyboardInterrupt is raised.

    Args:
        executor: Where the calls run.
        calls: Key and call; a call's exception stays in its future.
        window: Calls handed to the executor at once, at least 1.
        interrupt: Tells of Ctrl-C; looked at before the first call and after each.

    Raises:
        KeyboardInterrupt: If `interrupt` was pressed.
    """
    interrupt = interrupt or Interrupt()
    interrupt.check()
    context = contextvars.copy_context()
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    keys: dict[Future[T], K] = {}

    def submit(items: Iterable[tuple[K, Callable[[], T]]]) -> None:
        for key, call in items:
            future = executor.submit(context.copy().run, call)
            keys[future] = key
            future.add_done_callback(finished.put)

    source = iter(calls)
    try:
        submit(islice(source, window))
        while keys:
            future = finished.get()
            if future in keys:
                yield keys.pop(future), future
            if not interrupt.pressed:
                submit(islice(source, 1))
                continue
            for waiting in [waiting for waiting in keys if waiting.cancel()]:
                del keys[waiting]
        interrupt.check()
    finally:
        for future in keys:
            future.cancel()
