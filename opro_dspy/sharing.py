"""What copies of a program share with it: LMs, results of optimizers, what cannot be copied."""

import copy
import inspect
import logging
from collections import deque
from collections.abc import Collection, Container, Iterator, Mapping
from types import FunctionType
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.fingerprints.bytecode import all_names
from opro_dspy.parts import CONTAINERS, copied_parts, held_parts, members, walk

logger = logging.getLogger(__name__)

OURS = "_compiled_by_opro_dspy"
"""An attribute of the programs that this package returns."""

COUNTS = frozenset({"score", "total_calls"})
"""Attached together, or else a program's own."""

RESULT_ATTRIBUTES = (
    *sorted(COUNTS),
    "candidate_programs",
    "detailed_results",
    "mb_candidate_programs",
    "results_best",
    "results_latest",
    "trial_logs",
    OURS,
)
"""What optimizers attach to the program they return; working copies go without."""

RESULT_MARKS = frozenset({"candidate_programs", "detailed_results", OURS})
"""Of these, each optimizer of DSPy attaches at least one."""


def old_results(program: dspy.Module) -> dict[str, Any]:
    """Return what an optimizer attached; without its marks, such names are the program's own."""
    found = {name: vars(program)[name] for name in RESULT_ATTRIBUTES if name in vars(program)}
    found = {name: value for name, value in found.items() if not isinstance(value, dspy.Module)}
    if not found.keys() >= COUNTS:
        found = {name: value for name, value in found.items() if name not in COUNTS}
    return found if found.keys() & RESULT_MARKS else {}


def shared_parts(student: dspy.Module) -> dict[int, Any]:
    """Return what copies of `student` share with it, by id: a memo for `copy.deepcopy`.

    These are its LMs, old results, and what cannot be copied (locks, ...). What holds such a thing
    and modules of the program too (a method of the program, a tool made of it) is copied.

    Raises:
        ConfigurationError: If the student cannot be copied even so.
    """
    shared: dict[int, Any] = {id(lm): lm for _, lm in lms_of(student)}
    shared |= {id(value): value for value in old_results(student).values()}
    if _copy_error(student, shared) is None:
        return shared
    stubborn = dict(_stubborn(student, shared))
    shared |= {id(part): part for part in stubborn.values()}
    if error := _copy_error(student, shared):
        raise ConfigurationError(
            f"the program {type(student).__name__} cannot be copied: {error!r}. "
            "copy.deepcopy(program) has to work, apart from attributes such as locks."
        ) from error
    logger.warning(
        "copy.deepcopy fails for %s: all candidates' programs share it with the student.",
        ", ".join(stubborn),
    )
    return shared


def _stubborn(student: dspy.Module, shared: Mapping[int, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what cannot be copied and holds no module of the student, each with its path."""
    modules = {id(module): module for _, module in student.named_sub_modules(dspy.Module)}
    queue, seen = deque[tuple[str, Any]]([(type(student).__name__, student)]), {id(student)}
    while queue:
        path, value = queue.popleft()
        for name, part in copied_parts(value):
            if id(part) in seen or id(part) in shared:
                continue
            seen.add(id(part))
            if isinstance(part, dspy.Module):
                queue.append((f"{path}{name}", part))
            elif _copy_error(part, {**shared, **modules}):
                if isinstance(part, CONTAINERS) or any(id(m) in modules for m in _modules_in(part)):
                    queue.append((f"{path}{name}", part))
                else:
                    yield f"{path}{name}", part


def _copy_error(value: Any, shared: Mapping[int, Any]) -> Exception | None:
    try:
        copy.deepcopy(value, dict(shared))
    except Exception as error:  # noqa: BLE001  (a user's object may refuse in any way)
        return error
    return None


def lms_of(program: dspy.Module) -> list[tuple[str, dspy.BaseLM]]:
    """Return the LMs that `program` holds, predictors' or not, each once and with its place."""
    parts = walk(program, type(program).__name__, members)
    return [(path, part) for path, part, _ in parts if isinstance(part, dspy.BaseLM)]


def check_copy(program: dspy.Module, student: dspy.Module, free: Collection[dspy.Predict]) -> None:
    """Check that `program`, a copy of `student`, asks none of its predictors.

    Functions are not copied, so what they close over is the student's, and so is what objects hold
    that are their own copies. A function that reads other things of the student is warned of.

    Args:
        program: The copy.
        student: The student.
        free: Those of its predictors whose instruction candidates have other texts for.

    Raises:
        ConfigurationError: If it does; names where.
    """
    asked = {id(predictor) for predictor in free}
    owners = {
        id(module): (name.replace("self", type(student).__name__, 1), module)
        for name, module in student.named_sub_modules(dspy.Module)
        if any(id(predictor) in asked for predictor in module.predictors())
    }

    def parts(value: Any) -> Iterator[tuple[str, Any]]:
        return iter(()) if id(value) in owners else held_parts(value)

    for path, part, holder in walk(program, type(student).__name__, parts):
        if id(part) not in owners:
            continue
        name, module = owners[id(part)]
        if _may_ask(holder, module, asked):
            raise ConfigurationError(
                f"`{path}` is the student's own `{name}`, in copies of the program too: all "
                "candidates would ask the student's predictors. Functions are not copied, nor what "
                "they close over: make the function a method of the program, and give `self.tool` "
                "in its place. An object that returns itself from `__deepcopy__` has to be copied."
            )
        logger.warning(
            "`%s` is the student's own `%s`, in copies of the program too: what is read or changed "
            "there is the student's. A method of the program in its place belongs to the copy.",
            path,
            name,
        )


def _modules_in(value: Any) -> Iterator[Any]:
    return (part for _, part, _ in walk(value, "", copied_parts) if isinstance(part, dspy.Module))


def _may_ask(holder: Any, module: dspy.Module, asked: Container[int]) -> bool:
    """Tell whether `holder` asks one of the predictors `asked` by way of `module`.

    Of functions and methods, the attributes that they name tell, and those of methods so named.
    """
    function = getattr(holder, "__func__", holder)
    if not isinstance(function, FunctionType) or id(module) in asked:
        return True
    asking = {
        name
        for name, part in vars(module).items()
        if id(part) in asked or any(id(inner) in asked for inner in _modules_in(part))
    }
    methods = inspect.getmembers(type(module), inspect.isfunction)
    named = {name: all_names(method.__code__) for name, method in methods}
    while more := {name for name in named.keys() - asking if named[name] & asking}:
        asking |= more
    return bool(all_names(function.__code__) & asking)
