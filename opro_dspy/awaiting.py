"""A run that is awaited: in a thread of its own, and a cancelled task stops it as Ctrl-C does."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

from opro_dspy.interrupt import Interrupt
from opro_dspy.pool import DaemonExecutor

T = TypeVar("T")


async def in_thread(run: Callable[[], T]) -> T:
    """Return what `run` returns; the event loop goes on meanwhile.

    It runs in a copy of the caller's context (contextvars, and so DSPy's settings).

    Raises:
        CancelledError: If the task was cancelled: nothing more was started, and the calls in
            flight were waited for. What was found by then hangs on it: `program` and `result`.
            Cancelled again, the task waits no longer, and nothing hangs on it.
    """
    interrupt, context = Interrupt(), contextvars.copy_context()
    context.run(interrupt.prevail)
    thread = DaemonExecutor(1, name="opro_dspy_run")
    future = asyncio.wrap_future(thread.submit(context.run, run))
    thread.shutdown()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError as cancelled:
        interrupt.press()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([future])
        error = future.exception()
        found = future.result() if error is None else error
        program = found if error is None else getattr(error, "program", None)
        result = getattr(found, "detailed_results" if error is None else "result", None)
        for name, value in (("program", program), ("result", result)):
            setattr(cancelled, name, value)
        raise cancelled from error
