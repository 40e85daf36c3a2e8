"""What the cells of one race took, and what is known of them without paying."""

from collections import Counter
from collections.abc import Iterable, Sequence

from opro_dspy.conditions import Conditions
from opro_dspy.memory import Meeting, Score
from opro_dspy.race import Cell
from opro_dspy.records import Candidate, Usage, summed


class Ledger:
    """What one race takes, cell by cell, and what the memory is told of it.

    Args:
        conditions: How examples are scored; its memory is asked and told.
        candidates: One for each lane of the race.
        orders: For each lane, example indices in the order in which it meets them.
        set_name: Which set the examples are of: "trainset" or "valset".
        number: Which race of the run it is.
    """

    def __init__(
        self,
        conditions: Conditions,
        candidates: Sequence[Candidate],
        orders: Sequence[Sequence[int]],
        *,
        set_name: str,
        number: int,
    ) -> None:
        self._conditions = conditions
        self._candidates, self._orders = candidates, orders
        self._keys = [candidate.key for candidate in candidates]
        self._set_name, self._number = set_name, number
        self._used: dict[Cell, list[Usage]] = {}
        """What was spent on cells that came to nothing so far."""
        self._calls: Counter[Cell] = Counter()
        """Metric calls of cells that hung."""

    def met(self, cell: Cell) -> Score | None:
        """Return what the run has scored there before: it is free."""
        return self._conditions.met.get(self._place(cell))

    def recall(self, cell: Cell) -> Score | None:
        """Return what the memory knows of the cell: it counts as metric calls."""
        score = self._conditions.memory.recall(self._meeting(cell))
        if score is not None:
            self._pace(score)
        return score

    def score(
        self, cell: Cell, value: float, used: Iterable[Usage], failed: str | None = None
    ) -> Score:
        """Return the score of a cell: of the last trial, with what it took over all trials."""
        usage = summed([*self._used.get(cell, ()), *used])
        return Score(value=value, failed=failed, calls=self._calls[cell] + 1, usage=usage)

    def note(self, cell: Cell, score: Score) -> None:
        """Tell the memory; what was noted may be used."""
        self._pace(score)
        self._conditions.memory.note(self._meeting(cell), score)

    def _pace(self, score: Score) -> None:
        """Tell the budget of a score: in the same order whether it is paid for or recalled.

        Failures are left out: they are noted when the next example may be under way.
        """
        if score.value is not None and score.failed is None:
            self._conditions.gate.scored(score.usage)

    def take(self, cell: Cell, score: Score) -> None:
        """Keep a score that is used."""
        self._conditions.met[self._place(cell)] = score
        self._used.pop(cell, None)

    def feedback(self, lane: int, places: Iterable[int]) -> dict[int, str]:
        """Return what the metric said of a lane at `places`, by index of the example."""
        met = {self._orders[lane][p]: self.met(Cell(lane, p)) for p in places}
        return {i: score.feedback for i, score in sorted(met.items()) if score and score.feedback}

    def spent(self, cell: Cell, used: Iterable[Usage], *, calls: int = 0) -> None:
        """Keep in mind what a trial took that came to nothing."""
        self._used.setdefault(cell, []).extend(used)
        self._calls[cell] += calls

    def vain(self, cell: Cell, used: Iterable[Usage]) -> None:
        """Note at once what a trial took that may come to nothing."""
        if used := tuple(used):
            self.note(cell, Score(calls=0, usage=summed(used)))

    def refuse(self, cell: Cell, reason: str | None, used: Iterable[Usage] = ()) -> None:
        """Note that a cap refused the cell; with None it was no cap, but Ctrl-C."""
        usage = summed([*self._used.pop(cell, ()), *used])
        self.note(cell, Score(refused=reason, calls=0, usage=usage))

    def leave_out(self, cell: Cell) -> None:
        """Note that the race goes on without a cell that hangs."""
        usage = summed(self._used.pop(cell, ()))
        self.note(cell, Score(hung=True, calls=self._calls[cell], usage=usage))

    def close(self) -> None:
        """Note what was spent in vain."""
        while self._used:
            self.vain(*self._used.popitem())

    def _meeting(self, cell: Cell) -> Meeting:
        return Meeting(
            candidate=self._candidates[cell.candidate],
            set_name=self._set_name,
            example=self._orders[cell.candidate][cell.place],
            race=self._number,
        )

    def _place(self, cell: Cell) -> tuple[str, str, int]:
        example = self._orders[cell.candidate][cell.place]
        return self._keys[cell.candidate], self._set_name, example
