"""Under which conditions examples are scored."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import dspy

from opro_dspy.boundary.gate import Gate
from opro_dspy.errors import RunError
from opro_dspy.hangs import Hangs
from opro_dspy.interrupt import Interrupt
from opro_dspy.memory import InOrder, Meeting, Score
from opro_dspy.metric import Metric
from opro_dspy.protocols import Memory, Observer
from opro_dspy.records import Candidate
from opro_dspy.scoring import Scored


class RemoteScorer(Protocol):
    """Scores examples on other machines; see `remote.Remote`."""

    def __call__(self, candidate: Candidate, example: dspy.Example, *, where: str) -> Scored:
        """Return what comes of an example, or raise what `score_example` would."""
        ...

    def has_workers(self) -> bool:
        """Return False if it is known that there is no worker; asked when nothing comes back."""
        ...


class NoTrace(list[Any]):
    """A trace that keeps nothing: DSPy's Refine and BestOfN want to extend one."""

    def append(self, item: Any) -> None:
        """Forget `item`."""

    def extend(self, items: Iterable[Any]) -> None:
        """Forget `items`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which conditions examples are scored."""

    metric: Metric
    executor: Executor
    num_threads: int
    context: Callable[[], AbstractContextManager[None]]
    """Makes the context in which programs run, e.g. a meter's."""
    remote: RemoteScorer | None = None
    """Scores examples elsewhere, in the place of the pool's threads, which then wait for it."""
    gate: Gate
    """Every LM call passes it; its budget admits every example."""
    failure_score: float = 0.0
    """Score of an example on which the program or the metric raised."""
    max_errors: int = 10
    """Such examples of one set at which a candidate is given up; see `Race`."""
    timeout_s: float | None = None
    """Seconds after which an example is taken for hung."""
    provide_traceback: bool = False
    interrupt: Interrupt | None = None
    observers: Sequence[Observer] = ()
    memory: Memory[Meeting, Score] = field(default_factory=InOrder)
    """Scores of earlier sessions and runs: they count as metric calls, but no LM is called."""
    met: dict[tuple[str, str, int], Score] = field(default_factory=dict)
    """What this run has scored: candidate key, name of the set and index to the score."""
    hangs: Hangs = field(default_factory=Hangs)
    """Examples that hang, and whether it is known why."""
    told: set[str] = field(default_factory=set)
    """Keys of the candidates whose first failure was shown."""

    def hang_error(self) -> RunError:
        """Return the error that stops a run in which nothing comes back."""
        no_worker = self.remote is not None and not self.remote.has_workers()
        return self.hangs.error(self.timeout_s, remote=self.remote is not None, no_worker=no_worker)
