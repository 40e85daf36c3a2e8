"""Code objects: what is in them, and hashes of what they do."""

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

from opro_dspy.fingerprints.hashing import fingerprint


@lru_cache(maxsize=8192)
def code_hash(code: CodeType) -> str:
    """Return a hash of what code does: not of where it stands."""
    told = code.co_code + getattr(code, "co_exceptiontable", b"")
    consts = [_const(const) for const in code.co_consts]
    names = [list(code.co_names), list(code.co_varnames), list(code.co_freevars)]
    return fingerprint([told.hex(), consts, names])


def _const(value: Any) -> Any:
    if isinstance(value, CodeType):
        return code_hash(value)
    if isinstance(value, tuple):
        return [_const(item) for item in value]
    if isinstance(value, frozenset):
        return {"set": sorted(repr(item) for item in value)}
    return [type(value).__name__, repr(value)]


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and the code within it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from with_inner(const)


@lru_cache(maxsize=4096)
def names_in(code: CodeType, operations: frozenset[str]) -> frozenset[str]:
    """Return the names that some operations of the code, and of code within it, have to do with."""
    steps = (step for part in with_inner(code) for step in dis.get_instructions(part))
    return frozenset(str(step.argval) for step in steps if step.opname in operations)


def all_names(code: CodeType) -> frozenset[str]:
    """Return the names of globals and attributes in the code, and in code within it."""
    return frozenset(name for part in with_inner(code) for name in part.co_names)
