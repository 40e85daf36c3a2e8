"""An LM that remembers, for use outside of `compile`."""

import asyncio
import os
from typing import Any

import dspy
from dspy import LM

from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.recall import Recall
from opro_dspy.boundary.steps import calls_as_dspy, prepared
from opro_dspy.cache import DEFAULT_CACHE, CacheDir, open_store, resolve_cache_dir
from opro_dspy.errors import ConfigurationError
from opro_dspy.fingerprints import standing_for


def cached(
    lm: dspy.LM, *, cache_dir: str | os.PathLike[str] | CacheDir | None = DEFAULT_CACHE
) -> dspy.LM:
    """Return a copy of `lm` that answers from the cache of `compile`, and adds to it.

    A compiled program that is loaded in another process answers all examples that it was scored
    on without a call of the LM, at any temperature:

    ```python
    program.load("program.json")
    with dspy.context(lm=opro_dspy.cached(dspy.LM("openai/gpt-4.1-mini", temperature=1.0))):
        program(question="...")
    ```

    Equal requests that are made at the same time are sent once. `cache=False` in a call asks
    anew. It is saved with a program, and copied, as `lm` is; what is loaded is the plain LM.

    Args:
        lm: An LM; its own `cache` flag decides about DSPy's cache alone, here: of one with
            `cache=False`, `compile` keeps proposals and example scores, but no answers.
        cache_dir: The folder, as in `OPRO`; None keeps answers in memory, as long as the LM lives.

    Raises:
        ConfigurationError: If `lm` is no `dspy.LM` or calls are its own affair, or the folder
            cannot be used.
    """
    if not isinstance(lm, LM) or not calls_as_dspy(type(lm)):
        raise ConfigurationError(
            f"`lm` must be a dspy.LM that is called in DSPy's own way, got {type(lm).__name__}."
        )
    copy = lm.copy()
    kind = type(copy)
    copy.__class__ = _remembering(kind, Answers(open_store(resolve_cache_dir(cache_dir))))
    return copy


def _remembering(kind: Any, answers: Answers) -> type:
    """Return a subclass of `kind` whose answers are kept, and that passes for `kind`."""

    class Remembering(kind):  # type: ignore[misc]
        __slots__ = ()

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            sending = prepared(self, args, kwargs) if kwargs.get("cache", True) else None
            if sending is None:
                return super().__call__(*args, **kwargs)
            recall = Recall(answers, sending, kind)
            with recall.turn() as answer:
                return recall.asked() if answer is None else recall.given(answer)

        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            sending = None
            if kwargs.get("cache", True):
                sending = await asyncio.to_thread(prepared, self, args, kwargs, asynchronous=True)
            if sending is None:
                return await super().acall(*args, **kwargs)
            recall = Recall(answers, sending, kind)
            async with recall.aturn() as answer:
                if answer is None:
                    return await recall.aasked()
                return await recall.agiven(answer)

    Remembering.__name__, Remembering.__qualname__ = kind.__name__, kind.__qualname__
    Remembering.__module__ = kind.__module__
    return standing_for(kind, Remembering)
