"""Examples that hang: whether each is to blame by itself, or whatever scores them is."""

from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from opro_dspy.errors import ExecutorError, LMCallError, ProgramFailedError, RunError

MANY = 5
"""Calls on two or more examples that hang, with none answered that set out later: an outage.

Where a tenth of all calls hang by themselves, one in 10 ** 5 such rows is by chance.
"""

MAX_HANGS = 2
"""How often an example may hang before a candidate goes on without it."""

Place = tuple[str, int]
"""A candidate meets an example: the candidate's key, and the example's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """A call that was given up."""

    set_name: str
    """"trainset" or "valset"."""
    example: int
    """Index in its set."""
    n_examples: int
    """How many are in the set."""
    number: int
    """When it set out; see `Hangs.set_out`."""
    model: str | None
    """The LM that did not answer; None when it was no LM, but the program or the metric."""
    future: Future[Any]
    notes: list[Callable[[], object]] = field(default_factory=list)
    """What to do once it is known to be the example's own fault."""


class Hangs:
    """The hangs of one run.

    An example may hang by itself: it is left out, once it had its second chance. A provider that
    hangs for good lets all of them hang. What comes after tells which it is: a hang is the
    example's own once something is answered that set out later; until then no memory is told
    that it is left out. If `MANY` hang before that (or all of a smaller set), it is an outage,
    and they are asked again when the run is resumed.

    A call that was given up may still keep the provider busy. As long as it is in doubt it keeps
    its thread once there are `MANY`; an example that hangs with two candidates is not begun with
    a third one before one of them comes back. So at most `num_threads` further calls set out.

    Args:
        who: What hangs when no LM does, for the error.
    """

    def __init__(self, who: str = "the program or the metric") -> None:
        self._who = who
        self._numbers = count()
        self._known: dict[Place, tuple[Hang, int]] = {}
        """The last hang of each place, and how many there were."""
        self._open: dict[Place, Hang] = {}
        """Those in doubt."""
        self.n_owed = 0
        """Calls that were given up and whose threads were not replaced yet."""

    def set_out(self) -> int:
        """Return the number of a call that sets out now; from any thread."""
        return next(self._numbers)

    def given_up(self, place: Place, hang: Hang, *, in_doubt: bool) -> None:
        """Take note of a call that is waited for no more.

        Args:
            place: Where it hangs.
            hang: The call.
            in_doubt: False if it was given up only because the run's time is up.
        """
        self._known[place] = hang, self.times(place) + 1
        self.n_owed += 1
        if in_doubt:
            self._open[place] = hang

    def times(self, place: Place) -> int:
        """Return how often a place has hung."""
        return self._known[place][1] if place in self._known else 0

    def came_back(self, place: Place, *, answered: bool) -> None:
        """Note that a call came back after all: it is in doubt no more.

        Args:
            place: Where it hung.
            answered: Whether its answer counts, so that it never hung.
        """
        self._settle(place)
        if answered:
            del self._known[place]

    def answered(self, number: int, *, by_lm: bool) -> None:
        """Settle whatever hangs and set out before call `number`, which came through.

        Args:
            number: Of the call.
            by_lm: Whether an LM answered in it: what a cache knew says nothing about the LM.
        """
        settled = [
            place
            for place, hang in self._open.items()
            if hang.number < number and (by_lm or hang.model is None)
        ]
        for place in settled:
            self._settle(place)

    def is_left_out(self, place: Place, *, n_examples: int) -> bool:
        """Tell whether an example should not be begun: it hangs, or did so too often.

        It hangs also if it does with two other candidates; but where there is one example only,
        each candidate stands for itself.
        """
        if place in self._known:
            hang, times = self._known[place]
            return not hang.future.done() or times >= MAX_HANGS
        return n_examples > 1 and len(self._hanging(place)) > 1

    def leave_out(self, place: Place, note: Callable[[], object]) -> None:
        """Let `note` tell that a place is left out, once that is its own fault for sure."""
        doubts = [hang for other, hang in self._open.items() if other[1] == place[1]]
        if place in self._known:
            doubts = [self._open[place]] if place in self._open else []
        if doubts:
            doubts[-1].notes.append(note)
        else:
            note()

    def _settle(self, place: Place) -> None:
        hang = self._open.pop(place, None)
        for note in () if hang is None else hang.notes:
            note()

    def _hanging(self, place: Place) -> list[Hang]:
        """Return the calls on the same example that hang at this moment."""
        found = (hang for other, (hang, _) in self._known.items() if other[1] == place[1])
        return [hang for hang in found if not hang.future.done()]

    @property
    def is_wave(self) -> bool:
        """Whether so many are in doubt that it is an outage, if none of them comes back."""
        if not self._open:
            return False
        units = self._units
        of_set = Counter((name, size) for name, size, _ in units)
        whole = any(n == size > 1 for (_, size), n in of_set.items())
        return whole or (len(self._open) >= MANY and len(units) > 1)

    @property
    def _units(self) -> set[tuple[str, int, Hashable]]:
        """Return the examples that are in doubt; of a set of one, the candidates."""
        return {
            (h.set_name, h.n_examples, h.example if h.n_examples > 1 else place)
            for place, h in self._open.items()
        }

    def error(
        self, timeout_s: float | None, *, remote: bool = False, no_worker: bool = False
    ) -> RunError:
        """Return the error that stops a run in which nothing comes back.

        Args:
            timeout_s: Seconds after which a call was given up.
            remote: Whether examples are scored on workers.
            no_worker: Whether it is known that there is none.
        """
        hanging = self._open.values()
        models = sorted({hang.model for hang in hanging if hang.model is not None})
        of = "candidates" if all(hang.n_examples == 1 for hang in hanging) else "examples"
        if no_worker:
            return ExecutorError(
                "`executor` has no worker: they are gone, or never came. What was sent waited for "
                f"twice as long as `timeout` ({timeout_s or 0.0:g} s); none of it was scored. "
                "Start workers and wait until they are up (Dask: `client.wait_for_workers(1)`)."
            )
        n, said = len(self._units), "hung"
        if n > 1:
            said = f"hung on {n} {of}, and nothing that set out later came back"
        said += (
            f". Each was waited for twice as long as `timeout` ({timeout_s or 0.0:g} s); none of "
            "them was scored. If it is only slow, set a longer `timeout`."
        )
        if remote:
            return ExecutorError(f"the workers of `executor` (or what they ran) {said}")
        if models:
            return LMCallError(f"a scorer LM ({' and '.join(map(repr, models))}) {said}")
        return ProgramFailedError(f"{self._who} {said}")
