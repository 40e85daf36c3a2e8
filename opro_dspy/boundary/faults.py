"""Which LM errors pass, which are final, and which come from load."""

import json
import sys
import time
from collections.abc import Iterator
from email.utils import mktime_tz, parsedate_tz
from math import isfinite
from socket import gaierror

from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
    is_retryable_lm_error,
)

OVERLOADED = (429, 503, 529)
"""HTTP status of a provider that wants fewer calls."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and what it came from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_retryable(error: BaseException) -> bool:
    """Tell whether another attempt may well succeed.

    As DSPy has it, and an answer whose body is not JSON: a failure on the way, which DSPy's
    native engine takes for the provider's last word.
    """
    if not isinstance(error, Exception) or _lacks_credentials(error):
        return False
    return is_retryable_lm_error(error) or _garbled(error)


def _garbled(error: BaseException) -> bool:
    status = getattr(error, "status", None)
    return type(error) is LMProviderError and status is not None and 200 <= status < 300


def _lacks_credentials(error: BaseException) -> bool:
    """Tell whether OpenAI's client could not even be made, which LiteLLM calls a server error."""
    openai = sys.modules.get("openai")
    return openai is not None and any(type(link) is openai.OpenAIError for link in chain(error))


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
    if _lacks_credentials(error):
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
        if isinstance(link, LMInvalidRequestError):
            return link
    return None


def is_overload(error: BaseException) -> bool:
    """Tell whether the provider wants fewer calls."""
    return isinstance(error, LMRateLimitError) or getattr(error, "status", None) in OVERLOADED


def may_be_load(error: BaseException) -> bool:
    """Tell whether the failure is of the kind that load brings about, among other causes."""
    if _lacks_credentials(error):
        return False
    return isinstance(error, (LMServerError, LMTimeoutError, LMTransportError)) or _garbled(error)


def may_be_billed(error: BaseException) -> bool:
    """Tell whether the provider may have done the work, although its answer was lost.

    True for timeouts, lost connections, garbled bodies, and for whatever cut the call short
    from outside. LiteLLM calls most of them server errors; what they came from tells.
    """
    if not isinstance(error, Exception):
        return True
    lost: tuple[type, ...] = (LMTimeoutError, LMTransportError, json.JSONDecodeError)
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
