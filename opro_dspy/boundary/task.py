"""LM calls that belong together: what is in flight, what failed, what was refused."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from dspy.lm15 import Request

from opro_dspy.boundary.budget import Reservation
from opro_dspy.boundary.meter import lm_failure
from opro_dspy.records import Usage


@dataclass(slots=True, kw_only=True)
class Visit:
    """One LM call, from the wait for its first attempt to the end of its last."""

    model: str
    task: "Task | None" = None
    tokens: int = 0
    """Tokens to reserve for an attempt."""
    cost: float = 0.0
    """USD to reserve for an attempt."""
    not_before: float = float("-inf")
    """Clock time of the next attempt at the earliest."""
    ask_cache: bool = False
    """Whether DSPy's cache may have the answer, and should be asked before any wait."""
    cached: bool = False
    """Whether DSPy's cache has the answer, so that nothing is needed."""
    entered: int | None = None
    """The place of the attempt in flight (`AdaptiveLimit.enter`), or None without one."""
    reservation: Reservation | None = None
    """What is reserved for the attempt in flight."""
    given_up: Callable[[], None] = lambda: None
    """Told that the attempt in flight hangs and is waited for no more."""

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context in which the call waits to be let in; see `Task.waited`."""
        return nullcontext() if self.task is None else self.task.waiting()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks, of whom."""

    what: str
    """What is sent; see `sent`."""
    where: str
    """Model and endpoint; a name of its own for an LM that nobody watches."""
    rollout: str = ""

    def makes_up_for(self, failed: "Asked") -> bool:
        """Tell whether an answer to this takes the place of the answer that `failed` did not give.

        That is so of another LM that is asked the same, a fallback, and of the same LM asked once
        more. A further rollout is a further sample, as in DSPy's BestOfN and Refine: with one of
        them lost the program is not what it is without the outage.
        """
        same_sample = (self.where, self.rollout) == (failed.where, failed.rollout)
        return self.what == failed.what and (self.where != failed.where or same_sample)


def sent(prompt: object, messages: object, request: object) -> str:
    """Return what a call sends as one text, whichever of DSPy's ways it takes."""
    if isinstance(request, Request):
        return repr((request.system, request.messages))
    return repr(messages or prompt)


class Task:
    """The LM calls made for one purpose, e.g. to score one example.

    Args:
        lock: The admission's.
        free_place: Frees the place of an attempt; called with the lock held.
        clock: Seconds, never going back.
        within: The task in which this one begins: of another run, if a program compiles.
    """

    def __init__(
        self,
        lock: threading.Condition,
        free_place: Callable[[Visit], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        within: "Task | None" = None,
    ) -> None:
        self.lock, self._free_place, self._clock = lock, free_place, clock
        self._within = within
        self._outages: list[tuple[Asked | None, BaseException]] = []
        self.refused: str | None = None
        """Why a call in here was refused (a cap, Ctrl-C); the task's result then says nothing."""
        self.bad_request: BaseException | None = None
        """Why the last call was refused as bad, if it was."""
        self.abandoned = False
        self.fresh = False
        """Whether its calls go past all caches."""
        self.used: list[Usage] = []
        """One row for each attempt that came back."""
        self.in_flight: list[Visit] = []
        """Guarded by the admission's lock, as is the time of waiting."""
        self._n_waiting, self._waited_s = 0, 0.0
        self._waits_since: float | None = None

    @property
    def waited(self) -> float:
        """Seconds in which its calls only waited to be let in: one at least, and none in flight.

        A `timeout` does not count them: nothing hangs that was never sent.
        """
        with self.lock:
            self._tell_time()
            return self._waited_s

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Return a context in which one of its calls waits, or is let in at the end."""
        with self.lock:
            self._n_waiting += 1
            self._tell_time()
        try:
            yield
        finally:
            with self.lock:
                self._n_waiting -= 1
                self._tell_time()

    def came_back(self, visit: Visit) -> None:
        """Note that an attempt is over: from here on it cannot be given up."""
        with self.lock:
            if visit in self.in_flight:
                self.in_flight.remove(visit)
            self._tell_time()

    def _tell_time(self) -> None:
        """Add up the time of waiting; called after each change of what it depends on."""
        now = self._clock()
        if self._waits_since is not None:
            self._waited_s += now - self._waits_since
        waits = self._n_waiting > 0 and not self.in_flight
        self._waits_since = now if waits else None

    def runs_with(self, other: object) -> bool:
        """Tell whether `other` is a task of the same run, which is given up if it hangs."""
        return isinstance(other, Task) and other.lock is self.lock

    def of_run(self, lock: threading.Condition | None) -> "Task | None":
        """Return this task, or the one around it, that belongs to the run with that lock."""
        task: Task | None = self
        while task is not None and task.lock is not lock:
            task = task._within
        return task

    @property
    def lm_error(self) -> BaseException | None:
        """The last failure of an LM in here that says nothing about program or example.

        None also when the program made up for every one of them by itself (`Asked`). One that it
        swallowed counts: what it then returned is no honest answer.
        """
        return self._outages[-1][1] if self._outages else None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was refused or failed: what came of it is what the program makes of it.

        A task that was given up may end so all the same, if its last LM call was under way.
        """
        refused = self.refused is not None or self.bad_request is not None
        return not refused and self.lm_error is None

    def failed(self, error: BaseException, asked: Asked | None = None) -> None:
        """Note an LM's failure; without `asked` nothing makes up for it."""
        with self.lock:
            self._outages.append((asked, error))

    def answered(self, asked: Callable[[], Asked]) -> None:
        """Note an answer: it may make up for failures."""
        self.bad_request = None
        if self._outages:
            now = asked()
            with self.lock:
                self._outages = [
                    (failed, error)
                    for failed, error in self._outages
                    if failed is None or not now.makes_up_for(failed)
                ]

    def abandon(self) -> None:
        """Refuse every further call in here; for a task that hangs.

        A call in flight cannot be stopped. It gives up its place at once and counts as failed, and
        what is reserved for it counts as spent; should it ever come back, what it really used
        counts instead.
        """
        with self.lock:
            self.abandoned = True
            for visit in self.in_flight:
                self._free_place(visit)
                if visit.reservation is not None:
                    visit.reservation.settle()
                visit.given_up()
            self.lock.notify_all()


def outage_of(task: Task | None, error: BaseException | None) -> BaseException | None:
    """Return the LM's failure that says nothing about the example, if there was one.

    Args:
        task: The example's LM calls, if any could begin.
        error: What scoring the example raised.
    """
    if task is not None and (task.lm_error is not None or task.refused is not None):
        return task.lm_error
    return None if error is None else lm_failure(error)
