"""What the generic door found, frozen, with everything that led there."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import counted, shown
from opro_dspy.protocols import Problem
from opro_dspy.result import RunResult, validated
from opro_dspy.solving.frame import UNFIT

S = TypeVar("S")


class Solution(BaseModel, Generic[S]):
    """One solution that was scored."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    solution: S = Field(exclude=True)
    """As the problem knows it; JSON holds `text` alone."""
    text: str
    """As the optimizer LM reads and writes it."""
    score: float | None
    """Its value, as the problem's `score` gave it; None if that raised."""
    step: int
    """The step that brought it; 0 for the initial solutions."""
    failed: str | None = None
    """What `score` raised."""


class Result(RunResult, Generic[S]):
    """A finished run of `optimize`.

    `result.model_dump_json()` and `Result.from_json(text, problem)` are inverse to each other.
    """

    candidates: tuple[Solution[S], ...]
    """All distinct solutions that were scored, oldest first."""
    best_index: int | None
    """Index of the best in `candidates`; None when the run ended before one was scored."""
    higher_is_better: bool

    @property
    def best(self) -> Solution[S]:
        """The best solution; the oldest of them on a tie.

        Raises:
            ConfigurationError: If the run ended before any solution was scored.
        """
        if self.best_index is None:
            raise ConfigurationError(
                f"no solution was scored before the run ended ({self.stop_reason})."
            )
        return self.candidates[self.best_index]

    def __repr__(self) -> str:
        best = "nothing scored" if self.best_index is None else f"best {self.best.score:.6g}"
        return (
            f"Result({best}; {counted(self.num_distinct, 'solution')} in "
            f"{counted(self.num_steps, 'step')}; "
            f"{self.total_calls} LM calls; stopped: {shown(self.stop_reason):.80})"
        )

    __str__ = __repr__

    @property
    def num_distinct(self) -> int:
        """Distinct solutions scored, the initial ones among them."""
        return len(self.candidates)

    @property
    def invalid(self) -> dict[str, int]:
        """Answers of the optimizer LM that were no valid solution: how many, by reason."""
        proposals = (p for step in self.steps for p in step.proposals)
        counts = Counter(reason for proposal in proposals for reason in proposal.invalid)
        return dict(sorted(counts.items()))

    @classmethod
    def from_json(cls, text: str, problem: Problem[S]) -> "Result[S]":
        """Return the result that `text` holds.

        Raises:
            ConfigurationError: If `text` is no such result, of another problem or format version.
        """
        return validated(cls, text, prepare=lambda found: _with_solutions(found, problem))

    @classmethod
    def load(cls, path: str | Path, problem: Problem[S]) -> "Result[S]":
        """Read a result that `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"), problem)


def _with_solutions(found: Mapping[str, object], problem: Problem[S]) -> dict[str, object]:
    candidates = found.get("candidates")
    if not isinstance(candidates, list) or not all(
        isinstance(c, Mapping) and "text" in c for c in candidates
    ):
        raise ConfigurationError("this is no result of `optimize`: it has no `candidates`.")
    try:
        solutions = [problem.parse(c["text"]) for c in candidates]
    except UNFIT as error:
        raise ConfigurationError(
            f"this is a result of another problem: {type(problem).__name__} cannot read its "
            f"solutions ({error})."
        ) from error
    read = [{**c, "solution": s} for c, s in zip(candidates, solutions, strict=True)]
    return {**found, "candidates": read}
