"""What an object was given: told by the bytecode of its methods, whatever it is kept as."""

import dis
from functools import lru_cache
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType

from opro_dspy.fingerprints.changes import (
    SELF,
    TARGETS,
    Origin,
    Stack,
    used_methods,
    users_methods,
)


def given_to(kind: type) -> set[str]:
    """Return the attributes that a class makes of what it is given, other than by a call.

    That is by its constructor or by another method that no call of it as an LM or engine leads to.
    """
    used = used_methods(kind)
    methods = (code for name, code in users_methods(kind) if name not in used)
    return set[str]().union(*map(given_in, methods))


@lru_cache(maxsize=4096)
def given_in(code: CodeType) -> frozenset[str]:
    """Return the attributes of its first argument that a method makes of its other arguments.

    `self._url = f"{host}:{port}"`, `self.mode = "a" if strict else "b"`, `self.rules.append(x)`,
    and what it assigns in a branch that one of them decides.
    """
    if not code.co_argcount:
        return frozenset()
    return frozenset(_Given(code).changed - {_GIVEN})


_GIVEN = "~given"
"""Stands for what a method was given, and for what was made of it."""


class _Given(Stack):
    """What a method has on its stack, as far as it was given."""

    def __init__(self, code: CodeType) -> None:
        self._until = 0
        """Where a branch ends that something given decides."""
        count = code.co_argcount + code.co_kwonlyargcount
        count += sum(bool(code.co_flags & flag) for flag in (CO_VARARGS, CO_VARKEYWORDS))
        own, *others = code.co_varnames[:count]
        super().__init__(code, own, {own: SELF, **dict.fromkeys(others, _GIVEN)})

    def _joined(self, there: list[Origin]) -> list[Origin]:
        if len(there) != len(self._held):
            return there
        pairs = zip(self._held, there, strict=True)
        return [_GIVEN if _GIVEN in pair else pair[1] for pair in pairs]

    def _jump(self, step: dis.Instruction) -> None:
        if self._top(1) == _GIVEN or step.offset < self._until:
            self._until = max(self._until, step.argval)

    def _made(self, of: list[Origin]) -> Origin:
        return _GIVEN if _GIVEN in of or self._decided else None

    def _step(self, step: dis.Instruction) -> None:
        given, self._decided = self._top(1) == _GIVEN, step.offset < self._until
        super()._step(step)
        if not given:
            return
        if step.opname.startswith("UNPACK_"):
            self._held[-_size(step) :] = [_GIVEN] * _size(step)
        elif step.opname in ("FOR_ITER", "BINARY_SUBSCR") or step.argrepr == "[]":
            self._held[-1] = _GIVEN

    def _target(self, step: dis.Instruction) -> None:
        assigned = step.opname == "STORE_ATTR" and self._top(TARGETS[step.opname][0]) == SELF
        if not assigned or self._top(2) == _GIVEN or self._decided:
            super()._target(step)


def _size(step: dis.Instruction) -> int:
    """Return into how many values an instruction unpacks one."""
    return dis.stack_effect(step.opcode, step.arg) + 1
