"""Requests that an LM refuses as bad: whose fault is it?"""

from concurrent.futures import Future
from dataclasses import dataclass

from opro_dspy.memory import Score
from opro_dspy.race import Cell

MAX_DOUBTS = 5
"""Refusals in doubt at which nothing more sets out before it is known whose fault they are.

And so many examples are out at most before the first of all comes back: if all are refused, the
run stops, whatever the number of threads. Later the number decides about cost only.
"""

CONTROL = Cell(-1, -1)
"""Stands for the example that is asked again in case of doubt."""


class Held(Exception):
    """An example did not set out: so many refusals are in doubt."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One refused request, as long as it is not known whose fault it is."""

    cell: Cell
    future: "Future[Score]"
    """What came of the example."""
    cause: BaseException
    in_part: bool
    """Whether the example's requests were answered in part."""


class Refusals:
    """The refusals of one race that are in doubt.

    A content filter, or an input that is too long, is refused while others are answered: that is
    the example's own fault. A provider that changed its mind refuses them all: an outage. How many
    are refused does not tell the two apart, nor who came back first; this does:

    - A refusal is the example's own fault once an example is answered that set out when the
      refusal was known.
    - When `MAX_DOUBTS` of them are in doubt, or nothing else is left to do, an example that was
      answered before (`Control`) is asked again, past all caches. If it is answered, all of them
      are their examples' own fault; if it is refused, it is an outage.
    - Where nothing was ever answered, it is an outage.

    Until then nobody is told of a refusal, and the race does not end.
    """

    def __init__(self) -> None:
        self._open: dict[int, Doubt] = {}
        self.asking = False
        """Whether the control is being asked now."""
        self.n_known = 0
        """Refusals so far, those that are settled among them."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, doubt: Doubt) -> None:
        """Take note of a refusal."""
        self._open[self.n_known] = doubt
        self.n_known += 1

    def answered(self, n_known: int) -> list[Doubt]:
        """Forget and return those that were known when an example set out that is answered now."""
        settled = [number for number in self._open if number < n_known]
        return sorted(
            (self._open.pop(number) for number in settled),
            key=lambda doubt: (doubt.cell.candidate, doubt.cell.place),
        )

    @property
    def is_full(self) -> bool:
        """Whether nothing more should set out."""
        return len(self._open) >= MAX_DOUBTS

    @property
    def doubts(self) -> list[Doubt]:
        """Those that are open, the first one first."""
        return list(self._open.values())
