"""What a library brings: told by name and version, not by its code."""

import os
import sys
import sysconfig
from functools import cache, reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any

_OWN_PACKAGES = ("dspy", "opro_dspy")
_HEAP_TYPE = 1 << 9
"""Python's flag of classes that were made as it runs, not built in."""


def library_of(module: str) -> str | None:
    """Return package and version if `module` is of Python or an installed package, else None.

    That is told by where its file is: a user's module may have the name of one of Python's.
    """
    top = module.partition(".")[0]
    found = sys.modules.get(module) or sys.modules.get(top)
    package = package_of(module, getattr(found, "__file__", None) or "")
    if package is None or package != top or top in sys.stdlib_module_names:
        return package
    return f"{top} {getattr(sys.modules.get(top), '__version__', '')}".rstrip()


def package_of(module: str, file: str) -> str | None:
    """Return the package that `module` is of, imported yet or not, and its version; else None.

    Args:
        module: The name of a module.
        file: From which it is, or will be imported; "" if there is none.
    """
    top = module.partition(".")[0]
    return None if top == "__main__" else _package(top, file)


@cache
def _package(top: str, file: str) -> str | None:
    if top in sys.stdlib_module_names or top == "builtins":
        return top if _is_of_python(file) else None
    paths = sysconfig.get_paths()
    installed = any(file.startswith(paths[name]) for name in ("purelib", "platlib"))
    installed |= not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
    if not installed and top not in _OWN_PACKAGES:
        return None
    try:
        return f"{top} {version(top)}"
    except PackageNotFoundError:
        return top


def _is_of_python(file: str) -> bool:
    """Tell whether the file of a module with the name of one of Python's is Python's own."""
    paths, beside = sysconfig.get_paths(), Path(os.__file__).parent
    homes = {beside, *(Path(paths[name]) for name in ("stdlib", "platstdlib"))}
    return Path(file).suffix not in (".py", ".pyc") or not homes.isdisjoint(Path(file).parents)


def from_library(value: Any) -> dict[str, str] | None:
    """Return name and version of a function or class that a library brings, or None.

    Where a function is from is told by its code: `functools.wraps` gives it another's names.
    """
    if type(value) is FunctionType:
        module, package = value.__globals__.get("__name__"), library_of_code(value)
        if package is None or "<locals>" in value.__qualname__:
            return None
        if wrapped_by(value) is not None:
            return standing_in_library(value)
        return {"~library": package, "name": f"{module}.{value.__qualname__}"}
    module = getattr(value, "__module__", None) or "builtins"
    module = module if isinstance(module, str) else "builtins"  # Cython's functions have a member
    package = library_of(module)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    if package is None or "<locals>" in name or _is_made(value):
        return None
    return {"~library": package, "name": f"{module}.{name}"}


def _is_made(value: Any) -> bool:
    """Tell whether a class is none of a library's own but made by it: a signature from a text."""
    made_in_python = isinstance(value, type) and bool(value.__flags__ & _HEAP_TYPE)
    return made_in_python and standing_in_library(value) is None


def standing_in_library(value: Any) -> dict[str, str] | None:
    """Return name and version of what a library's module holds under its name, or None."""
    try:
        module, name = value.__module__, getattr(value, "__qualname__", None) or value.__name__
        package = library_of(module)
        held = reduce(getattr, name.split("."), sys.modules[module])
    except Exception:  # noqa: BLE001  (a user's object may refuse in any way)
        return None
    return {"~library": package, "name": f"{module}.{name}"} if package and held is value else None


def library_of_code(function: FunctionType) -> str | None:
    """Return package and version of the module in which a function's code stands, or None."""
    module = function.__globals__.get("__name__")
    return library_of(module) if isinstance(module, str) else None


def wrapped_by(value: Any) -> Any:
    """Return what a decorator that used `functools.wraps` made `value` of, or None."""
    try:
        return value.__wrapped__
    except Exception:  # noqa: BLE001  (a user's object may refuse in any way)
        return None
