"""Calls of the seats that a user may fill: what goes wrong there names the seat and the step."""

import inspect
from collections.abc import Callable
from typing import TypeVar

from opro_dspy.errors import ConfigurationError, InvalidSolution

T = TypeVar("T")


def called(seat: str, step: int, call: Callable[[], T]) -> T:
    """Return what the call of a user's seat returns.

    Args:
        seat: What the user knows it by, e.g. "exemplar choice".
        step: The step that needs it.
        call: Calls it.

    Raises:
        InvalidSolution: If it raised that; it says what an answer lacks, not what the seat does.
        ConfigurationError: If it raised anything else; names the seat and the step.
    """
    try:
        return call()
    except InvalidSolution:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the {seat} raised {type(error).__name__} at step {step}: {error}"
        ) from error


def wrong(seat: str, step: int, returned: object, expected: str) -> ConfigurationError:
    """Return the error for a seat that does not keep its contract.

    Args:
        seat: What the user knows it by.
        step: The step that needed it.
        returned: What came from it; shown shortened.
        expected: What should have come, e.g. "a text".
    """
    shown = repr(returned)
    shown = shown if len(shown) <= 200 else shown[:200] + "…"
    return ConfigurationError(
        f"the {seat} returned {shown} at step {step}. It must return {expected}."
    )


def is_async(value: object) -> bool:
    """Tell whether a call of `value` returns a coroutine, which nobody here awaits."""
    method = getattr(type(value), "__call__", None)  # noqa: B004  (its kind matters)
    asks = inspect.iscoroutinefunction, inspect.isasyncgenfunction
    return any(ask(value) or ask(method) for ask in asks)


def name_of(seat: object) -> str:
    """Return what to call a user's callable or object in a message."""
    return str(getattr(seat, "__qualname__", type(seat).__qualname__))
