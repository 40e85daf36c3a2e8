"""Runs races on one pool: scores come in, failures are sorted by whose fault they are."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import dspy

from opro_dspy.books import Books
from opro_dspy.boundary.task import outage_of
from opro_dspy.conditions import Conditions
from opro_dspy.errors import ExecutorError, JournalError, MetricError
from opro_dspy.inquiry import Control, Inquiry
from opro_dspy.late import LateCalls
from opro_dspy.memory import Score
from opro_dspy.pool import completed
from opro_dspy.race import Cell, Race
from opro_dspy.records import Candidate
from opro_dspy.refusals import CONTROL, Held
from opro_dspy.trials import Question, Trial, raised, refusal_of, settle

BUDGET = "budget"
"""Says why a call is refused that could be admitted only if others came back."""


class Grid:
    """One race on the pool: draws cells, has them scored, and sorts what comes back.

    A call that takes too long goes to `LateCalls`, a refused request to the `Inquiry`; what
    becomes of each cell is in `books`.

    Args:
        conditions: How examples are scored.
        race: Decides which cell is next.
        candidates: One for each lane of the race.
        programs: The candidates' programs.
        examples: The set that `orders` point into.
        orders: For each lane, example indices in the order in which it meets them.
        set_name: Which set `examples` is: "trainset" or "valset".
        number: Which race of the run it is.
        control: The run's.
    """

    def __init__(
        self,
        conditions: Conditions,
        race: Race,
        *,
        candidates: Sequence[Candidate],
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        orders: Sequence[Sequence[int]],
        set_name: str = "trainset",
        number: int = 1,
        control: Control,
    ) -> None:
        self.books = Books(
            conditions,
            race,
            candidates=candidates,
            examples=examples,
            orders=orders,
            set_name=set_name,
            number=number,
        )
        self._conditions, self._race, self._ledger = conditions, race, self.books.ledger
        self._programs, self._examples = programs, examples
        self._inquiry, self._control = Inquiry(conditions, self.books, control), control
        self._late = LateCalls(conditions, self.books, self._inquiry)
        self._flying: dict[Cell, Trial] = {}
        self._refused = False
        """Whether a cap refused an LM call: what waits for a thread then does not begin."""
        self._unadmitted: Cell | None = None
        """A cell for which calls in flight left no room."""

    def run(self) -> None:
        """Run the race to its end.

        Raises:
            LMCallError: If an LM failed for good, stays away (`Outages`), refuses all requests
                (`Refusals`), or hangs (`Hangs`).
            ProgramFailedError: If program or metric hang on whatever they are given.
            MetricError: If the metric returned something that is no number.
            ExecutorError: If the executor failed.
            UnknownPriceError: If the price of an LM that answered is not known, but needed.
            KeyboardInterrupt: If the user pressed Ctrl-C; after the calls in flight.
        """
        conditions, books = self._conditions, self.books
        try:
            with conditions.context():
                results = completed(
                    conditions.executor,
                    self._draw,
                    window=3 * conditions.num_threads,  # some wait, so that no thread does
                    timeout_s=conditions.timeout_s,
                    waited=lambda cell: self._flying[cell].waited,
                    holds=lambda: self._late.holds,
                    seconds_left=lambda: conditions.gate.budget.seconds_left,
                    interrupt=conditions.interrupt,
                )
                for cell, future in results:
                    self._came(cell, self._flying.pop(cell), future)
        finally:
            self._late.close()
            self._ledger.close()
        if (error := books.error) is not None:
            raise error
        if books.refused:  # only now: what was in flight may have ended a rung
            self._race.stop()
            reason = conditions.gate.budget.exhausted
            if self._unadmitted is not None and reason is not None:
                books.refuse(self._unadmitted, reason)
        books.tell_failures()

    def _draw(self) -> tuple[Cell, Callable[[], Any]] | None:
        """Return what sets out next: a cell that has to be paid for, or the control."""
        hangs, inquiry, n_flying = self._conditions.hangs, self._inquiry, len(self._flying)
        self._late.let_go()
        while self.books.error is None:
            probing = hangs.is_wave and (n_flying or self._late)  # one call is enough for that
            cell = None if probing or inquiry.holds(n_flying) else self._next()
            if cell is None and not probing and inquiry.is_due(n_flying, late=bool(self._late)):
                return self._draw_control()
            if cell is None and n_flying:
                return None
            if cell is None and not self.books.refused and self._try_again():
                continue
            if cell is None:
                return None
            if self._recalled(cell) or self.books.refused or not self._admitted(cell, calls=1):
                continue
            return cell, partial(self._score, self._flying[cell], cell)
        return None

    def _draw_control(self) -> tuple[Cell, Callable[[], None]] | None:
        drawn = self._inquiry.begin()
        if drawn is None:
            return None
        self._flying[CONTROL], ask = drawn
        return CONTROL, ask

    def _next(self) -> Cell | None:
        """Return the race's next cell; one that hangs, or hung twice, is gone on without."""
        hangs, n = self._conditions.hangs, len(self._examples)
        while (cell := self._race.next()) is not None:
            if not hangs.is_left_out(self.books.place(cell), n_examples=n):
                break
            self.books.leave_out(cell)
        return cell

    def _try_again(self) -> bool:
        """Go on with what was put off, if anything was; nothing is in flight now."""
        took_up = self._late.take_up()
        if self.books.outages and not self._late.holds:
            self._next_round()
            return True
        return took_up or self._late.wait()

    def _next_round(self) -> None:
        """Wait for LMs that failed, then hand out again what they failed at."""
        seconds, cells = self.books.outages.next_round()
        if (reason := self._conditions.gate.pause(seconds)) is not None:
            first = self._inquiry.in_doubt if cells[0] == CONTROL else cells[0]
            self.books.refuse(first, reason)
        for cell in cells:
            if cell != CONTROL:
                self._race.again(cell)

    def _recalled(self, cell: Cell) -> bool:
        """Take what is known of the cell, so that nothing has to be paid for."""
        score = self._ledger.met(cell)
        if score is None:
            score = self._ledger.recall(cell)
            if score is None:
                return False
            if score.refused is not None:
                self.books.refused = score.refused
                return True
            if not self._admitted(cell, calls=score.calls):
                return True
            settle(self._flying.pop(cell), calls=score.calls)
        if score.hung:
            self._race.skip(cell)
            return True
        if score.failed is not None:
            self.books.failures.recall(cell, score.failed)
        else:
            self._control.note(self._question(cell), answered=False)
        self.books.count(cell, score)
        return True

    def _admitted(self, cell: Cell, *, calls: int) -> bool:
        """Begin a trial of the cell if the budget has so many metric calls left, else refuse it.

        Args:
            cell: What to score.
            calls: Metric calls that it takes.
        """
        budget, reservation = self._conditions.gate.budget, None
        if budget.has_caps and (reservation := budget.admit(metric_calls=calls)) is None:
            reason = budget.refusal(metric_calls=calls)
            if reason is not None:
                self.books.refuse(cell, reason)
            else:  # once the calls in flight are back
                self.books.refused, self._unadmitted = BUDGET, cell
            return False
        self._flying[cell] = Trial(self._question(cell), reservation=reservation)
        return True

    def _question(self, cell: Cell) -> Question:
        index = self.books.index(cell)
        return Question(
            self._conditions,
            self.books.candidate(cell),
            self._programs[cell.candidate],
            self._examples[index],
            where=f"example {index}",
        )

    def _score(self, trial: Trial, cell: Cell) -> Score:
        """Return what the cell scores; runs in a thread of the pool."""
        if self._refused:
            raise Held
        self._inquiry.set_out(trial)
        trial.number = self._conditions.hangs.set_out()
        with self._conditions.gate.task() as task:
            trial.task = task
            try:
                self._conditions.gate.begin(task)
                found = trial.question.score()
            finally:
                self._refused |= task.refused is not None and not task.abandoned
        used = trial.used if task.bad_request is None else ()  # the inquiry notes what it used
        score = self._ledger.score(cell, found.value, used)
        score = replace(score, output=found.output, feedback=found.feedback)
        if task.is_clean and not task.abandoned:
            self._ledger.note(cell, score)  # at once: what is paid for waits for nobody
        return score

    def _came(self, cell: Cell, trial: Trial, future: "Future[Score]") -> None:
        """Take what came, or let go of it; KeyboardInterrupt out of there is as Ctrl-C."""
        interrupt = self._conditions.interrupt
        try:
            if cell == CONTROL:
                self._inquiry.came(trial, future)
            elif future.cancelled():  # it never began
                settle(trial, calls=0)
                self._race.again(cell)
            elif future.done():
                self._take(cell, trial, future)
            else:
                self._late.give_up(cell, trial, future)
        except KeyboardInterrupt:
            if interrupt is None or interrupt.pressed:  # a second one does not wait
                raise
            interrupt.pressed = True

    def _take(self, cell: Cell, trial: Trial, future: "Future[Score]") -> None:
        """Sort what came back: a score, a refusal, the LM's outage, or this one example's error."""
        books = self.books
        error = raised(future, self._conditions.gate)
        if isinstance(error, Held):
            settle(trial, calls=0)
            self._race.again(cell)
            self._refused &= bool(self._flying)  # else nobody is left to tell of a refusal
            return
        task = trial.task
        refused = task is not None and task.refused is not None
        outage = outage_of(task, error)
        settle(trial, calls=int(not refused and outage is None))
        if refused and task is not None:
            books.refuse(cell, task.refused or BUDGET, trial.used)
        elif isinstance(error, (MetricError, JournalError, ExecutorError)):
            books.stop(cell, error)
        elif outage is not None:
            self._ledger.spent(cell, trial.used)
            books.put_off(cell, outage)
        elif (refusal := refusal_of(trial, error)) is not None:
            self._conditions.hangs.answered(trial.number, by_lm=True)
            self._inquiry.doubt(cell, trial, future, refusal)
        else:
            self._inquiry.answered(trial, by_lm=trial.was_answered)
            score = books.outcome(cell, future, trial.used)
            if error is not None:
                self._ledger.note(cell, score)
            books.count(cell, score)
