"""Whoever runs jobs: an executor, or a function that makes the next one when one breaks."""

import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, wait
from typing import Any

from opro_dspy.errors import ExecutorError
from opro_dspy.filters import sentence

POLL_S = 1.0
"""How often to look whether an executor that gives no answer is still there."""

ASK_S = 5.0
"""How long to wait for a scheduler's word on its workers."""

MAX_DEATHS = 3
"""How often the workers may die under a job before the run stops."""


class Workers:
    """Whoever runs jobs.

    Args:
        executor: Any `concurrent.futures.Executor`, or a function that returns one: it is asked
            again when the executor breaks, as process pools do when one of their processes dies.
    """

    def __init__(self, executor: Executor | Callable[[], Executor]) -> None:
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else None
        self._lock = threading.Lock()

    def run(
        self, where: str, function: Callable[..., dict[str, Any]], /, *args: Any
    ) -> dict[str, Any]:
        """Return what `function(*args)` returns on a worker; `where` names it in errors.

        Raises:
            ExecutorError: If the executor fails, whose work never raises.
        """
        for _ in range(MAX_DEATHS):
            executor = self._current()
            try:
                future = executor.submit(function, *args)
                while not wait([future], POLL_S).done:
                    _check_client(executor)
                outcome: dict[str, Any] = future.result()
            except Exception as error:
                if self._make is None or not isinstance(error, BrokenExecutor):
                    raise lost(error) from error
                self._drop(executor)
            else:
                return outcome
        raise ExecutorError(
            f"the workers of `executor` died {MAX_DEATHS} times under {where}. See what they "
            "say: too little memory, or a program that ends its process."
        )

    def are_there(self) -> bool:
        """Return False if it is known that there is no worker: Dask's scheduler is asked."""
        client: Any = getattr(self._executor, "_client", None)
        if not hasattr(client, "nthreads"):
            return True
        try:
            return bool(client.nthreads(callback_timeout=ASK_S))
        except Exception:  # noqa: BLE001  (whatever it is, nothing is known then)
            return True

    def _current(self) -> Executor:
        with self._lock:
            if self._executor is None and self._make is not None:
                self._executor = self._made(self._make)
            if not isinstance(self._executor, Executor):
                raise ExecutorError(
                    "`executor` is a function that must return a concurrent.futures.Executor, got "
                    f"{self._executor!r}."
                )
            return self._executor

    def _made(self, make: Callable[[], Executor]) -> Executor:
        try:
            return make()
        except Exception as error:
            raise ExecutorError(
                f"the function that was passed as `executor` raised {sentence(_said(error))} "
                "It must return a concurrent.futures.Executor, also when it is asked again."
            ) from error

    def _drop(self, broken: Executor) -> None:
        with self._lock:
            if self._executor is broken:
                self._executor = None


def _check_client(executor: Executor) -> None:
    """Raise ConnectionError if `executor` is a Dask client's that was closed.

    A job that is submitted while a client tries to find its scheduler again never ends when the
    client gives that up.
    """
    client = getattr(executor, "_client", None)
    if getattr(client, "status", None) in ("closing", "closed"):
        raise ConnectionError("its client was closed")


def lost(error: Exception) -> ExecutorError:
    """Return the error that says that an executor failed, or what is around it."""
    return ExecutorError(
        "the executor failed, which says nothing about the candidate: "
        f"{sentence(_said(error))} {_cure(error)}"
    )


def _cure(error: Exception) -> str:
    """Return what to look at, or to do."""
    if isinstance(error, BrokenExecutor):
        return (
            "One of its processes died. Pass a function that makes it: that is asked for the next "
            "one (executor=lambda: ProcessPoolExecutor(8))."
        )
    if isinstance(error, RuntimeError) and "shutdown" in str(error):
        return "Pass one that is open, or a function that makes one."
    if isinstance(error, CancelledError):
        return "It cancelled its work: is its scheduler up, and its client open?"
    if type(error).__name__ == "KilledWorker":
        return "See what its workers say: too little memory, or a program that ends its process."
    return "Are its workers and its scheduler up, with opro_dspy installed?"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
