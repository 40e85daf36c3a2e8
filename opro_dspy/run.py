"""One compile: the seats filled, the loop run, the final choice made, the result put together."""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import dspy

from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError, RunError
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.filters import Filters
from opro_dspy.inputs import initial_candidates
from opro_dspy.interrupt import Interrupt
from opro_dspy.loop import INTERRUPTED, optimize
from opro_dspy.meter import OPTIMIZER, SCORER, Meter
from opro_dspy.metric import Metric
from opro_dspy.optimizer import Optimizer, View
from opro_dspy.program import Program, as_exemplar
from opro_dspy.progress import ProgressBars
from opro_dspy.proposer import LMProposer, context_window, takes_temperature
from opro_dspy.protocols import (
    ComponentSelector,
    ExemplarChoice,
    MetaPrompt,
    Observer,
    Schedule,
)
from opro_dspy.records import Candidate, Estimate
from opro_dspy.result import CandidateResult, OPROResult
from opro_dspy.stopping import Stop, max_steps, nothing_new, patience, target_score
from opro_dspy.trajectory import Trajectory

logger = logging.getLogger(__name__)

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
    stop: Callable[[Trajectory], str | None] | None
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
        self.seats, self.config, self.program = seats, seats.config, program
        self.trainset, self.valset = trainset, valset
        self.initial = initial_candidates(program, seats.initial_instructions)
        self.optimizer_lm, scorer_lm = self._lms()
        num_threads = self.config.num_threads or dspy.settings.num_threads or 1
        self.executor = ThreadPoolExecutor(num_threads, thread_name_prefix="opro_dspy")
        self.interrupt = Interrupt()
        self.meter = Meter()
        program.watch_lms(self.meter.watch)
        self.bars = ProgressBars(num_steps=self.config.max_steps, enabled=self.config.verbose)
        self.observers: tuple[Observer, ...] = (*seats.observers, self.bars)
        self.evaluator = self._evaluator(num_threads, scorer_lm)
        self.optimizer = self._optimizer()
        self.selection: dict[str, Estimate] = {}
        self.versions = {name: version(name) for name in ("dspy", "opro_dspy")}
        self.versions["python"] = platform.python_version()

    def compile(self) -> dspy.Module:
        """Search, choose, and dress the chosen program with its result."""
        with self.interrupt.listening():
            best, reason = self._search_and_choose()
        return self._dressed(best, self._result(best, reason))

    def _search_and_choose(self) -> tuple[Candidate | None, str]:
        trajectory = self.optimizer.trajectory
        try:
            reason = optimize(
                self.optimizer, self.evaluator, stop=self._stop(), observers=self.observers
            )
            return self._choose(trajectory, interrupted=reason == INTERRUPTED), reason
        except RunError as error:
            if len(trajectory) or self.evaluator.unfinished:
                error.result = self._result(None, f"error: {error}")
                error.args = (f"{error} {_saved(trajectory)}",)
            raise
        except KeyboardInterrupt:
            return self._choose(trajectory, interrupted=True), INTERRUPTED
        finally:
            self.bars.close()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _lms(self) -> tuple[dspy.LM, dspy.LM | None]:
        default = dspy.settings.lm
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
        return optimizer_lm, scorer_lm

    def _evaluator(self, num_threads: int, scorer_lm: dspy.LM | None) -> ProgramEvaluator:
        config, settings = self.config, dspy.settings
        traceback = config.provide_traceback
        return ProgramEvaluator(
            self.program.build,
            metric=self.seats.metric,
            examples=self.trainset,
            executor=self.executor,
            num_threads=num_threads,
            context=partial(
                self.meter.role, SCORER, lm=scorer_lm and self.meter.watch(scorer_lm), trace=None
            ),
            meter=self.meter,
            failure_score=config.failure_score,
            max_errors=settings.max_errors if config.max_errors is None else config.max_errors,
            provide_traceback=settings.provide_traceback if traceback is None else traceback,
            interrupt=self.interrupt,
            observers=self.observers,
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
            self.meter.watch(lm),
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
            exemplars=[as_exemplar(example) for example in self.trainset],
            meta_prompt=seats.meta_prompt,
            exemplar_choice=seats.exemplar_choice,
            schedule=seats.schedule,
            selector=seats.selector,
            view=_within_window(seats.view, lm),
            filters=seats.filters,
            seed=config.seed,
        )

    def _stop(self) -> Stop:
        config = self.config
        stop = nothing_new(config.max_empty_steps) | max_steps(config.max_steps)
        if config.stop_at_score is not None:
            stop = target_score(config.stop_at_score) | stop
        if config.patience is not None:
            stop = stop | patience(config.patience)
        return stop if self.seats.stop is None else Stop(self.seats.stop) | stop

    def _choose(self, trajectory: Trajectory, *, interrupted: bool) -> Candidate | None:
        """Let the best few and the student meet the selection set; the student wins ties.

        Source:
            OPRO (arXiv:2309.03409), section 5.2, evaluates the best few of a run on held-out data.
        """
        if not len(trajectory):
            return None
        ranked = [e for e in trajectory.ranked() if e.dropped is None]
        finalists = [e.candidate for e in ranked[: self.config.num_finalists]]
        student = self.initial[0]
        contenders = [student, *(c for c in finalists if c != student)]
        if interrupted:
            return max(contenders, key=lambda c: trajectory.estimate(c).score)
        if self.valset:
            step = len(trajectory.steps)
            for evaluation in self.evaluator.score(contenders, self.valset, step=step):
                self.selection[evaluation.candidate.key] = evaluation.estimate
        else:
            self.selection = {c.key: trajectory.estimate(c) for c in contenders}
        return max(contenders, key=lambda c: self.selection[c.key].score)

    def _result(self, best: Candidate | None, reason: str) -> OPROResult:
        trajectory = self.optimizer.trajectory
        born = {c.key: step.index for step in trajectory.steps for c in step.candidates}
        evaluations = trajectory.evaluations
        keys = [evaluation.candidate.key for evaluation in evaluations]
        return OPROResult(
            candidates=tuple(
                CandidateResult(
                    instructions=e.candidate.texts,
                    step=born[e.candidate.key],
                    train=trajectory.estimate(e.candidate),
                    selection=self.selection.get(e.candidate.key),
                    scores=e.scores,
                    failures=e.failures,
                    dropped=e.dropped,
                )
                for e in evaluations
            ),
            best_index=None if best is None else keys.index(best.key),
            selection_set="valset" if self.valset else "trainset",
            steps=tuple(trajectory.steps),
            unfinished=self.evaluator.unfinished,
            stop_reason=reason,
            usage=self.meter.usage(),
            num_train=len(self.trainset),
            num_val=len(self.valset),
            settings={**self.seats.settings, "optimizer_lm": self.optimizer_lm.model},
            versions=self.versions,
            seed=self.config.seed,
        )

    def _dressed(self, best: Candidate | None, result: OPROResult) -> dspy.Module:
        program = self.program.compiled(best or self.initial[0])
        found: dict[str, Any] = {"total_calls": result.total_calls}
        if best is not None:
            found["score"] = 100.0 * result.best.score
        if self.config.track_stats:
            found["detailed_results"] = result
            found["trial_logs"] = trial_logs(result)
            found["candidate_programs"] = [
                {
                    "score": 100.0 * c.score,
                    "program": self.program.compiled(Candidate(c.instructions)),
                    "instructions": c.instructions,
                    "step": c.step,
                    "on_selection_set": c.selection is not None,
                }
                for c in sorted(result.candidates, key=lambda c: (c is not result.best, -c.score))
            ]
        for name, value in found.items():
            if isinstance(getattr(program, name, None), dspy.Module):
                logger.warning("The program's own module `%s` stays; the result's does not.", name)
            else:
                setattr(program, name, value)
        return program


def trial_logs(result: OPROResult) -> dict[int, dict[str, Any]]:
    """Return, by step, its temperature, candidates, scores (0 to 100) and rejected proposals."""
    logs: dict[int, dict[str, Any]] = {}
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        logs[step.index] = {
            "temperature": step.queries[0].temperature if step.queries else None,
            "instructions": [c.instructions for c in mine],
            "scores": [100.0 * c.train.score for c in mine],
            "rejected": [p.rejected for p in step.proposals if p.rejected],
        }
    return logs


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
        f"Saved in this error's `result`: {len(trajectory)} scored candidates of "
        f"{len(trajectory.steps)} steps, the best with {best.score:.4g} on the training set."
    )
