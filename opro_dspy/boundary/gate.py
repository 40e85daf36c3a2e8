"""One gate at the LM boundary: every attempt is admitted, counted, and tried again if it fails."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import dspy

from opro_dspy.boundary.admission import Admission, BudgetRefused, CallRefused
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.cleaning import redact
from opro_dspy.boundary.entrance import Entrance
from opro_dspy.boundary.forecast import Forecast
from opro_dspy.boundary.hooks import Call
from opro_dspy.boundary.meter import TASK, Meter
from opro_dspy.boundary.passage import Desk, Passage
from opro_dspy.boundary.payer import Payer
from opro_dspy.boundary.prices import Price, priced, unknown_price
from opro_dspy.boundary.redaction import secrets_held, secrets_of
from opro_dspy.boundary.spending import Spending
from opro_dspy.boundary.steps import calls_as_dspy
from opro_dspy.boundary.task import Asked, Task, sent
from opro_dspy.boundary.throttle import AdaptiveLimit
from opro_dspy.fingerprints import standing_for
from opro_dspy.foresight import Foresight
from opro_dspy.interrupt import Interrupt
from opro_dspy.records import Usage

__all__ = ["BudgetRefused", "CallRefused", "Gate", "Task"]


E = TypeVar("E", bound=BaseException)


class Gate:
    """Lets LM calls through, attempt by attempt.

    `watch` makes a copy of an LM whose every attempt passes here: admitted by the budget, within
    the limits, counted by the meter. A failure that may pass is tried again as DSPy would
    (`num_retries` times, after the provider's Retry-After or else 1, 2, 4 … 60 s), holding no
    place meanwhile. A call waits for a place, and for reservations that may come free; it is
    refused once the budget can never admit it. What DSPy's cache answers needs neither.

    An LM that a program makes for itself cannot be gated: it is counted and charged afterwards,
    and with a cap on USD it has to have a price.
    A call with `n` > 1 is one here: a failure among its answers asks for all of them again.

    Args:
        meter: Counts every attempt.
        budget: Admits every attempt; by default there is no cap.
        max_in_flight: Attempts at once at most; the limit of each model adapts below it.
        requests_per_minute: Attempts in any minute at most, of all models together.
        prices: Price by model, where DSPy knows none or another.
        interrupt: Tells of Ctrl-C, on which waiting calls are refused.
        answers: Where answers are kept and found again; None keeps none.
        clock: Seconds, never going back.
        wait: Waits on a condition for so many seconds or until it is notified.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        max_in_flight: int,
        budget: Budget | None = None,
        requests_per_minute: int | None = None,
        prices: Mapping[str, Price] | None = None,
        interrupt: Interrupt | None = None,
        answers: Answers | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self.meter, self.budget, self._prices = meter, budget or Budget(), dict(prices or {})
        self.admission = Admission(
            budget=self.budget,
            max_in_flight=max_in_flight,
            requests_per_minute=requests_per_minute,
            interrupt=interrupt or Interrupt(),
            clock=clock,
            wait=wait,
        )
        self.desk = Desk(
            meter=meter,
            forecast=Forecast(self._prices),
            admission=self.admission,
            answers=answers,
        )
        self.holders: Sequence[Any] = ()
        """What else may hold credentials: modules of the program, the metric."""
        meter.bypassed, meter.past, meter.task = self._charge, self._note_answer, self._task
        self._watched: dict[int, tuple[dspy.BaseLM, dspy.BaseLM]] = {}
        self._classes: dict[type, type] = {}

    @property
    def fatal(self) -> BaseException | None:
        """The LM error (auth, unknown model, …) after which every call is refused, or None."""
        return self.admission.fatal

    def renew(self, budget: Budget) -> None:
        """Go on with another budget, as if no LM had refused for good; nothing is in flight."""
        self.budget = self.admission.budget = budget
        self.admission.fatal = None

    def refuse_all(self, error: BaseException) -> None:
        """Refuse every further call because of `error`."""
        self.admission.refuse_all(error)

    def pause(self, seconds: float) -> str | None:
        """Wait; return why not to the end (Ctrl-C, `max_seconds`), or None."""
        return self.admission.pause(seconds)

    def limit(self, model: str) -> AdaptiveLimit:
        """Return the limit on calls in flight of `model`."""
        return self.admission.limit(model)

    def watch(self, lm: dspy.BaseLM) -> dspy.BaseLM:
        """Return a copy of `lm` that goes through the gate; it shares engine and history."""
        _load(lm)
        with self.admission.lock:
            if id(lm) not in self._watched:
                copy = lm.copy()
                copy.history = lm.history
                kind = type(copy)
                if kind not in self._classes:
                    self._classes[kind] = _watched_class(kind, self)
                copy.__class__ = self._classes[kind]
                self._watched[id(lm)] = (lm, copy)
            return self._watched[id(lm)][1]

    def begin(self, task: Task) -> None:
        """Let `task` begin to ask LMs, also those that this gate does not watch.

        Raises:
            CallRefused: If no LM may be asked any more; `task` then knows why.
        """
        self.admission.begin(task)

    @contextmanager
    def task(self) -> Iterator[Task]:
        """Return a context whose LM calls belong together, also those in DSPy's own threads."""
        admission, within = self.admission, dspy.settings.get(TASK)
        task = Task(admission.lock, admission.free_place, admission.clock, within=within)
        with dspy.context(**{TASK: task}):
            yield task

    def _task(self) -> Task | None:
        """Return this run's task that a call is made for, also out of a run within it."""
        task = dspy.settings.get(TASK)
        return task.of_run(self.admission.lock) if isinstance(task, Task) else None

    def recall(self, usage: Sequence[Usage], elapsed: float) -> None:
        """Count what was used in an earlier session, when the run had taken `elapsed` seconds."""
        for row in (priced(row, self._prices) for row in usage):
            self.meter.add(row)
            tokens = row.input_tokens + row.output_tokens
            self.budget.charge(tokens=tokens, cost=row.cost_usd or 0.0)
        self.budget.advance(elapsed)

    def scored(self, usage: Sequence[Usage]) -> None:
        """Note what an example took that has come to a score, in this session or another."""
        if self.budget.has_caps:  # nobody asks otherwise
            self.budget.scored([priced(row, self._prices) for row in usage])

    @property
    def foresight(self) -> Foresight:
        """What was learned so far of what calls may need."""
        widest, habits = self.budget.widest, self.desk.forecast.habits
        return Foresight(tokens=widest.tokens, cost_usd=widest.cost, habits=habits)

    def pay(self, run: str, counted: Iterable[str]) -> None:
        """Mark the answers that are paid for from now on; see `Payer`."""
        if self.desk.answers is not None:
            self.desk.answers.payer = Payer(run, counted)

    def remember(self, foresight: Foresight) -> None:
        """Foretell what calls need as in the earlier session that had learned `foresight`."""
        self.budget.widen(Spending(tokens=foresight.tokens, cost=foresight.cost_usd))
        for model, habits in foresight.habits.items():
            self.desk.forecast.remember(model, habits)

    def redact(self, error: E) -> E | Exception:
        """Return `error` without the credentials of LMs, `holders` and environment.

        That is itself, or what stands in for it; see `cleaning.redact`.
        """
        with self.admission.lock:
            lms = [lm for lm, _ in self._watched.values()]
        secrets = secrets_held(*self.holders).union(secrets_of(None), *map(secrets_of, lms))
        found = redact(error, secrets)
        return found if isinstance(found, Exception) else error

    def _charge(self, call: Call, costs_follow: bool) -> None:
        """Charge the budget for a paid call that went past the gate."""
        forecast = self.desk.forecast
        if forecast.given(call.model) is not None or (call.tokens and not costs_follow):
            call.cost = forecast.cost(call.model, call)
        self.budget.charge(tokens=call.tokens, cost=call.cost or 0.0)
        if call.cost is None and not costs_follow and self.budget.caps["max_cost"] is not None:
            self.refuse_all(unknown_price(call.model))

    def _note_answer(self, entry: dict[str, Any]) -> None:
        """Note an answer that went past the gate: it may make up for a failure."""
        task = dspy.settings.get(TASK)
        if isinstance(task, Task) and task.lock is self.admission.lock:  # not of a run within ours
            what = (entry.get(name) for name in ("prompt", "messages", "request"))
            task.answered(lambda: Asked(sent(*what), f"unwatched {entry['model']}"))


def _watched_class(kind: Any, gate: Gate) -> type:
    """Return a subclass of `kind` whose calls go through `gate`, and that passes for `kind`."""

    def passage(lm: dspy.BaseLM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Passage:
        task = dspy.settings.get(TASK)
        if task is not None and task.fresh and calls_as_dspy(kind):
            kwargs = {**kwargs, "cache": False}
        return Passage(gate.desk, lm, kind, args, kwargs)

    class Watched(kind):  # type: ignore[misc]
        __slots__ = ()

        @property
        def num_retries(self) -> int:
            """None for DSPy: the gate retries, by the number that the LM was given."""
            return 0

        @num_retries.setter
        def num_retries(self, value: int) -> None:
            self.__dict__["num_retries"] = value

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return Entrance(passage(self, args, kwargs)).go(super().__call__)

        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            return await Entrance(passage(self, args, kwargs)).ago(super().acall)

        def dump_state(self) -> dict[str, Any]:
            state: dict[str, Any] = super().dump_state()
            return {**state, "num_retries": vars(self).get("num_retries", 0)}

    Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
    Watched.__module__ = kind.__module__
    return standing_for(kind, Watched)


def _load(lm: dspy.BaseLM) -> None:
    """Let DSPy load what it loads when an LM is used first, if it would be LiteLLM.

    Threads that do so at once can meet a module that is half loaded, which looks like an LM that
    fails for good.
    """
    if isinstance(lm, dspy.LM) and lm.engine in ("auto", "litellm"):
        _ = lm.supports_function_calling  # looked up in LiteLLM where that will answer
