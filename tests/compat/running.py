"""A small compile of a program of any kind."""

import warnings
from dataclasses import dataclass
from typing import Any

import dspy

from opro_dspy import OPRO
from tests.compat.kinds import Kind, all_right
from tests.fakes import word_optimizer


def students(kind: Kind) -> Any:
    """A new student of that kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # CodeAct goes with DSPy 3.5
        return kind.make()


def optimized(kind: Kind, student: Any, lm: dspy.LM, *, adapter: Any = None, **options: Any) -> Any:
    """What OPRO makes of `student`, with few examples and steps."""
    options = {"max_steps": 2, "num_candidates": 3, "num_threads": 2, **options}
    optimizer = OPRO(**{"metric": all_right, "prompt_model": word_optimizer(), **options})
    with dspy.context(lm=lm, adapter=adapter):
        return optimizer.compile(
            student,
            trainset=[kind.example(n) for n in range(10, 20)],
            valset=[kind.example(n) for n in range(30, 42)],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A kind of program, before and after, with the LMs that it was compiled with."""

    kind: Kind
    student: Any
    program: Any
    lm: dspy.LM
    author: dspy.LM
