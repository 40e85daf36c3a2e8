"""One run on a problem: the seats filled, the loop run, the result put together."""

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Generic, TypeVar

import dspy

from opro_dspy.asking import View
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.boundary.prices import Price
from opro_dspy.conditions import Conditions, NoTrace
from opro_dspy.config import OproConfig
from opro_dspy.diagnostics import diagnose, told
from opro_dspy.direction import Direction
from opro_dspy.filters import Filters, printable
from opro_dspy.interrupt import Interrupt
from opro_dspy.loop import optimize
from opro_dspy.memory import InOrder
from opro_dspy.optimizer import Optimizer
from opro_dspy.pool import DaemonExecutor
from opro_dspy.progress import ProgressBars
from opro_dspy.protocols import KnowsOptimum, Observer, Problem
from opro_dspy.schedules import resolve_schedule
from opro_dspy.seats import name_of
from opro_dspy.solving.evaluator import SolutionEvaluator, metric_of
from opro_dspy.solving.frame import COMPONENT, SolutionMetaPrompt
from opro_dspy.solving.inputs import initial_candidates
from opro_dspy.solving.result import Result, Solution
from opro_dspy.stopping import Stop
from opro_dspy.trajectory import Trajectory
from opro_dspy.wiring import make_budget, make_proposer, make_stop, within_window

S = TypeVar("S")

MAX_CHARS = 100_000
"""Longest solution, in characters."""


class SolvingRun(Generic[S]):
    """One run: its seats, and what is made of their work."""

    def __init__(
        self,
        problem: Problem[S],
        config: OproConfig,
        *,
        lm: dspy.BaseLM,
        initial_solutions: Sequence[S],
        temperature_schedule: str | Callable[..., float],
        view: View,
        stop: Stop | None,
        prices: Mapping[str, Price],
        observers: Sequence[Observer],
    ) -> None:
        self.problem, self.config, self.lm = problem, config, lm
        self.turn = Direction(bool(problem.higher_is_better)).turn
        self.view = within_window(view.model_copy(update={"score_buckets": None}), lm)
        schedule = temperature_schedule
        self.settings = {
            **config.model_dump(mode="json"),
            "view": self.view.model_dump(mode="json"),
            "temperature_schedule": schedule if isinstance(schedule, str) else name_of(schedule),
            "problem": type(problem).__name__,
            "optimizer_lm": lm.model,
        }
        self.bars = ProgressBars(
            num_steps=config.max_steps, enabled=config.verbose, shown=self.turn
        )
        self.observers = (*observers, self.bars)
        self._fill_seats(prices, initial_solutions, schedule)
        first = self._solved() if stop is None else self._solved() | stop
        own = config.model_copy(update={"stop_at_score": None})
        self.stop = make_stop(own, self.budget, first=first)

    def _fill_seats(
        self,
        prices: Mapping[str, Price],
        initial_solutions: Sequence[S],
        schedule: str | Callable[..., float],
    ) -> None:
        problem, config = self.problem, self.config
        num_threads = config.num_threads or dspy.settings.num_threads or 1
        self.executor, self.interrupt = DaemonExecutor(num_threads, name="opro_dspy"), Interrupt()
        self.meter, self.budget = Meter(), make_budget(config)
        gate = Gate(
            self.meter,
            budget=self.budget,
            max_in_flight=num_threads,
            requests_per_minute=config.requests_per_minute,
            prices=prices,
            interrupt=self.interrupt,
        )
        self.evaluator = SolutionEvaluator(problem, conditions=self._conditions(gate, num_threads))
        proposer = make_proposer(
            config,
            self.lm,
            executor=self.executor,
            gate=gate,
            interrupt=self.interrupt,
            memory=InOrder(),
        )
        self.optimizer = Optimizer(
            proposer,
            initial=initial_candidates(problem, initial_solutions, seed=config.seed),
            num_candidates=config.num_candidates,
            task={COMPONENT: problem.describe()},
            meta_prompt=SolutionMetaPrompt(problem),
            schedule=resolve_schedule(
                schedule,
                init_temperature=config.init_temperature,
                end_temperature=config.end_temperature,
                num_steps=config.max_steps,
            ),
            view=self.view,
            filters=Filters(max_chars=MAX_CHARS),
            clean=printable,
            seed=config.seed,
            shown=self.turn,
        )

    def _conditions(self, gate: Gate, num_threads: int) -> Conditions:
        lm = dspy.settings.lm  # a problem may ask an LM for its scores
        return Conditions(
            metric=metric_of(self.turn),
            executor=self.executor,
            num_threads=num_threads,
            context=partial(self.meter.role, SCORER, lm=lm and gate.watch(lm), trace=NoTrace()),
            gate=gate,
            timeout_s=self.config.timeout,
            interrupt=self.interrupt,
            observers=self.observers,
        )

    def _solved(self) -> Stop:
        """Return the rule that ends the run when the best is optimal or good enough."""
        problem, wanted = self.problem, self.config.stop_at_score

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
            with self.interrupt.listening():
                reason = optimize(
                    self.optimizer, self.evaluator, stop=self.stop, observers=self.observers
                )
            return self._result(reason)
        except Exception as error:
            said = printable(f"error: {type(error).__name__}: {error}")
            setattr(error, "result", self._result(said))  # noqa: B010  (any exception)
            raise
        finally:
            self.bars.close()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _result(self, reason: str) -> Result[S]:
        trajectory = self.optimizer.trajectory
        best = trajectory.best if len(trajectory) else None
        known = best is not None and best.dropped is None
        return Result(
            candidates=self._solutions(trajectory),
            best_index=list(trajectory).index(best) if best is not None and known else None,
            higher_is_better=bool(self.problem.higher_is_better),
            steps=tuple(trajectory.steps),
            unfinished_step=self.optimizer.pending,
            unfinished=self.evaluator.unfinished,
            stop_reason=reason,
            diagnostics=() if reason.startswith("optimal") else told(diagnose(trajectory)),
            usage=self.meter.usage(),
            settings=self.settings,
            versions={
                **{name: version(name) for name in ("dspy", "opro_dspy")},
                "python": platform.python_version(),
            },
            seed=self.config.seed,
        )

    def _solutions(self, trajectory: Trajectory) -> tuple[Solution[S], ...]:
        born = {c.key: step.index for step in trajectory.steps for c in step.candidates}
        found: list[Solution[S]] = []
        for evaluation in trajectory:
            text = evaluation.candidate.texts[COMPONENT]
            failed = next(iter(evaluation.failures.values()), None)
            score = self.turn(trajectory.estimate(evaluation.candidate).score)
            found.append(
                Solution(
                    solution=self.problem.parse(text),
                    text=text,
                    score=None if failed else score,
                    step=born[evaluation.candidate.key],
                    failed=failed,
                )
            )
        return tuple(found)
