"""The driver's side of work on other machines: what is sent, what is admitted, what comes back."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import dspy

from opro_dspy.boundary.admission import BudgetRefused, CallRefused
from opro_dspy.boundary.faults import is_overload, may_be_load
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import TASK
from opro_dspy.boundary.spending import NOTHING, Spending
from opro_dspy.boundary.task import Task, Visit
from opro_dspy.errors import ConfigurationError, ExecutorError
from opro_dspy.executing import Workers, lost
from opro_dspy.filters import sentence
from opro_dspy.packing import packed
from opro_dspy.records import Candidate, Usage
from opro_dspy.restoring import restored
from opro_dspy.scoring import Scored
from opro_dspy.worker import Job, unpack, work

MAX_ASKED = 3
"""How often a job is sent to workers without the kit before it brings the kit along."""


class Remote:
    """Scores examples on workers: `score_example`, elsewhere.

    The driver admits each job as the gate admits an LM call: it waits for a place, and for an
    allowance of tokens and USD, which the worker does not pass. How much a job needs is learned
    from those that came back; one that is refused for want of allowance is sent again with more.

    Args:
        workers: Whoever runs jobs.
        kit: The run's `Kit`, by cloudpickle; sent to a worker when it says that it has none.
        gate: Admits jobs and counts what they took.
        model: The scorer LM's name, for the limit of jobs in flight.
    """

    def __init__(self, workers: Workers, kit: bytes, *, gate: Gate, model: str) -> None:
        self._workers, self._kit, self._gate, self._model = workers, kit, gate, model
        self._name = hashlib.sha256(kit).hexdigest()
        self._lock = threading.Lock()
        self._needed = NOTHING
        self._sending = threading.Lock()
        self._n_sent = 0
        """How often the kit was sent alone."""

    def __call__(self, candidate: Candidate, example: dspy.Example, *, where: str) -> Scored:
        """Return what comes of an example; call it in a thread, within a task of the gate.

        Raises:
            ExecutorError: If the executor fails, or a worker cannot unpack the kit.
            CallRefused: If the budget refuses it; the task says why.
            BaseException: What the LM, the program or the metric raised, as `restored`.
        """
        visit = Visit(model=self._model, task=dspy.settings.get(TASK))
        try:
            found = self._found(
                self._outcome(visit, candidate, packed(where, example), where), visit
            )
        except (CallRefused, ExecutorError):
            raise
        except ConfigurationError as error:  # the example cannot travel
            raise ExecutorError(str(error)) from error
        except Exception as error:  # the driver's own: nothing that a program did
            raise lost(error) from error
        if isinstance(found, BaseException):
            raise found
        return found

    def has_workers(self) -> bool:
        """Return False if it is known that there is no worker; see `Workers`."""
        return self._workers.are_there()

    def _outcome(
        self, visit: Visit, candidate: Candidate, example: bytes, where: str
    ) -> dict[str, Any]:
        """Return what came of an example that was given what it needs."""
        short = NOTHING
        while True:
            with self._lock:
                needed = self._needed
            visit.tokens = max(needed.tokens, 2 * short.tokens)
            visit.cost = max(needed.cost, 2 * short.cost)
            outcome = self._admitted(visit, self._job(visit, candidate, example, where))
            if not outcome["too_small"]:
                self._learn(Spending(**outcome["needed"]))
                return outcome
            short = Spending(**outcome["needed"])

    def _job(self, visit: Visit, candidate: Candidate, example: bytes, where: str) -> Job:
        caps, seconds_left = self._gate.budget.caps, self._gate.budget.seconds_left
        return Job(
            texts=dict(candidate.texts),
            example=example,
            where=where,
            fresh=visit.task is not None and visit.task.fresh,
            max_tokens=None if caps["max_tokens"] is None else visit.tokens,
            max_cost=None if caps["max_cost"] is None else visit.cost,
            max_seconds=None if caps["max_seconds"] is None else max(0.0, seconds_left),
            number=uuid4().hex,
        )

    def _admitted(self, visit: Visit, job: Job) -> dict[str, Any]:
        """Send `job` once it is let in, and book what it took."""
        self._gate.admission.enter(visit)
        outcome: dict[str, Any] | None = None
        rows: list[Usage] = []
        try:
            answer = self._asked(job)
            rows, outcome = [Usage(**row) for row in answer["used"]], answer
            return outcome
        finally:
            self._close(visit, outcome, rows)

    def _asked(self, job: Job) -> dict[str, Any]:
        """Return what a worker says to `job`; it gets the kit first if it has none.

        The kit is sent alone, and by one thread at a time: the others, whose workers had none
        either, ask again first. It goes with the job where workers do not keep it.
        """
        for _ in range(MAX_ASKED):
            n_sent = self._n_sent
            outcome = self._workers.run(job.where, work, self._name, None, job)
            if not outcome.get("missing"):
                return outcome
            with self._sending:
                if self._n_sent == n_sent:
                    unpacked = (self._name, self._kit, uuid4().hex)
                    _check(self._workers.run(job.where, unpack, *unpacked))
                    self._n_sent += 1
        return _check(self._workers.run(job.where, work, self._name, self._kit, job))

    def _close(
        self, visit: Visit, outcome: Mapping[str, Any] | None, rows: Sequence[Usage]
    ) -> None:
        admission = self._gate.admission
        admission.came_back(visit)
        for row in rows:
            self._gate.meter.add(row)
        reservation, visit.reservation = visit.reservation, None
        if reservation is not None and outcome is not None:
            spent = Spending(**outcome["spent"])
            reservation.settle(tokens=spent.tokens, cost=spent.cost)
        elif reservation is not None:  # what it took died with the worker
            reservation.settle()
        if any(row.failures for row in rows):
            self._pushed_back(visit, outcome["outage"] if outcome else None)
        failed = outcome is None or outcome["outage"] is not None
        admission.leave(visit, failed=failed, paid=any(row.calls for row in rows))

    def _pushed_back(self, visit: Visit, outage: Mapping[str, Any] | None) -> None:
        """Send fewer jobs at once when LM calls fail as they do under load."""
        error = None if outage is None else restored(outage)
        if error is None or may_be_load(error) or is_overload(error):
            soft = error is None or not is_overload(error)
            after = getattr(error, "retry_after", None)
            said = "" if error is None else type(error).__name__
            self._gate.admission.pushed_back(visit, soft=soft, retry_after=after, said=said)

    def _learn(self, needed: Spending) -> None:
        with self._lock:
            self._needed = Spending(
                tokens=max(self._needed.tokens, needed.tokens),
                cost=max(self._needed.cost, needed.cost),
            )

    def _found(self, outcome: Mapping[str, Any], visit: Visit) -> Scored | BaseException:
        """Return the score, or what is to be raised instead."""
        task: Task | None = visit.task
        if outcome["error"] is not None and outcome["error"]["stops"]:
            return restored(outcome["error"])
        if outcome["fatal"] is not None:
            self._gate.admission.refuse_all(restored(outcome["fatal"]))
        if outcome["refused"] is not None and outcome["outage"] is None:
            reason = self._gate.budget.refusal() or str(outcome["refused"])
            self._gate.budget.refuse(reason)
            if task is not None:
                task.refused = reason
            return BudgetRefused(reason)
        if outcome["outage"] is not None:
            error = restored(outcome["outage"])
            if task is not None:
                task.failed(error)
            return error
        if outcome["bad_request"] is not None and task is not None:
            task.bad_request = restored(outcome["bad_request"])
        if outcome["error"] is not None:
            return restored(outcome["error"])
        return Scored(**outcome["scored"])


def _check(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return `outcome` unless it is that a worker cannot unpack the kit."""
    if "broken" in outcome:
        raise ExecutorError(
            f"a worker cannot unpack the program: {sentence(outcome['broken'])} What it is made "
            "of has to be installed there, or defined in the script itself."
        )
    return outcome
