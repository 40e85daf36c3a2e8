"""OPRO as a DSPy optimizer: the constructor checks, `compile` runs."""

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import dspy
from dspy.teleprompt import Teleprompter

from opro_dspy.accepting import check_inputs
from opro_dspy.awaiting import in_thread
from opro_dspy.boundary.prices import Price, resolve_prices
from opro_dspy.cache import (
    DEFAULT_CACHE,
    CacheDir,
    MemoryStore,
    Store,
    open_store,
    resolve_cache_dir,
)
from opro_dspy.config import checked
from opro_dspy.estimate import RunEstimate
from opro_dspy.exemplars import resolve_exemplar_choice
from opro_dspy.filters import Filters
from opro_dspy.inputs import (
    RESUME,
    check_callable,
    check_callbacks,
    check_executor,
    check_instructions,
    check_lm,
    check_log_dir,
    check_observers,
    check_one_of,
    check_options,
    check_sets,
)
from opro_dspy.integrations.autologging import join_autologging
from opro_dspy.meta_prompt import resolve_meta_prompt
from opro_dspy.metric import Metric
from opro_dspy.names import named_from, refuse_unknown
from opro_dspy.optimizer import View
from opro_dspy.plan import check_auto
from opro_dspy.program import Program
from opro_dspy.protocols import (
    ComponentSelector,
    ExemplarChoice,
    MetaPrompt,
    Observer,
    StepEnded,
    StopRule,
)
from opro_dspy.racing import Racing, resolve_racing
from opro_dspy.result import OPROResult
from opro_dspy.rows import as_examples
from opro_dspy.run import Run
from opro_dspy.schedules import resolve_schedule
from opro_dspy.selectors import resolve_selector
from opro_dspy.settings import Seats
from opro_dspy.stopping import Stop
from opro_dspy.warm_start import warm_start_texts
from opro_dspy.watching import of_steps

DEFAULT_STEPS = 10

Rows = Collection[Any]
"""Examples, or rows of a table such as a Hugging Face `Dataset`."""


class OPRO(Teleprompter):  # type: ignore[misc]
    """Optimizes a program's instructions by showing an LM the scored ones (OPRO).

    Example:
        ```python
        optimizer = OPRO(metric=metric, prompt_model=dspy.LM("openai/gpt-5"))
        compiled = optimizer.compile(program, trainset=trainset, valset=valset)
        ```

    Args:
        metric: Function of (example, prediction, trace=None) to a number, higher is better; a
            bool, a numpy number or a `dspy.Prediction` with a `score` (and `feedback`) will do,
            and so will GEPA's metrics with five arguments.
        prompt_model: The optimizer LM; `dspy.settings.lm` if not given.
        task_model: The scorer LM for predictors without an `lm` of their own; `dspy.settings.lm`
            if not given. A predictor's own `lm` always stays.
        num_candidates: Instructions sampled per step, ≥ 1 (paper: 8), shared out among the
            predictors that the step optimizes.
        auto: "light", "medium" or "heavy" sets `max_steps` to 6, 12 or 25 for each predictor and
            caps the metric calls at what they need as a rule.
        max_steps: Steps at most, ≥ 0; 10 if not given (paper: 200).
        init_temperature: The optimizer LM's temperature in [0, 2] (paper: 1.0).
        end_temperature: Where the "linear" schedule ends, in [0, 2].
        temperature_schedule: "constant", "linear", "adaptive", or a callable of `(step)` or
            `(step, trajectory)` that returns a temperature.
        meta_prompt: "tagged", "tagged_start" (for the start of an answer), "bracketed",
            "pretrained", or an object of your own with `render`
            and `parse` (see `protocols.MetaPrompt`).
        exemplars: "random", "constant", "accumulative_most_frequent", "current_most_frequent",
            "with_feedback" (the latter, with what the metric said in words), or a callable (see
            `protocols.ExemplarChoice`).
        instruction_position: Where the adapter in use must put the instruction: "start" of the
            prompt, "Q_begin" or "Q_end" of the question, "A_begin" of the answer; it is refused if
            it does not (see `positioned`). None takes it from the adapter.
        component_selector: Which predictors a step optimizes: "round_robin", "all", or a callable
            (see `protocols.ComponentSelector`).
        initial_instructions: Starting points beside the student's own: for one predictor a text,
            for several a mapping of predictor name to text (names left out keep the student's).
        warm_start: An earlier run, whose best `num_candidates` instructions are starting points
            too: an `OPROResult`, the path of a saved one, or the folder of a run (its `log_dir`).
            Its predictors must be among the program's. A folder or file is read when `OPRO` is
            made: if it changes later, a run with a `log_dir` that began from it is not resumed
            (`ResumeError` says what to pass).
        num_finalists: Candidates that meet the selection set beside the student, ≥ 1.
        view: What of the trajectory the meta-prompt shows.
        filters: Which proposals are refused without scoring.
        racing: True lets the candidates of a step race, so that few examples are spent on those
            that will hardly win; False scores each on the whole training set (the paper); a
            `Racing` sets the details.
        stop: A further stop rule; composes with the ones named here.
        stop_at_score: Stop when the best training estimate reaches this score, in the metric's own
            unit (0.9 for 90 percent of a 0/1 metric).
        patience: Stop when the best has not risen for so many steps; with "round_robin", rounds of
            steps, in each of which every predictor has its turn.
        max_metric_calls: Scored examples at most. All caps are hard: a call is admitted only if
            what is spent and reserved for calls in flight stays within, and part of each is kept
            for the final choice. Reaching one is a normal end. One that is too small for a choice
            is told before the first call, as far as that is known; where a choice was cut, the
            result's `diagnostics` tell.
        max_tokens: Input and output tokens of all LM calls at most. Of an LM without a `max_tokens`
            of its own, or that program or metric make for themselves, nobody knows beforehand what
            a call takes: such calls can pass the cap while they are in flight, and nothing follows.
        max_cost: USD of all LM calls at most, as hard as `max_tokens`; needs a price for each LM.
        max_seconds: Nothing is started after so many seconds.
        prices: Model name to `Price`, where DSPy knows none.
        requests_per_minute: LM requests in any minute at most.
        timeout: Seconds after which an example is taken for hung and put off, its waits for rate
            limits not counted; None waits forever.
        max_empty_steps: Stop when so many steps in a row bring nothing new; rounds, as `patience`.
        max_attempts: Requests for one sample, when it fails or does not parse.
        num_threads: Calls in flight at most; `dspy.settings.num_threads` if not given. With an
            `executor`, as many as its workers can do at once.
        executor: Where examples are scored: any `concurrent.futures.Executor` (Dask's
            `Client.get_executor()`, loky, …), or a function that returns one and is asked again
            when it breaks. Never shut down. Keys are those of the workers' environment. By default
            threads.
        max_errors: Examples of a set on which the program or the metric may raise before a
            candidate is given up (for the student: the run stops), as it is anyhow once most of its
            examples failed, if only two, on which others did not; `dspy.settings.max_errors` if not
            given.
        failure_score: What such an example scores.
        provide_traceback: Show a traceback with a candidate's first error, and not only in the
            debug log; `dspy.settings.provide_traceback` if not given.
        cache_dir: Folder for example scores and LM answers, shared by runs and processes: a path, a
            `CacheDir` that also bounds its size, or None for no cache. By default
            `$OPRO_DSPY_CACHE_DIR`, else the user's cache folder.
        seed: Decides everything that is random; the same seed gives the same trajectory.
        log_dir: Folder for this run. What is paid for is written there before it is used, and
            compile with the same folder goes on from there, exactly; see `opro_dspy.journal`.
        resume: What to do with a run that is in `log_dir`: "auto" goes on, and refuses if what
            shapes the search has changed; "force" goes on even so, with what still matches;
            "never" moves it aside and starts anew.
        track_stats: Attach `candidate_programs`, `trial_logs` and `detailed_results`.
        verbose: Draw progress bars when on a terminal.
        observers: Called with every event of the run (see `protocols.Observer`).
        callbacks: DSPy callbacks of this optimizer alone: told of compile, and of each candidate's
            evaluation.
        **unknown: None are taken; the error names the nearest setting.

    Raises:
        ConfigurationError: If a setting is wrong.
        UnknownArgumentError: If there is no such setting; names the nearest one.

    Source:
        Yang et al., "Large Language Models as Optimizers", arXiv:2309.03409.
    """

    @named_from("metric")
    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        *,
        prompt_model: dspy.LM | None = None,
        task_model: dspy.LM | None = None,
        auto: Literal["light", "medium", "heavy"] | None = None,
        num_candidates: int = 8,
        max_steps: int | None = None,
        init_temperature: float = 1.0,
        end_temperature: float = 0.0,
        temperature_schedule: str | Callable[..., float] = "constant",
        meta_prompt: str | MetaPrompt = "tagged",
        exemplars: str | ExemplarChoice = "random",
        instruction_position: Literal["start", "Q_begin", "Q_end", "A_begin"] | None = None,
        component_selector: str | ComponentSelector = "round_robin",
        initial_instructions: str | Mapping[str, str] | Sequence[str | Mapping[str, str]] = (),
        warm_start: OPROResult | str | os.PathLike[str] | None = None,
        num_finalists: int = 2,
        view: View | None = None,
        filters: Filters | None = None,
        racing: bool | Racing = True,
        stop: StopRule | None = None,
        stop_at_score: float | None = None,
        patience: int | None = None,
        max_metric_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_seconds: float | None = None,
        prices: Mapping[str, Price] | None = None,
        requests_per_minute: int | None = None,
        timeout: float | None = 600.0,
        max_empty_steps: int = 3,
        max_attempts: int = 3,
        num_threads: int | None = None,
        executor: Executor | Callable[[], Executor] | None = None,
        max_errors: int | None = None,
        failure_score: float = 0.0,
        provide_traceback: bool | None = None,
        cache_dir: str | os.PathLike[str] | CacheDir | None = DEFAULT_CACHE,
        seed: int = 0,
        log_dir: str | Path | None = None,
        resume: Literal["auto", "force", "never"] = "auto",
        track_stats: bool = True,
        verbose: bool = True,
        observers: Sequence[Observer] = (),
        callbacks: Sequence[Any] = (),
        **unknown: Any,
    ) -> None:
        super().__init__()
        refuse_unknown("OPRO", unknown, _parameters(OPRO.__init__))
        check_auto(auto, max_steps=max_steps)
        config = checked(
            auto=auto,
            num_candidates=num_candidates,
            max_steps=DEFAULT_STEPS if max_steps is None else max_steps,
            init_temperature=init_temperature,
            end_temperature=end_temperature,
            num_finalists=num_finalists,
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
            max_errors=max_errors,
            instruction_position=instruction_position,
            failure_score=failure_score,
            provide_traceback=provide_traceback,
            seed=seed,
            track_stats=track_stats,
            verbose=verbose,
        )
        schedule = partial(
            resolve_schedule,
            temperature_schedule,
            init_temperature=config.init_temperature,
            end_temperature=config.end_temperature,
        )
        schedule(num_steps=config.max_steps)  # at the door: what is wrong with it shows now
        seats = {
            "temperature_schedule": temperature_schedule,
            "meta_prompt": meta_prompt,
            "exemplars": exemplars,
            "component_selector": component_selector,
        }
        self._seats = Seats(
            config=config,
            metric=Metric(metric),
            prompt_model=check_lm("prompt_model", prompt_model),
            task_model=check_lm("task_model", task_model),
            schedule=schedule,
            meta_prompt=resolve_meta_prompt(meta_prompt),
            exemplar_choice=resolve_exemplar_choice(exemplars),
            selector=resolve_selector(component_selector),
            initial_instructions=check_instructions(initial_instructions),
            warm_start=warm_start_texts(
                warm_start, n=config.num_candidates, log_dir=check_log_dir(log_dir)
            ),
            view=check_options("view", view, View),
            filters=check_options("filters", filters, Filters),
            racing=resolve_racing(racing),
            prices=resolve_prices(prices),
            cache_dir=resolve_cache_dir(cache_dir),
            stop=None if stop is None else Stop(check_callable("stop", stop)),
            observers=tuple(check_observers(observers)),
            settings={
                **config.model_dump(mode="json"),
                "view": check_options("view", view, View).model_dump(mode="json"),
                "filters": check_options("filters", filters, Filters).model_dump(mode="json"),
                "racing": (raced := resolve_racing(racing)) and raced.model_dump(mode="json"),
                "metric": _name(metric),
                **{name: _name(seat) for name, seat in seats.items()},
            },
            custom={name: seat for name, seat in seats.items() if not isinstance(seat, str)},
            executor=check_executor(executor, requests_per_minute=requests_per_minute),
            log_dir=check_log_dir(log_dir),
            resume=check_one_of("resume", resume, RESUME),
        )
        self.callbacks = list(check_callbacks(callbacks))

    def get_params(self) -> dict[str, Any]:
        """Return the settings as JSON values, as trackers log them."""
        return dict(self._seats.settings)

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Rows,
        teacher: Any = None,
        valset: Rows | None = None,
        inputs: Sequence[str] | None = None,
        on_step: Callable[[StepEnded], Any] | None = None,
        **unknown: Any,
    ) -> dspy.Module:
        """Return a copy of `student` with the best instructions found.

        Args:
            student: The program; never changed. Frozen sub-modules are left alone.
            trainset: Examples that candidates are scored on: a list of `dspy.Example` with inputs
                set or, with `inputs`, of mappings, or a Hugging Face `Dataset`. The program has to
                take the inputs of each, and of `valset` too.
            teacher: Accepted as other optimizers do; not used.
            valset: Examples on which the best few and the student are compared at the end; the
                training set if not given. A cap can cut that short: then only whoever met all of
                them competes with the student.
            inputs: Names of the input fields, set on every example of both sets.
            on_step: Called after each step, step 0 too, with its record: `step`, `best` and the
                `trajectory`. An exception in it stops the run; what was found stays.
            **unknown: None are taken; the error names the nearest argument.

        Returns:
            The program with `score`, `total_calls` and, with `track_stats`, `candidate_programs`
            (best first), `trial_logs` and `detailed_results` (an `OPROResult`). On the selection
            set it is never worse than the student.

        Raises:
            ConfigurationError: If an input is wrong; before the first call of an LM.
            ResumeError: If `log_dir` holds another run, or is damaged; says what differs.
            LogDirInUseError: If another process runs in `log_dir`.
            JournalError: If `log_dir` cannot be written (full disk, …).
            LMCallError: If an LM failed or hangs; its `result` holds what was found by then.
            MetricError: If the metric returned no number.
            ExecutorError: If `executor` lost its workers or its scheduler.
            UnknownPriceError: If `max_cost` is set and an LM without a known price answers that the
                program or the metric asks by itself.
            ProgramFailedError: If the student fails on `max_errors` examples, or on most, or all
                candidates of a step fail alike, or program or metric hang.
        """
        known, settings = _parameters(OPRO.compile), _parameters(OPRO.__init__)
        refuse_unknown("compile", unknown, known, settings=settings)
        join_autologging(self.get_params())
        return self._run(student, trainset, valset, inputs, on_step).compile()

    async def acompile(
        self,
        student: dspy.Module,
        *,
        trainset: Rows,
        teacher: Any = None,
        valset: Rows | None = None,
        inputs: Sequence[str] | None = None,
        on_step: Callable[[StepEnded], Any] | None = None,
        **unknown: Any,
    ) -> dspy.Module:
        """Do what `compile` does, and leave the event loop free meanwhile.

        A cancelled task ends the run as Ctrl-C does: nothing more is started, the calls in flight
        are waited for, and what was paid for is in `log_dir`, from where the next compile goes on.
        The CancelledError has the best `program` and the `result` by then.
        """
        given = {"trainset": trainset, "teacher": teacher, "valset": valset, "inputs": inputs}
        compiling = partial(self.compile, student, **given, on_step=on_step, **unknown)
        return await in_thread(compiling)

    def estimate(
        self,
        student: dspy.Module,
        *,
        trainset: Rows,
        valset: Rows | None = None,
        inputs: Sequence[str] | None = None,
    ) -> RunEstimate:
        """Return what `compile` will cost as a range, by role, without calling any LM.

        Within the caps and if nothing fails; caches and early stops are left aside, and so is
        `max_seconds`, but for how many calls `requests_per_minute` allows by then. How often a
        program calls its predictors cannot be known; see `RunEstimate` for what is assumed.

        Raises:
            ConfigurationError: If an input is wrong, as in `compile`.
        """
        return self._run(student, trainset, valset, inputs, store=MemoryStore()).estimate()

    def _run(
        self,
        student: Any,
        trainset: Any,
        valset: Any,
        inputs: Any,
        on_step: Callable[[StepEnded], Any] | None = None,
        *,
        store: Store | None = None,
    ) -> Run:
        program, seats = Program(student), self._seats
        train = as_examples(trainset, inputs, name="trainset")
        val = None if valset is None else as_examples(valset, inputs, name="valset")
        check_sets(train, val)
        check_inputs(program.student, {"trainset": train, "valset": val or ()})
        if on_step is not None:
            told = of_steps(check_callable("on_step", on_step))
            seats = replace(seats, observers=(*seats.observers, told))
        store = open_store(seats.cache_dir) if store is None else store
        return Run(seats, program, train, val or (), store, callbacks=self.callbacks)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _name(value: Any) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
