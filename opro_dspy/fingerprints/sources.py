"""Modules of the user's by their files, imported yet or not: found, and told, without being run.

What runs is what was imported: where that differs from the file, it is told, too.
"""

import ast
import dis
import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, FunctionType, ModuleType
from typing import Any

from opro_dspy.fingerprints import loaded
from opro_dspy.fingerprints.bytecode import code_hash, with_inner
from opro_dspy.fingerprints.hashing import Describe, fingerprint
from opro_dspy.fingerprints.libraries import library_of, package_of


def file_of(module: str) -> str | None:
    """Return the file that `module` is from, or will be when it is imported; None without one."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return file if isinstance(file, str) else None
    spec = _spec(module)
    return spec.origin if spec is not None and spec.has_location else None


def _spec(module: str) -> ModuleSpec | None:
    """Find a module. `importlib.util.find_spec` alone would run the packages that it is in."""
    top, *inner = module.split(".")
    try:
        spec, name = importlib.util.find_spec(top), top
        for part in inner:
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    except Exception:  # noqa: BLE001  (finders that others installed may refuse in any way)
        return None
    return spec


def source_of(module: str, describe: Describe) -> str | None:
    """Return a hash of what stands in the files of a user's module; None if it has no file.

    That is bytecode, not text, of the module, of the packages that it is in, and of the user's
    modules that these import. A module that was imported before its file was edited has another,
    and one of which something was set since.
    """
    found: dict[str, Any] = {}
    waiting = [module]
    while waiting:
        parts = waiting.pop().split(".")
        for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
            file = file_of(name)
            if name in found or file is None or package_of(name, file) is not None:
                continue
            content = _content(file)
            found[name] = [content.hash, *_stale(name, file, content)]
            in_memory = sys.modules.get(name)
            if isinstance(in_memory, ModuleType) and content.code is not None:
                found[name] += loaded.differing(in_memory, content.code, content.says, describe)
            is_package = os.path.basename(file).startswith("__init__.")
            package = name if is_package else name.rpartition(".")[0]
            waiting += content.imports(package)
    return fingerprint(found) if module in found else None


def module_parts(module: ModuleType, describe: Describe) -> dict[str, str]:
    """Return package and version of a module, or of one of the user's name and source."""
    library = library_of(module.__name__)
    return (
        {"~module": library} if library is not None else told_by_source(module.__name__, describe)
    )


def told_by_source(module: str, describe: Describe) -> dict[str, str]:
    """Return the name of a user's module, and a hash of its source if it has any."""
    source = source_of(module, describe)
    return {"~module": module} if source is None else {"~module": module, "source": source}


class _Content:
    """What stands in a file."""

    def __init__(self, data: bytes, code: CodeType | None) -> None:
        self.code, self._data = code, data
        self.hash = sha256(data).hexdigest() if code is None else code_hash(code)
        self.functions = frozenset(map(code_hash, with_inner(code)) if code else ())
        """Hashes of all code in it."""

    @cached_property
    def says(self) -> loaded.Body:
        """What it says of the names that it binds."""
        return loaded.body_of(ast.parse(self._data).body, self.code) if self.code else loaded.Body()

    def imports(self, package: str) -> list[str]:
        """Return the modules that it imports."""
        return [] if self.code is None else list(imports_in(self.code, package))


def _content(file: str) -> _Content:
    try:
        status = os.stat(file)
        return _read(file, (status.st_mtime_ns, status.st_size))
    except OSError:  # within an archive, or gone
        return _Content(b"", None)


@lru_cache(maxsize=1024)
def _read(file: str, stamp: tuple[int, int]) -> _Content:
    """Read a file as it is; `stamp` is another when it was written again."""
    with open(file, "rb") as opened:
        data = opened.read()
    try:
        code = compile(data, file, "exec", dont_inherit=True) if file.endswith(".py") else None
    except (SyntaxError, ValueError):
        code = None
    return _Content(data, code)


def _stale(name: str, file: str, content: _Content) -> list[str]:
    """Return hashes of the functions of an imported module that its file does not hold now."""
    functions = _functions_of(sys.modules.get(name), file)
    return sorted({code_hash(f.__code__) for f in functions} - content.functions)


def _functions_of(module: Any, file: str) -> Iterator[FunctionType]:
    """Yield functions and methods of a module that stand in its file."""
    if not isinstance(module, ModuleType):
        return
    own = [v for v in list(vars(module).values()) if _is_from(v, module)]
    methods = [m for kind in own if isinstance(kind, type) for m in list(vars(kind).values())]
    for value in [*own, *methods]:
        function = getattr(value, "__func__", value) if type(value) in _WRAPPING else value
        if type(function) is FunctionType and function.__code__.co_filename == file:
            yield function


_WRAPPING = (staticmethod, classmethod)


def _is_from(value: Any, module: ModuleType) -> bool:
    functional = type(value) is FunctionType or isinstance(value, type)
    return functional and value.__module__ == module.__name__


_IMPORTING = frozenset({"import_module", "__import__"})
"""Functions that import a module by its name."""


@lru_cache(maxsize=4096)
def imports_in(code: CodeType, package: str) -> tuple[str, ...]:
    """Return the modules that code, or code within it, imports; also what may be one.

    Args:
        code: The code.
        package: The package that it is in, by which relative imports go.
    """
    found: dict[str, None] = {}
    for part in with_inner(code):
        done = [i for i in dis.get_instructions(part) if i.opname != "EXTENDED_ARG"]
        for number, instruction in enumerate(done):
            if instruction.opname == "IMPORT_NAME" and number >= 2:
                level, names = done[number - 2].argval, done[number - 1].argval
                base = _absolute(instruction.argval, level, package)
                held = [f"{base}.{name}" for name in names or () if name != "*"]
                found |= dict.fromkeys([base, *held] if base else ())
        if not _IMPORTING.isdisjoint(part.co_names):
            texts = [const for const in part.co_consts if isinstance(const, str)]
            found |= dict.fromkeys(t for t in texts if all(p.isidentifier() for p in t.split(".")))
    return tuple(found)


def _absolute(name: str, level: Any, package: str) -> str:
    """Return the full name of a module, "" if there is none."""
    try:
        return importlib.util.resolve_name("." * level + name, package or None) if level else name
    except (ImportError, TypeError):
        return ""
