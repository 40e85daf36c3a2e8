"""Finds out whose fault refused requests are: what was answered before is asked again."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from dspy.utils.exceptions import LMTimeoutError

from opro_dspy.books import Books
from opro_dspy.boundary.task import outage_of
from opro_dspy.conditions import Conditions
from opro_dspy.errors import ExecutorError
from opro_dspy.filters import sentence
from opro_dspy.memory import Score
from opro_dspy.outages import all_refused
from opro_dspy.race import Cell
from opro_dspy.refusals import CONTROL, MAX_DOUBTS, Doubt, Held, Refusals
from opro_dspy.trials import Question, Trial, raised, refusal_of


@dataclass(slots=True)
class Control:
    """What is asked again to learn whose fault refused requests are; see `Refusals`."""

    question: Question | None = None
    """The last one that an LM answered in this run, or else an earlier session; None without."""

    def note(self, question: Question, *, answered: bool) -> None:
        """Take note of a question that came to a score; `answered` by an LM and just now."""
        if answered or self.question is None:
            self.question = question


class Inquiry:
    """Keeps the refusals of one race in doubt until it is known whose fault they are.

    By which rules: see `Refusals`.

    Args:
        conditions: How examples are scored.
        books: The race's.
        control: The run's.
    """

    def __init__(self, conditions: Conditions, books: Books, control: Control) -> None:
        self._conditions, self._books, self._control = conditions, books, control
        self._refusals = Refusals()
        self.in_doubt = CONTROL
        """The first cell in doubt when the control was asked last: its books say what that took."""

    def set_out(self, trial: Trial) -> None:
        """Let a trial set out; from any thread.

        Raises:
            Held: If it should not, before more is known.
        """
        if self._refusals.is_full:
            raise Held
        trial.n_refusals = self._refusals.n_known

    def doubt(
        self, cell: Cell, trial: Trial, future: "Future[Score]", cause: BaseException
    ) -> None:
        """Keep what came of a trial in which a request was refused for `cause`."""
        self._books.ledger.vain(cell, trial.used)
        self._refusals.add(Doubt(cell, future, cause, in_part=trial.was_answered))

    def answered(self, trial: Trial, *, by_lm: bool) -> None:
        """Tell all who doubt LMs that a trial came to a score, in time or late.

        Args:
            trial: The trial.
            by_lm: Whether an LM answered in it: what a cache knew is no sign of life.
        """
        self._books.outages.answered()
        self._conditions.hangs.answered(trial.number, by_lm=by_lm)
        if by_lm:
            self._settle(trial.n_refusals)
        self._control.note(trial.question, answered=by_lm)

    def _settle(self, n_known: int) -> None:
        """Let the first `n_known` refusals of the race count as their examples' own failures."""
        for doubt in self._refusals.answered(n_known):
            score = self._books.outcome(doubt.cell, doubt.future)
            self._books.ledger.note(doubt.cell, score)
            self._books.count(doubt.cell, score)

    def holds(self, n_flying: int) -> bool:
        """Tell whether nothing may set out before more is known, with so many calls in flight."""
        refusals = self._refusals
        if self._control.question is None:  # they may all be refused
            return len(refusals.doubts) + n_flying >= MAX_DOUBTS
        return refusals.is_full or refusals.asking

    def is_due(self, n_flying: int, *, late: bool) -> bool:
        """Tell whether only the control can say whose fault the refusals are, or nothing can.

        Args:
            n_flying: Calls in flight.
            late: Whether calls that were given up may still come back.
        """
        refusals, outages = self._refusals, self._books.outages
        if not refusals or refusals.asking or CONTROL in outages:
            return False
        idle = not n_flying and (self._books.refused is not None or not (outages or late))
        return idle or (refusals.is_full and self._control.question is not None)

    def begin(self) -> tuple[Trial, Callable[[], None]] | None:
        """Return a trial of the control and the call that asks it; without a control, stop."""
        question, doubts = self._control.question, self._refusals.doubts
        if question is None:
            self._stop()
            return None
        trial, self.in_doubt = Trial(question), doubts[0].cell
        self._refusals.asking = True
        return trial, partial(question.ask, trial, judge=any(doubt.in_part for doubt in doubts))

    def came(self, trial: Trial, future: "Future[Any]") -> None:
        """Settle all refusals by what came of the control, if that tells whose fault they are."""
        books, gate = self._books, self._conditions.gate
        self._refusals.asking, is_back = False, future.done()
        if future.cancelled():  # it never began
            return
        if not is_back and trial.task is not None:
            trial.task.abandon()
            self._conditions.hangs.n_owed += 1
        error = raised(future, gate) if is_back else LMTimeoutError("the request hangs.")
        books.ledger.vain(self.in_doubt, trial.used)
        refused = None if trial.task is None else trial.task.refused
        if not is_back and refused is None:
            refused = gate.budget.refusal()
        outage, refusal = outage_of(trial.task, error), refusal_of(trial, error)
        if refused is not None:  # nobody will know
            books.refuse(self.in_doubt, refused)
            self._refusals.answered(self._refusals.n_known)
        elif isinstance(error, ExecutorError):
            books.stop(CONTROL, error)
        elif outage is not None:
            books.put_off(CONTROL, outage)
        elif refusal is not None and self._refusals:  # else answers that came meanwhile tell more
            self._stop(as_before=sentence(f"{type(refusal).__name__}: {refusal}"))
        else:
            books.outages.answered()
            self._settle(self._refusals.n_known)

    def _stop(self, *, as_before: str = "") -> None:
        """End the run: all requests are refused."""
        doubts = self._refusals.doubts
        n_examples = len({self._books.index(doubt.cell) for doubt in doubts})
        self._books.stop(CONTROL, all_refused(doubts[0].cause, n_examples, as_before=as_before))
