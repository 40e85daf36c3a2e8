"""Adapters that ask LMs of their own, as DSPy's TwoStepAdapter does."""

import copy
from collections.abc import Callable
from typing import Any

import dspy


def lms_of(adapter: Any) -> dict[str, dspy.BaseLM]:
    """Return the LMs that an adapter holds, by class and attribute; none for None."""
    held = {} if adapter is None else vars(adapter)
    kind = type(adapter).__name__
    return {f"{kind}.{name}": lm for name, lm in held.items() if isinstance(lm, dspy.BaseLM)}


def watched(adapter: Any, watch: Callable[[dspy.BaseLM], dspy.BaseLM]) -> Any:
    """Return `adapter`, or if it holds LMs a copy with `watch(lm)` in the place of each."""
    if not lms_of(adapter):
        return adapter
    copied = copy.copy(adapter)
    for name, lm in vars(adapter).items():
        if isinstance(lm, dspy.BaseLM):
            setattr(copied, name, watch(lm))
    return copied
