"""Checks of the numbers that a problem is made from."""

from collections.abc import Iterable
from math import isfinite
from typing import Any


def finite(values: Any) -> tuple[float, ...] | None:
    """Return `values` as floats; None if they are no sequence of finite numbers."""
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        return None
    try:
        numbers = tuple(float(value) for value in values if not isinstance(value, (str, bytes)))
        known = len(numbers) == len(tuple(values))
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if known and all(map(isfinite, numbers)) else None


def is_whole(value: Any, least: int) -> bool:
    """Tell whether `value` is an int of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
