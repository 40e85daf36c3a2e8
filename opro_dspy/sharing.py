"""What copies of a program share with it: LMs, results of optimizers, what cannot be copied."""

import copy
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError

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

    These are its LMs, old results, and what cannot be copied (locks, ...).

    Raises:
        ConfigurationError: If the student cannot be copied even so.
    """
    shared: dict[int, Any] = {id(lm): lm for _, lm in lms_of(student)}
    shared |= {id(value): value for value in old_results(student).values()}
    if _copy_error(student, shared) is None:
        return shared
    stubborn = {path: part for path, part in _parts(student) if _copy_error(part, shared)}
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


def _copy_error(value: Any, shared: Mapping[int, Any]) -> Exception | None:
    try:
        copy.deepcopy(value, dict(shared))
    except Exception as error:  # noqa: BLE001  (a user's object may refuse in any way)
        return error
    return None


def lms_of(program: dspy.Module) -> list[tuple[str, dspy.BaseLM]]:
    """Return the LMs that `program` holds, predictors' or not, each once and with its place."""
    return [(path, part) for path, part in _parts(program) if isinstance(part, dspy.BaseLM)]


def _parts(student: dspy.Module) -> Iterator[tuple[str, Any]]:
    """Yield what the student is made of, modules and containers taken apart, each with a path."""
    queue, seen = deque([(type(student).__name__, student)]), set()
    while queue:
        path, value = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dspy.Module):
            copied = vars(value).keys() - {"callbacks", "history"}  # as Module.__getstate__ says
            queue += [(f"{path}.{name}", vars(value)[name]) for name in sorted(copied)]
        elif isinstance(value, dict):
            queue += [(f"{path}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, (list, tuple)):
            queue += [(f"{path}[{index}]", part) for index, part in enumerate(value)]
        else:
            yield path, value
