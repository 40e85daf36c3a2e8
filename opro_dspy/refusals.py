"""Requests that an LM refuses as bad after it answered others: whose fault is it?"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

WAVE = 5
"""Examples refused one after another that are taken for the LM's doing.

Where a tenth of all examples is refused for what they hold, one in 10 ** 5 such rows is by chance.
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request that is in doubt."""

    example: tuple[str, int]
    """Name of the set, and index."""
    cause: BaseException
    settle: Callable[[], None]
    """Called once it is known to be the example's own fault."""


class Refusals:
    """The refusals of one run that are in doubt.

    A content filter, or an input that is too long, is refused while others are answered: that is
    the example's own fault. A provider that changed its mind refuses them all: an outage. What
    came after tells which it is. A refusal is settled as the example's own fault once an example
    is answered that set out when the refusal was known; until then no memory is told of it. If
    `WAVE` examples (or all of a smaller set) are refused before that, it is an outage, and all of
    them are asked again when the run is resumed. Candidates that share an example count it once.
    """

    def __init__(self) -> None:
        self._open: dict[int, Refusal] = {}
        self._sizes: dict[str, int] = {}
        self.n_known = 0
        """Refusals so far, those that are settled among them."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, refusal: Refusal, *, n_examples: int) -> None:
        """Take note of a refusal; `n_examples` are in its set."""
        self._sizes[refusal.example[0]] = n_examples
        self._open[self.n_known] = refusal
        self.n_known += 1

    def answered(self, n_known: int) -> None:
        """Settle what was known when an example set out that now is answered by an LM."""
        for number in [number for number in self._open if number < n_known]:
            self._open.pop(number).settle()

    @property
    def n_examples(self) -> int:
        """Examples whose refusal is in doubt."""
        return len({refusal.example for refusal in self._open.values()})

    @property
    def is_wave(self) -> bool:
        """Whether so many are in doubt that it is the LM's doing."""
        if not self._open:
            return False
        n_of = Counter(name for name, _ in {refusal.example for refusal in self._open.values()})
        whole = any(n == self._sizes[name] > 1 for name, n in n_of.items())
        return whole or n_of.total() >= WAVE

    @property
    def cause(self) -> BaseException:
        """The first refusal that is in doubt."""
        return next(iter(self._open.values())).cause
