"""Running a program on an example, whether it answers at once or is awaited."""

from typing import Any

import dspy

from opro_dspy.loops import Loops

_LOOPS = Loops()


def call(program: dspy.Module, example: dspy.Example) -> Any:
    """Return what `program` makes of the example's inputs.

    A program that has `aforward` only is awaited in this thread, in the thread's event loop (see
    `loops`). It sees DSPy's settings of this thread; there must be no running loop here.
    """
    if is_async_only(program):
        return _LOOPS.run(program.acall(**example.inputs()))
    return program(**example.inputs())


def is_async_only(program: dspy.Module) -> bool:
    """Tell whether a program can be awaited only."""
    return hasattr(type(program), "aforward") and not hasattr(type(program), "forward")
