"""One LM call on its way through the gate: attempts, retries, and what becomes of each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dspy

from opro_dspy.boundary.admission import POLL_S, Admission
from opro_dspy.boundary.answers import Answers, is_ambiguous
from opro_dspy.boundary.cached import is_acached, is_cached, may_be_cached
from opro_dspy.boundary.cleaning import redact
from opro_dspy.boundary.faults import (
    GarbledAnswerError,
    bad_request,
    is_fatal,
    is_overload,
    is_retryable,
    may_be_billed,
    may_be_load,
    retry_after,
    translated,
    translating,
)
from opro_dspy.boundary.forecast import Forecast, Need
from opro_dspy.boundary.hooks import Call, Worth
from opro_dspy.boundary.meter import TASK, Meter, current_role, lm_failure
from opro_dspy.boundary.redaction import secrets_of
from opro_dspy.boundary.task import Asked, Visit, sent
from opro_dspy.filters import clipped, printable
from opro_dspy.records import Usage

logger = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Who has a say in each attempt."""

    meter: Meter
    forecast: Forecast
    admission: Admission
    answers: Answers | None = None
    """Where answers are kept, if they are."""


class Passage:
    """One call of a watched LM on its way through the gate."""

    def __init__(
        self,
        desk: Desk,
        lm: dspy.BaseLM,
        kind: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.desk, self.lm, self.kind, self.args, self.kwargs = desk, lm, kind, args, kwargs
        self.need = Need()
        if desk.admission.budget.counts_lm_calls:
            self.need = desk.forecast.need(lm, args, kwargs)
        self.visit = Visit(
            model=lm.model,
            task=dspy.settings.get(TASK),
            tokens=self.need.tokens,
            cost=self.need.cost,
            ask_cache=may_be_cached(lm, kind, kwargs) and not self._is_ambiguous(),
            given_up=self._given_up,
        )
        self.n = int({**getattr(lm, "kwargs", {}), **kwargs}.get("n") or 1)
        self.retries = 0
        self.paid = self.late = False
        self._mark: str | None = None

    def go(self, forward: Callable[..., Any]) -> Any:
        """Call the LM, as often as it takes."""
        while True:
            self.desk.admission.enter(self.visit)
            if self.visit.ask_cache:
                self.visit.cached = is_cached(self.lm, self.args, self.kwargs)
                self.visit.ask_cache = False
                continue
            try:
                with self._attempt():
                    return forward(*self.args, **self.kwargs)
            except Exception as error:
                if not self._try_again(error):
                    raise

    async def ago(self, forward: Callable[..., Awaitable[Any]]) -> Any:
        """Call the LM as `go` does, without blocking the event loop."""
        while True:
            with self.visit.waiting():
                await self._aenter()
            try:
                with self._attempt():
                    return await forward(*self.args, **self.kwargs)
            except Exception as error:
                if not self._try_again(error):
                    raise

    async def _aenter(self) -> None:
        while (seconds := self.desk.admission.try_enter(self.visit)) is not None:
            if self.visit.ask_cache:
                self.visit.cached = await is_acached(self.lm, self.args, self.kwargs)
                self.visit.ask_cache = False
            else:
                await asyncio.sleep(min(seconds, POLL_S / 5))

    @contextmanager
    def hit(self, worth: Worth) -> Iterator[None]:
        """Return a context in which a kept answer is given; count it as such."""
        cost = self.desk.forecast.cost(self.lm.model, worth, lm=self.lm)
        call = Call(model=self.lm.model, n=self.n, saved=replace(worth, cost=cost))
        with self.desk.meter.attempt(call):
            yield
        self.desk.meter.count(call, hit=True)
        if self.visit.task is not None:
            self.visit.task.answered(self._asked)

    def _is_ambiguous(self) -> bool:
        return self.desk.answers is not None and is_ambiguous(self.lm, self.kwargs)

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        call = Call(model=self.lm.model, retry=self.retries > 0, n=self.n)
        try:
            with self.desk.meter.attempt(call), translating():
                yield
        except BaseException as error:
            found = redact(error, secrets_of(self.lm, self.kwargs))
            self._judge(call, found)
            self._close(call, found)
            if found is error:
                raise
            raise found from None
        else:
            self._close(call, None)
            if self.visit.task is not None:
                self.visit.task.answered(self._asked)

    def _asked(self) -> Asked:
        options = {**getattr(self.lm, "kwargs", {}), **self.kwargs}
        first = next(iter(self.args), None)
        what = sent(
            first or options.get("prompt"),
            options.get("messages"),
            options.get("request") or first,
        )
        where = [self.lm.model, options.get("api_base"), options.get("base_url")]
        return Asked(what, repr(where), repr(options.get("rollout_id")))

    def note_kept(self, mark: str) -> None:
        """Note under which mark the answer of the attempt in flight is kept."""
        self._mark = mark

    def _given_up(self) -> None:
        """Count the attempt in flight, which hangs, as failed; the rest when it comes back."""
        self.late = True
        hung = Usage(role=current_role(), model=self.lm.model, calls=1, failures=1)
        used = None if self.visit.task is None else self.visit.task.used
        # Whoever gives it up is not in the task.
        self.desk.meter.add(replace(hung, retries=1 if self.retries else 0), used=used)

    def _judge(self, call: Call, error: BaseException) -> None:
        admission = self.desk.admission
        if is_overload(error) or may_be_load(error):
            soft = not is_overload(error)
            said = clipped(
                f"{type(error).__name__}: {' '.join(printable(str(error)).split())}", 200
            )
            admission.pushed_back(
                self.visit, soft=soft, retry_after=retry_after(error), said=said.rstrip(".")
            )
        self.paid = call.answers >= call.n and not isinstance(error, GarbledAnswerError)
        # Of a bad request it is not known yet whether every other one would be refused too.
        if is_fatal(error, answered=True):
            admission.refuse_all(error)

    def _close(self, call: Call, error: BaseException | None) -> None:
        """Count the attempt, settle its reservation and free its place, whatever happens."""
        try:
            self._settle(call, error)
        finally:
            paid = call.answers > 0
            self.desk.admission.leave(self.visit, failed=error is not None, paid=paid)

    def _settle(self, call: Call, error: BaseException | None) -> None:
        call.mark, self._mark = self._mark, None
        if call.answers:
            call.cost = self.desk.forecast.cost(call.model, call, lm=self.lm)
            self.desk.forecast.learn(call.model, self.need, call)
        self.desk.admission.came_back(self.visit)
        self.desk.meter.count(call, failed=error is not None, late=self.late)
        reservation, self.visit.reservation, self.visit.cached = self.visit.reservation, None, False
        if reservation is None:  # The cache lost its answer meanwhile.
            self.desk.admission.budget.charge(tokens=call.tokens, cost=call.cost or 0.0)
        elif call.tokens:
            reservation.settle(tokens=call.tokens, cost=call.cost)
        elif call.answers or (error is not None and may_be_billed(error)):
            reservation.settle()
        else:
            reservation.release()

    def _try_again(self, error: Exception) -> bool:
        """Tell whether another attempt is due, and when; if not, note the failure."""
        task = self.visit.task
        # What was answered or streamed is never asked again, as in DSPy.
        over = self.paid or dspy.settings.send_stream is not None
        over = over or self.retries >= (vars(self.lm).get("num_retries") or 0)
        if is_retryable(error) and not over and not (task is not None and task.abandoned):
            delay = retry_after(error)
            if delay is None:
                delay = min(2.0**self.retries, MAX_BACKOFF_S)
            self.visit.not_before = self.desk.admission.clock() + delay
            self.retries += 1
            logger.debug("%s: %s, again in %.1f s.", self.lm.model, type(error).__name__, delay)
            return True
        if task is not None:
            cause = lm_failure(error)
            if cause is not None:
                task.failed(cause, self._asked())
            task.bad_request = bad_request(translated(error)) if cause is None else None
        return False
