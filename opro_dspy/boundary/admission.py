"""Who may go now: the budget, calls in flight, requests a minute, and tasks given up."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.task import Task, Visit
from opro_dspy.boundary.throttle import AdaptiveLimit, RequestRate
from opro_dspy.errors import OproError
from opro_dspy.interrupt import Interrupt

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""Ctrl-C and time wake nobody: who waits looks up this often."""

LONG_WAIT_S = 30.0
"""A wait that a provider asks for is told to the user from here on."""

OUT_AFTER = 3
"""Failed calls in a row, none answered, after which an LM is said to be out when time runs out."""

LM_OUT = "an LM was out"

CTRL_C = "stopped by Ctrl-C"
GIVEN_UP = "the example took too long and was given up"


class CallRefused(OproError, RuntimeError):
    """An LM call was not let through; nothing was sent."""


class BudgetRefused(CallRefused):
    """A cap of the budget is reached."""


@dataclass(kw_only=True)
class Admission:
    """Lets attempts in and hears how they went; one lock over budget and limits."""

    budget: Budget
    max_in_flight: int
    """Attempts at once at most; the limit of each model adapts below it."""
    requests_per_minute: int | None = None
    interrupt: Interrupt = field(default_factory=Interrupt)
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Condition, float], object] = threading.Condition.wait
    fatal: BaseException | None = None
    """The error after which nothing is let in: an LM's, or that the price of one is not known."""

    def __post_init__(self) -> None:
        rpm = self.requests_per_minute
        self.lock = threading.Condition()
        self._rate = RequestRate(rpm, self.clock) if rpm is not None else None
        self._in_flight = 0
        self._limits: dict[str, AdaptiveLimit] = {}
        self._n_failed, self._failed = 0, ""
        self._answered = self._told = False

    def enter(self, visit: Visit) -> None:
        """Wait until `visit` is let in, or until the cache should be asked (`ask_cache`).

        Raises:
            CallRefused: If it is never to go.
        """
        with self.lock, visit.waiting():
            while (seconds := self.try_enter(visit)) is not None and not visit.ask_cache:
                self.wait(self.lock, min(seconds, POLL_S))

    def try_enter(self, visit: Visit) -> float | None:
        """Let `visit` in and return None, or return the seconds until it may be worth a try.

        With `ask_cache` set, it neither waits nor is refused before the cache is asked: the
        seconds are then 0.0.

        Raises:
            CallRefused: If it is never to go.
        """
        with self.lock:
            self._check_wanted(visit)
            if visit.cached:
                return None
            if visit.ask_cache and self._rate is not None:
                return 0.0
            seconds = self._seconds(visit)
            if seconds is None:
                visit.ask_cache = False
                return None
            if visit.ask_cache:
                return 0.0
            if (refusal := self._refuses_to_wait(seconds)) is not None:
                raise self._refused(visit, refusal)
            return seconds

    def begin(self, task: Task) -> None:
        """Let `task` begin, whether or not its calls come by here.

        Raises:
            CallRefused: If nothing may begin.
        """
        with self.lock:
            visit = Visit(model="", task=task)
            self._check_wanted(visit)
            if (reason := self.budget.used_up) is not None:
                raise self._refused(visit, BudgetRefused(reason))

    def check_waiting(self, visit: Visit) -> None:
        """Let `visit` wait for what another call brings.

        Raises:
            CallRefused: If it is not wanted any more, or Ctrl-C was pressed.
        """
        with self.lock:
            self._check_wanted(visit)
            if self.interrupt.pressed:
                raise self._refused(visit, CallRefused(CTRL_C))

    def pause(self, seconds: float) -> str | None:
        """Wait; return why not to the end (Ctrl-C, `max_seconds`), or None."""
        with self.lock:
            until = self.clock() + seconds
            while (left := until - self.clock()) > 0:
                if (refusal := self._refuses_to_wait(left)) is not None:
                    return str(refusal)
                self.wait(self.lock, min(left, POLL_S))
        return None

    def came_back(self, visit: Visit) -> None:
        """Note that an attempt is over: from here on its task cannot give it up."""
        if visit.task is not None:
            visit.task.came_back(visit)

    def leave(self, visit: Visit, *, failed: bool, paid: bool) -> None:
        """Free the place of an attempt that came back.

        Args:
            visit: What came back.
            failed: Whether it raised.
            paid: Whether a provider answered it; False for an answer of the cache.
        """
        with self.lock:
            if paid and not failed:
                self.limit(visit.model).succeeded()
                self._n_failed, self.budget.outage, self._answered = 0, "", True
            self.free_place(visit)
            self.lock.notify_all()

    def pushed_back(
        self, visit: Visit, *, soft: bool, retry_after: float | None, said: str = ""
    ) -> None:
        """Send fewer calls to the model, none before `retry_after` seconds; before `leave`."""
        if retry_after is not None and retry_after >= LONG_WAIT_S:
            logger.warning("%s asks to be left alone for %.0f s.", visit.model, retry_after)
        with self.lock:
            self._n_failed, self._failed = self._n_failed + 1, said or self._failed
            self._tell(visit.model)
            self.budget.outage = self._outage(least=OUT_AFTER)
            if visit.entered is not None:
                until = None if retry_after is None else self.clock() + retry_after
                limit = self.limit(visit.model)
                limit.pushed_back(visit.entered, soft=soft, until=until)

    def refuse_all(self, error: BaseException) -> None:
        """Let nothing in any more because of `error`; the first one stays."""
        with self.lock:
            self.fatal = self.fatal or error
            self.lock.notify_all()

    def limit(self, model: str) -> AdaptiveLimit:
        """Return the limit on calls in flight of `model`."""
        return self._limits.setdefault(model, AdaptiveLimit(self.max_in_flight))

    def free_place(self, visit: Visit) -> None:
        """Free the place of `visit` if it has one; the caller holds the lock."""
        if visit.entered is not None:
            visit.entered = None
            self.limit(visit.model).leave()
            self._in_flight -= 1

    def _check_wanted(self, visit: Visit) -> None:
        if visit.task is not None and visit.task.abandoned:
            raise self._refused(visit, CallRefused(GIVEN_UP))
        if self.fatal is not None:
            if visit.task is not None:
                visit.task.failed(self.fatal)
            name = type(self.fatal).__name__
            said = f"an LM refused for good before: {name}"
            raise CallRefused(
                str(self.fatal) if isinstance(self.fatal, OproError) else said
            ) from self.fatal

    def _seconds(self, visit: Visit) -> float | None:
        """Take place, budget and request for `visit`, or return the seconds until a next try."""
        limit, now = self.limit(visit.model), self.clock()
        held = max(limit.held_until, visit.not_before) - now
        if held > 0:
            return held
        if self._in_flight >= self.max_in_flight or limit.in_flight >= limit.limit:
            return POLL_S
        need: dict[str, Any] = {"tokens": visit.tokens, "cost": visit.cost}
        reason = self.budget.used_up
        reservation = self.budget.admit(**need) if reason is None else None
        if reservation is None:
            reason = None if visit.ask_cache else reason or self.budget.refusal(**need)
            if reason is not None:
                raise self._refused(visit, BudgetRefused(reason))
            return POLL_S
        if self._rate is not None and (seconds := self._rate.take()) > 0:
            reservation.release()
            return seconds
        visit.reservation, visit.entered = reservation, limit.enter()
        self._in_flight += 1
        if visit.task is not None:
            visit.task.in_flight.append(visit)
        return None

    def _refuses_to_wait(self, seconds: float) -> CallRefused | None:
        if self.interrupt.pressed:
            return CallRefused(CTRL_C)
        if seconds >= self.budget.seconds_left:
            reason = f"max_seconds: an LM call would have to wait {seconds:,.1f} s"
            reason += self._outage(least=1)
            self.budget.refuse(reason)
            return BudgetRefused(reason)
        return None

    def _outage(self, *, least: int) -> str:
        """Say that calls failed, at least so many in a row, and none was answered since."""
        n = self._n_failed
        if n < least:
            return ""
        calls = f"the last {n} calls" if n > 1 else "the last call"
        return f"; {LM_OUT}: {calls} failed ({self._failed})"

    def _tell(self, model: str) -> None:
        """Say once in a run that an LM is waited for: at the first failure, if it comes first."""
        if not self._told and self._n_failed >= (OUT_AFTER if self._answered else 1):
            self._told = True
            yet = "at the moment" if self._answered else "yet"
            logger.warning("No answer from %s %s (%s); trying again.", model, yet, self._failed)

    def _refused(self, visit: Visit, error: CallRefused) -> CallRefused:
        """Tell the call's task, and that of this run if another run within it makes the call."""
        if visit.task is not None:
            for task in (visit.task, visit.task.of_run(self.lock)):
                if task is not None:
                    task.refused = str(error)
        return error
