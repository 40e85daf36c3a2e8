"""One step's race: which candidate meets which example next. Pure; the evaluator executes.

All candidates meet the same examples in the same order. After each rung the better half goes on,
with everybody who ties with its last; so differences are paired, and whoever leads on the examples
that all have seen is never dropped. A race with one rung that holds all examples is the paper's
full evaluation.

Source:
    Successive halving: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and
    hyperparameter optimization".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

from opro_dspy.lane import Lane


@dataclass(frozen=True, slots=True)
class Cell:
    """One candidate on one example, by their places in the race."""

    candidate: int
    place: int
    """Place of the example in the race's order."""


class Race:
    """Hands out cells, takes scores, and decides after each rung who goes on.

    What is decided depends on the scores alone, never on the order in which they come. A cell is
    handed out as soon as no outstanding score can change that it is needed.

    Args:
        lengths: For each candidate, how many examples it may meet at most.
        rungs: Examples met after each rung, rising; the last is the longest way.
        bounds: The lowest and the highest score that can come, if known: then whoever goes on in
            any case starts the next rung early.
        hopeless: Tells from a candidate's total over its first n places, and n, that it can hardly
            be among the best; must not turn true when the total grows. The leaders go on even so.
        max_errors: Failures, those before the race among them, at which a candidate is given up;
            with a number, so is one on which most examples fail (`FAILURE_LEAD`, `ALL_FAILED`).
        before: For each candidate, on how many examples it failed, and on how many not, before.
        in_turn: Hand out one candidate's cells after the other's, and keep what was scored when
            the race is stopped: for a final choice that may run out of budget.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        rungs: Sequence[int],
        bounds: tuple[float, float] | None = None,
        hopeless: Callable[[float, int], bool] = lambda total, n: False,
        max_errors: int | None = None,
        before: Sequence[tuple[int, int]] = (),
        in_turn: bool = False,
    ) -> None:
        self._in_turn = in_turn
        self.lanes = [
            Lane(n, min(n, rungs[0]), min(n, rungs[0]), *met)
            for n, met in zip(lengths, before or [(0, 0)] * len(lengths), strict=True)
        ]
        self._rungs = tuple(rungs)
        self._rung = 0
        self._alive = list(range(len(lengths)))
        self._bounds = bounds
        self._hopeless = hopeless
        self._max_errors = max_errors
        self._again: list[Cell] = []
        self._stopped = not any(lengths)

    def next(self) -> Cell | None:
        """Return a cell to score now, or None when there is nothing to do before a score comes."""
        if self._stopped:
            return None
        if self._again:
            return self._again.pop(0)
        waiting = [
            i
            for i in self._alive
            if self._has_places(i, self._end) and self.lanes[i].end_of_failures is None
        ]
        if waiting:
            in_turn = self._in_turn
            return self._start(
                waiting[0] if in_turn else min(waiting, key=lambda i: (self.lanes[i].started, i))
            )
        if self._rung + 1 < len(self._rungs) and self._bounds is not None:
            later = self._rungs[self._rung + 1]
            for i in self._alive:
                if self._has_places(i, later) and self._goes_on_anyhow(i):
                    return self._start(i)
        return None

    def record(self, cell: Cell, score: float, *, failed: bool = False) -> None:
        """Take the score of a cell that was handed out."""
        lane = self.lanes[cell.candidate]
        lane.scores[cell.place] = score
        if failed:
            lane.failures.add(cell.place)
        if cell.place < self._end:
            lane.missing -= 1
            lane.total += score
        lane.count_failures(self._end, self._max_errors)
        self._settle()

    def skip(self, cell: Cell) -> None:
        """Go on without the score of a cell that was handed out."""
        lane = self.lanes[cell.candidate]
        lane.skipped.add(cell.place)
        if cell.place < self._end:
            lane.missing -= 1
        lane.count_failures(self._end, self._max_errors)
        self._settle()

    def again(self, cell: Cell) -> None:
        """Take back a cell that could not be scored; it will be handed out once more."""
        self._again.append(cell)

    def stop(self) -> None:
        """Hand out nothing more and take the running rung back: what it lacks cannot be had.

        So what counts is the same in whatever order the scores came.
        """
        if not self._stopped:
            self._stopped = True
            if self._in_turn:
                return
            before = self._rungs[self._rung - 1] if self._rung else 0
            for i in self._alive:
                self.lanes[i].goal = before

    @property
    def n_cells(self) -> int:
        """Cells that the race hands out if nobody ties and nobody is given up."""
        lengths = sorted((lane.length for lane in self.lanes), reverse=True)
        before, cells = 0, 0
        for end in self._rungs:
            cells += sum(max(0, min(end, length) - before) for length in lengths)
            before, lengths = end, lengths[: (len(lengths) + 1) // 2]
        return cells

    @property
    def finished(self) -> bool:
        """Whether the race was run to its end, or stopped."""
        return self._stopped

    def scores(self, candidate: int) -> dict[int, float]:
        """Return the scores that count, by place: up to the candidate's goal, in order."""
        lane = self.lanes[candidate]
        return {place: lane.scores[place] for place in sorted(lane.scores) if place < lane.end}

    @property
    def _end(self) -> int:
        return self._rungs[self._rung]

    def _has_places(self, i: int, end: int) -> bool:
        lane = self.lanes[i]
        return lane.started < min(end, lane.length)

    def _settle(self) -> None:
        while not self._stopped and all(self.lanes[i].decided for i in self._alive):
            self._advance()

    def _start(self, i: int) -> Cell:
        lane = self.lanes[i]
        lane.started += 1
        return Cell(i, lane.started - 1)

    def _advance(self) -> None:
        for i in self._alive:
            lane = self.lanes[i]
            hopeless = self._max_errors is not None and lane.all_failed
            lane.given_up = hopeless or lane.end_of_failures is not None
        running = [i for i in self._alive if not self.lanes[i].given_up]
        if self._rung + 1 == len(self._rungs) or not running:
            self._stopped = True
            return
        totals = {i: self._sum(i) for i in running}
        ranked = sorted(totals.values(), reverse=True)
        bar = ranked[min(self._places_ahead, len(ranked)) - 1]
        self._alive = [
            i
            for i in running
            if totals[i] >= bar
            and (totals[i] == ranked[0] or not self._hopeless(totals[i], self._end))
        ]
        self._rung += 1
        for i in self._alive:
            lane = self.lanes[i]
            lane.goal = min(self._end, lane.length)
            known = [score for place, score in lane.scores.items() if place < lane.goal]
            skipped = sum(place < lane.goal for place in lane.skipped)
            lane.missing, lane.total = lane.goal - len(known) - skipped, fsum(known)
            lane.count_failures(self._end, self._max_errors)

    def _sum(self, i: int) -> float:
        """Return the rung's total, a skipped score standing for the candidate's mean."""
        lane = self.lanes[i]
        known = [score for place, score in lane.scores.items() if place < self._end]
        return fsum(known) * (self._end / len(known)) if known else float("-inf")

    @property
    def _places_ahead(self) -> int:
        """How many go on after the running rung, ties not counted."""
        return (len(self._alive) + 1) // 2

    def _goes_on_anyhow(self, i: int) -> bool:
        """Tell whether `i` goes on after this rung, whatever the outstanding scores will be."""
        low, high = self._bounds or (0.0, 0.0)
        lane = self.lanes[i]
        if lane.failures or lane.skipped:
            return False
        least = lane.total + low * lane.missing
        above = sum(
            self.lanes[k].total + high * self.lanes[k].missing > least
            for k in self._alive
            if k != i
        )
        return above < self._places_ahead and not self._hopeless(least, self._end)
