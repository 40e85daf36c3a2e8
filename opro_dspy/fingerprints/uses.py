"""What code uses: globals, modules of the user's, and what it imports as it runs."""

import dis
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

from opro_dspy.fingerprints import sources
from opro_dspy.fingerprints.bytecode import all_names, names_in
from opro_dspy.fingerprints.hashing import Describe
from opro_dspy.fingerprints.libraries import library_of, package_of

_GLOBAL_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE_READS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def globals_used(
    code: CodeType, namespace: dict[str, Any], describe: Describe
) -> Iterator[tuple[str, Any]]:
    """Yield what the code uses of its module, and of modules of the user's that it uses.

    Of those modules that is what has the name of an attribute in the code, or all of it if the code
    does more with a module than to take attributes of it.
    """
    used, whole = _Used(code, describe), _whole(code, namespace)
    for name in sorted(names_in(code, _GLOBAL_READS)):
        if name in namespace:
            yield from used.told(name, namespace[name], whole=name in whole)


class _Used:
    """What some code uses of modules of the user's."""

    def __init__(self, code: CodeType, describe: Describe) -> None:
        self._attributes, self._describe = sorted(all_names(code)), describe
        self._seen: set[int] = set()

    def told(self, name: str, value: Any, *, whole: bool = False) -> Iterator[tuple[str, Any]]:
        """Yield what a name stands for, and what the code may use of it if it is a module."""
        if not _is_users(value):
            yield name, self._describe(value)
            return
        yield name, self._describe(value) if whole else {"~module": value.__name__}
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        held = vars(value)
        for attribute in self._attributes:
            if attribute in held:
                yield from self.told(f"{name}.{attribute}", held[attribute])


def _is_users(value: Any) -> bool:
    return isinstance(value, ModuleType) and library_of(value.__name__) is None


def _whole(code: CodeType, namespace: Mapping[str, Any]) -> frozenset[str]:
    """Return the globals that are, or lead to, a user's module that the code passes on."""
    found: set[str] = set()
    done = [i for i in dis.get_instructions(code) if i.opname != "EXTENDED_ARG"]
    for number, instruction in enumerate(done):
        if instruction.opname in _GLOBAL_READS:
            value = namespace.get(str(instruction.argval))
            for following in done[number + 1 :]:
                if not _is_users(value):
                    break
                if following.opname not in _ATTRIBUTE_READS:
                    found.add(str(instruction.argval))
                    break
                value = vars(value).get(str(following.argval))
    inner = (_whole(const, namespace) for const in code.co_consts if isinstance(const, CodeType))
    return frozenset(found.union(*inner))


def imports_of(
    code: CodeType, namespace: dict[str, Any], describe: Describe
) -> Iterator[tuple[str, Any]]:
    """Yield what the code imports as it runs: the same before it ran for the first time and later.

    A user's module is told by its file, or if it has none, by what the code uses of it.
    """
    used = _Used(code, describe)
    for name in sources.imports_in(code, _package_of(namespace)):
        top, file = name.partition(".")[0], sources.file_of(name)
        package = package_of(top, sources.file_of(top) or "") or package_of(name, file or "")
        if package is not None:
            yield top, {"~module": package}
        elif file is not None:
            yield name, sources.told_by_source(name, describe)
        elif name in sys.modules:
            yield from used.told(name, sys.modules[name])


def _package_of(namespace: Mapping[str, Any]) -> str:
    """Return the package by which relative imports of a module go."""
    if isinstance(package := namespace.get("__package__"), str):
        return package
    name = str(namespace.get("__name__", ""))
    return name if "__path__" in namespace else name.rpartition(".")[0]
