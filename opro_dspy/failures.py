"""What programs and metrics raised on examples: kept for the result, told once per candidate."""

import logging
import traceback
from collections.abc import Sequence

from opro_dspy.conditions import Conditions
from opro_dspy.filters import printable, shown
from opro_dspy.race import Cell
from opro_dspy.records import Candidate

logger = logging.getLogger(__name__)

_SHOWN_CHARS = 300


class Failures:
    """The failures of one race.

    A candidate's first one is a warning, with its traceback if `provide_traceback`; all the
    others, and every traceback, are debug messages.
    """

    def __init__(self, conditions: Conditions, candidates: Sequence[Candidate]) -> None:
        self._conditions = conditions
        self._candidates = candidates
        self._said: dict[Cell, str] = {}
        self._first: dict[int, tuple[int, Exception]] = {}

    def note(self, cell: Cell, index: int, error: Exception) -> str:
        """Keep and tell what was raised on example `index`; return it as one text."""
        said = self._said[cell] = printable(f"{type(error).__name__}: {error}")
        key, told = self._candidates[cell.candidate].key, self._conditions.told
        line = "Example %d failed and scores %g: %s"
        what = index, self._conditions.failure_score, shown(" ".join(said.split())[:_SHOWN_CHARS])
        if key not in told:
            told.add(key)
            traced = self._conditions.provide_traceback
            logger.warning(f"{line}%s", *what, _trace(error) if traced else "")
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(f"{line}%s", *what, _trace(error))
        place, _ = self._first.get(cell.candidate, (cell.place, error))
        if cell.place <= place:
            self._first[cell.candidate] = cell.place, error
        return said

    def recall(self, cell: Cell, said: str) -> None:
        """Keep what `note` returned in an earlier session."""
        self._said[cell] = said

    def of(self, candidate: int) -> dict[Cell, str]:
        """Return what was raised by cell."""
        return {cell: said for cell, said in self._said.items() if cell.candidate == candidate}

    @property
    def first(self) -> dict[str, Exception]:
        """Candidate key to the failure on the first example of the race that it failed on."""
        return {self._candidates[lane].key: error for lane, (_, error) in self._first.items()}

    def tell(self, candidate: int, *, n_scored: int, dropped: str | None) -> None:
        """Say at the end of the race how often a candidate failed, if more than once."""
        n = len(self.of(candidate))
        if n > 1 or dropped:
            logger.warning(
                "%d of %d examples failed with the instructions %s%s.",
                n,
                n_scored,
                shown(" | ".join(self._candidates[candidate].texts.values())[:100]),
                f": {dropped}" if dropped else "",
            )


def _trace(error: Exception) -> str:
    return "\n" + shown("".join(traceback.format_exception(error)))
