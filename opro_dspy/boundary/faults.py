"""Which LM errors pass, which are final, and which come from load."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import mktime_tz, parsedate_tz
from math import isfinite
from socket import gaierror
from traceback import walk_tb

from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
    is_retryable_lm_error,
)

OVERLOADED = (429, 503, 529)
"""HTTP status of a provider that wants fewer calls."""

CONFLICT = 409
"""HTTP status of a provider that was busy with something else."""


class GarbledAnswerError(LMServerError):  # type: ignore[misc]
    """The provider answered (200), but what came is no answer: a failure on the way."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and what it came from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def translating() -> Iterator[None]:
    """Return a context whose LM errors are `translated`."""
    try:
        yield
    except LMError as error:
        fault = translated(error)
        if fault is error:
            raise
        raise fault from error


def translated(error: BaseException) -> BaseException:
    """Return `error`, or what it should be where an engine of DSPy calls it something else.

    Without a key LiteLLM blames a server that it never asked. A body that is no JSON, or no
    answer by its shape, is the last word of the provider, or a bug, for the native engine. A
    conflict (409) says nothing about the request; OpenAI's own client tries it again. A request
    that cannot be encoded is a bad one, which DSPy and its engines do not say.
    """
    kind = _meant(error)
    if kind is None or isinstance(error, kind):
        return error
    names = ("model", "provider", "provider_code", "status", "request_id", "retry_after")
    known = {name: getattr(error, name, None) for name in names}
    fault: BaseException = kind(getattr(error, "message", str(error)), **known)
    fault.__cause__ = error
    return fault


def _meant(error: BaseException) -> type[BaseException] | None:
    """Return the class that an error should have; None if it has it."""
    if isinstance(error, LMError) and _lacks_credentials(error):
        return LMNotConfiguredError  # type: ignore[no-any-return]
    if isinstance(error, (LMError, ValueError)) and _cannot_be_encoded(error):
        return LMInvalidRequestError  # type: ignore[no-any-return]
    if not isinstance(error, LMError):
        return None
    if _is_garbled(error):
        return GarbledAnswerError
    return LMServerError if error.status == CONFLICT else None


def _lacks_credentials(error: BaseException) -> bool:
    openai = sys.modules.get("openai")  # whose client could not even be made
    return openai is not None and any(type(link) is openai.OpenAIError for link in chain(error))


def _cannot_be_encoded(error: BaseException) -> bool:
    return any(isinstance(link, UnicodeEncodeError) for link in chain(error))


def _is_garbled(error: LMError) -> bool:
    """Tell whether the provider answered, and the engine could not read it."""
    if type(error) is LMProviderError:
        return error.status is not None and 200 <= error.status < 300
    links = list(chain(error))
    if isinstance(error, LMUnexpectedError):
        frames = (frame for link in links for frame, _ in walk_tb(link.__traceback__))
        return any(
            frame.f_code.co_name == "parse_response"
            and frame.f_globals["__name__"].startswith("dspy.")
            for frame in frames
        )
    # LiteLLM calls it an internal error of the server, but no HTTP status said so.
    litellm, httpx = sys.modules.get("litellm"), sys.modules.get("httpx")
    if litellm is None or httpx is None or not isinstance(error, LMServerError):
        return False
    refused = any(isinstance(link, httpx.HTTPError) for link in links)
    return not refused and any(isinstance(link, litellm.InternalServerError) for link in links)


def is_retryable(error: BaseException) -> bool:
    """Tell whether another attempt may well succeed, once the error is `translated`."""
    return isinstance(error, Exception) and bool(is_retryable_lm_error(error))


def is_unreachable(error: BaseException) -> bool:
    """Tell whether nobody listens at the address, or no such host is known."""
    return any(isinstance(link, (ConnectionRefusedError, gaierror)) for link in chain(error))


def is_fatal(error: BaseException, *, answered: bool) -> bool:
    """Tell whether every further call of the model would fail alike.

    Args:
        error: What the LM raised.
        answered: Whether the model answered any call so far; a request refused before that is
            refused for what all requests have in common.
    """
    if isinstance(
        error, (LMAuthError, LMBillingError, LMConfigurationError, LMUnsupportedModelError)
    ):
        return True
    if answered or isinstance(error, ContextWindowExceededError):
        return False
    return isinstance(error, (LMInvalidRequestError, LMUnsupportedFeatureError))


def bad_request(error: BaseException) -> LMInvalidRequestError | None:
    """Return the refusal behind `error` that one request alone, or all of them, may have met.

    A prompt that is too long for the window is known to be the former.
    """
    for link in chain(error):
        if isinstance(link, ContextWindowExceededError):
            return None
        if isinstance(link, LMInvalidRequestError) and link.status != CONFLICT:
            return link
    return None


def is_overload(error: BaseException) -> bool:
    """Tell whether the provider wants fewer calls."""
    return isinstance(error, LMRateLimitError) or getattr(error, "status", None) in OVERLOADED


def may_be_load(error: BaseException) -> bool:
    """Tell whether the failure is of the kind that load brings about, among other causes."""
    return isinstance(error, (LMServerError, LMTimeoutError, LMTransportError))


def may_be_billed(error: BaseException) -> bool:
    """Tell whether the provider may have done the work, although its answer was lost.

    True for timeouts, lost connections, garbled answers, and for whatever cut the call short
    from outside. LiteLLM calls most of them server errors; what they came from tells.
    """
    if not isinstance(error, Exception):
        return True
    lost: tuple[type, ...] = (LMTimeoutError, LMTransportError, GarbledAnswerError)
    httpx = sys.modules.get("httpx")
    if httpx is not None:
        lost = (*lost, httpx.TransportError)
    return any(isinstance(link, lost) for link in chain(error))


def retry_after(error: BaseException) -> float | None:
    """Return the seconds for which the provider wants no call, or None if it did not say.

    With LiteLLM, DSPy 3.4 loses the header; it is found on the response further down.
    """
    seconds = _seconds(getattr(error, "retry_after", None))
    for link in chain(error):
        if seconds is None:
            headers = getattr(getattr(link, "response", None), "headers", None) or {}
            seconds = _seconds(headers.get("retry-after"))
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and (date := parsedate_tz(value)) is not None:
        return max(0.0, mktime_tz(date) - time.time())
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None
