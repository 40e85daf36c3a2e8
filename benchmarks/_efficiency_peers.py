"""Who runs in efficiency.py, and with which settings for a budget of scorer calls.

The peers' sizes are those of their documentation where these fit the budget, and else the best of
about five that were tried for each budget on other seeds than the benchmark's.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.teleprompt import COPRO, GEPA, SIMBA, MIPROv2

from opro_dspy import OPRO
from opro_dspy.protocols import Event, StepEnded
from opro_dspy.simulation import exact_match

NUM_EXAMPLES = 60
"""Training examples; what the settings below are sized for."""
TOLERANCE = 1.05
"""A run may pass its budget by this factor, where its optimizer knows no cap."""
SMALL_MIPRO = {"n_val": 36, "minibatch_size": 15}
SIMBA_SIZES = (  # from this budget on
    (2000, {"bsize": 32, "num_candidates": 6, "n_train": 60}),
    (1000, {"bsize": 16, "num_candidates": 5, "n_train": 30}),
    (500, {"bsize": 13, "num_candidates": 3, "n_train": 60}),
    (0, {"bsize": 8, "num_candidates": 3, "n_train": 20}),
)
HAS_RACING = "racing" in inspect.signature(OPRO.__init__).parameters

Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seats:
    """What every optimizer gets."""

    student: dspy.Module
    examples: list[dspy.Example]
    scorer: dspy.LM
    optimizer: dspy.LM
    seed: int
    on_step: Callable[[str], None]
    """Called with the instruction that a run stopped after this step would return."""


@dataclass(frozen=True)
class Entrant:
    """An optimizer with one way to choose its settings."""

    shown: str
    """Its name in tables; of entrants with the same one, a table shows the better."""
    settings: Callable[[int], Settings]
    """Budget of scorer calls to settings, JSON values; what each `run` takes."""
    run: Callable[..., dspy.Module]


def opro_variants(budget: int) -> dict[str, Settings]:
    """Return the constructor arguments of the OPRO variants for a budget."""
    n_scored = int(TOLERANCE * budget / NUM_EXAMPLES) - 1  # all but the student
    max_steps = max(1, n_scored // 8)
    full = {"max_steps": max_steps, "num_candidates": min(8, n_scored // max_steps)}
    return {
        "OPRO": {"racing": True, "max_metric_calls": budget, "max_steps": 200},
        "OPRO full": {"racing": False, **full} if HAS_RACING else full,
    }


def run_opro(seats: Seats, **settings: Any) -> dspy.Module:
    def note(event: Event) -> None:
        if isinstance(event, StepEnded):
            (instruction,) = event.trajectory.best.candidate.texts.values()
            seats.on_step(instruction)

    optimizer = OPRO(
        metric=exact_match,
        prompt_model=seats.optimizer,
        num_threads=1,
        seed=seats.seed,
        verbose=False,
        cache_dir=None,
        observers=[note],
        **settings,
    )
    return optimizer.compile(seats.student, trainset=seats.examples)


def copro_settings(budget: int) -> Settings:
    """Return rounds of 8 on half of the examples, or smaller ones on a quarter.

    COPRO scores every candidate on all that it is given: all 60 would leave it too few rounds.
    """
    n_train = NUM_EXAMPLES // 2 if budget >= 1000 else NUM_EXAMPLES // 4
    breadth = 8 if budget >= 500 else 5
    return {"breadth": breadth, "depth": max(1, budget // (breadth * n_train)), "n_train": n_train}


def run_copro(
    seats: Seats, *, breadth: int, depth: int, n_train: int, init_temperature: float
) -> dspy.Module:
    optimizer = COPRO(
        metric=exact_match,
        prompt_model=seats.optimizer,
        breadth=breadth,
        depth=depth,
        init_temperature=init_temperature,
    )
    quiet = {"num_threads": 1, "display_progress": False}
    # Its candidates' signatures nest: past about 60 of them copying one passes Python's limit.
    sys.setrecursionlimit(20_000)
    return optimizer.compile(seats.student, trainset=seats.examples[:n_train], eval_kwargs=quiet)


def mipro_settings(budget: int) -> Settings:
    """Return as many candidates as fit, with the 1.5 trials for each that MIPROv2 recommends.

    Its defaults otherwise; where they leave room for a handful of trials only, smaller batches.
    """
    sizes = {"n_val": 60, "minibatch_size": 35} if budget >= 500 else SMALL_MIPRO
    num_candidates = 3
    while _mipro_calls(num_candidates + 1, **sizes) <= budget:
        num_candidates += 1
    return {"num_candidates": num_candidates, "num_trials": int(1.5 * num_candidates), **sizes}


def _mipro_calls(num_candidates: int, *, n_val: int, minibatch_size: int) -> int:
    """Return about how many scorer calls MIPROv2 makes, by the rules of its source.

    A full evaluation of the student, minibatches, a full evaluation after every 5th trial and
    after the last, and about 5 calls for each set of demos that its proposer looks at.
    """
    num_trials = int(1.5 * num_candidates)
    n_full = 1 + num_trials // 5 + (num_trials % 5 != 0)
    return n_val * n_full + minibatch_size * num_trials + 5 * (num_candidates - 2)


def run_mipro(
    seats: Seats, *, num_candidates: int, num_trials: int, n_val: int, minibatch_size: int
) -> dspy.Module:
    optimizer = MIPROv2(
        metric=exact_match,
        prompt_model=seats.optimizer,
        task_model=seats.scorer,
        auto=None,
        num_candidates=num_candidates,
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        num_threads=1,
        seed=seats.seed + 1,  # 0 would mean its default
    )
    return optimizer.compile(
        seats.student,
        trainset=seats.examples[n_val:] or seats.examples,
        valset=seats.examples[:n_val],
        num_trials=num_trials,
        minibatch_size=minibatch_size,
    )


def gepa_settings(budget: int) -> Settings:
    """Return half of the examples for validation, and the cap.

    GEPA advises the smallest validation set that will do. It looks at the cap between iterations
    only, so the cap is lower where a last iteration would pass the budget by too much.
    """
    n_val = NUM_EXAMPLES // 2
    last_iteration = n_val + 2 * 3  # and its minibatch of 3, before and after
    cap = min(budget, int(TOLERANCE * budget) - last_iteration)
    return {"max_metric_calls": cap, "n_val": n_val}


def run_gepa(seats: Seats, *, max_metric_calls: int, n_val: int) -> dspy.Module:
    optimizer = GEPA(
        metric=with_feedback,
        reflection_lm=seats.optimizer.copy(temperature=1.0),
        max_metric_calls=max_metric_calls,
        num_threads=1,
        seed=seats.seed,
    )
    train, val = seats.examples[n_val:], seats.examples[:n_val]
    return optimizer.compile(seats.student, trainset=train, valset=val)


def with_feedback(
    gold: dspy.Example,
    pred: Any,
    trace: object = None,
    pred_name: str | None = None,
    pred_trace: object = None,
) -> dspy.Prediction:
    """Return the metric's value with the text that GEPA's tutorials advise: the right answer."""
    right = exact_match(gold, pred)
    told = "Correct." if right else f"Wrong: the right answer is {gold.answer}."
    return dspy.Prediction(score=float(right), feedback=told)


def simba_settings(budget: int) -> Settings:
    """Return as many steps as fit, validation at the end included; its default sizes if they do."""
    sizes = next(sizes for least, sizes in SIMBA_SIZES if budget >= least)
    max_steps = 1
    while _simba_calls(max_steps + 1, **sizes) <= TOLERANCE * budget:
        max_steps += 1
    return {"max_steps": max_steps, **sizes}


def _simba_calls(max_steps: int, *, bsize: int, num_candidates: int, n_train: int) -> int:
    """Return the scorer calls that SIMBA makes at most, by the rules of its source."""
    a_step = bsize * (2 * num_candidates + 1)  # it samples, then scores one candidate more
    return max_steps * a_step + min(max_steps, num_candidates) * n_train + n_train


def run_simba(seats: Seats, *, n_train: int, **settings: int) -> dspy.Module:
    optimizer = SIMBA(
        metric=exact_match,
        prompt_model=seats.optimizer.copy(temperature=1.0),
        max_demos=0,
        num_threads=1,
        **settings,
    )
    train = seats.examples[:n_train]
    return optimizer.compile(seats.student, trainset=train, seed=seats.seed)


def _opro(name: str) -> Entrant:
    return Entrant(name, lambda budget: opro_variants(budget)[name], run_opro)


def _copro(init_temperature: float) -> Entrant:
    return Entrant(
        "COPRO",
        lambda budget: {**copro_settings(budget), "init_temperature": init_temperature},
        run_copro,
    )


ENTRANTS: dict[str, Entrant] = {
    **({"OPRO": _opro("OPRO")} if HAS_RACING else {}),
    "OPRO full": _opro("OPRO full"),
    "COPRO 1.0": _copro(1.0),
    "COPRO 1.4": _copro(1.4),
    "MIPROv2": Entrant("MIPROv2", mipro_settings, run_mipro),
    "GEPA": Entrant("GEPA", gepa_settings, run_gepa),
    "SIMBA": Entrant("SIMBA", simba_settings, run_simba),
}
