"""Whether DSPy's cache has an answer, asked through DSPy's public face and without a call."""

from typing import Any

import dspy
from dspy.utils.exceptions import LMError

_NOT_IN_KEY = ("api_key", "api_base", "base_url")
"""Settings that DSPy leaves out of its cache keys, and that no engine object may be given."""


class _NotCached(LMError):  # type: ignore[misc]
    """The answer would have to be asked for."""


class _Nobody:
    """The engine of an LM that only its cache can answer for."""

    def complete(self, request: Any) -> Any:
        raise _NotCached("not cached")


class _AsyncNobody:
    async def complete(self, request: Any) -> Any:
        raise _NotCached("not cached")


def may_be_cached(lm: dspy.BaseLM, kind: type, kwargs: dict[str, Any]) -> bool:
    """Tell whether the cache can be asked for an answer of `lm`.

    Args:
        lm: The LM, or a watched copy.
        kind: The class that its user gave it. Only `dspy.LM` itself: a subclass may answer in
            ways of its own.
        kwargs: The call's options.
    """
    return kind is dspy.LM and bool(kwargs.get("cache", lm.cache))


def is_cached(lm: dspy.LM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether `lm(*args, **kwargs)` would be answered by DSPy's cache.

    DSPy looks into its cache before it chooses an engine, and engines have no part in its keys:
    a copy of `lm` whose engine only refuses answers for exactly what is cached. `forward` tells
    neither callbacks nor histories of it. False also when `lm` cannot be copied that way, e.g.
    because it has a `timeout`.
    """
    try:
        _probe(lm).forward(*args, **_bare(kwargs))
    except (LMError, TypeError, ValueError):
        return False
    return True


async def is_acached(lm: dspy.LM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether `lm.acall(*args, **kwargs)` would be; its keys are others."""
    try:
        await _probe(lm).aforward(*args, **_bare(kwargs))
    except (LMError, TypeError, ValueError):
        return False
    return True


def _probe(lm: dspy.LM) -> dspy.LM:
    bare = lm.copy(**{name: None for name in _NOT_IN_KEY if name in lm.kwargs})
    bare.__class__ = dspy.LM
    return bare.copy(engine=_Nobody(), async_engine=_AsyncNobody(), num_retries=0)


def _bare(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in _NOT_IN_KEY}
