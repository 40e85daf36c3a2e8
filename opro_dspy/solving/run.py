"""One run on a problem: the seats filled, the loop run, the result put together."""

import json
import logging
import platform
from functools import partial
from importlib.metadata import version
from typing import Generic, TypeVar

import dspy

from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.cache import ScoreMemory, open_store
from opro_dspy.conditions import Conditions, NoTrace
from opro_dspy.direction import Direction
from opro_dspy.errors import RunError
from opro_dspy.filters import Filters, printable
from opro_dspy.hangs import Hangs
from opro_dspy.interrupt import Interrupt
from opro_dspy.journal import Manifest
from opro_dspy.loop import INTERRUPTED, carry, carrying, conclude, optimize, redacted
from opro_dspy.optimizer import Optimizer
from opro_dspy.pool import DaemonExecutor
from opro_dspy.progress import ProgressBars
from opro_dspy.protocols import KnowsOptimum, Observer
from opro_dspy.records import Candidate, ScoreReuse
from opro_dspy.runlog import RunLog
from opro_dspy.solving.evaluator import SolutionEvaluator, metric_of
from opro_dspy.solving.frame import COMPONENT, SolutionMetaPrompt
from opro_dspy.solving.identity import make_manifest, make_scores, problem_key
from opro_dspy.solving.outcome import make_result
from opro_dspy.solving.result import Result
from opro_dspy.solving.settings import Given
from opro_dspy.stopping import Stop
from opro_dspy.trajectory import Trajectory
from opro_dspy.watching import SpentBySteps
from opro_dspy.wiring import (
    make_budget,
    make_gate,
    make_proposer,
    make_stop,
    threads_of,
    warn_of_open_answers,
)

S = TypeVar("S")

logger = logging.getLogger(__name__)

MAX_CHARS = 100_000
"""Longest solution, in characters."""


class SolvingRun(Generic[S]):
    """One run: its seats, and what is made of their work."""

    def __init__(self, given: Given[S]) -> None:
        self.given, self.problem, config = given, given.problem, given.config
        self.turn = Direction(bool(given.problem.higher_is_better)).turn
        self.key = problem_key(given.problem)
        self.versions = {name: version(name) for name in ("dspy", "opro_dspy")}
        self.versions["python"] = platform.python_version()
        self.bars = ProgressBars(
            num_steps=config.max_steps, enabled=config.verbose, shown=self.turn
        )
        self._fill_seats()
        first = self._solved() if given.stop is None else self._solved() | given.stop
        own = config.model_copy(update={"stop_at_score": None})
        self.stop = make_stop(own, self.budget, first=first)

    def _fill_seats(self) -> None:
        given, config = self.given, self.given.config
        num_threads = threads_of(config)
        warn_of_open_answers(config, [given.optimizer_lm])
        self.executor = DaemonExecutor(num_threads, name="opro_dspy")
        self.interrupt = Interrupt.prevailing()
        self.meter = Meter()
        self.budget = make_budget(config)
        self.store = open_store(given.cache_dir)
        gate = self.gate = make_gate(
            config,
            meter=self.meter,
            budget=self.budget,
            prices=given.prices,
            interrupt=self.interrupt,
            store=self.store,
        )
        self.log = RunLog(
            given.log_dir,
            given.resume,
            gate=gate,
            saved=_saved,
            call="optimize",
        )
        self.spent = SpentBySteps(self.budget)
        self.observers: tuple[Observer, ...] = (self.log, self.spent, *given.observers, self.bars)
        example = dspy.Example(problem=self.key).with_inputs()
        self.scores = None
        if given.cache_dir is not None:
            self.scores = make_scores(self.store, self.problem, given.scorer_lm)
        if self.scores is not None:
            self.log.scores.memories.append(ScoreMemory(self.scores, {"trainset": [example]}))
        self.evaluator = SolutionEvaluator(
            self.problem, example, conditions=self._conditions(gate, num_threads)
        )
        self.optimizer = self._optimizer(gate)

    def _conditions(self, gate: Gate, num_threads: int) -> Conditions:
        lm = self.given.scorer_lm
        watched = None if lm is None else gate.watch(lm)
        return Conditions(
            metric=metric_of(self.turn),
            executor=self.executor,
            num_threads=num_threads,
            context=partial(self.meter.role, SCORER, lm=watched, trace=NoTrace()),
            gate=gate,
            timeout_s=self.given.config.timeout,
            interrupt=self.interrupt,
            observers=self.observers,
            memory=self.log.scores,
            hangs=Hangs(f"score() of {type(self.problem).__name__}"),
        )

    def _optimizer(self, gate: Gate) -> Optimizer:
        given, config = self.given, self.given.config
        proposer = make_proposer(
            config,
            given.optimizer_lm,
            executor=self.executor,
            gate=gate,
            interrupt=self.interrupt,
            memory=self.log.answers,
        )
        return Optimizer(
            proposer,
            initial=given.initial,
            num_candidates=config.num_candidates,
            task={COMPONENT: self.problem.describe()},
            meta_prompt=SolutionMetaPrompt(self.problem),
            schedule=given.schedule,
            view=given.view,
            filters=Filters(max_chars=MAX_CHARS),
            clean=printable,
            seed=config.seed,
            shown=self.turn,
        )

    def _solved(self) -> Stop:
        """Return the rule that ends the run when the best is optimal or good enough."""
        problem, wanted = self.problem, self.given.config.stop_at_score

        def rule(trajectory: Trajectory) -> str | None:
            best = trajectory.best
            if best.dropped is not None:
                return None
            score, text = trajectory.estimate(best.candidate).score, best.candidate.texts[COMPONENT]
            value = self.turn(score)
            if isinstance(problem, KnowsOptimum) and problem.is_optimal(problem.parse(text), value):
                return f"optimal: nothing is better than {value:.6g}"
            if wanted is not None and score >= self.turn(wanted):
                return f"target_score: {value:.6g} reaches {wanted:.6g}"
            return None

        return Stop(lambda trajectory: rule(trajectory) if len(trajectory) else None)

    def solve(self) -> Result[S]:
        """Run the loop and return what it found; a RunError carries it as `result`."""
        try:
            return redacted(self._solve, self.gate.redact)
        finally:
            self.bars.close()
            self.store.flush()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _solve(self) -> Result[S]:
        with self.log.open(self._manifest, {"trainset": [self.key], "valset": []}):
            return self._ended(redacted(self._search, self.gate.redact, self._save_into))

    def _search(self) -> str:
        with self.interrupt.listening():
            return optimize(
                self.optimizer,
                self.evaluator,
                stop=self.stop,
                observers=self.observers,
                usage=self.meter.usage,
            )

    def _save_into(self, error: Exception) -> None:
        """Hang what was found on an error: `error.result`."""
        found = self._result(printable(f"error: {type(error).__name__}: {error}"))
        carry(error, {"result": found})
        self.log.ended(found, self._best, failed=True)
        if isinstance(error, RunError) and self.log.how_to_go_on:
            error.args = (f"{error} {self.log.how_to_go_on}",)
        conclude(self.observers, found, failed=True)

    def _ended(self, reason: str) -> Result[S]:
        """Return the result of a run that ended, having told of it."""
        result = self._result(reason)
        with carrying(result=result):
            self.log.ended(result, self._best)
            conclude(self.observers, result)
        if reason == INTERRUPTED and self.log.how_to_go_on:
            logger.warning("%s", self.log.how_to_go_on)
        return result

    @property
    def _best(self) -> Candidate | None:
        trajectory = self.optimizer.trajectory
        return trajectory.best.candidate if len(trajectory) else None

    def _manifest(self) -> Manifest:
        given = self.given
        return make_manifest(
            self.problem,
            given.settings,
            custom=given.custom,
            initial=given.initial,
            optimizer_lm=given.optimizer_lm,
            scorer_lm=given.scorer_lm,
            versions=self.versions,
        )

    def _result(self, reason: str) -> Result[S]:
        return make_result(
            self.problem,
            self.optimizer.trajectory,
            turn=self.turn,
            stop_reason=reason,
            unfinished_step=self.optimizer.pending,
            unfinished=self.evaluator.unfinished,
            usage=self.meter.usage(),
            spent=tuple(self.spent.steps),
            score_reuse=ScoreReuse() if self.scores is None else self.scores.reuse,
            settings={**self.given.settings, "optimizer_lm": self.given.optimizer_lm.model},
            versions=self.versions,
            seed=self.given.config.seed,
        )


def _saved(candidate: Candidate) -> bytes:
    """Return the best solution as the run's folder holds it."""
    return json.dumps({"solution": candidate.texts[COMPONENT]}).encode("ascii") + b"\n"
