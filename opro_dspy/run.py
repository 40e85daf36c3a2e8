"""One compile: the seats filled, the loop run, the final choice made, the result put together."""

import logging
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import dspy

from opro_dspy.announcing import Announcer
from opro_dspy.boundary.budget import Kept
from opro_dspy.boundary.meter import Meter
from opro_dspy.cache import ScoreCache, ScoreMemory, Store
from opro_dspy.choice import Choice
from opro_dspy.errors import RunError
from opro_dspy.estimate import RunEstimate, estimate_run, rates_of
from opro_dspy.filters import printable
from opro_dspy.identity import IF_NOTHING_WAS_EDITED, example_keys, make_manifest
from opro_dspy.inputs import initial_candidates
from opro_dspy.interrupt import Interrupt
from opro_dspy.journal import Manifest
from opro_dspy.limits import Limit, Rates, limits_of, too_small
from opro_dspy.loop import INTERRUPTED, carry, carrying, conclude, optimize, redacted
from opro_dspy.outcome import (
    candidate_results,
    dressed,
    saved,
    scorer_names,
    shown_examples,
    signatures,
)
from opro_dspy.plan import Course, Sizes, course, kept_for_the_choice, sized
from opro_dspy.pool import DaemonExecutor
from opro_dspy.positions import place_shown
from opro_dspy.program import Program
from opro_dspy.progress import ProgressBars
from opro_dspy.protocols import Observer
from opro_dspy.rasch import LastFit
from opro_dspy.records import Candidate, ScoreReuse
from opro_dspy.result import OPROResult
from opro_dspy.runlog import RunLog
from opro_dspy.selectors import every, round_robin, steps_per_round
from opro_dspy.settings import Seats
from opro_dspy.trajectory import Trajectory
from opro_dspy.warm_start import if_it_went_on
from opro_dspy.watching import SpentBySteps
from opro_dspy.wiring import (
    find_lms,
    known_lms,
    make_budget,
    make_evaluator,
    make_gate,
    make_optimizer,
    make_proposer,
    make_scores,
    make_stop,
    threads_of,
    warn_of_open_answers,
    warn_of_too_few_steps,
)

logger = logging.getLogger(__name__)

end_logger = logging.getLogger(f"{__name__}.end")
"""What whoever called `compile` is told at its end; the command line has its own words."""


class Run:
    """One compile: its seats, and what is made of their work."""

    def __init__(
        self,
        seats: Seats,
        program: Program,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example],
        store: Store,
        *,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.store, self.callbacks = store, callbacks
        self.seats, self.program = seats, program
        self.trainset, self.valset = trainset, valset
        self.initial = initial_candidates(
            program, seats.initial_instructions, warm_start=seats.warm_start
        )
        self.sizes = Sizes(
            n_train=len(trainset),
            n_val=len(valset),
            n_predictors=len(program.predictors),
            per_step=len(program.predictors) if seats.selector is every else 1,
            most_per_step=1 if seats.selector is round_robin else len(program.predictors),
            n_initial=len(self.initial),
        )
        self.per_round = steps_per_round(seats.selector, len(program.predictors))
        self.config = sized(seats.config, seats.racing, self.sizes)
        self.optimizer_lm, self.scorer_lm = find_lms(seats, program)
        self.position = place_shown(self.config.instruction_position, dspy.settings.adapter)
        self.choice = Choice(
            self.initial[0],
            trainset=trainset,
            valset=valset,
            num_finalists=self.config.num_finalists,
            racing=seats.racing,
        )
        self.versions = {name: version(name) for name in ("dspy", "opro_dspy")}
        self.versions["python"] = platform.python_version()

    def _fill_seats(self) -> None:
        seats, config, program = self.seats, self.config, self.program
        num_threads = threads_of(config)
        warn_of_open_answers(config, known_lms(program, self.optimizer_lm, self.scorer_lm))
        warn_of_too_few_steps(config, list(program.predictors), per_round=self.per_round)
        self.executor = DaemonExecutor(num_threads, name="opro_dspy")
        self.interrupt = Interrupt.prevailing()
        self.meter = Meter()
        self.budget = make_budget(config, n_predictors=len(program.lms))
        gate = self.gate = make_gate(
            config,
            meter=self.meter,
            budget=self.budget,
            prices=seats.prices,
            interrupt=self.interrupt,
            store=self.store,
        )
        self.log = RunLog(
            seats.log_dir,
            seats.resume,
            gate=gate,
            saved=partial(saved, program),
            advice={
                "metric.hash": IF_NOTHING_WAS_EDITED,
                **({"instructions": if_it_went_on(seats.log_dir)} if seats.warm_start else {}),
            },
        )
        program.watch_lms(gate.watch)
        gate.holders = [*program.modules, *seats.metric.holders]
        self.scores: ScoreCache | None = None
        if seats.cache_dir is not None:
            self.scores = make_scores(self.store, program, seats.metric, self.scorer_lm)
            sets = {"trainset": self.trainset, "valset": self.valset}
            self.log.scores.memories.append(ScoreMemory(self.scores, sets))
        self.bars = ProgressBars(num_steps=config.max_steps, enabled=config.verbose)
        self.spent = SpentBySteps(self.budget)
        self.announcer = Announcer(
            program,
            seats.metric,
            sets={"trainset": self.trainset, "valset": self.valset},
            selection_set=self.choice.set_name,
            callbacks=self.callbacks,
            output=lambda *place: self.evaluator.output(*place),
        )
        watching = self.log, self.spent, self.announcer
        self.observers: tuple[Observer, ...] = (*watching, *seats.observers, self.bars)
        fit = LastFit()
        self.evaluator = make_evaluator(
            seats,
            config,
            program,
            self.trainset,
            self.valset,
            scorer_lm=self.scorer_lm,
            executor=self.executor,
            num_threads=num_threads,
            gate=gate,
            interrupt=self.interrupt,
            observers=self.observers,
            memory=self.log.scores,
            fit=fit,
        )
        proposer = make_proposer(
            config,
            self.optimizer_lm,
            executor=self.executor,
            gate=gate,
            interrupt=self.interrupt,
            memory=self.log.answers,
        )
        self.optimizer = make_optimizer(
            seats,
            config,
            program,
            self.trainset,
            lm=self.optimizer_lm,
            initial=self.initial,
            proposer=proposer,
            fit=fit,
            instruction_position=self.position,
        )

    def compile(self) -> dspy.Module:
        """Search, choose, and dress the chosen program with its result."""
        self._fill_seats()
        return redacted(self._compiled, self.gate.redact)

    def _compiled(self) -> dspy.Module:
        keys = {"trainset": example_keys(self.trainset), "valset": example_keys(self.valset)}
        with self.log.open(partial(self._manifest, keys), keys), self.interrupt.listening():
            best, reason = self._search_and_choose()
            result = self._result(best, reason)
            if result.best_index is None and reason != INTERRUPTED:
                end_logger.warning(
                    "Nothing was measured before the run ended (%s): the student comes back as it "
                    "is, without a score.",
                    reason,
                )
            found = self._dressed(best or self.initial[0], result)
            with carrying(result=result, program=found):
                self.log.ended(result, best)
                conclude(self.observers, result)
            if reason == INTERRUPTED and self.log.how_to_go_on:
                end_logger.warning("%s", self.log.how_to_go_on)
            return found

    def _dressed(self, best: Candidate, result: OPROResult) -> dspy.Module:
        return dressed(self.program, best, result, track_stats=self.config.track_stats)

    def _manifest(self, keys: Mapping[str, Sequence[str]]) -> Manifest:
        return make_manifest(
            self.seats,
            self.config,
            self.program,
            initial=self.initial,
            keys=keys,
            optimizer_lm=self.optimizer_lm,
            scorer_lm=self.scorer_lm,
            versions=self.versions,
        )

    def _search_and_choose(self) -> tuple[Candidate | None, str]:
        if logger.isEnabledFor(logging.INFO):  # it renders prompts and looks prices up
            logger.info("Estimate: %s.", self.estimate())
        kept = self._kept_for_the_choice()
        try:
            return redacted(partial(self._best_found, kept), self.gate.redact, self._save_into)
        finally:
            self.bars.close()
            self.store.flush()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _best_found(self, kept: Kept | None) -> tuple[Candidate | None, str]:
        """Return the best candidate and why the search ended; `kept` is for the final choice."""
        trajectory = self.optimizer.trajectory
        try:
            stop = make_stop(
                self.config, self.budget, first=self.seats.stop, per_round=self.per_round
            )
            reason = optimize(
                self.optimizer,
                self.evaluator,
                stop=stop,
                observers=self.observers,
                usage=self.meter.usage,
            )
            if reason == INTERRUPTED:
                return self.choice.best_so_far(trajectory), reason
            if kept is not None:
                kept.release()
            best = self.choice.choose(trajectory, self.evaluator)
            self.log.chosen(self.choice.set_name, self.choice.selection, best)
            self.announcer.chosen(self.choice.selection)
            if self.seats.cache_dir is not None:
                self.choice.meet_the_rest(best, trajectory, self.evaluator)
            return best, INTERRUPTED if self.interrupt.pressed else reason
        except KeyboardInterrupt:
            return self.choice.best_so_far(trajectory), INTERRUPTED

    def _kept_for_the_choice(self) -> Kept | None:
        """Hold back what the final choice needs; say so if that cannot be."""
        config = self.config
        for name, cap, smallest in too_small(config, self._limits(), self._course):
            logger.warning(
                "`%s` (%s) is too small to compare the student with another candidate on all %d "
                "examples of the %s: as a rule the student's own instructions will come back. Set "
                "it to %s at least, or pass a smaller valset.",
                name,
                cap,
                self.sizes.n_val or self.sizes.n_train,
                self.choice.set_name,
                smallest,
            )
        if not self.budget.has_caps:
            return None
        return self.budget.keep(metric_calls=self._kept)

    @property
    def _course(self) -> Course:
        return course(self.config, self.seats.racing, self.sizes)

    @property
    def _kept(self) -> int:
        return kept_for_the_choice(self.config, self._course)

    def _save_into(self, error: Exception) -> None:
        """Hang what was paid for on an error: `error.result` and `error.program`."""
        trajectory = self.optimizer.trajectory
        best = self.choice.best_so_far(trajectory)
        said = printable(f"{type(error).__name__}: {error}")
        result = self._result(best, f"error: {said}")
        found: dict[str, Any] = {"result": result}
        if best is not None:
            found["program"] = self._dressed(best, result)
        carry(error, found)
        self.log.ended(result, best, failed=True)
        self.announcer.cut_short(self._scored_set, self.evaluator.unfinished, error)
        if isinstance(error, RunError):
            error.what = str(error)
            error.args = (f"{error} {_kept(trajectory)} {self.log.how_to_go_on}".rstrip(),)
        conclude(self.observers, result, failed=True)

    def estimate(self) -> RunEstimate:
        """Return what the run will cost, as a range; calls no LM."""
        return estimate_run(self.config, self._course, self._rates(), self._limits())

    def _limits(self) -> list[Limit]:
        return limits_of(self.config, kept=self._kept, rates=self._rates)

    def _rates(self) -> Rates:
        own = (lm for lm in self.program.lms.values() if lm is not None)
        return rates_of(
            self.seats,
            self.program,
            self.trainset,
            texts=self.initial[0].texts,
            optimizer_lm=self.optimizer_lm,
            scorer_lm=self.scorer_lm or next(own),
            instruction_position=self.position,
        )

    @property
    def _scored_set(self) -> str:
        """The set that is being scored: that of the choice once no step is underway."""
        return "trainset" if self.optimizer.pending is not None else self.choice.set_name

    def _result(self, best: Candidate | None, reason: str) -> OPROResult:
        self.log.catch_up()
        trajectory = self.optimizer.trajectory
        candidates = candidate_results(
            trajectory,
            completed=self.choice.completed,
            selection=self.choice.selection,
            given_up=self.choice.given_up,
        )
        texts = [found.instructions for found in candidates]
        best_index = texts.index(best.texts) if best is not None and best.texts in texts else None
        compared_on = (self.choice.selection and self.valset) or self.trainset
        return OPROResult(
            candidates=candidates,
            best_index=best_index,
            examples=shown_examples(candidates, best_index, self.program, compared_on),
            selection_set=self.choice.set_name if self.choice.selection else "training estimates",
            steps=tuple(trajectory.steps),
            unfinished_step=self.optimizer.pending,
            unfinished=self.evaluator.unfinished,
            unfinished_set=self._scored_set if self.evaluator.unfinished else None,
            stop_reason=reason,
            diagnostics=signatures(
                trajectory,
                self.program,
                self.trainset,
                given_up=self.choice.given_up,
                cut=self.choice.cut,
            ),
            usage=self.meter.usage(),
            spent=tuple(self.spent.steps),
            score_reuse=ScoreReuse() if self.scores is None else self.scores.reuse,
            num_train=len(self.trainset),
            num_val=len(self.valset),
            settings={
                **self.seats.settings,
                **self.config.model_dump(mode="json"),
                "optimizer_lm": self.optimizer_lm.model,
                "scorer_lm": scorer_names(self.program, self.scorer_lm),
            },
            versions=self.versions,
            seed=self.config.seed,
        )


def _kept(trajectory: Trajectory) -> str:
    if not len(trajectory):
        return "Nothing was fully scored yet; what was is in this error's `result`."
    best = trajectory.estimate(trajectory.best.candidate)
    return (
        f"Saved in this error's `program` and `result`: {len(trajectory)} scored candidates of "
        f"{len(trajectory.steps)} steps, the best with {best.score:.4g} on the training set. "
        "To go on from the best one, compile `program` as the student."
    )
