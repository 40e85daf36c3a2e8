"""What DSPy itself cannot run, with the proof: rows of docs/compatibility.md."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from tests.compat.kinds import ASK, Awaited, Solver, Stages, successor
from tests.compat.world import Interpreter, world_lm

QUESTION = "What is 3 plus 1?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that does not run without OPRO either."""

    title: str
    note: str
    """What happens, or what to do."""
    run: Callable[[], Any]
    """Runs it, without OPRO."""
    error: str
    """What is raised, or written to the terminal in its place."""


class HoldsParallel(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.ask, self.parallel = dspy.Predict(ASK), dspy.Parallel()


class Deep(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lists, self.dicts = [[dspy.Predict(ASK)]], {"a": {"b": dspy.Predict(ASK)}}
        self.mixed = {"a": [dspy.Predict(ASK)]}, [{"b": dspy.Predict(ASK)}]


class Numbered(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.stages = {1: dspy.Predict(ASK), "1": dspy.Predict(ASK)}


class Closing(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict(ASK)
        self.tools = [lambda: self.ask]


class Adds:
    def __call__(self, n: int) -> int:
        return n + 1


def never(inputs: dict[str, Any], prediction: Any) -> float:
    """A reward that nothing earns."""
    return 0.0


def _two_lms() -> Any:
    program = Stages()
    program.first.lm = world_lm("other")
    return dspy.BestOfN(program, N=2, reward_fn=never, threshold=1.0)(question=QUESTION)


def _hinted() -> Any:
    with dspy.context(adapter=dspy.TwoStepAdapter(world_lm("extraction"))):
        program = dspy.Refine(Solver("question -> n: int"), N=3, reward_fn=never, threshold=1.0)
        return program(question=QUESTION)


def _with_a_tool_of_a_script() -> Any:
    def add(n: int) -> int:
        """Return n and one: it is no module's own, so that it is saved as those of scripts are."""
        return n + 1

    program, folder = dspy.CodeAct(ASK, [add], interpreter_factory=Interpreter), tempfile.mkdtemp()
    program.save(folder, save_program=True)
    return dspy.load(folder, allow_pickle=True)(question=QUESTION)


def _deep() -> None:
    if not Deep().predictors():
        raise LookupError("no predictor is found")


def _numbered() -> None:
    if len(Numbered().dump_state()) == 1:
        raise LookupError("one predictor is not saved")


def _closing() -> None:
    program = Closing()
    if program.deepcopy().tools[0]() is program.ask:
        raise LookupError("the copy asks the original's predictor")


_NOBODY = "object has no attribute 'forward'"

LIMITS = (
    Limit(
        title="`BestOfN` around a program with `aforward` only",
        note="the attempts fail, and the prediction is None",
        run=lambda: dspy.BestOfN(Awaited(), N=2, reward_fn=never, threshold=1.0)(question=QUESTION),
        error=_NOBODY,
    ),
    Limit(
        title="`Refine` around a program with `aforward` only",
        note="the attempts fail, and the prediction is None",
        run=lambda: dspy.Refine(Awaited(), N=2, reward_fn=never, threshold=1.0)(question=QUESTION),
        error=_NOBODY,
    ),
    Limit(
        title="`acall` of `BestOfN` or `Refine`",
        note="they have `forward` only",
        run=lambda: asyncio.run(
            dspy.BestOfN(dspy.Predict(ASK), N=2, reward_fn=never, threshold=1.0).acall(question="?")
        ),
        error="no attribute 'aforward'",
    ),
    Limit(
        title="`BestOfN` or `Refine` around predictors with different LMs",
        note="give all of them the same `lm`, or none",
        run=_two_lms,
        error="Multiple LMs are being used",
    ),
    Limit(
        title="`Refine` under `TwoStepAdapter`",
        note="only its first attempt runs; the others fail",
        run=_hinted,
        error="missing 1 required positional argument: 'extraction_model'",
    ),
    Limit(
        title="saving a whole program that holds a `Parallel`",
        note="make it in `forward`; JSON works either way",
        run=lambda: HoldsParallel().save(tempfile.mkdtemp(), save_program=True),
        error="cannot pickle",
    ),
    Limit(
        title="a whole saved `CodeAct` whose tool is defined in a script or a notebook",
        note="the source that `CodeAct` sends is not saved; import the tool from a module, or save "
        "as JSON",
        run=_with_a_tool_of_a_script,
        error="could not get source code",
    ),
    Limit(
        title="modules in lists or dicts that lie in other lists or dicts",
        note="DSPy does not find them (OPRO names them); make the inner one a module",
        run=_deep,
        error="no predictor is found",
    ),
    Limit(
        title="modules in one dict under the keys `1` and `'1'`",
        note="both get one name, and one is lost (OPRO refuses); use keys that differ as text",
        run=_numbered,
        error="one predictor is not saved",
    ),
    Limit(
        title="functions in a program (tools, rewards) that close over it",
        note="copies of the program go on asking the original's predictors (OPRO refuses); make "
        "the function a method",
        run=_closing,
        error="the copy asks the original's predictor",
    ),
    Limit(
        title="`CodeAct` with callable objects as tools",
        note="functions only",
        run=lambda: dspy.CodeAct(ASK, [successor, Adds()]),
        error="only accepts functions",
    ),
)
