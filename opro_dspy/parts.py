"""What a program is made of: modules, containers, objects, and what functions close over."""

import functools
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dspy

from opro_dspy.fingerprints.bytecode import names_in

Parts = Callable[[Any], Iterator[tuple[str, Any]]]
"""Yields the parts of a value, each with what it adds to the path."""

CONTAINERS = (dict, list, tuple, set, frozenset, deque)

ATOMS = (str, bytes, int, float, complex, type(None), type, types.ModuleType)
_SHARED = (*ATOMS, dspy.BaseLM, types.FunctionType, weakref.ref)
"""Nothing in them is copied."""
_NOT_COPIED = frozenset({"callbacks", "history"})
"""Attributes of a module that its copies go without, as `Module.__getstate__` says."""


def walk(root: Any, path: str, parts: Parts) -> Iterator[tuple[str, Any, Any]]:
    """Yield each part of `root` once: its path, itself, and what holds it. The nearest come first.

    Each part is yielded before its own parts are asked for.
    """
    queue, seen = deque([(path, root)]), {id(root): root}
    while queue:
        path, value = queue.popleft()
        for name, part in parts(value):
            if id(part) not in seen:
                seen[id(part)] = part
                yield f"{path}{name}", part, value
                queue.append((f"{path}{name}", part))


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a module or a container holds; of anything else, nothing."""
    if isinstance(value, dspy.Module):
        copied = sorted(vars(value).keys() - _NOT_COPIED)
        yield from _named(".{}", ((name, vars(value)[name]) for name in copied))
    elif isinstance(value, dict):
        yield from _named("[{!r}]", value.items())
    elif isinstance(value, CONTAINERS):
        yield from _named("[{}]", enumerate(value))


def copied_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `copy.deepcopy(value)` copies as well."""
    if isinstance(value, (dspy.Module, *CONTAINERS)):
        yield from members(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, functools.partial):
        yield from ((f".{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
    elif not isinstance(value, _SHARED):
        yield from _named(".{}", _attributes(value).items())


def held_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `value` holds, also what its copies share: variables of functions, weak refs."""
    if isinstance(value, types.FunctionType):
        yield from _named(" ({})", _variables(value))
    elif isinstance(value, weakref.ref):
        yield from _named("(){}", [("", value())])
    else:
        yield from copied_parts(value)
        if isinstance(value, types.MethodType):
            yield from held_parts(value.__func__)


def _named(path: str, parts: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield those parts that can have parts themselves; there may be millions of others."""
    return ((path.format(name), part) for name, part in parts if not isinstance(part, ATOMS))


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes that an object keeps, none of them computed."""
    slots: list[str] = []
    for kind in type(value).__mro__:
        own = kind.__dict__.get("__slots__", ())
        slots += (own,) if isinstance(own, str) else own
    found = {name: _attribute(value, name) for name in slots if name != "__weakref__"}
    kept = _attribute(value, "__dict__")
    return {**found, "__dict__": None, **(kept if isinstance(kept, dict) else {})}


def _attribute(value: Any, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function closes over, its defaults, and the modules of DSPy that it names."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty so far
            continue
    yield from (("a default", part) for part in function.__defaults__ or ())
    yield from (function.__kwdefaults__ or {}).items()
    for name in sorted(names_in(code, frozenset({"LOAD_GLOBAL"}))):
        if isinstance(part := function.__globals__.get(name), dspy.Module):
            yield name, part
