"""One compile: the seats filled, the loop run, the final choice made, the result put together."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import fsum
from typing import Any

import dspy

from opro_dspy.boundary.budget import Budget, Kept
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import OPTIMIZER, SCORER, Meter
from opro_dspy.boundary.prices import Price, check_prices, known_price
from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError, ProgramFailedError, RunError
from opro_dspy.estimate import RunEstimate, estimate_run
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.filters import Filters, printable
from opro_dspy.grid import Conditions, NoTrace
from opro_dspy.inputs import check_lms, initial_candidates
from opro_dspy.interrupt import Interrupt
from opro_dspy.loop import INTERRUPTED, optimize
from opro_dspy.metric import Metric
from opro_dspy.optimizer import Optimizer, View
from opro_dspy.outcome import candidate_results, dressed
from opro_dspy.plan import Sizes, sized
from opro_dspy.pool import DaemonExecutor
from opro_dspy.program import Program, as_exemplar
from opro_dspy.progress import ProgressBars
from opro_dspy.proposer import LMProposer, context_window, takes_temperature
from opro_dspy.protocols import (
    ComponentSelector,
    ExemplarChoice,
    MetaPrompt,
    MetaPromptContext,
    Observer,
    Schedule,
)
from opro_dspy.racing import Racing, estimates
from opro_dspy.records import Candidate, Evaluation, ShownEntry
from opro_dspy.result import OPROResult
from opro_dspy.selectors import every
from opro_dspy.stopping import Stop, max_steps, nothing_new, patience, target_score
from opro_dspy.trajectory import Trajectory, plain_means

logger = logging.getLogger(__name__)

CHOICE_SHARE = 0.3
"""Share of a budget without `max_metric_calls` that is kept for the final choice."""

ANSWER_RESERVE_TOKENS = 1024
"""Kept free in the optimizer LM's window for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """Who sits where: what `OPRO` was told, resolved and checked."""

    config: OproConfig
    metric: Metric
    prompt_model: dspy.LM | None
    task_model: dspy.LM | None
    schedule: Schedule
    meta_prompt: MetaPrompt
    exemplar_choice: ExemplarChoice
    selector: ComponentSelector
    initial_instructions: Sequence[str | Mapping[str, str]]
    view: View
    filters: Filters
    racing: Racing | None
    prices: Mapping[str, Price]
    stop: Stop | None
    observers: Sequence[Observer]
    settings: Mapping[str, Any]
    """The settings as JSON values, for the result."""


class Run:
    """One compile: its seats, and what is made of their work."""

    def __init__(
        self,
        seats: Seats,
        program: Program,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example],
    ) -> None:
        self.seats, self.program = seats, program
        self.trainset, self.valset = trainset, valset
        self.initial = initial_candidates(program, seats.initial_instructions)
        self.sizes = Sizes(
            n_train=len(trainset),
            n_val=len(valset),
            n_predictors=len(program.predictors),
            per_step=len(program.predictors) if seats.selector is every else 1,
            n_initial=len(self.initial),
        )
        self.config = sized(seats.config, seats.racing, self.sizes)
        self.optimizer_lm, self.scorer_lm = self._lms()
        num_threads = self.config.num_threads or dspy.settings.num_threads or 1
        self.executor = DaemonExecutor(name="opro_dspy")
        self.interrupt = Interrupt()
        self.meter = Meter()
        self.budget = self._budget()
        self.gate = Gate(
            self.meter,
            budget=self.budget,
            max_in_flight=num_threads,
            requests_per_minute=self.config.requests_per_minute,
            prices=seats.prices,
            interrupt=self.interrupt,
        )
        program.watch_lms(self.gate.watch)
        self.bars = ProgressBars(num_steps=self.config.max_steps, enabled=self.config.verbose)
        self.observers: tuple[Observer, ...] = (*seats.observers, self.bars)
        self.evaluator = self._evaluator(num_threads, self.scorer_lm)
        self.exemplars = [as_exemplar(e, program.output_names) for e in trainset]
        self.optimizer = self._optimizer()
        self.selection: dict[str, Evaluation] = {}
        self.completed: dict[str, Evaluation] = {}
        self.versions = {name: version(name) for name in ("dspy", "opro_dspy")}
        self.versions["python"] = platform.python_version()

    def compile(self) -> dspy.Module:
        """Search, choose, and dress the chosen program with its result."""
        with self.interrupt.listening():
            best, reason = self._search_and_choose()
            return dressed(
                self.program,
                best or self.initial[0],
                self._result(best, reason),
                track_stats=self.config.track_stats,
            )

    def _search_and_choose(self) -> tuple[Candidate | None, str]:
        trajectory = self.optimizer.trajectory
        logger.info("Estimate: %s.", self.estimate())
        kept = self._kept_for_the_choice()
        try:
            reason = optimize(
                self.optimizer, self.evaluator, stop=self._stop(), observers=self.observers
            )
            if reason == INTERRUPTED:
                return self._best_so_far(), reason
            if kept is not None:
                kept.release()
            return self._choose(trajectory), reason
        except KeyboardInterrupt:
            return self._best_so_far(), INTERRUPTED
        except Exception as error:
            self._save_into(error)
            raise
        finally:
            self.bars.close()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _best_so_far(self) -> Candidate | None:
        """Return the best by what was seen of it on the training set; the student wins ties."""
        trajectory = self.optimizer.trajectory
        self.selection = {}
        return trajectory.best.candidate if len(trajectory) else None

    def _save_into(self, error: Exception) -> None:
        """Hang what was paid for on an error: `error.result` and `error.program`."""
        best = self._best_so_far()
        said = printable(f"{type(error).__name__}: {error}")
        result = self._result(best, f"error: {said}")
        found: dict[str, Any] = {"result": result}
        if best is not None:
            found["program"] = dressed(
                self.program, best, result, track_stats=self.config.track_stats
            )
        for name, value in found.items():
            setattr(error, name, value)
        if isinstance(error, RunError):
            error.args = (f"{error} {_saved(self.optimizer.trajectory)}",)

    def estimate(self) -> RunEstimate:
        """Return what the run will cost, as a range; calls no LM."""
        seats = self.seats
        scorer = self.scorer_lm or next(lm for lm in self.program.lms.values() if lm is not None)
        component = next(iter(self.program.predictors))
        meta_prompt = seats.meta_prompt.render(
            MetaPromptContext(
                component=component,
                task=self.program.describe()[component],
                entries=(ShownEntry(text=self.initial[0].texts[component], score="50"),),
                exemplars=tuple(self.exemplars[: seats.view.num_exemplars]),
            )
        )
        return estimate_run(
            self.program,
            self.trainset,
            config=self.config,
            racing=seats.racing,
            sizes=self.sizes,
            meta_prompt=meta_prompt,
            num_entries=seats.view.num_entries,
            max_chars=seats.filters.max_chars,
            scorer_answer=scorer.kwargs.get("max_tokens"),
            optimizer_price=self._price(self.optimizer_lm),
            scorer_price=self._price(scorer),
        )

    def _price(self, lm: dspy.BaseLM) -> Price | None:
        return self.seats.prices.get(lm.model) or known_price(lm)

    def _lms(self) -> tuple[dspy.LM, dspy.LM | None]:
        default = check_lms(self.program)
        scorer_lm = self.seats.task_model or default
        if scorer_lm is None and self.program.uses_default_lm():
            raise ConfigurationError(
                "there is no scorer LM: pass `task_model`, or dspy.configure(lm=dspy.LM(...))."
            )
        optimizer_lm = self.seats.prompt_model or default
        if optimizer_lm is None:
            raise ConfigurationError(
                "there is no optimizer LM: pass `prompt_model`, or dspy.configure(lm=dspy.LM(...))."
            )
        if self.config.max_cost is not None:
            own = [lm for lm in self.program.lms.values() if lm is not None]
            check_prices(
                [optimizer_lm, *own, *([scorer_lm] if scorer_lm else [])], self.seats.prices
            )
        return optimizer_lm, scorer_lm

    def _budget(self) -> Budget:
        config = self.config
        return Budget(
            max_metric_calls=config.max_metric_calls,
            max_tokens=config.max_tokens,
            max_cost=config.max_cost,
            max_seconds=config.max_seconds,
        )

    def _kept_for_the_choice(self) -> Kept | None:
        """Hold back what the final choice needs, at most half of the budget."""
        cap = self.config.max_metric_calls
        n_selection = len(self.valset or self.trainset)
        need = (self.config.num_finalists + 1) * n_selection
        if cap is not None:
            return self.budget.keep(metric_calls=min(need, cap // 2))
        if self.budget.exhausted is None and self.config.has_caps:
            return self.budget.keep(metric_calls=0, share=CHOICE_SHARE)
        return None

    def _evaluator(self, num_threads: int, scorer_lm: dspy.LM | None) -> ProgramEvaluator:
        config, settings = self.config, dspy.settings
        traceback = config.provide_traceback
        conditions = Conditions(
            metric=self.seats.metric,
            executor=self.executor,
            num_threads=num_threads,
            context=partial(
                self.meter.role,
                SCORER,
                lm=scorer_lm and self.gate.watch(scorer_lm),
                trace=NoTrace(),
            ),
            gate=self.gate,
            timeout_s=config.timeout,
            failure_score=config.failure_score,
            max_errors=settings.max_errors if config.max_errors is None else config.max_errors,
            provide_traceback=settings.provide_traceback if traceback is None else traceback,
            interrupt=self.interrupt,
            observers=self.observers,
        )
        return ProgramEvaluator(
            self.program.build,
            examples=self.trainset,
            conditions=conditions,
            racing=self.seats.racing,
            seed=config.seed,
        )

    def _optimizer(self) -> Optimizer:
        seats, config, lm = self.seats, self.config, self.optimizer_lm
        send_temperature = takes_temperature(lm)
        if not send_temperature:
            logger.warning(
                "The optimizer LM %s takes its default temperature only: none is sent, and "
                "`init_temperature` and `temperature_schedule` have no effect.",
                lm.model,
            )
        proposer = LMProposer(
            self.gate.watch(lm),
            executor=self.executor,
            context=partial(self.meter.role, OPTIMIZER),
            seed=config.seed,
            max_attempts=config.max_attempts,
            send_temperature=send_temperature,
            interrupt=self.interrupt,
        )
        return Optimizer(
            proposer,
            initial=self.initial,
            num_candidates=config.num_candidates,
            task=self.program.describe(),
            exemplars=self.exemplars,
            meta_prompt=seats.meta_prompt,
            exemplar_choice=seats.exemplar_choice,
            schedule=seats.schedule,
            selector=seats.selector,
            view=_within_window(seats.view, lm),
            filters=seats.filters,
            estimator=(
                plain_means
                if seats.racing is None
                else partial(estimates, n_examples=len(self.trainset))
            ),
            seed=config.seed,
        )

    def _stop(self) -> Stop:
        config = self.config
        stop = Stop(lambda trajectory: self.budget.exhausted)
        stop = stop | nothing_new(config.max_empty_steps) | max_steps(config.max_steps)
        if config.stop_at_score is not None:
            stop = target_score(config.stop_at_score) | stop
        if config.patience is not None:
            stop = stop | patience(config.patience)
        return stop if self.seats.stop is None else self.seats.stop | stop

    def _choose(self, trajectory: Trajectory) -> Candidate:
        """Let the best few and the student meet the selection set; the student wins ties.

        Raises:
            ProgramFailedError: If the student fails there on `max_errors` examples.

        Source:
            OPRO (arXiv:2309.03409), section 5.2, evaluates the best few of a run on held-out data.
        """
        student = self.initial[0]
        if student not in trajectory:
            return student
        ranked = [e.candidate for e in trajectory.ranked() if e.dropped is None]
        finalists = ranked[: self.config.num_finalists]
        contenders = [student, *(c for c in finalists if c != student)]
        examples = self.valset or self.trainset
        known = [] if self.valset else [trajectory.evaluation(c) for c in contenders]
        found = self.evaluator.complete(contenders, examples, known)
        if found[0].dropped:
            raise ProgramFailedError(
                f"the student failed on the {self._selection_set}: {found[0].dropped}."
            )
        if self.evaluator.refused:  # whoever the budget left no time for does not compete
            found = [e for e in found if len(e.scores) == len(examples)]
            if not found or found[0].candidate != student:
                return student
        self.selection = {e.candidate.key: e for e in found}
        if not self.valset:
            self.completed = self.selection
        met = set.intersection(*(set(e.scores) for e in found))
        return max(
            (e for e in found if e.dropped is None),
            key=lambda e: fsum(e.scores[i] for i in met),
        ).candidate

    @property
    def _selection_set(self) -> str:
        return "valset" if self.valset else "trainset"

    def _result(self, best: Candidate | None, reason: str) -> OPROResult:
        trajectory = self.optimizer.trajectory
        keys = [evaluation.candidate.key for evaluation in trajectory]
        choosing = self.optimizer.pending is None
        return OPROResult(
            candidates=candidate_results(
                trajectory, completed=self.completed, selection=self.selection
            ),
            best_index=keys.index(best.key) if best is not None and best.key in keys else None,
            selection_set=self._selection_set if self.selection else "training estimates",
            steps=tuple(trajectory.steps),
            unfinished_step=self.optimizer.pending,
            unfinished=self.evaluator.unfinished,
            unfinished_set=(
                (self._selection_set if choosing else "trainset")
                if self.evaluator.unfinished
                else None
            ),
            stop_reason=reason,
            usage=self.meter.usage(),
            num_train=len(self.trainset),
            num_val=len(self.valset),
            settings={**self.seats.settings, "optimizer_lm": self.optimizer_lm.model},
            versions=self.versions,
            seed=self.config.seed,
        )


def _within_window(view: View, lm: dspy.LM) -> View:
    window = context_window(lm)
    if view.max_meta_prompt_tokens is not None or window is None:
        return view
    reserve = min(lm.kwargs.get("max_tokens") or ANSWER_RESERVE_TOKENS, window // 2)
    return view.model_copy(update={"max_meta_prompt_tokens": window - reserve})


def _saved(trajectory: Trajectory) -> str:
    if not len(trajectory):
        return "Nothing was fully scored yet; what was is in this error's `result`."
    best = trajectory.estimate(trajectory.best.candidate)
    return (
        f"Saved in this error's `program` and `result`: {len(trajectory)} scored candidates of "
        f"{len(trajectory.steps)} steps, the best with {best.score:.4g} on the training set."
    )
