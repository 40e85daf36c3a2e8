"""Runs races on one pool: scores come in, failures are sorted by whose fault they are."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import dspy
from dspy.utils.exceptions import LMTimeoutError

from opro_dspy.boundary.faults import is_retryable
from opro_dspy.boundary.task import outage_of
from opro_dspy.conditions import Conditions
from opro_dspy.errors import ExecutorError, JournalError, MetricError, RunError
from opro_dspy.failures import Failures, named
from opro_dspy.filters import sentence
from opro_dspy.hangs import MAX_HANGS, Hang
from opro_dspy.ledger import Ledger
from opro_dspy.memory import Score
from opro_dspy.outages import MAX_UNREACHABLE, Outages, all_refused, scorer_failed
from opro_dspy.pool import DaemonExecutor, completed
from opro_dspy.protocols import ExampleScored
from opro_dspy.race import Cell, Race
from opro_dspy.records import Candidate, Evaluation, Usage
from opro_dspy.refusals import CONTROL, MAX_DOUBTS, Doubt, Held, Refusals
from opro_dspy.trials import Control, Late, Question, Trial, refusal_of, settle

logger = logging.getLogger(__name__)


BUDGET = "budget"
"""Says why a call is refused that could be admitted only if others came back."""

LOOK_S = 0.05
"""How often to look whether a call that is waited for has ended."""


class Grid:
    """One race on the pool.

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
        self._conditions = conditions
        self._race = race
        self._candidates = candidates
        self._programs = programs
        self._examples = examples
        self._orders = orders
        self._set_name = set_name
        self._ledger = Ledger(conditions, candidates, orders, set_name=set_name, number=number)
        self.failures = Failures(conditions, candidates, set_name)
        self._fatal: dict[tuple[int, int], Exception] = {}
        self._trials: dict[Cell, Trial] = {}
        self._flying = 0
        self._outages = Outages()
        self._late: dict[Cell, Late] = {}
        self._refusals, self._control = Refusals(), control
        self._in_doubt = CONTROL
        """The first cell in doubt when the control was asked last: its books say what that took."""
        self.refused: str | None = None
        """The cap of the budget that ended the race, if one did."""

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
        conditions = self._conditions
        try:
            with conditions.context():
                results = completed(
                    conditions.executor,
                    self._draw,
                    window=3 * conditions.num_threads,  # some wait, so that no thread does
                    timeout_s=conditions.timeout_s,
                    waited=lambda cell: self._trials[cell].waited,
                    holds=lambda: self._holds,
                    seconds_left=lambda: conditions.gate.budget.seconds_left,
                    interrupt=conditions.interrupt,
                )
                for cell, future in results:
                    self._flying -= 1
                    self._came(cell, future)
        finally:
            for cell, late in self._late.items():
                self._ledger.spent(cell, late.trial.used, calls=1)
            self._ledger.close()
        if isinstance(conditions.gate.fatal, RunError):
            raise conditions.gate.fatal
        if self._fatal:
            raise self._fatal[min(self._fatal)]
        if self.refused:  # only now: what was in flight may have ended a rung
            self._race.stop()
            if self.refused == BUDGET:
                self.refused = conditions.gate.budget.exhausted or BUDGET
        for lane in range(len(self._candidates)):
            self.failures.tell(lane, set(self._race.scores(lane)), self._dropped(lane))

    def _came(self, cell: Cell, future: "Future[Score]") -> None:
        """Take what came, or let go of it; KeyboardInterrupt out of there is as Ctrl-C."""
        interrupt = self._conditions.interrupt
        try:
            if cell == CONTROL:
                self._control_came(future)
            elif future.cancelled():  # it never began
                settle(self._trials.pop(cell), calls=0)
                self._race.again(cell)
            elif future.done():
                self._take(cell, future)
            else:
                self._give_up(cell, future)
        except KeyboardInterrupt:
            if interrupt is None or interrupt.pressed:  # a second one does not wait
                raise
            interrupt.pressed = True

    def _draw(self) -> tuple[Cell, Callable[[], Any]] | None:
        hangs = self._conditions.hangs
        self._let_go()
        while not self._fatal and not isinstance(self._conditions.gate.fatal, RunError):
            probing = hangs.is_wave and (self._flying or self._late)  # one call is enough for that
            cell = None if probing or self._waits_for_control else self._next()
            if cell is None and not probing and self._control_is_due:
                return self._draw_control()
            if cell is None and self._flying:
                return None
            if cell is None and not self.refused and self._try_again():
                continue
            if cell is None:
                return None
            if self._recalled(cell) or self.refused or not self._admitted(cell, calls=1):
                continue
            self._flying += 1
            return cell, partial(self._score, self._trials[cell], cell)
        return None

    def _admitted(self, cell: Cell, *, calls: int, known: bool = False) -> bool:
        """Begin a trial of the cell if the budget has so many metric calls left, else refuse it.

        Args:
            cell: What to score.
            calls: Metric calls that it takes.
            known: Whether its score is known, so that no LM is asked.
        """
        budget, reservation = self._conditions.gate.budget, None
        if not known and (reason := budget.used_up) is not None:
            self._refuse(cell, reason)
            return False
        if budget.has_caps and (reservation := budget.admit(metric_calls=calls)) is None:
            reason = budget.refusal(metric_calls=calls)
            if reason is not None:
                self._refuse(cell, reason)
            self.refused = reason or BUDGET  # once the calls in flight are back
            return False
        self._trials[cell] = Trial(self._question(cell), reservation=reservation)
        return True

    def _recalled(self, cell: Cell) -> bool:
        """Take what is known of the cell, so that nothing has to be paid for."""
        score = self._ledger.met(cell)
        if score is None:
            score = self._ledger.recall(cell)
            if score is None:
                return False
            if score.refused is not None:
                self.refused = score.refused
                return True
            if not self._admitted(cell, calls=score.calls, known=True):
                return True
            settle(self._trials.pop(cell), calls=score.calls)
        if score.hung:
            self._race.skip(cell)
            return True
        if score.failed is not None:
            self.failures.recall(cell, score.failed)
        else:
            self._control.note(self._question(cell), answered=False)
        self._note(cell, score)
        return True

    def _next(self) -> Cell | None:
        """Return the race's next cell; one that hangs, or hung twice, is gone on without."""
        hangs, n = self._conditions.hangs, len(self._examples)
        while (cell := self._race.next()) is not None:
            if not hangs.is_left_out(self._place(cell), n_examples=n):
                break
            self._leave_out(cell)
        return cell

    def _place(self, cell: Cell) -> tuple[str, int]:
        return self._candidates[cell.candidate].key, id(self._examples[self._index(cell)])

    def _index(self, cell: Cell) -> int:
        return self._orders[cell.candidate][cell.place]

    def _question(self, cell: Cell) -> Question:
        lane, index = cell.candidate, self._index(cell)
        return Question(
            self._conditions,
            self._candidates[lane],
            self._programs[lane],
            self._examples[index],
            where=f"example {index}",
        )

    def _score(self, trial: Trial, cell: Cell) -> Score:
        if self._refusals.is_full:
            raise Held
        trial.n_refusals = self._refusals.n_known
        trial.number = self._conditions.hangs.set_out()
        with self._conditions.gate.task() as trial.task:
            self._conditions.gate.begin(trial.task)
            found = trial.question.score()
        task = trial.task
        used = trial.used if task.bad_request is None else ()  # what it used is noted in `_doubt`
        score = self._ledger.score(cell, found.value, used)
        score = replace(score, output=found.output, feedback=found.feedback)
        if task.is_clean and not task.abandoned:
            self._ledger.note(cell, score)  # at once: what is paid for waits for nobody
        return score

    def _take(self, cell: Cell, future: "Future[Score]") -> None:
        """Sort what came back: a score, a refusal, the LM's outage, or this one example's error."""
        trial = self._trials.pop(cell)
        error = self._raised(future)
        if isinstance(error, Held):
            settle(trial, calls=0)
            self._race.again(cell)
            return
        task = trial.task
        refused = task is not None and task.refused is not None
        outage = outage_of(task, error)
        settle(trial, calls=int(not refused and outage is None))
        if refused and task is not None:
            self._refuse(cell, task.refused or BUDGET, trial.used)
        elif isinstance(error, (MetricError, JournalError, ExecutorError)):
            self._fatal[cell.candidate, cell.place] = error
        elif outage is not None:
            self._ledger.spent(cell, trial.used)
            self._outage(cell, outage)
        elif (refusal := refusal_of(trial, error)) is not None:
            self._conditions.hangs.answered(trial.number, by_lm=True)
            self._ledger.vain(cell, trial.used)
            self._refusals.add(Doubt(cell, future, refusal, in_part=trial.was_answered))
        else:
            self._outages.answered()
            self._conditions.hangs.answered(trial.number, by_lm=trial.was_answered)
            if trial.was_answered:
                self._settle(trial.n_refusals)
            self._control.note(trial.question, answered=trial.was_answered)
            score = self._outcome(cell, future, trial.used)
            if error is not None:
                self._ledger.note(cell, score)
            self._note(cell, score)

    def _outcome(self, cell: Cell, future: "Future[Score]", used: Sequence[Usage] = ()) -> Score:
        """Return what a cell came to, having told of the failure of program or metric."""
        error = future.exception()
        if not isinstance(error, Exception):
            return future.result()
        said = self.failures.note(cell, self._index(cell), error)
        return self._ledger.score(cell, self._conditions.failure_score, used, said)

    def _settle(self, n_known: int) -> None:
        """Let the first `n_known` refusals of the race count as their examples' own failures."""
        for doubt in self._refusals.answered(n_known):
            score = self._outcome(doubt.cell, doubt.future)
            self._ledger.note(doubt.cell, score)
            self._note(doubt.cell, score)

    @property
    def _waits_for_control(self) -> bool:
        """Whether nothing may set out before it is known more of refused requests."""
        refusals = self._refusals
        if self._control.question is None:  # they may all be refused
            return len(refusals.doubts) + self._flying >= MAX_DOUBTS
        return refusals.is_full or refusals.asking

    @property
    def _control_is_due(self) -> bool:
        """Whether only the control can tell whose fault the refusals are, or nothing can."""
        refusals = self._refusals
        if not refusals or refusals.asking or CONTROL in self._outages:
            return False
        idle = not self._flying and (self.refused is not None or not self._outages)
        return idle or (refusals.is_full and self._control.question is not None)

    def _draw_control(self) -> tuple[Cell, Callable[[], Any]] | None:
        question, doubts = self._control.question, self._refusals.doubts
        if question is None:
            self._fatal[0, 0] = all_refused(doubts[0].cause, self._n_doubted)
            return None
        trial, self._in_doubt = Trial(question), doubts[0].cell
        self._trials[CONTROL] = trial
        self._refusals.asking = True
        self._flying += 1
        return CONTROL, partial(question.ask, trial, judge=any(doubt.in_part for doubt in doubts))

    def _control_came(self, future: "Future[Any]") -> None:
        """Settle all refusals by what came of the control, if that tells whose fault they are."""
        trial, doubts = self._trials.pop(CONTROL), self._refusals.doubts
        self._refusals.asking = False
        if future.cancelled():  # it never began
            return
        if not future.done() and trial.task is not None:
            trial.task.abandon()
            self._conditions.hangs.n_owed += 1
        error = self._raised(future) if future.done() else LMTimeoutError("the request hangs.")
        self._ledger.vain(self._in_doubt, trial.used)
        refused = None if trial.task is None else trial.task.refused
        if not future.done() and refused is None:
            refused = self._conditions.gate.budget.refusal()
        outage, refusal = outage_of(trial.task, error), refusal_of(trial, error)
        if refused is not None:  # nobody will know
            self._refuse(self._in_doubt, refused)
            self._refusals.answered(self._refusals.n_known)
        elif isinstance(error, ExecutorError):
            self._fatal[0, 0] = error
        elif outage is not None:
            self._outage(CONTROL, outage)
        elif refusal is not None and doubts:  # else answers that came meanwhile tell more
            said = sentence(f"{type(refusal).__name__}: {refusal}")
            self._fatal[0, 0] = all_refused(doubts[0].cause, self._n_doubted, as_before=said)
        else:
            self._outages.answered()
            self._settle(self._refusals.n_known)

    @property
    def _n_doubted(self) -> int:
        return len({self._index(doubt.cell) for doubt in self._refusals.doubts})

    def _raised(self, future: "Future[Any]") -> Exception | None:
        """Return what a call raised, without credentials; what is no Exception is raised."""
        error = future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        if error is not None:
            self._conditions.gate.redact(error)
        return error

    def _refuse(self, cell: Cell, reason: str, used: Sequence[Usage] = ()) -> None:
        """Pay for nothing more in this race."""
        self.refused = reason
        interrupt = self._conditions.interrupt
        pressed = interrupt is not None and interrupt.pressed
        self._ledger.refuse(cell, None if pressed else reason, used)

    def _leave_out(self, cell: Cell) -> None:
        note = partial(self._ledger.leave_out, cell)
        self._conditions.hangs.leave_out(self._place(cell), note)
        self._race.skip(cell)

    def _outage(self, cell: Cell, cause: BaseException) -> None:
        """Put the cell off until nothing else is left to do; stop if the LM will not come back."""
        gate = self._conditions.gate
        if gate.fatal is None and is_retryable(cause):
            self._outages.put_off(cell, cause)
            if self._outages.n_unreachable < MAX_UNREACHABLE or gate.meter.answered():
                return
            gate.refuse_all(cause)
        self._fatal[cell.candidate, cell.place] = scorer_failed(cause)

    def _give_up(self, cell: Cell, future: "Future[Score]") -> None:
        """Let go of a call that hangs: it may end when it likes, and pays for nothing more."""
        trial = self._trials.pop(cell)
        hang = Hang(
            set_name=self._set_name,
            example=self._index(cell),
            n_examples=len(self._examples),
            number=trial.number,
            model=trial.waits_for,
            future=future,
        )
        if trial.task is not None:
            trial.task.abandon()
        settle(trial, calls=1)
        reason = self._conditions.gate.budget.refusal()
        self._conditions.hangs.given_up(self._place(cell), hang, in_doubt=reason is None)
        if reason is not None:
            self._ledger.spent(cell, trial.used, calls=1)
            self._refuse(cell, reason)  # the time is up
            return
        seconds = self._conditions.timeout_s or 0.0
        self._late[cell] = Late(trial, future, time.monotonic() + seconds)
        logger.info(
            "Example %d of the %s took longer than %g s and is put off.",
            *(self._index(cell), self._set_name, seconds),
        )

    def _try_again(self) -> bool:
        """Go on with what was put off, if anything was; nothing is in flight now."""
        took_up = self._take_up_late()
        if self._holds:
            return took_up or self._wait_for_late()
        if self._outages:
            seconds, cells = self._outages.next_round()
            if (reason := self._conditions.gate.pause(seconds)) is not None:
                self._refuse(self._in_doubt if cells[0] == CONTROL else cells[0], reason)
            for cell in cells:
                if cell != CONTROL:
                    self._race.again(cell)
            return True
        return took_up or self._wait_for_late()

    @property
    def _holds(self) -> bool:
        """Whether nothing may begin before it is known whether late calls come back."""
        return bool(self._late) and self._conditions.hangs.is_wave

    def _let_go(self) -> None:
        """Let other calls have the threads of those that hang."""
        hangs, executor = self._conditions.hangs, self._conditions.executor
        while hangs.n_owed and not self._holds:
            hangs.n_owed -= 1
            if isinstance(executor, DaemonExecutor):
                executor.let_go()

    def _take_up_late(self) -> bool:
        """Use what late calls came to by now, or try them again; return whether there were any."""
        now, hangs = time.monotonic(), self._conditions.hangs
        ended = [
            cell for cell, late in self._late.items() if late.future.done() or late.until <= now
        ]
        back = [cell for cell in ended if self._is_back(cell, self._late[cell])]
        for cell in back:
            self._take_late(cell, self._late.pop(cell))
        over = [cell for cell in ended if cell in self._late]
        if hangs.is_wave and over:
            if len(over) < len(self._late):
                return bool(back)
            raise self._conditions.hang_error()
        for cell in over:
            self._ledger.spent(cell, self._late.pop(cell).trial.used, calls=1)
            logger.warning(
                "Example %d of the %s is left out: it hung with the instructions %s. If it is "
                "only slow, set a `timeout` longer than %g s.",
                *(self._index(cell), self._set_name),
                *(named(self._candidates[cell.candidate]), self._conditions.timeout_s or 0.0),
            )
            self._leave_out(cell)
        return bool(back or over)

    def _is_back(self, cell: Cell, late: Late) -> bool:
        """Tell whether a late call has ended, and counts or may be tried again."""
        again = self._conditions.hangs.times(self._place(cell)) < MAX_HANGS
        return late.score is not None or (late.future.done() and again)

    def _take_late(self, cell: Cell, late: Late) -> None:
        """Use what a late call came to, or try it again."""
        hangs, score = self._conditions.hangs, late.score
        hangs.came_back(self._place(cell), answered=score is not None)
        if score is None:
            self._ledger.spent(cell, late.trial.used, calls=1)
            self._race.again(cell)
            return
        hangs.answered(late.trial.number, by_lm=late.trial.was_answered)
        self._ledger.note(cell, score)
        self._note(cell, score)

    def _wait_for_late(self) -> bool:
        """Wait until a late call ends, or its time is up; return whether there was one."""
        waited = bool(self._late)
        while self._late and not self._take_up_late():
            cell, late = next(iter(self._late.items()))  # the first one's time is up first
            left = max(0.0, late.until - time.monotonic())
            if (reason := self._conditions.gate.pause(min(left, LOOK_S))) is not None:
                self._refuse(cell, reason)
                break
        return waited

    def _note(self, cell: Cell, score: Score) -> None:
        value = 0.0 if score.value is None else score.value
        self._ledger.take(cell, score)
        self._race.record(cell, value, failed=score.failed is not None)
        if not self._conditions.observers:
            return
        event = ExampleScored(
            candidate=self._candidates[cell.candidate],
            example=self._index(cell),
            score=value,
            failed=score.failed,
        )
        for observe in self._conditions.observers:
            observe(event)

    def _dropped(self, lane: int) -> str | None:
        """Say why a candidate was given up, if it was."""
        met = self._race.lanes[lane]
        if not met.given_up:
            return None
        places = self._race.scores(lane)
        n_failed = met.failed_before + sum(place in met.failures for place in places)
        n = met.failed_before + met.passed_before + len(places)
        return f"given up after {n_failed} errors in {n} examples"

    def evaluation(self, lane: int, *, fill: bool = False) -> Evaluation:
        """Return what counts of a lane, the same in whatever order its scores came in.

        Args:
            lane: Which candidate.
            fill: Let a candidate that was given up fail on the examples that it did not meet.
        """
        order, scores = self._orders[lane], self._race.scores(lane)
        failures = {
            self._index(cell): said
            for cell, said in self.failures.of(lane).items()
            if cell.place in scores
        }
        dropped = self._dropped(lane)
        found = {order[place]: score for place, score in scores.items()}
        if dropped and fill:
            found = {i: found.get(i, self._conditions.failure_score) for i in order}
        return Evaluation(
            candidate=self._candidates[lane],
            scores=dict(sorted(found.items())),
            failures=dict(sorted(failures.items())),
            dropped=dropped,
            feedback=self._ledger.feedback(lane, scores),
        )
