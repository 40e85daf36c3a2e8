"""Attempts at scoring an example: what each used, and what became of it."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import dspy

from opro_dspy.boundary.budget import Reservation
from opro_dspy.boundary.faults import bad_request
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.task import Task
from opro_dspy.calling import call
from opro_dspy.conditions import Conditions
from opro_dspy.records import Candidate, Usage
from opro_dspy.scoring import Scored, score_example


@dataclass(slots=True)
class Trial:
    """One attempt at a cell."""

    question: "Question"
    task: Task | None = None
    reservation: Reservation | None = None
    n_refusals: int = 0
    """How many refusals of requests were known when it set out."""
    number: int = 0
    """Its place among all that set out; see `Hangs`."""

    @property
    def waited(self) -> float:
        """Seconds in which its LM calls only waited to be let in."""
        return 0.0 if self.task is None else self.task.waited

    @property
    def waits_for(self) -> str | None:
        """The LM of which it awaits an answer; None when program or metric are at work."""
        visits = [] if self.task is None else list(self.task.in_flight)
        return visits[0].model if visits else None

    @property
    def was_answered(self) -> bool:
        """Whether an LM answered it; what a cache knew is no sign of life."""
        return any(row.calls > row.failures for row in self.used)

    @property
    def used(self) -> Sequence[Usage]:
        """What its LM calls took."""
        return self.task.used if self.task is not None else ()


@dataclass(frozen=True, slots=True)
class Question:
    """One example of one candidate, to be scored."""

    conditions: Conditions
    candidate: Candidate
    program: dspy.Module
    """The candidate's."""
    example: dspy.Example
    where: str
    """Names the example in errors."""

    def score(self) -> Scored:
        """Return what comes of it; whatever program and metric raise passes through."""
        conditions = self.conditions
        if conditions.remote is not None:
            return conditions.remote(self.candidate, self.example, where=self.where)
        return score_example(self.program, self.example, conditions.metric, where=self.where)

    def ask(self, trial: Trial, *, judge: bool) -> None:
        """Ask it past all caches and forget the answer; only with `judge` ask the metric too."""
        with self.conditions.gate.task() as trial.task:
            trial.task.fresh = True
            self.conditions.gate.begin(trial.task)
            if judge or self.conditions.remote is not None:
                self.score()
            else:
                call(self.program, self.example)


def settle(trial: Trial, *, calls: int) -> None:
    """Book the metric calls: none when the example has yet to be scored."""
    if trial.reservation is not None:
        trial.reservation.settle(metric_calls=calls)


def refusal_of(trial: Trial, error: BaseException | None) -> BaseException | None:
    """Return the refused request behind an error, or behind an answer given without the LM's."""
    if trial.task is not None and trial.task.bad_request is not None:
        return trial.task.bad_request
    return None if error is None or trial.was_answered else bad_request(error)


def raised(future: "Future[Any]", gate: Gate) -> Exception | None:
    """Return what a call raised, without credentials; what is no Exception is raised."""
    error = future.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return None if error is None else gate.redact(error)
