"""Fills the seats of a run: LMs, evaluator, optimizer, stop rule."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import dspy

from opro_dspy.asking import View
from opro_dspy.boundary.adapters import lms_of, watched
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.forecast import answer_limit
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import OPTIMIZER, SCORER, Meter
from opro_dspy.boundary.pace import pace_of
from opro_dspy.boundary.prices import Price, check_prices
from opro_dspy.cache import ScoreCache, Store, score_context
from opro_dspy.conditions import Conditions, NoTrace
from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.executing import Workers
from opro_dspy.inputs import check_lms
from opro_dspy.interrupt import Interrupt
from opro_dspy.memory import Answer, Meeting, Sample, Score
from opro_dspy.metric import Metric
from opro_dspy.optimizer import Optimizer
from opro_dspy.packing import packed, packed_kit
from opro_dspy.pool import DaemonExecutor
from opro_dspy.program import Program, as_exemplar
from opro_dspy.proposer import LMProposer, context_window, takes_temperature
from opro_dspy.protocols import Memory, Observer
from opro_dspy.racing import estimates
from opro_dspy.rasch import Fit
from opro_dspy.records import Candidate
from opro_dspy.remote import Remote
from opro_dspy.settings import Seats
from opro_dspy.stopping import Stop, max_steps, nothing_new, patience, target_score
from opro_dspy.trajectory import plain_means

logger = logging.getLogger(__name__)

ANSWER_RESERVE_TOKENS = 1024
"""Kept free in the optimizer LM's window for its answer."""


def find_lms(seats: Seats, program: Program) -> tuple[dspy.BaseLM, dspy.BaseLM | None]:
    """Return the optimizer LM, and the scorer LM of predictors without their own.

    Raises:
        ConfigurationError: If one is missing, or `max_cost` is set and a price is not known.
    """
    default = check_lms(program)
    scorer_lm = seats.task_model or default
    if scorer_lm is None and program.needs_default_lm():
        raise ConfigurationError(
            "there is no scorer LM: pass `task_model`, or dspy.configure(lm=dspy.LM(...))."
        )
    optimizer_lm = seats.prompt_model or default
    if optimizer_lm is None:
        raise ConfigurationError(
            "there is no optimizer LM: pass `prompt_model`, or dspy.configure(lm=dspy.LM(...))."
        )
    if seats.config.max_cost is not None:
        check_prices(known_lms(program, optimizer_lm, scorer_lm), seats.prices)
    return optimizer_lm, scorer_lm


def known_lms(program: Program, *lms: dspy.BaseLM | None) -> list[dspy.BaseLM]:
    """Return the LMs of a run that can be seen before it: `lms`, program's and adapter's."""
    used = [*lms, *program.lms.values(), *program.other_lms.values()]
    used += lms_of(dspy.settings.adapter).values()
    return [lm for lm in used if lm is not None]


def warn_of_open_answers(config: OproConfig, lms: Sequence[dspy.BaseLM | None]) -> None:
    """Say which LMs may pass a cap on tokens or USD: those whose answers can be of any length."""
    caps = [name for name in ("max_tokens", "max_cost") if getattr(config, name) is not None]
    names = {lm.model for lm in lms if lm is not None and answer_limit(lm.kwargs) is None}
    if caps and names:
        logger.warning(
            "%s can be passed by calls in flight, for nobody knows how long the answers of %s get. "
            "Give each LM a limit of its own: dspy.LM(…, max_tokens=1000).",
            " and ".join(f"`{name}`" for name in caps),
            ", ".join(map(repr, sorted(names))),
        )


def warn_of_too_few_steps(config: OproConfig, names: Sequence[str], *, per_round: int) -> None:
    """Say which predictors have no turn, where each has one a round; no steps at all are meant."""
    left = names[config.max_steps : per_round]
    if left and config.max_steps:
        logger.warning(
            "`max_steps` (%d) is smaller than the number of predictors (%d): with "
            '`component_selector="round_robin"` a step optimizes one of them, and %s will have no '
            'turn. Set `max_steps` to %d at least, or component_selector="all".',
            config.max_steps,
            len(names),
            ", ".join(left),
            len(names),
        )


def make_budget(config: OproConfig, *, n_predictors: int = 1) -> Budget:
    """Return the budget that `config` caps; its time runs from now."""
    return Budget(
        max_metric_calls=config.max_metric_calls,
        max_tokens=config.max_tokens,
        max_cost=config.max_cost,
        max_seconds=config.max_seconds,
        pace=partial(pace_of, n_predictors=n_predictors),
    )


def make_gate(
    config: OproConfig,
    *,
    meter: Meter,
    budget: Budget,
    prices: Mapping[str, Price],
    interrupt: Interrupt,
    store: Store,
) -> Gate:
    """Return the gate that every LM call of a run passes."""
    return Gate(
        meter,
        budget=budget,
        max_in_flight=threads_of(config),
        requests_per_minute=config.requests_per_minute,
        prices=prices,
        interrupt=interrupt,
        answers=Answers(store),
    )


def threads_of(config: OproConfig) -> int:
    """Return how many calls may be in flight."""
    return config.num_threads or dspy.settings.num_threads or 1


def make_scores(
    store: Store, program: Program, metric: Metric, scorer_lm: dspy.BaseLM | None
) -> ScoreCache:
    """Return the scores that runs of the same program, LM and metric share."""
    skeleton, free = program.skeleton()
    context = score_context(skeleton, free=free, scorer_lm=scorer_lm, metric=metric.function)
    return ScoreCache(store, context)


def make_evaluator(
    seats: Seats,
    config: OproConfig,
    program: Program,
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example],
    *,
    scorer_lm: dspy.BaseLM | None,
    executor: Executor,
    num_threads: int,
    gate: Gate,
    interrupt: Interrupt,
    observers: Sequence[Observer],
    memory: Memory[Meeting, Score],
    fit: Fit,
) -> ProgramEvaluator:
    """Return the scorer's seat."""
    threads = seats.executor if isinstance(seats.executor, ThreadPoolExecutor) else executor
    settings, traceback = dspy.settings, config.provide_traceback
    lm = None if scorer_lm is None else gate.watch(scorer_lm)
    conditions = Conditions(
        metric=seats.metric,
        executor=threads,
        num_threads=num_threads,
        context=partial(
            gate.meter.role,
            SCORER,
            lm=lm,
            adapter=watched(settings.adapter, gate.watch),
            trace=NoTrace(),
        ),
        gate=gate,
        timeout_s=config.timeout,
        failure_score=config.failure_score,
        max_errors=settings.max_errors if config.max_errors is None else config.max_errors,
        provide_traceback=settings.provide_traceback if traceback is None else traceback,
        interrupt=interrupt,
        observers=observers,
        memory=memory,
    )
    if seats.executor is not None and seats.executor is not threads:
        sets = {"trainset": trainset, "valset": valset}
        workers = Workers(seats.executor)
        remote = make_remote(workers, seats, program, sets, scorer_lm=scorer_lm, gate=gate)
        conditions = replace(conditions, remote=remote)
    return ProgramEvaluator(
        program.build,
        examples=trainset,
        conditions=conditions,
        racing=seats.racing,
        fit=fit,
        seed=config.seed,
    )


def make_remote(
    workers: Workers,
    seats: Seats,
    program: Program,
    sets: Mapping[str, Sequence[dspy.Example]],
    *,
    scorer_lm: dspy.BaseLM | None,
    gate: Gate,
) -> Remote:
    """Return who scores examples on the workers of `executor`.

    Raises:
        ConfigurationError: If something cannot travel to them.
    """
    lms = [lm for lm in (scorer_lm, *program.lms.values()) if lm is not None]
    kit = packed_kit(
        program=program.compiled(program.candidate),
        metric=seats.metric.function,
        lm=scorer_lm,
        prices=seats.prices,
    )
    for name, examples in sets.items():
        for index, example in enumerate(examples):
            packed(f"`{name}[{index}]`", example)
    return Remote(workers, kit, gate=gate, model=lms[0].model)


def make_proposer(
    config: OproConfig,
    lm: dspy.BaseLM,
    *,
    executor: DaemonExecutor,
    gate: Gate,
    interrupt: Interrupt,
    memory: Memory[Sample, Answer],
) -> LMProposer:
    """Return the optimizer LM's seat."""
    send_temperature = takes_temperature(lm)
    if not send_temperature:
        logger.warning(
            "The optimizer LM %s takes its default temperature only: none is sent, and "
            "`init_temperature` and `temperature_schedule` have no effect.",
            lm.model,
        )
    return LMProposer(
        gate.watch(lm),
        executor=executor,
        context=partial(gate.meter.role, OPTIMIZER),
        seed=config.seed,
        max_attempts=config.max_attempts,
        send_temperature=send_temperature,
        timeout_s=config.timeout,
        gate=gate,
        interrupt=interrupt,
        memory=memory,
    )


def make_optimizer(
    seats: Seats,
    config: OproConfig,
    program: Program,
    trainset: Sequence[dspy.Example],
    *,
    lm: dspy.BaseLM,
    initial: Sequence[Candidate],
    proposer: LMProposer,
    fit: Fit,
    instruction_position: str,
) -> Optimizer:
    """Return the state machine."""
    fitted = partial(estimates, n_examples=len(trainset), fitted_by=fit)
    return Optimizer(
        proposer,
        initial=initial,
        num_candidates=config.num_candidates,
        task=program.describe(),
        exemplars=[as_exemplar(example, program.output_names) for example in trainset],
        meta_prompt=seats.meta_prompt,
        exemplar_choice=seats.exemplar_choice,
        schedule=seats.schedule(num_steps=config.max_steps),
        selector=seats.selector,
        view=within_window(seats.view, lm),
        filters=seats.filters,
        estimator=plain_means if seats.racing is None else fitted,
        instruction_position=instruction_position,
        seed=config.seed,
    )


def make_stop(
    config: OproConfig, budget: Budget, *, first: Stop | None, per_round: int = 1
) -> Stop:
    """Return the rule that ends the search: whatever speaks first, `first` before all others.

    Args:
        config: The settings, `auto` resolved.
        budget: The run's.
        first: A rule of the user's.
        per_round: Steps in which each predictor has its turn: rules that wait for something better
            or new count rounds of them.
    """
    stop = Stop(lambda trajectory: budget.exhausted)
    stop = stop | nothing_new(config.max_empty_steps, per_round=per_round)
    stop = stop | max_steps(config.max_steps)
    if config.stop_at_score is not None:
        stop = target_score(config.stop_at_score) | stop
    if config.patience is not None:
        stop = stop | patience(config.patience, per_round=per_round)
    return stop if first is None else first | stop


def within_window(view: View, lm: dspy.BaseLM) -> View:
    """Return `view` with a meta-prompt that fits the LM's window, where nothing else is set."""
    window = context_window(lm)
    if view.max_meta_prompt_tokens is not None or window is None:
        return view
    reserve = min(lm.kwargs.get("max_tokens") or ANSWER_RESERVE_TOKENS, window // 2)
    return view.model_copy(update={"max_meta_prompt_tokens": window - reserve})
