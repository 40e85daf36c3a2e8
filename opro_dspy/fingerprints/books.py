"""Which attributes of an LM or engine say what it is, and which are books that it keeps."""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from opro_dspy.fingerprints.changes import assigned_in, changed_by_use
from opro_dspy.fingerprints.given import given_to
from opro_dspy.fingerprints.libraries import from_library
from opro_dspy.fingerprints.objects import arguments_of

logger = logging.getLogger(__name__)

APART = "~apart"
"""Under this name stands what no other object shares; a manifest leaves it out."""


def lasting(kind: type, held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an object of `kind` without its books.

    What it was given counts: its arguments (but no number with a default that a call assigns: a
    counter), what methods make of theirs, and what was set from outside. Left out is what a call
    assigns or changes in place, and of the rest private attributes, numbers and lists.
    """
    needed = {name.lstrip("_"): is_needed for name, is_needed in arguments_of(kind).items()}
    used, given, assigned = changed_by_use(kind), given_to(kind), assigned_in(kind, but_in=())

    def counts(name: str, value: Any) -> bool:
        if (plain := name.lstrip("_")) in needed:
            return needed[plain] or not (is_number(value) and name in used)
        if name in used:
            return False
        if name in given or name not in assigned:
            return True
        return not (name.startswith("_") or is_number(value) or isinstance(value, list))

    return {name: value for name, value in held.items() if counts(name, value)}


def is_number(value: Any) -> bool:
    """Tell whether `value` is a number, which may be a counter."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_told_apart: dict[int, tuple[Any, str]] = {}
_warned: set[type] = set()


def apart(value: Any, kind: type, told: Any) -> dict[str, str]:
    """Return what tells an LM or engine from all others if what it holds does not, else nothing.

    Args:
        value: The LM or engine.
        kind: Its class.
        told: The description of what of it counts.
    """
    held = told.items() if isinstance(told, dict) else ()
    mute = sorted(name for name, item in held if _says_nothing(item))
    if not mute and (told or from_library(kind) is None):
        return {}
    if kind not in _warned:
        _warned.add(kind)
        logger.warning(
            "%s cannot be told from others of its class (%s): no other process shares its answers "
            "and scores, and a resume does not see a change there. Give the class a "
            "`dump_state()` that returns what its answers depend on, as JSON.",
            *(
                kind.__qualname__,
                f"nothing shows in {', '.join(mute)}" if mute else "it shows nothing",
            ),
        )
    return {APART: _told_apart.setdefault(id(value), (value, uuid4().hex))[1]}


_ASIDE = (
    *("_thread", "threading", "asyncio", "queue", "_queue", "concurrent", "multiprocessing"),
    *("weakref", "contextvars", "_contextvars", "ssl", "_ssl"),
)
"""Modules whose objects have no part in answers: locks, events, pools."""


def _says_nothing(told: Any) -> bool:
    """Tell whether a description is that of a library's object of which nothing shows."""
    if not isinstance(told, dict) or told.get("state") or told.get("content"):
        return False
    kind = told.get("~object")
    name = str(kind.get("name", "")) if isinstance(kind, dict) and "~library" in kind else ""
    if name in ("", "builtins.object") or "wraps" in told:  # a mark for "nothing given"
        return False
    return name.partition(".")[0] not in _ASIDE


def without_marks(told: Any) -> Any:
    """Return a description without what tells an LM or engine from all others."""
    if isinstance(told, dict):
        return {name: without_marks(item) for name, item in told.items() if name != APART}
    return [without_marks(item) for item in told] if isinstance(told, list) else told
