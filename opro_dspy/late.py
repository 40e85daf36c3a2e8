"""Calls that took longer than their `timeout`: whether they still count, or are left out."""

import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass

from opro_dspy.books import Books
from opro_dspy.conditions import Conditions
from opro_dspy.failures import named
from opro_dspy.hangs import MAX_HANGS, Hang
from opro_dspy.inquiry import Inquiry
from opro_dspy.memory import Score
from opro_dspy.pool import DaemonExecutor
from opro_dspy.race import Cell
from opro_dspy.trials import Trial, settle

logger = logging.getLogger(__name__)


LOOK_S = 0.05
"""How often to look whether a call that is waited for has ended."""


@dataclass(frozen=True, slots=True)
class Late:
    """A call that took longer than `timeout`."""

    trial: Trial
    future: Future[Score]
    until: float
    """Clock time (`time.monotonic`) until which it is waited for."""

    @property
    def score(self) -> Score | None:
        """What it came to, if that is a score like any other; None also before it has ended."""
        task = self.trial.task
        if not self.future.done() or self.future.exception() is not None:
            return None
        return self.future.result() if task is not None and task.is_clean else None

    @property
    def asked_lm(self) -> bool:
        """Whether LMs were asked; what hung counts as failed in `used`, even once it is back."""
        return any(row.calls for row in self.trial.used)


class LateCalls:
    """The late calls of one race, each given up, but kept for one more `timeout`.

    One that ends by then with a score counts; one that ends otherwise is tried again, if it was
    the cell's first. Whatever does not come back is left out, unless so many hang that it is an
    outage; see `Hangs`.

    Args:
        conditions: How examples are scored; its `hangs` are told.
        books: The race's.
        inquiry: The race's; told of what comes back.
    """

    def __init__(self, conditions: Conditions, books: Books, inquiry: Inquiry) -> None:
        self._conditions, self._books, self._inquiry = conditions, books, inquiry
        self._calls: dict[Cell, Late] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def holds(self) -> bool:
        """Whether nothing may begin before it is known whether late calls come back."""
        return bool(self._calls) and self._conditions.hangs.is_wave

    def let_go(self) -> None:
        """Let other calls have the threads of those that hang."""
        hangs, executor = self._conditions.hangs, self._conditions.executor
        while hangs.n_owed and not self.holds:
            hangs.n_owed -= 1
            if isinstance(executor, DaemonExecutor):
                executor.let_go()

    def give_up(self, cell: Cell, trial: Trial, future: "Future[Score]") -> None:
        """Let go of a call that hangs: it may end when it likes, and pays for nothing more."""
        books, conditions = self._books, self._conditions
        hang = Hang(
            set_name=books.set_name,
            example=books.index(cell),
            n_examples=books.n_examples,
            number=trial.number,
            model=trial.waits_for,
            future=future,
        )
        if trial.task is not None:
            trial.task.abandon()
        settle(trial, calls=1)
        reason = conditions.gate.budget.refusal()
        conditions.hangs.given_up(books.place(cell), hang, in_doubt=reason is None)
        if reason is not None:
            books.ledger.spent(cell, trial.used, calls=1)
            books.refuse(cell, reason)  # the time is up
            return
        seconds = conditions.timeout_s or 0.0
        self._calls[cell] = Late(trial, future, time.monotonic() + seconds)
        logger.info(
            "Example %d of the %s took longer than %g s and is put off.",
            *(books.index(cell), books.set_name, seconds),
        )

    def take_up(self) -> bool:
        """Use what late calls came to by now, or try them again; return whether there were any."""
        now, hangs = time.monotonic(), self._conditions.hangs
        ended = [
            cell for cell, late in self._calls.items() if late.future.done() or late.until <= now
        ]
        back = [cell for cell in ended if self._is_back(cell, self._calls[cell])]
        for cell in back:
            self._take(cell, self._calls.pop(cell))
        over = [cell for cell in ended if cell in self._calls]
        if hangs.is_wave and over:
            if len(over) < len(self._calls):
                return bool(back)
            raise self._conditions.hang_error()
        for cell in over:
            self._leave_out(cell, self._calls.pop(cell))
        return bool(back or over)

    def wait(self) -> bool:
        """Wait until a late call ends, or its time is up; return whether there was one."""
        waited = bool(self._calls)
        while self._calls and not self.take_up():
            cell, late = next(iter(self._calls.items()))  # the first one's time is up first
            left = max(0.0, late.until - time.monotonic())
            if (reason := self._conditions.gate.pause(min(left, LOOK_S))) is not None:
                self._books.refuse(cell, reason)
                break
        return waited

    def close(self) -> None:
        """Book what those took that are waited for no more, as the race is over."""
        for cell, late in self._calls.items():
            self._books.ledger.spent(cell, late.trial.used, calls=1)

    def _is_back(self, cell: Cell, late: Late) -> bool:
        """Tell whether a late call has ended, and counts or may be tried again."""
        again = self._conditions.hangs.times(self._books.place(cell)) < MAX_HANGS
        return late.score is not None or (late.future.done() and again)

    def _take(self, cell: Cell, late: Late) -> None:
        """Use what a late call came to, or try it again."""
        books, score = self._books, late.score
        self._conditions.hangs.came_back(books.place(cell), answered=score is not None)
        if score is None:
            books.ledger.spent(cell, late.trial.used, calls=1)
            books.race.again(cell)
            return
        self._inquiry.answered(late.trial, by_lm=late.asked_lm)
        books.ledger.note(cell, score)
        books.count(cell, score)

    def _leave_out(self, cell: Cell, late: Late) -> None:
        """Wait no longer for a call that does not come back."""
        books = self._books
        books.ledger.spent(cell, late.trial.used, calls=1)
        logger.warning(
            "Example %d of the %s is left out: it hung with the instructions %s. If it is "
            "only slow, set a `timeout` longer than %g s.",
            *(books.index(cell), books.set_name),
            *(named(books.candidate(cell)), self._conditions.timeout_s or 0.0),
        )
        books.leave_out(cell)
