"""Functions and classes by what they do: bytecode, constants, and what of their module they use.

Not by their source text: a file may have been edited since it was imported, and what runs is
what was imported. The price is that another Python version makes other fingerprints.
"""

import dis
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

Describe = Callable[[Any], Any]

_OWN_PACKAGES = ("dspy", "opro_dspy")
_NOISE = frozenset({"_abc_impl"}) | {
    f"__{name}__"
    for name in (
        *("module", "doc", "dict", "weakref", "qualname", "slots", "classcell"),
        *("annotations", "annotations_cache", "annotate", "annotate_func"),
        *("firstlineno", "static_attributes", "abstractmethods", "parameters"),
        *("orig_bases", "match_args", "dataclass_params", "slotnames"),
    )
}
"""Members of a class that say nothing of what it does, or say it again, or that Python adds when
an object is copied for the first time (`__slotnames__`)."""

_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_READS_NAME = _READS_GLOBAL | {"LOAD_ATTR", "LOAD_METHOD"}
"""Instructions with the name of a global or an attribute."""


@cache
def library_of(module: str) -> str | None:
    """Return package and version if `module` is of Python or an installed package, else None."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "builtins":
        return top
    file = getattr(sys.modules.get(module) or sys.modules.get(top), "__file__", None) or ""
    paths = sysconfig.get_paths()
    installed = any(file.startswith(paths[name]) for name in ("purelib", "platlib"))
    if not installed and top not in _OWN_PACKAGES:
        return None
    try:
        return f"{top} {version(top)}"
    except PackageNotFoundError:
        return f"{top} {getattr(sys.modules.get(top), '__version__', '')}".rstrip()


def from_library(value: Any) -> dict[str, str] | None:
    """Return name and version of a function or class that a library brings, or None.

    A function is known by the module that its code lies in: `functools.wraps` gives a wrapper the
    name of what it wraps.
    """
    if isinstance(value, FunctionType):
        module = value.__globals__.get("__name__", "")
    else:
        module = getattr(value, "__module__", None) or "builtins"
    package = library_of(module)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    if package is None or "<locals>" in name or hasattr(value, "__wrapped__"):
        return None
    return {"~library": package, "name": f"{module}.{name}"}


def function_parts(function: Any, describe: Describe) -> dict[str, Any]:
    """Return what a function does, as far as it shows: code, defaults, closure, globals used."""
    code = function.__code__
    closure = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = describe(cell.cell_contents)
        except ValueError:  # the cell is empty
            closure[name] = None
    return {
        "~function": code_parts(code, describe),
        "defaults": describe(function.__defaults__),
        "keyword_defaults": describe(function.__kwdefaults__),
        "closure": closure,
        "globals": dict(_globals(code, function.__globals__, describe)),
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


def _names(code: CodeType) -> Iterator[tuple[str, bool]]:
    """Yield the names of globals and attributes that the code reads, and which of the two."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS_NAME and isinstance(instruction.argval, str):
            yield instruction.argval, instruction.opname in _READS_GLOBAL
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _globals(
    code: CodeType, namespace: dict[str, Any], describe: Describe
) -> Iterator[tuple[str, Any]]:
    """Yield what the code uses of its module, and of modules of the user's that it uses."""
    found = set(_names(code))
    for name in sorted({name for name, is_global in found if is_global}):
        if name not in namespace:
            continue
        value = namespace[name]
        yield name, describe(value)
        if isinstance(value, ModuleType) and library_of(value.__name__) is None:
            for attribute in sorted({name for name, _ in found} & vars(value).keys()):
                yield f"{name}.{attribute}", describe(vars(value)[attribute])


def module_parts(module: ModuleType) -> dict[str, str]:
    """Return package and version of a module, or the name of one of the user's."""
    return {"~module": library_of(module.__name__) or module.__name__}


def class_parts(kind: type, describe: Describe) -> dict[str, Any]:
    """Return what a class does: its bases and members."""
    members = {
        name: describe(_unwrapped(member))
        for name, member in sorted(vars(kind).items())
        if name not in _NOISE and not name.startswith(("__pydantic", "model_", "_abc"))
    }
    return {
        "~class": kind.__name__,
        "bases": [describe(base) for base in kind.__bases__ if base is not object],
        "members": members,
    }


def _unwrapped(member: Any) -> Any:
    """Return the functions in a member of a class."""
    if isinstance(member, (staticmethod, classmethod)):
        return [type(member).__name__, member.__func__]
    if isinstance(member, property):
        return ["property", member.fget, member.fset, member.fdel]
    return member


def wrapper_parts(value: Any, describe: Describe) -> dict[str, Any] | None:
    """Return what a library's wrapper of a function is and what it wraps; None for others.

    That of the user's own is told by its code and its closure, which holds what it wraps.
    """
    wrapped = getattr(value, "__wrapped__", None)
    if wrapped is None:
        return None
    kind: Any = value if isinstance(value, FunctionType) else type(value)
    module = kind.__globals__.get("__name__", "") if kind is value else kind.__module__
    package = library_of(module)
    if package is None:
        return None
    name = kind.__code__.co_name if kind is value else kind.__qualname__
    registry = getattr(value, "registry", {})  # of functools.singledispatch
    told = {"~library": package, "name": f"{module}.{name}", "wraps": describe(wrapped)}
    return {**told, "registry": describe(dict(registry))} if registry else told


def is_function(value: Any) -> bool:
    """Tell whether `value` is a function in Python code."""
    return isinstance(value, FunctionType)


def is_builtin(value: Any) -> bool:
    """Tell whether `value` is a function in C, or a method of one."""
    return isinstance(value, BuiltinFunctionType) or inspect.ismethoddescriptor(value)


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def text_of(value: Any) -> str:
    """Return the repr of `value` without addresses."""
    return _ADDRESS.sub("", repr(value))
