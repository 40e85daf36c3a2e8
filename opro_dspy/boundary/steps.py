"""The steps in which DSPy makes an LM call, so that an answer can be put in and taken out.

DSPy's own `BaseLM.__call__` is `prepare`, `execute`, `finalize`. Callbacks, histories, trackers
and outputs are thus those of DSPy, for a kept answer as for its own cache's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy import LM, BaseLM
from dspy.clients import execution
from dspy.clients.call_result import CallResult
from dspy.clients.execution import PreparedCall, finalize, prepare
from dspy.lm15 import Response, TextPart
from dspy.utils.callback import with_callbacks

from opro_dspy.boundary.faults import GarbledAnswerError

__all__ = [
    "CallResult",
    "PreparedCall",
    "Sending",
    "aasked",
    "acalled",
    "aexecute",
    "asked",
    "called",
    "calls_as_dspy",
    "execute",
    "prepared",
]

_ANSWERS = ("choices", "output", "content", "candidates", "promptFeedback")
"""Names under which providers give answers, or say why there is none."""


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


def asked(sending: Sending, *args: Any, **kwargs: Any) -> Any:
    """Return what `lm(*args, **kwargs)` would, the arguments being those of `sending`."""
    return called(sending, lambda: execute(sending.lm, sending.call))


async def aasked(sending: Sending, *args: Any, **kwargs: Any) -> Any:
    """As `asked`, for an asynchronous call."""
    return await acalled(sending, lambda: aexecute(sending.lm, sending.call))


def execute(lm: dspy.LM, call: PreparedCall) -> CallResult:
    """Make the call as DSPy does, or find it in DSPy's cache; see `_checked`.

    An LM whose class has a `__call__` of its own does not come by here (`calls_as_dspy`): what it
    returns is taken for the answer.

    Raises:
        GarbledAnswerError: If the provider's answer is none; DSPy's cache does not get it.
    """
    found = execution._cached(lm, call, False)
    if found is not None and not _is_garbled(lm, found):
        return found
    result = _checked(lm, execution.execute(lm, replace(call, cache=False)))
    execution._store(lm, call, result, False)
    return result


async def aexecute(lm: dspy.LM, call: PreparedCall) -> CallResult:
    """As `execute`, for an asynchronous call."""
    found = None
    if call.cache:
        found = await asyncio.to_thread(execution._cached, lm, call, True)
    if found is not None and not _is_garbled(lm, found):
        return found
    result = _checked(lm, await execution.aexecute(lm, replace(call, cache=False)))
    if call.cache:
        await asyncio.to_thread(execution._store, lm, call, result, True)
    return result


def _checked(lm: dspy.LM, result: CallResult) -> CallResult:
    """Return `result` unless it is garbled: what DSPy reads as an empty text may be no answer.

    What the provider said decides. A message without content is the LM's answer, be it "" or
    null; a body without choices, or a choice without a message, is the provider's failure.
    """
    if not _is_garbled(lm, result):
        return result
    if dspy.settings.usage_tracker:  # as DSPy tells of calls that fail after they were paid for
        for usage in (result.usage, *[{}] * (len(result.responses) - 1)):
            dspy.settings.usage_tracker.add_usage(lm.model, usage)
    raise GarbledAnswerError("The provider's reply holds no answer.", model=lm.model)


def _is_garbled(lm: dspy.LM, result: CallResult) -> bool:
    if not isinstance(lm.engine, str) or dspy.settings.send_stream is not None:
        return False  # of an engine of the user's own, or of a stream's end, the body is not known
    if not result.responses:  # LiteLLM refuses whatever else is wrong
        return not result.outputs
    return any(_holds_no_answer(response) for response in result.responses)


def _holds_no_answer(response: Response) -> bool:
    body = response.provider_data
    if body is None or any(
        not isinstance(part, TextPart) or part.text for part in response.message.parts
    ):
        return False
    if "choices" not in body:
        return not any(name in body for name in _ANSWERS)
    choice = body["choices"][0] if body["choices"] else None
    return not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping)
