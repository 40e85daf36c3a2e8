"""Runs races on one pool: scores come in, failures are sorted by whose fault they are."""

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import dspy

from opro_dspy.boundary.admission import Task
from opro_dspy.boundary.budget import Reservation
from opro_dspy.boundary.faults import is_retryable
from opro_dspy.boundary.meter import lm_failure
from opro_dspy.conditions import Conditions
from opro_dspy.errors import JournalError, LMCallError, MetricError
from opro_dspy.fields import as_text
from opro_dspy.filters import printable
from opro_dspy.memory import Meeting, Score
from opro_dspy.pool import DaemonExecutor, completed
from opro_dspy.protocols import ExampleScored
from opro_dspy.race import Cell, Race
from opro_dspy.records import Candidate, Evaluation, Usage, summed

logger = logging.getLogger(__name__)


MAX_HANGS = 2
"""How often an example may hang before a candidate goes on without it."""

MAX_ROUNDS = 2
"""How often an example is tried again at the end when its LM failed in a way that may pass."""


@dataclass(slots=True)
class Trial:
    """One attempt at a cell."""

    task: Task | None = None
    reservation: Reservation | None = None

    @property
    def used(self) -> Sequence[Usage]:
        """What its LM calls took."""
        return self.task.used if self.task is not None else ()


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
    ) -> None:
        self._conditions = conditions
        self._race = race
        self._candidates = candidates
        self._programs = programs
        self._examples = examples
        self._orders = orders
        self._set_name = set_name
        self._number = number
        self._errors: dict[Cell, str] = {}
        self._fatal: dict[tuple[int, int], Exception] = {}
        self._trials: dict[Cell, Trial] = {}
        self._flying = 0
        self._later: list[Cell] = []
        self._rounds: Counter[Cell] = Counter()
        self._hung: dict[Cell, Future[Score]] = {}
        self._used: dict[Cell, list[Usage]] = {}
        """What was spent on cells that came to nothing so far."""
        self._calls: Counter[Cell] = Counter()
        """Metric calls of cells that hung."""
        self.refused: str | None = None
        """The cap of the budget that ended the race, if one did."""

    def run(self) -> None:
        """Run the race to its end.

        Raises:
            LMCallError: If an LM failed for good, or again after the examples were tried anew.
            MetricError: If the metric returned something that is no number.
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
                    interrupt=conditions.interrupt,
                )
                for cell, future in results:
                    self._flying -= 1
                    if future.done():
                        self._take(cell, future)
                    else:
                        self._give_up(cell, future)
        finally:
            for cell, used in self._used.items():
                self._remember(cell, Score(calls=0, usage=summed(used)))
        if self._fatal:
            raise self._fatal[min(self._fatal)]
        if self.refused:
            self._race.stop()
        self._tell_failures()

    def _draw(self) -> tuple[Cell, Callable[[], Score]] | None:
        while not self._fatal:
            cell = self._next()
            if cell is None and not self._flying and not self.refused:
                self._try_again()
                cell = self._next()
            if cell is None:
                return None
            if self._recalled(cell) or self.refused or not self._admitted(cell, calls=1):
                continue
            self._flying += 1
            program, example = self._programs[cell.candidate], self._examples[self._index(cell)]
            return cell, partial(self._score, self._trials[cell], cell, program, example)
        return None

    def _admitted(self, cell: Cell, *, calls: int) -> bool:
        """Begin a trial of the cell if the budget has so many metric calls left, else refuse it."""
        budget, reservation = self._conditions.gate.budget, None
        if budget.has_caps and (reservation := budget.admit(metric_calls=calls)) is None:
            reason = budget.refusal(metric_calls=calls)
            if reason is not None:
                self._refuse(cell, reason)
            self.refused = reason or "budget"  # once the calls in flight are back
            return False
        self._trials[cell] = Trial(reservation=reservation)
        return True

    def _recalled(self, cell: Cell) -> bool:
        """Take what is known of the cell, so that nothing has to be paid for."""
        score = self._conditions.met.get(self._met(cell))
        if score is None:
            score = self._conditions.memory.recall(self._meeting(cell))
            if score is None:
                return False
            if score.refused is not None:
                self.refused = score.refused
                return True
            if not self._admitted(cell, calls=score.calls):
                return True
            _settle(self._trials.pop(cell), calls=score.calls)
        if score.hung:
            self._race.skip(cell)
        else:
            self._note(cell, score)
        return True

    def _meeting(self, cell: Cell) -> Meeting:
        return Meeting(
            candidate=self._candidates[cell.candidate],
            set_name=self._set_name,
            example=self._index(cell),
            race=self._number,
        )

    def _met(self, cell: Cell) -> tuple[str, str, int]:
        return self._candidates[cell.candidate].key, self._set_name, self._index(cell)

    def _remember(self, cell: Cell, score: Score) -> None:
        self._conditions.memory.note(self._meeting(cell), score)

    def _next(self) -> Cell | None:
        """Return the race's next cell; one that hangs, or hung twice, is gone on without."""
        hung = self._conditions.hung
        while (cell := self._race.next()) is not None and hung:
            future, times = hung.get(self._place(cell), (None, 0))
            if future is None or (future.done() and times < MAX_HANGS):
                break
            self._leave_out(cell)
        return cell

    def _place(self, cell: Cell) -> tuple[str, int]:
        return self._candidates[cell.candidate].key, id(self._examples[self._index(cell)])

    def _index(self, cell: Cell) -> int:
        return self._orders[cell.candidate][cell.place]

    def _score(
        self, trial: Trial, cell: Cell, program: dspy.Module, example: dspy.Example
    ) -> Score:
        with self._conditions.gate.task() as trial.task:
            prediction = program(**example.inputs())
            where = f"example {self._index(cell)}"
            value = self._conditions.metric(example, prediction, where=where)
        score = replace(self._outcome(cell, trial, value), output=as_text(prediction))
        task = trial.task
        if task.refused is None and task.lm_error is None and not task.abandoned:
            self._remember(cell, score)  # at once: what is paid for waits for nobody
        return score

    def _outcome(self, cell: Cell, trial: Trial, value: float, failed: str | None = None) -> Score:
        return Score(
            value=value,
            failed=failed,
            calls=self._calls[cell] + 1,
            usage=summed([*self._used.get(cell, ()), *trial.used]),
        )

    def _take(self, cell: Cell, future: "Future[Score]") -> None:
        """Sort what came back: a score, a refusal, the LM's outage, or this one example's error."""
        trial = self._trials.pop(cell)
        error = future.exception()
        task = trial.task
        if error is not None and not isinstance(error, Exception):
            raise error
        refused = task is not None and task.refused is not None
        outage = None if task is None else task.lm_error
        if error is not None and outage is None and not refused:
            outage = lm_failure(error, answered=self._conditions.gate.meter.answered())
        _settle(trial, calls=int(not refused and outage is None))
        if refused and task is not None:
            self._refuse(cell, task.refused or "budget", trial.used)
        elif isinstance(error, (MetricError, JournalError)):
            self._fatal[cell.candidate, cell.place] = error
        elif outage is not None:
            self._spent(cell, trial)
            self._outage(cell, outage)
        elif error is not None:
            self._note_error(cell, trial, error)
        else:
            self._note(cell, future.result())

    def _refuse(self, cell: Cell, reason: str, used: Sequence[Usage] = ()) -> None:
        """Pay for nothing more in this race."""
        self.refused = reason
        usage = summed([*self._used.pop(cell, ()), *used])
        interrupt = self._conditions.interrupt
        cap = None if interrupt is not None and interrupt.pressed else reason
        self._remember(cell, Score(refused=cap, calls=0, usage=usage))

    def _spent(self, cell: Cell, trial: Trial, *, calls: int = 0) -> None:
        """Keep in mind what a trial took that came to nothing."""
        self._used.setdefault(cell, []).extend(trial.used)
        self._calls[cell] += calls

    def _leave_out(self, cell: Cell) -> None:
        """Go on without a cell that hangs."""
        usage = summed(self._used.pop(cell, ()))
        self._remember(cell, Score(hung=True, calls=self._calls[cell], usage=usage))
        self._race.skip(cell)

    def _outage(self, cell: Cell, cause: BaseException) -> None:
        """Put the cell off until nothing else is left to do; stop if the LM will not come back."""
        fatal = self._conditions.gate.fatal is not None or not is_retryable(cause)
        if not fatal and self._rounds[cell] < MAX_ROUNDS:
            self._rounds[cell] += 1
            self._later.append(cell)
            return
        said = printable(f"{type(cause).__name__}: {cause}")
        stop = LMCallError(
            f"a scorer LM failed, which says nothing about the candidate: {said}"
            + ("" if fatal else f" (again in {MAX_ROUNDS} further rounds)")
        )
        stop.__cause__ = cause
        self._fatal[cell.candidate, cell.place] = stop

    def _give_up(self, cell: Cell, future: "Future[Score]") -> None:
        """Let go of a call that hangs: it may end when it likes, and pays for nothing more."""
        trial = self._trials.pop(cell)
        if trial.task is not None:
            trial.task.abandon()
        _settle(trial, calls=1)
        self._spent(cell, trial, calls=1)
        if isinstance(self._conditions.executor, DaemonExecutor):
            self._conditions.executor.let_go()
        logger.warning(
            "Example %d took longer than %g s and is put off.",
            self._index(cell),
            self._conditions.timeout_s or 0.0,
        )
        _, times = self._conditions.hung.get(self._place(cell), (None, 0))
        self._conditions.hung[self._place(cell)] = future, times + 1
        self._hung[cell] = future

    def _try_again(self) -> None:
        """Hand cells that were put off to the race again; nothing is in flight now."""
        for cell, future in self._hung.items():
            if future.done() and self._conditions.hung[self._place(cell)][1] < MAX_HANGS:
                self._race.again(cell)
            else:  # never twice at the same time, and never a third time
                logger.warning("Example %d is left out: it hung.", self._index(cell))
                self._leave_out(cell)
        self._hung.clear()
        for cell in self._later:
            self._race.again(cell)
        self._later.clear()

    def _note(self, cell: Cell, score: Score) -> None:
        value = 0.0 if score.value is None else score.value
        self._conditions.met[self._met(cell)] = score
        self._used.pop(cell, None)
        if score.failed is not None:
            self._errors[cell] = score.failed
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

    def _note_error(self, cell: Cell, trial: Trial, error: Exception) -> None:
        said = printable(f"{type(error).__name__}: {error}")
        first = all(known.candidate != cell.candidate for known in self._errors)
        value = self._conditions.failure_score
        if self._conditions.provide_traceback:
            text, level = "".join(traceback.format_exception(error)), logging.WARNING
        else:
            text, level = " ".join(said.split())[:300], logging.WARNING if first else logging.DEBUG
        logger.log(level, "Example %d failed and scores %s: %s", self._index(cell), value, text)
        score = self._outcome(cell, trial, value, said)
        self._remember(cell, score)
        self._note(cell, score)

    def _tell_failures(self) -> None:
        for lane, candidate in enumerate(self._candidates):
            n = sum(cell.candidate == lane for cell in self._errors)
            if n > 1:
                logger.warning(
                    "%d of %d examples failed with the instructions %s.",
                    n,
                    len(self._race.lanes[lane].scores),
                    " | ".join(candidate.texts.values())[:100],
                )

    def evaluation(self, lane: int, *, fill: bool = False) -> Evaluation:
        """Return what counts of a lane, the same in whatever order its scores came in.

        Args:
            lane: Which candidate.
            fill: Let a candidate that was given up fail on the examples that it did not meet.
        """
        order, scores = self._orders[lane], self._race.scores(lane)
        failures = {
            self._index(cell): said
            for cell, said in self._errors.items()
            if cell.candidate == lane and cell.place in scores
        }
        dropped = None
        found = {order[place]: score for place, score in scores.items()}
        if self._race.lanes[lane].given_up:
            dropped = f"given up after {len(failures)} errors in {len(scores)} examples"
            if fill:
                found = {i: found.get(i, self._conditions.failure_score) for i in order}
        return Evaluation(
            candidate=self._candidates[lane],
            scores=dict(sorted(found.items())),
            failures=dict(sorted(failures.items())),
            dropped=dropped,
        )


def _settle(trial: Trial, *, calls: int) -> None:
    """Book the metric calls: none when the example has yet to be scored."""
    if trial.reservation is not None:
        trial.reservation.settle(metric_calls=calls)
