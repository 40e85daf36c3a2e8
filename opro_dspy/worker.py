"""What runs on a worker: one example of one candidate, answered with plain data."""

import contextvars
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cloudpickle
import dspy

from opro_dspy.boundary.adapters import watched
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.budget import Budget, Reservation
from opro_dspy.boundary.cleaning import redact
from opro_dspy.boundary.faults import bad_request
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.boundary.prices import Price
from opro_dspy.boundary.redaction import secrets_of
from opro_dspy.boundary.spending import NOTHING, Spending
from opro_dspy.boundary.task import Task, outage_of
from opro_dspy.cache import MemoryStore
from opro_dspy.conditions import NoTrace
from opro_dspy.metric import Metric
from opro_dspy.program import Program
from opro_dspy.records import Candidate
from opro_dspy.restoring import told
from opro_dspy.scoring import Scored, score_example

MAX_KITS = 4
"""Kits that a worker keeps."""

MAX_BUILT = 16
"""Candidates' programs that a bench keeps."""

MAX_ANSWERS = 1024
"""LM answers that a worker keeps of a kit, beside what DSPy's own cache keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What a worker needs once for a run; it travels by cloudpickle."""

    program: dspy.Module
    """The student with its LMs; candidates' texts are put into copies of it."""
    metric: Callable[..., Any]
    """The user's own."""
    lm: dspy.BaseLM | None
    """The scorer LM of predictors without their own."""
    settings: Mapping[str, Any]
    """DSPy's settings where the run was started."""
    prices: Mapping[str, Price]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One example of one candidate, and what may be spent on it."""

    texts: dict[str, str]
    """The candidate's instructions by predictor."""
    example: bytes
    """The example, by cloudpickle."""
    where: str
    """Names the example in errors."""
    max_tokens: int | None = None
    """See `Allowance`."""
    max_cost: float | None = None
    max_seconds: float | None = None
    fresh: bool = False
    """Whether LM calls go past all caches."""
    number: str = ""
    """Differs from job to job: an executor may take equal calls for one."""


class Allowance(Budget):
    """The share of a run's budget that a job may use; remembers what it would have taken."""

    needed: Spending = NOTHING
    """The most that was spent and asked for at once."""

    def admit(
        self, *, metric_calls: int = 0, tokens: int = 0, cost: float = 0.0
    ) -> Reservation | None:
        """As in `Budget`."""
        most, spent = self.needed, self.spent
        self.needed = Spending(
            tokens=max(most.tokens, spent.tokens + tokens), cost=max(most.cost, spent.cost + cost)
        )
        return super().admit(metric_calls=metric_calls, tokens=tokens, cost=cost)

    @property
    def used_up(self) -> str | None:
        """None: a share that fits exactly is no cap that is used up; the driver sees to those."""
        return None

    @property
    def too_small(self) -> bool:
        """Whether more tokens or USD were asked for than it has."""
        asked = {"max_tokens": self.needed.tokens, "max_cost": self.needed.cost}
        return any((cap := self.caps[n]) is not None and most > cap for n, most in asked.items())


class Bench:
    """Scores one example at a time, behind a gate of its own: one LM call at a time.

    It lives as long as the worker, so that connections, forecasts and programs are used again.

    Args:
        kit: Of the run.
        answers: Where answers are kept: with them, nothing is taken from DSPy's cache that may be
            another engine's or endpoint's.
    """

    def __init__(self, kit: Kit, answers: Answers) -> None:
        self._gate = Gate(Meter(), max_in_flight=1, prices=kit.prices, answers=answers)
        adapter = watched(kit.settings.get("adapter"), self._gate.watch)
        self._settings = {**kit.settings, "adapter": adapter}
        self._program = Program(kit.program)
        self._program.watch_lms(self._gate.watch)
        self._lm = None if kit.lm is None else self._gate.watch(kit.lm)
        self._metric = Metric(kit.metric)
        self._gate.holders = [*self._program.modules, *self._metric.holders]
        self._built: dict[str, dspy.Module] = {}

    def score(self, job: Job) -> dict[str, Any]:
        """Return what came of `job`, as JSON values; see `outcome_of`."""
        gate = self._gate
        allowance = Allowance(
            max_tokens=job.max_tokens, max_cost=job.max_cost, max_seconds=job.max_seconds
        )
        gate.renew(allowance)
        scored: Scored | None = None
        error: BaseException | None = None
        settings = dspy.context(**self._settings)
        with settings, gate.meter.role(SCORER, lm=self._lm, trace=NoTrace()), gate.task() as task:
            task.fresh = job.fresh
            try:
                example = cloudpickle.loads(job.example)
                program = self._build(Candidate(job.texts))
                scored = score_example(program, example, self._metric, where=job.where)
            except BaseException as raised:  # noqa: BLE001  (the driver raises it; the worker lives)
                error = gate.redact(raised)
        outcome = outcome_of(task, error)
        return {
            **outcome,
            "scored": None if scored is None else asdict(scored),
            "spent": asdict(allowance.spent),
            "needed": asdict(allowance.needed),
            "fatal": None if gate.fatal is None else told(gate.fatal),
            "too_small": task.refused is not None and allowance.too_small,
        }

    def _build(self, candidate: Candidate) -> dspy.Module:
        program = self._built.pop(candidate.key, None) or self._program.build(candidate)
        self._built[candidate.key] = program
        while len(self._built) > MAX_BUILT:
            del self._built[next(iter(self._built))]
        return program


def outcome_of(task: Task, error: BaseException | None) -> dict[str, Any]:
    """Return what the LM calls took, and whose fault it is if there is no score."""
    outage = outage_of(task, error)
    refusal = task.bad_request or (None if error is None else bad_request(error))
    return {
        "used": [asdict(row) for row in task.used],
        "refused": task.refused,
        "outage": None if outage is None else told(outage),
        "bad_request": None if refusal is None else told(refusal),
        "error": None if error is None else told(error),
    }


class _Benches:
    """The benches of one kit: as many as jobs run at once."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._answers = Answers(MemoryStore(max_entries=MAX_ANSWERS))
        self._idle: list[Bench] = []

    def score(self, job: Job) -> dict[str, Any]:
        try:
            bench = self._idle.pop()
        except IndexError:
            bench = Bench(self._kit, self._answers)
        outcome = bench.score(job)
        self._idle.append(bench)
        return outcome


_KITS: dict[str, _Benches] = {}
"""What this process has unpacked; a worker has nowhere else to keep it between two jobs."""
_LOCK = threading.Lock()


def work(name: str, kit: bytes | None, job: Job) -> dict[str, Any]:
    """Score one example; what an executor is given. Raises nothing.

    Args:
        name: Of the kit.
        kit: The kit, by cloudpickle; None if the worker should have it.
        job: What to score.

    Returns:
        JSON values: what `Bench.score` returns, or `{"missing": True}` if the worker does not have
        the kit, or `{"broken": why}` if it cannot unpack it.
    """
    benches = _benches(name, kit)
    if isinstance(benches, dict):
        return benches
    return contextvars.Context().run(benches.score, job)  # nothing of the driver's, if it runs here


def unpack(name: str, kit: bytes, number: str) -> dict[str, Any]:
    """Keep a kit for later jobs; what an executor is given before them. Raises nothing.

    Args:
        name: Of the kit.
        kit: The kit, by cloudpickle.
        number: Differs from call to call: an executor may take equal calls for one.

    Returns:
        `{}`, or `{"broken": why}` if the worker cannot unpack it.
    """
    benches = _benches(name, kit)
    return benches if isinstance(benches, dict) else {}


def _benches(name: str, kit: bytes | None) -> _Benches | dict[str, Any]:
    """Return the benches of a kit, or what to say without it; see `work`."""
    with _LOCK:
        if name not in _KITS and kit is None:
            return {"missing": True}
        if name not in _KITS:
            try:
                _KITS[name] = _Benches(cloudpickle.loads(kit))
            except BaseException as error:  # noqa: BLE001  (the driver raises it)
                found = redact(error, secrets_of(None))
                return {"broken": f"{type(found).__name__}: {found}"}
        benches = _KITS[name] = _KITS.pop(name)
        while len(_KITS) > MAX_KITS:
            del _KITS[next(iter(_KITS))]
        return benches
