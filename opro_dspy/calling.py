"""Running a program on an example, whether it answers at once or is awaited."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from opro_dspy.loops import Loops

_LOOPS = Loops()


class CancelledInside(Exception):
    """Program or metric raised asyncio.CancelledError, which is no Exception."""


@contextmanager
def own_cancellations() -> Iterator[None]:
    """Raise CancelledInside in the place of asyncio.CancelledError.

    Nobody cancels what runs in here (a cancelled `acompile` starts nothing more), so whatever was
    cancelled is a task of the example's own, and so is the failure.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        said = str(error) or "a task was cancelled that it waited for"
        raise CancelledInside(f"asyncio.CancelledError: {said}") from error


def call(program: dspy.Module, example: dspy.Example) -> Any:
    """Return what `program` makes of the example's inputs.

    A program that has `aforward` only is awaited in this thread, in the thread's event loop (see
    `loops`). It sees DSPy's settings of this thread; there must be no running loop here.

    Raises:
        CancelledInside: If it raised asyncio.CancelledError; other exceptions pass through.
    """
    with own_cancellations():
        if is_async_only(program):
            return _LOOPS.run(program.acall(**example.inputs()))
        return program(**example.inputs())


def is_async_only(program: dspy.Module) -> bool:
    """Tell whether a program can be awaited only."""
    return hasattr(type(program), "aforward") and not hasattr(type(program), "forward")
