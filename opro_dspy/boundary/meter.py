"""Counts calls, tokens, cost and cache hits where an LM is called, by role, over any threads."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import dspy
from dspy.utils.exceptions import ContextWindowExceededError, LMError, LMInvalidRequestError

from opro_dspy.boundary.faults import chain, is_fatal, translated
from opro_dspy.boundary.hooks import Call, History, Tracker
from opro_dspy.records import Usage

OPTIMIZER, SCORER = "optimizer", "scorer"

TASK = "opro_dspy_task"
"""The DSPy setting that carries the task of a call, also into DSPy's own threads."""

_MARK = "_opro_raised_by_lm"
_ROLE = "opro_dspy_role"


_CALL: ContextVar[tuple["Meter", Call] | None] = ContextVar("opro_dspy_lm_call", default=None)


def current_role() -> str:
    """Return the role that LM calls made here count for."""
    return str(dspy.settings.get(_ROLE, SCORER))


class Meter:
    """What each LM did, by role.

    `with meter.role("scorer"):` says what calls count for. The gate tells of every attempt at an
    LM that it watches (`attempt`, `count`). DSPy's settings carry the role to worker threads and
    to LMs that a program brings along by itself: their answers and tokens are counted too, but
    not what fails or is tried again inside them. An adapter's second try after an answer that
    does not parse is a call of its own. So is each of `n` answers of one call for which DSPy
    asks one by one; with DSPy's history off, `n` answers count as one call.

    Nothing is hung on modules: a callback in DSPy's settings would cost each module call more than
    all other bookkeeping of an example.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], Usage] = {}
        self.bypassed: Callable[[Call, bool], None] | None = None
        """Told of each answer by an LM that no gate watches, and whether its cost is told later."""
        self.past: Callable[[dict[str, Any]], None] | None = None
        """Told of the history entry of each answer by an LM that no gate watches."""

    def role(self, role: str, **settings: Any) -> AbstractContextManager[None]:
        """Return a context in which every LM call counts for `role`.

        Args:
            role: "optimizer" or "scorer".
            **settings: Further DSPy settings for the context, e.g. `lm`.
        """
        ours: dict[str, Any] = {
            _ROLE: role,
            "caller_modules": [*(dspy.settings.caller_modules or []), History(self)],
        }
        # With `track_usage` on, DSPy gives each prediction its own tracker; ours would hide it.
        if not (dspy.settings.track_usage and dspy.settings.usage_tracker is None):
            ours["usage_tracker"] = Tracker(self, dspy.settings.usage_tracker)
        context: AbstractContextManager[None] = dspy.context(**ours, **settings)
        return context

    def usage(self) -> tuple[Usage, ...]:
        """Return one row for each role and model, optimizer first."""
        with self._lock:
            return tuple(self._rows[key] for key in sorted(self._rows))

    def total(self, role: str) -> Usage:
        """Return the sum over the models of `role`."""
        rows = [row for row in self.usage() if row.role == role]
        return reduce(add, rows, Usage(role=role, model="*"))

    def answered(self) -> bool:
        """Tell whether any call came back with an answer so far."""
        return any(row.cache_hits or row.calls > row.failures for row in self.usage())

    @contextmanager
    def attempt(self, call: Call) -> Iterator[None]:
        """Return a context in which DSPy tells `call` of its answers, and errors are the LM's."""
        tracker = dspy.settings.usage_tracker
        if not isinstance(tracker, Tracker):  # DSPy's own for a prediction, or the program's
            with dspy.context(usage_tracker=Tracker(self, tracker)), self.attempt(call):
                yield
            return
        token = _CALL.set((self, call))
        try:
            yield
        except asyncio.CancelledError:  # by whoever made the call: no fault of the LM's
            raise
        except BaseException as error:
            setattr(error, _MARK, True)
            raise
        finally:
            _CALL.reset(token)

    def count(
        self, call: Call, *, failed: bool = False, hit: bool | None = None, late: bool = False
    ) -> None:
        """Count an attempt that came back; a success that nobody paid for is a cache hit.

        With `late` it was given up before and counted as one failed call: the rest is added.
        """
        hit = not failed and not call.answers and not late if hit is None else hit
        # Of `n` answers asked for one by one, those before the failure were paid for.
        calls = min(call.n, call.answers + 1) if failed else call.answers
        self.add(
            Usage(
                role=current_role(),
                model=call.model,
                calls=max(0, calls - 1) if late else calls,
                cache_hits=1 if hit else 0,
                failures=1 if failed and not late else 0,
                retries=1 if call.retry and not hit and not late else 0,
                input_tokens=call.input_tokens,
                output_tokens=call.output_tokens,
                cost_usd=call.cost,
                seconds=0.0 if hit else time.perf_counter() - call.started,
                input_tokens_saved=call.saved.input_tokens,
                output_tokens_saved=call.saved.output_tokens,
                cost_usd_saved=call.saved.cost,
                answers=() if call.mark is None else (call.mark,),
            )
        )

    def answered_past(self, entry: dict[str, Any]) -> None:
        """See `Ledger`."""
        if self.past is not None:
            self.past(entry)

    def bypass(self, call: Call, *, again: bool = False, costs_follow: bool = False) -> None:
        """See `Ledger`; for an LM that no gate watches."""
        if self.bypassed is not None and (again or call.answers):
            self.bypassed(call, costs_follow)
        self.count(call, hit=not again and not call.answers)

    def underway(self, model: str) -> Call | None:
        """See `Ledger`."""
        meter, call = _CALL.get() or (None, None)
        return call if call is not None and meter is self and call.model == model else None

    def add(self, row: Usage, *, used: list[Usage] | None = None) -> None:
        """Add a row to what its role and model did, and to `used`: by default the task's."""
        task = dspy.settings.get(TASK)
        if used is None and task is not None:
            used = task.used
        if used is not None:
            used.append(row)
        if row.answers:
            row = replace(row, answers=())
        with self._lock:
            key = (row.role, row.model)
            self._rows[key] = self._rows[key] + row if key in self._rows else row


def lm_failure(error: BaseException) -> BaseException | None:
    """Return the LM's own error behind `error`, or None when the LM may not be to blame.

    A prompt that is too long for the window speaks about that one example, and a request that is
    refused as bad may do so.

    Args:
        error: What scoring an example raised.
    """
    for link in map(translated, chain(error)):
        if isinstance(link, ContextWindowExceededError):
            return None
        if isinstance(link, LMInvalidRequestError) and not is_fatal(link, answered=True):
            return None
        if isinstance(link, LMError) or getattr(link, _MARK, False):
            return link
    return None
