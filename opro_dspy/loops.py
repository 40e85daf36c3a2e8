"""One event loop for each thread: made when it is first needed, closed when the thread ends."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loops:
    """Runs coroutines, all those of a thread in the same event loop.

    Clients keep their connections for each loop; a loop for each call would leave them all open.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what `coroutine` returns; tasks that it leaves behind are cancelled.

        There must be no running loop in this thread.
        """
        if not hasattr(self._local, "mine"):
            self._local.mine = _Loop(asyncio.new_event_loop())
        loop: asyncio.AbstractEventLoop = self._local.mine.loop
        try:
            return loop.run_until_complete(coroutine)
        finally:
            _cancel_rest(loop)


class _Loop:
    """A loop that is closed with the last reference, which its thread's locals hold."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def __del__(self) -> None:
        if not self.loop.is_running():  # an awaited example may hang until the interpreter exits
            self.loop.close()


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
