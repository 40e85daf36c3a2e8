"""Counts calls, tokens and cache hits where an LM is called, by role, over any threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import ContextWindowExceededError, LMError, LMInvalidRequestError
from dspy.utils.usage_tracker import UsageTracker

from opro_dspy.records import Usage

OPTIMIZER, SCORER = "optimizer", "scorer"

_MARK = "_opro_raised_by_lm"
_ROLE = "opro_dspy_role"


@dataclass(slots=True)
class _Call:
    model: str
    started: float
    usage: dict[str, Any] = field(default_factory=dict)
    """Tokens as DSPy's history or usage tracker told them; empty for a cache hit."""
    paid: bool = False
    """Whether a usage tracker heard of the call; DSPy never tells it of cache hits."""


_CALL: ContextVar[_Call | None] = ContextVar("opro_dspy_lm_call", default=None)


class Meter:
    """What each LM did, by role.

    `with meter.role("scorer"):` says what calls count for; `meter.watch(lm)` makes a copy of an LM
    whose failures and time are counted as well. DSPy's settings carry the role to worker threads
    and to LMs that a program brings along by itself: their calls and tokens are counted too.
    Retries inside DSPy's LM (after a 429, say) are one call here; an adapter's second try after an
    answer that does not parse is a call of its own.

    Nothing is hung on modules: a callback in DSPy's settings would cost each module call more than
    all other bookkeeping of an example.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], Usage] = {}
        self._watched: dict[int, tuple[dspy.BaseLM, dspy.BaseLM]] = {}

    def watch(self, lm: dspy.BaseLM) -> dspy.BaseLM:
        """Return a copy of `lm` that is counted; it shares the engine and the history of `lm`."""
        with self._lock:
            if id(lm) not in self._watched:
                copy = lm.copy()
                copy.history = lm.history
                copy.callbacks = [*lm.callbacks, _Callback(self)]
                self._watched[id(lm)] = (lm, copy)
            return self._watched[id(lm)][1]

    def role(self, role: str, **settings: Any) -> AbstractContextManager[None]:
        """Return a context in which every LM call counts for `role`.

        Args:
            role: "optimizer" or "scorer".
            **settings: Further DSPy settings for the context, e.g. `lm`.
        """
        ours: dict[str, Any] = {
            _ROLE: role,
            "caller_modules": [*(dspy.settings.caller_modules or []), _History(self)],
        }
        # With `track_usage` on, DSPy gives each prediction its own tracker; ours would hide it.
        if not (dspy.settings.track_usage and dspy.settings.usage_tracker is None):
            ours["usage_tracker"] = _Tracker(self, dspy.settings.usage_tracker)
        context: AbstractContextManager[None] = dspy.context(**ours, **settings)
        return context

    def usage(self) -> tuple[Usage, ...]:
        """Return one row for each role and model, optimizer first."""
        with self._lock:
            return tuple(self._rows[key] for key in sorted(self._rows))

    def total(self, role: str) -> Usage:
        """Return the sum over the models of `role`."""
        total = Usage(role=role, model="*")
        for row in self.usage():
            if row.role == role:
                total = _add(total, row)
        return total

    def answered(self) -> bool:
        """Tell whether any call came back with an answer so far."""
        return any(row.cache_hits or row.calls > row.failures for row in self.usage())

    def finish(self, call: _Call, *, failed: bool = False) -> None:
        """Count a call that came back."""
        hit = not failed and not call.paid
        row = Usage(
            role=dspy.settings.get(_ROLE, SCORER),
            model=call.model,
            calls=0 if hit else 1,
            cache_hits=1 if hit else 0,
            failures=1 if failed else 0,
            input_tokens=0 if hit else _tokens(call.usage, "prompt_tokens", "input_tokens"),
            output_tokens=0 if hit else _tokens(call.usage, "completion_tokens", "output_tokens"),
            seconds=0.0 if hit else time.perf_counter() - call.started,
        )
        with self._lock:
            key = (row.role, row.model)
            self._rows[key] = _add(self._rows[key], row) if key in self._rows else row


def _add(a: Usage, b: Usage) -> Usage:
    return replace(
        a,
        calls=a.calls + b.calls,
        cache_hits=a.cache_hits + b.cache_hits,
        failures=a.failures + b.failures,
        input_tokens=a.input_tokens + b.input_tokens,
        output_tokens=a.output_tokens + b.output_tokens,
        seconds=a.seconds + b.seconds,
    )


def _tokens(usage: dict[str, Any], *names: str) -> int:
    return next((int(usage[name]) for name in names if usage.get(name)), 0)


class _Callback(BaseCallback):  # type: ignore[misc]
    """Opens and closes a watched LM's call; runs in the thread or task that calls it."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Callback":
        return self

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Open a record for the call that this thread or task begins."""
        _CALL.set(_Call(model=str(instance.model), started=time.perf_counter()))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count the call, and mark its exception as the LM's."""
        call = _CALL.get()
        if call is None:
            return
        _CALL.set(None)
        if exception is not None:
            setattr(exception, _MARK, True)
        self._meter.finish(call, failed=exception is not None)


class _History:
    """Stands among DSPy's caller modules, to whose `history` every answered LM call is written."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.history = self

    def __deepcopy__(self, memo: dict[int, Any]) -> "_History":
        return self

    def __len__(self) -> int:
        return 0

    def append(self, entry: dict[str, Any]) -> None:
        """Note the call that is being recorded; its usage is empty if it was a cache hit."""
        usage = dict(entry["usage"] or {})
        call = _CALL.get()
        if call is not None:
            call.usage = call.usage or usage
            call.paid = call.paid or bool(usage)
        elif not usage or not isinstance(dspy.settings.usage_tracker, _Tracker):
            # An unwatched LM; where our tracker listens, it has counted the paid call already.
            call = _Call(model=str(entry["model"]), started=time.perf_counter(), usage=usage)
            call.paid = bool(usage)
            self._meter.finish(call)


class _Tracker(UsageTracker):  # type: ignore[misc]
    """Hears of every paid call, also when history is off; tells the user's tracker of it."""

    def __init__(self, meter: Meter, outer: UsageTracker | None) -> None:
        super().__init__()
        self._meter = meter
        self._outer = outer

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Tracker":
        return self

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Note a paid call and its tokens."""
        call = _CALL.get()
        if call is not None:
            call.paid = True
            call.usage = dict(usage_entry)
        else:  # an LM that nobody watches
            now = time.perf_counter()
            self._meter.finish(_Call(model=lm, started=now, usage=dict(usage_entry), paid=True))
        if self._outer is not None:
            self._outer.add_usage(lm, usage_entry)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def lm_failure(error: BaseException, *, answered: bool) -> BaseException | None:
    """Return the LM's own error behind `error`, or None when program or metric are to blame.

    A prompt that is too long for the window, and a request refused after others were answered,
    speak about that one example, not about the LM.

    Args:
        error: What scoring an example raised.
        answered: Whether the LM answered any call so far.
    """
    for link in _chain(error):
        if isinstance(link, ContextWindowExceededError):
            return None
        if isinstance(link, LMInvalidRequestError) and answered:
            return None
        if isinstance(link, LMError) or getattr(link, _MARK, False):
            return link
    return None
