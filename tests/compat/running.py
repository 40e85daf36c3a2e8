"""A small compile of a program of any kind."""

import warnings
from dataclasses import dataclass
from typing import Any

import dspy

from opro_dspy import OPRO
from opro_dspy.calling import call
from opro_dspy.program import Program
from tests.compat.kinds import Kind, all_right
from tests.compat.world import world_lm
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


def asked(program: Any, example: dspy.Example) -> tuple[list[str], dict[str, Any]]:
    """Run `program`, without OPRO; return its prompts, of all its LMs, and what it answers."""
    default, parts = world_lm(), Program(program)
    lms = (default, *parts.lms.values(), *parts.other_lms.values())
    engines = {id(lm.engine): lm.engine for lm in lms if lm is not None}.values()
    before = [len(engine.prompts) for engine in engines]
    with dspy.context(lm=default, trace=[]):
        prediction = call(program, example)
    pairs = zip(engines, before, strict=True)
    prompts = sorted(p for engine, known in pairs for p in engine.prompts[known:])
    assert prompts
    return prompts, {name: prediction[name] for name in example.labels()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A kind of program, before and after, with the LMs that it was compiled with."""

    kind: Kind
    student: Any
    program: Any
    lm: dspy.LM
    author: dspy.LM
