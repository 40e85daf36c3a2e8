"""What becomes of the cells of one race, told to all who keep count of it."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from opro_dspy.boundary.faults import is_retryable
from opro_dspy.conditions import Conditions
from opro_dspy.errors import RunError
from opro_dspy.failures import Failures
from opro_dspy.hangs import Place
from opro_dspy.ledger import Ledger
from opro_dspy.memory import Score
from opro_dspy.outages import MAX_UNREACHABLE, Outages, scorer_failed
from opro_dspy.protocols import ExampleScored
from opro_dspy.race import Cell, Race
from opro_dspy.records import Candidate, Evaluation, Usage
from opro_dspy.trials import raised


class Books:
    """The books of one race: a cell is scored, refused, left out or put off, or ends the run.

    Args:
        conditions: How examples are scored.
        race: Goes on by what is booked.
        candidates: One for each lane of the race.
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
        examples: Sequence[object],
        orders: Sequence[Sequence[int]],
        set_name: str,
        number: int,
    ) -> None:
        self._conditions = conditions
        self._candidates, self._examples, self._orders = candidates, examples, orders
        self._errors: dict[Cell, Exception] = {}
        self.race, self.set_name = race, set_name
        self.ledger = Ledger(conditions, candidates, orders, set_name=set_name, number=number)
        self.failures = Failures(conditions, candidates, set_name)
        self.outages = Outages()
        self.refused: str | None = None
        """The cap of the budget that ended the race, if one did."""

    @property
    def n_examples(self) -> int:
        """How many examples are in the set."""
        return len(self._examples)

    def candidate(self, cell: Cell) -> Candidate:
        """Return the candidate of a cell's lane."""
        return self._candidates[cell.candidate]

    def index(self, cell: Cell) -> int:
        """Return the index of a cell's example in its set."""
        return self._orders[cell.candidate][cell.place]

    def place(self, cell: Cell) -> Place:
        """Return where a call on the cell may hang."""
        return self.candidate(cell).key, id(self._examples[self.index(cell)])

    def outcome(self, cell: Cell, future: "Future[Score]", used: Sequence[Usage] = ()) -> Score:
        """Return what a cell came to, having told of the failure of program or metric."""
        error = raised(future, self._conditions.gate)
        if error is None:
            return future.result()
        said = self.failures.note(cell, self.index(cell), error)
        return self.ledger.score(cell, self._conditions.failure_score, used, said)

    def count(self, cell: Cell, score: Score) -> None:
        """Let a score count that needs not be paid for any more."""
        value = 0.0 if score.value is None else score.value
        self.ledger.take(cell, score)
        self.race.record(cell, value, failed=score.failed is not None)
        if not self._conditions.observers:
            return
        event = ExampleScored(
            candidate=self.candidate(cell),
            example=self.index(cell),
            score=value,
            failed=score.failed,
        )
        for observe in self._conditions.observers:
            observe(event)

    def refuse(self, cell: Cell, reason: str, used: Sequence[Usage] = ()) -> None:
        """Pay for nothing more in this race."""
        self.refused = reason
        interrupt = self._conditions.interrupt
        pressed = interrupt is not None and interrupt.pressed
        self.ledger.refuse(cell, None if pressed else reason, used)

    def leave_out(self, cell: Cell) -> None:
        """Go on without a cell that hangs."""
        self._conditions.hangs.leave_out(self.place(cell), partial(self.ledger.leave_out, cell))
        self.race.skip(cell)

    def put_off(self, cell: Cell, cause: BaseException) -> None:
        """Put the cell off until nothing else is left to do; stop if the LM will not come back."""
        gate = self._conditions.gate
        if gate.fatal is None and is_retryable(cause):
            self.outages.put_off(cell, cause)
            if self.outages.n_unreachable < MAX_UNREACHABLE or gate.meter.answered():
                return
            gate.refuse_all(cause)
        self.stop(cell, scorer_failed(cause))

    def stop(self, cell: Cell, error: Exception) -> None:
        """End the run with what the cell came to."""
        self._errors[cell] = error

    @property
    def error(self) -> Exception | None:
        """What ends the run, if anything does: the gate's error, or else the first cell's."""
        fatal = self._conditions.gate.fatal
        if isinstance(fatal, RunError):
            return fatal
        return self._errors[min(self._errors)] if self._errors else None

    def tell_failures(self) -> None:
        """Say how often each candidate failed, and whether it was given up."""
        for lane in range(len(self._candidates)):
            self.failures.tell(lane, set(self.race.scores(lane)), self._dropped(lane))

    def evaluation(self, lane: int, *, fill: bool = False) -> Evaluation:
        """Return what counts of a lane, the same in whatever order its scores came in.

        Args:
            lane: Which candidate.
            fill: Let a candidate that was given up fail on the examples that it did not meet.
        """
        order, scores = self._orders[lane], self.race.scores(lane)
        failures = {
            self.index(cell): said
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
            feedback=self.ledger.feedback(lane, scores),
        )

    def _dropped(self, lane: int) -> str | None:
        """Say why a candidate was given up, if it was."""
        met = self.race.lanes[lane]
        if not met.given_up:
            return None
        places = self.race.scores(lane)
        n_failed = met.failed_before + sum(place in met.failures for place in places)
        n = met.failed_before + met.passed_before + len(places)
        return f"given up after {n_failed} errors in {n} examples"
