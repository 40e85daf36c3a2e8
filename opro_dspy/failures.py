"""What programs and metrics raised on examples: kept for the result, told once per candidate."""

import logging
import traceback
from collections.abc import Sequence, Set

from opro_dspy.conditions import Conditions
from opro_dspy.filters import clipped, printable, sentence, shown
from opro_dspy.race import Cell
from opro_dspy.records import Candidate

logger = logging.getLogger(__name__)

_SHOWN_CHARS = 300
_NAME_CHARS = 100


class Failures:
    """The failures of one race on the set `set_name`.

    A candidate's first one is a warning, with its traceback if `provide_traceback`; all the
    others, and every traceback, are debug messages.
    """

    def __init__(
        self, conditions: Conditions, candidates: Sequence[Candidate], set_name: str
    ) -> None:
        self._conditions, self._set_name = conditions, set_name
        self._candidates = candidates
        self._said: dict[Cell, str] = {}
        self._first: dict[int, tuple[int, Exception]] = {}

    def note(self, cell: Cell, index: int, error: Exception) -> str:
        """Keep and tell what was raised on example `index`; return it as one text."""
        said = self._said[cell] = printable(f"{type(error).__name__}: {error}")
        candidate, told = self._candidates[cell.candidate], self._conditions.told
        key = candidate.key
        line = "Example %d of the %s failed and scores %g with the instructions %s. %s"
        short = shown(sentence(clipped(" ".join(said.split()), _SHOWN_CHARS)))
        score = self._conditions.failure_score
        what = index, self._set_name, score, named(candidate), short
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

    def tell(self, candidate: int, places: Set[int], dropped: str | None) -> None:
        """Say at the end of the race how often a candidate failed, if more than once.

        Args:
            candidate: Its lane.
            places: Those that count.
            dropped: Why it was given up, if it was.
        """
        n = sum(cell.place in places for cell in self.of(candidate))
        name = named(self._candidates[candidate])
        if dropped:
            logger.warning(
                "The instructions %s are %s of the %s. The result's `failures` tell why.",
                *(name, dropped, self._set_name),
            )
        elif n > 1:
            logger.warning(
                "%d of %d examples of the %s failed with the instructions %s and score %g. "
                "The result's `failures` tell why.",
                *(n, len(places), self._set_name, name, self._conditions.failure_score),
            )


def named(candidate: Candidate) -> str:
    """Return how a candidate is named in messages: the beginning of its instructions, quoted."""
    text = " ".join(" | ".join(candidate.texts.values()).split())
    return shown(repr(clipped(printable(text), _NAME_CHARS)))


def _trace(error: Exception) -> str:
    return "\n" + shown("".join(traceback.format_exception(error)))
