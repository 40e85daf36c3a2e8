"""The steps in which DSPy makes an LM call, so that an answer can be put in and taken out.

DSPy's own `BaseLM.__call__` is `prepare`, `execute`, `finalize`. Callbacks, histories, trackers
and outputs are thus those of DSPy, for a kept answer as for its own cache's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import dspy
from dspy import LM, BaseLM
from dspy.clients.call_result import CallResult
from dspy.clients.execution import PreparedCall, aexecute, execute, finalize, prepare
from dspy.utils.callback import with_callbacks

__all__ = [
    "CallResult",
    "PreparedCall",
    "Sending",
    "acalled",
    "aexecute",
    "called",
    "calls_as_dspy",
    "execute",
    "prepared",
]


def calls_as_dspy(kind: type) -> bool:
    """Tell whether an LM of that class is called in DSPy's steps."""
    own = (kind.__call__, getattr(kind, "acall", None))
    return issubclass(kind, LM) and own == (BaseLM.__call__, BaseLM.acall)


@dataclass(frozen=True, slots=True)
class Sending:
    """A call as DSPy would send it."""

    lm: dspy.LM
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    call: PreparedCall


def prepared(
    lm: dspy.LM, args: tuple[Any, ...], kwargs: dict[str, Any], *, asynchronous: bool = False
) -> Sending | None:
    """Return the call, or None if it takes no part in caches.

    That is when DSPy refuses its arguments, or when its LM has a `forward` of its own.
    """
    try:
        call = _prepare(lm, *args, asynchronous=asynchronous, **kwargs)
    except Exception:  # noqa: BLE001  (whatever it is, the call itself will raise it)
        return None
    known = call.managed and getattr(lm, "_cache_responses", True)
    return Sending(lm, args, kwargs, call) if known else None


def _prepare(
    lm: dspy.LM, prompt: Any = None, *, messages: Any = None, asynchronous: bool, **kwargs: Any
) -> PreparedCall:
    return prepare(lm, prompt, messages, kwargs, asynchronous=asynchronous)


def called(sending: Sending, answer: Callable[[], CallResult]) -> Any:
    """Return what `lm(*args, **kwargs)` would, with `answer` in the place of execution."""

    def __call__(self: Any, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        return finalize(self, sending.call, answer())

    return with_callbacks(__call__)(sending.lm, *sending.args, **sending.kwargs)


async def acalled(sending: Sending, answer: Callable[[], Awaitable[CallResult]]) -> Any:
    """Return what `lm.acall(*args, **kwargs)` would; see `called`."""

    async def acall(self: Any, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        return finalize(self, sending.call, await answer())

    return await with_callbacks(acall)(sending.lm, *sending.args, **sending.kwargs)
