"""`optimize(problem)`: checks what it was handed and runs the loop."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import dspy

from opro_dspy.asking import View
from opro_dspy.boundary.prices import Price, resolve_prices
from opro_dspy.cache import DEFAULT_CACHE, CacheDir, resolve_cache_dir
from opro_dspy.config import checked
from opro_dspy.inputs import (
    RESUME,
    check_callable,
    check_list,
    check_lm,
    check_log_dir,
    check_observers,
    check_one_of,
    check_options,
)
from opro_dspy.names import refuse_unknown
from opro_dspy.protocols import Observer, Problem, StopRule
from opro_dspy.schedules import resolve_schedule
from opro_dspy.solving.inputs import check_problem, find_lm, initial_candidates
from opro_dspy.solving.result import Result
from opro_dspy.solving.run import SolvingRun
from opro_dspy.solving.settings import Given
from opro_dspy.stopping import Stop
from opro_dspy.wiring import within_window

S = TypeVar("S")


def optimize(
    problem: Problem[S],
    *,
    prompt_model: dspy.LM | None = None,
    initial_solutions: Sequence[S] = (),
    num_candidates: int = 8,
    max_steps: int = 50,
    init_temperature: float = 1.0,
    end_temperature: float = 0.0,
    temperature_schedule: str | Callable[..., float] = "constant",
    view: View | None = None,
    stop: StopRule | None = None,
    stop_at_score: float | None = None,
    patience: int | None = None,
    max_metric_calls: int | None = None,
    max_tokens: int | None = None,
    max_cost: float | None = None,
    max_seconds: float | None = None,
    prices: Mapping[str, Price] | None = None,
    cache_dir: str | os.PathLike[str] | CacheDir | None = DEFAULT_CACHE,
    log_dir: str | Path | None = None,
    resume: Literal["auto", "force", "never"] = "auto",
    requests_per_minute: int | None = None,
    timeout: float | None = 600.0,
    max_empty_steps: int = 10,
    max_attempts: int = 3,
    num_threads: int | None = None,
    seed: int = 0,
    verbose: bool = True,
    observers: Sequence[Observer] = (),
    **unknown: Any,
) -> Result[S]:
    """Let an LM look for the best solution of `problem`, by the same loop as `OPRO`.

    Example:
        ```python
        problem = LinearRegression.random(w=15, b=14, seed=1)
        result = optimize(problem, prompt_model=dspy.LM("openai/gpt-5"), max_steps=500)
        result.best.solution, result.best.score, result.num_distinct, result.stop_reason
        ```

    Args:
        problem: What to solve (see `protocols.Problem`).
        prompt_model: The optimizer LM; `dspy.settings.lm` if not given.
        initial_solutions: Starting points beside the problem's own.
        num_candidates: Samples of one meta-prompt per step, ≥ 1 (paper: 8).
        max_steps: Steps at most, ≥ 0 (paper: 500).
        init_temperature: The optimizer LM's temperature in [0, 2] (paper: 1.0).
        end_temperature: Where the "linear" schedule ends, in [0, 2].
        temperature_schedule: As in `OPRO`.
        view: What of the trajectory the meta-prompt shows.
        stop: A further stop rule. What it sees of a problem to minimise is negated: in a
            trajectory, higher is better.
        stop_at_score: Stop when the best value reaches this one.
        patience: Stop when the best has not become better for so many steps.
        max_metric_calls: Solutions scored at most. All caps are hard, as in `OPRO`.
        max_tokens: Input and output tokens of all LM calls at most; as hard as `OPRO` says.
        max_cost: USD of all LM calls at most; needs a price for each LM.
        max_seconds: Nothing is started after so many seconds.
        prices: Model name to `Price`, where DSPy knows none.
        cache_dir: Folder for LM answers and scores, shared by runs and processes, as in `OPRO`.
            Scores of a problem with private attributes are not kept, as it cannot be told from
            another; those of a dataclass always are.
        log_dir: Folder for this run; the same call goes on where it stopped, as in `OPRO`.
        resume: What to do with a run that is in `log_dir`: "auto", "force" or "never".
        requests_per_minute: LM requests in any minute at most.
        timeout: Seconds after which a score or a sample is taken for hung; None waits forever.
        max_empty_steps: Stop when so many steps in a row bring nothing new.
        max_attempts: Requests for one sample, when it fails or is no valid solution.
        num_threads: Calls in flight at most; `dspy.settings.num_threads` if not given.
        seed: Decides everything that is random.
        verbose: Draw progress bars when on a terminal.
        observers: Called with every event of the run (see `protocols.Observer`).
        **unknown: None are taken; the error names the nearest setting.

    Raises:
        ConfigurationError: If a setting or the problem is wrong; before the first call of an LM.
        LMCallError: If an LM failed; its `result` holds what was found by then.
        MetricError: If `score` returned no number.
        ProgramFailedError: If `score` fails on all initial solutions, or hangs for good.
        UnknownPriceError: If `max_cost` is set and an LM without a known price answers to `score`.

    Source:
        OPRO (arXiv:2309.03409), section 3.
    """
    refuse_unknown("optimize", unknown, inspect.signature(optimize).parameters)
    config = checked(
        num_candidates=num_candidates,
        max_steps=max_steps,
        init_temperature=init_temperature,
        end_temperature=end_temperature,
        stop_at_score=stop_at_score,
        patience=patience,
        max_metric_calls=max_metric_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
        max_seconds=max_seconds,
        requests_per_minute=requests_per_minute,
        timeout=timeout,
        max_empty_steps=max_empty_steps,
        max_attempts=max_attempts,
        num_threads=num_threads,
        seed=seed,
        verbose=verbose,
    )
    view = check_options("view", view, View)
    known_prices = resolve_prices(prices)
    lm = find_lm(prompt_model, config, known_prices)
    named = isinstance(temperature_schedule, str)
    given = Given(
        problem=check_problem(problem),
        config=config,
        optimizer_lm=lm,
        scorer_lm=check_lm("dspy.settings.lm", dspy.settings.lm),
        initial=initial_candidates(
            problem, check_list("initial_solutions", initial_solutions), seed=config.seed
        ),
        schedule=resolve_schedule(
            temperature_schedule,
            init_temperature=config.init_temperature,
            end_temperature=config.end_temperature,
            num_steps=config.max_steps,
        ),
        view=within_window(view.model_copy(update={"score_buckets": None}), lm),
        stop=None if stop is None else Stop(check_callable("stop", stop)),
        prices=known_prices,
        observers=check_observers(observers),
        cache_dir=resolve_cache_dir(cache_dir),
        log_dir=check_log_dir(log_dir),
        resume=check_one_of("resume", resume, RESUME),
        settings={
            **config.model_dump(mode="json"),
            "view": view.model_dump(mode="json"),
            "temperature_schedule": temperature_schedule if named else "(its own)",
        },
        custom={} if named else {"temperature_schedule": temperature_schedule},
    )
    return SolvingRun(given).solve()
