"""Functions by what they do: bytecode, constants, and what of their module they use.

Not by their source text: a file may have been edited since it was imported, and what runs is
what was imported. The price is that another Python version makes other fingerprints.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    MappingProxyType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)
from typing import Any

from opro_dspy.fingerprints.bytecode import names_in
from opro_dspy.fingerprints.hashing import Describe
from opro_dspy.fingerprints.libraries import library_of_code, wrapped_by
from opro_dspy.fingerprints.uses import globals_used, imports_of

_BUILTINS = (
    *(BuiltinFunctionType, MethodWrapperType, WrapperDescriptorType),
    *(MethodDescriptorType, ClassMethodDescriptorType),
)


def function_parts(function: Any, describe: Describe) -> dict[str, Any]:
    """Return what a function does, as far as it shows: code, defaults, closure, globals used.

    What a library's function uses of its module is told by the library's version.
    """
    code, wrapped = function.__code__, wrapped_by(function)
    package = library_of_code(function)
    if package is not None and (registry := _registry(function)) is not None:
        return {"~library": package, "dispatch": describe(registry)}
    closure = closure_of(function)
    if package is not None and wrapped is not None:
        closure = _without_memory(code, closure)
    told = {
        "~function": code_parts(code, describe),
        "defaults": describe(function.__defaults__),
        "keyword_defaults": describe(function.__kwdefaults__),
        "closure": {name: describe(value) for name, value in closure.items()},
    }
    if package is not None:
        return {**told, "~library": package, "wraps": describe(wrapped)}
    told["globals"] = dict(globals_used(code, function.__globals__, describe))
    imported = dict(imports_of(code, function.__globals__, describe))
    return {**told, "imports": imported} if imported else told


def _registry(function: Any) -> list[Any] | None:
    """Return types and functions of a `functools.singledispatch`, else None."""
    registry = getattr(function, "registry", None)
    if not isinstance(registry, MappingProxyType):
        return None
    return sorted(([_name(kind), chosen] for kind, chosen in registry.items()), key=lambda i: i[0])


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def closure_of(function: Any) -> dict[str, Any]:
    """Return what a function holds of those around it, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # the cell is empty
            found[name] = None
    return found


def attributes_of(function: Any, around: Iterable[CodeType]) -> dict[str, Any]:
    """Return the public attributes of a function of the user's.

    Those that it sets itself, or a function around it does, are left out: they may be counters.

    Args:
        function: The function.
        around: Its code, and that of functions that hold it.
    """
    if library_of_code(function) is not None:
        return {}
    own = frozenset[str]().union(*(names_in(code, frozenset({"STORE_ATTR"})) for code in around))
    return {
        name: value
        for name, value in vars(function).items()
        if not name.startswith("_") and name not in own
    }


def _without_memory(code: CodeType, closure: Mapping[str, Any]) -> dict[str, Any]:
    """Return the closure of a library's wrapper without what it counts and what it remembers."""
    counted = names_in(code, frozenset({"STORE_DEREF"}))
    return {
        name: type(value) if isinstance(value, Mapping) else value
        for name, value in closure.items()
        if name not in counted
    }


def code_parts(code: CodeType, describe: Describe) -> dict[str, Any]:
    """Return bytecode, constants and names of a code object."""
    consts = [
        code_parts(const, describe) if isinstance(const, CodeType) else describe(const)
        for const in code.co_consts
    ]
    told = code.co_code + getattr(code, "co_exceptiontable", b"")
    return {
        "bytecode": hashlib.sha256(told).hexdigest(),
        "consts": consts,
        "names": list(code.co_names),
        "locals": list(code.co_varnames),
    }


def is_builtin(value: Any) -> bool:
    """Tell whether `value` is a function in C, or a method of one."""
    return isinstance(value, _BUILTINS)


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def text_of(value: Any) -> str:
    """Return the repr of `value` without addresses."""
    return _ADDRESS.sub("", repr(value))
