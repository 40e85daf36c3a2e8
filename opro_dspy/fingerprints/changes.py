"""What an object changes of itself as it is used: told by the bytecode of its methods."""

import dis
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType

from opro_dspy.fingerprints.bytecode import all_names, names_in, with_inner
from opro_dspy.fingerprints.libraries import from_library

_USES = ("__call__", "acall", "forward", "aforward", "complete", "acomplete", "stream", "astream")
"""Methods by which DSPy asks an LM or an engine."""

_CHANGING = frozenset(
    {
        *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert"),
        *("pop", "popitem", "popleft", "push", "remove", "setdefault", "subtract", "update"),
        "move_to_end",
    }
)
"""Methods that change a list, set or dict, and those derived from them."""


MADE_IN = ("__init__", "__post_init__")


def assigned_in(kind: type, *, but_in: Collection[str] = MADE_IN) -> set[str]:
    """Return the attributes that methods of a class assign, but not as it is made."""
    found: set[str] = set()
    for base in kind.__mro__:
        for name, code in methods_of(base):
            if name not in but_in:
                found |= names_in(code, frozenset({"STORE_ATTR"}))
    return found


def changed_by_use(kind: type) -> set[str]:
    """Return the attributes that a call of an LM or engine assigns, or changes in place.

    What is looked at are the methods of the user's that a call leads to, by their names.
    """
    used = used_methods(kind)
    return set[str]().union(
        *(changed_in(code) for name, code in users_methods(kind) if name in used)
    )


def used_methods(kind: type) -> set[str]:
    """Return the names of methods that a call of an LM or engine leads to, and other names."""
    methods: dict[str, list[CodeType]] = {}
    for name, code in users_methods(kind):
        methods.setdefault(name, []).append(code)
    waiting, seen = list(_USES), {*_USES, *MADE_IN}
    while waiting:
        for code in methods.get(waiting.pop(), ()):
            named = all_names(code) - seen
            seen |= named
            waiting += named
    return seen - {*MADE_IN}


def users_methods(kind: type) -> Iterator[tuple[str, CodeType]]:
    """Yield name and code of the methods of a class that no library brings."""
    for base in kind.__mro__:
        if from_library(base) is None:
            yield from methods_of(base)


def methods_of(kind: type) -> Iterator[tuple[str, CodeType]]:
    """Yield name and code of the methods that a class itself has, and of properties."""
    for name, member in vars(kind).items():
        if isinstance(member, property):
            found = {name: member.fget, f"{name}.setter": member.fset}
        else:
            found = {name: getattr(member, "__func__", member)}
        for called, function in found.items():
            if type(function) is FunctionType:
                yield called, function.__code__


@lru_cache(maxsize=4096)
def changed_in(code: CodeType) -> frozenset[str]:
    """Return the attributes of its first argument that a method assigns or changes in place.

    `self.last = x`, `self.seen.add(x)`, `self.stats["calls"] += 1`, `self.by[model].append(x)`, and
    the same by another name (`seen = self.seen`). Values are not followed through calls.
    """
    own = code.co_varnames[0] if code.co_argcount else ""
    first = {own: SELF} if own else {}
    parts = (Stack(part, own, first if part is code else {}) for part in with_inner(code))
    return frozenset[str]().union(*(part.changed for part in parts))


SELF = ""
"""Stands for the object itself, among names of its attributes."""

Origin = str | None
"""The attribute that a value is from; None for anything else."""


class Stack:
    """What a function has on its stack, instruction by instruction: where each value is from."""

    def __init__(self, code: CodeType, own: str, names: Mapping[str, Origin]) -> None:
        self.changed: set[str] = set()
        self._held: list[Origin] = []
        self._names, self._own = dict(names), own
        self._at: dict[int, list[Origin]] = {}
        """The stack where a jump leads to."""
        for step in dis.get_instructions(code):
            if step.offset in self._at:
                self._held = self._joined(self._at[step.offset])
            if step.opcode in _JUMPS and isinstance(step.argval, int):
                self._jump(step)
                self._at.setdefault(step.argval, self._resized(_effect(step, jump=True)))
            self._step(step)

    def _joined(self, there: list[Origin]) -> list[Origin]:
        """Return the stack where a jump arrives, of which it brings one."""
        return there

    def _jump(self, step: dis.Instruction) -> None:
        """Take note of a jump that the top of the stack may decide."""

    def _made(self, of: list[Origin]) -> Origin:
        """Return where a value is from that an instruction made of others."""
        return None

    def _step(self, step: dis.Instruction) -> None:
        name = step.opname
        if name.startswith(("LOAD_FAST", "STORE_FAST")):
            self._fast(step)
        elif name in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE"):
            own = self._own and step.argval == self._own
            self._held.append(SELF if own else self._names.get(str(step.argval)))
        elif name in ("LOAD_ATTR", "LOAD_METHOD"):
            self._attribute(str(step.argval), 1 + _effect(step))
        elif name in TARGETS:
            self._target(step)
            self._held = self._resized(-TARGETS[name][1])
        elif name in _MOVES:
            self._move(name, step.arg or 0)
        elif name == "BINARY_SUBSCR" or (name == "BINARY_OP" and step.argrepr == "[]"):
            self._held = self._resized(-1)  # an item is from where all are
        elif name not in _STILL:
            effect = _effect(step)
            of = self._held[len(self._held) - max(1 - effect, 0) :]  # if it leaves one value
            self._held = self._resized(effect)
            if self._held and not name.startswith(_TAKING):
                self._held[-1] = self._made(of)

    def _resized(self, by: int) -> list[Origin]:
        size = max(len(self._held) + by, 0)
        return [*self._held[:size], *[None] * (size - len(self._held))]

    def _top(self, place: int) -> Origin:
        return self._held[-place] if len(self._held) >= place else None

    def _fast(self, step: dis.Instruction) -> None:
        """Follow local names; later Pythons put two of these into one instruction."""
        names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        ways = [part for part in step.opname.split("_") if part in ("LOAD", "STORE")]
        for way, name in zip(ways, names, strict=False):
            if way == "LOAD":
                self._held.append(self._names.get(name))
            else:
                self._names[name] = self._top(1)
                self._held = self._resized(-1)

    def _attribute(self, name: str, size: int) -> None:
        source = self._top(1)
        if source and name in _CHANGING:
            self.changed.add(source)
        origin = name if source == SELF else source
        self._held = [*self._resized(-1), *[origin] * size]

    def _target(self, step: dis.Instruction) -> None:
        """Note what an assignment or deletion changes."""
        source = self._top(TARGETS[step.opname][0])
        if source == SELF and step.opname == "STORE_ATTR":
            source = str(step.argval)
        if source:
            self.changed.add(source)

    def _move(self, name: str, place: int) -> None:
        held = self._held = [*[None] * max(0, 4 - len(self._held)), *self._held]
        if name == "COPY":
            held.append(self._top(place))
        elif name == "SWAP" and place <= len(held):
            held[-1], held[-place] = held[-place], held[-1]
        elif name.startswith("DUP"):
            held += held[-2:] if name == "DUP_TOP_TWO" else held[-1:]
        elif name.startswith("ROT"):
            size = {"ROT_TWO": 2, "ROT_THREE": 3, "ROT_FOUR": 4}[name]
            held.insert(len(held) - size, held.pop())


def _effect(step: dis.Instruction, *, jump: bool = False) -> int:
    arg = step.arg if step.opcode >= dis.HAVE_ARGUMENT else None
    return dis.stack_effect(step.opcode, arg, jump=jump)


_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
TARGETS = {
    "STORE_ATTR": (1, 2),
    "STORE_SUBSCR": (2, 3),
    "STORE_SLICE": (3, 4),
    "DELETE_SUBSCR": (2, 2),
}
"""Where on the stack that is which an instruction changes, counted from 1; how many it takes."""
_MOVES = frozenset({"COPY", "SWAP", "DUP_TOP", "DUP_TOP_TWO", "ROT_TWO", "ROT_THREE", "ROT_FOUR"})
_TAKING = ("POP_", "DELETE_", "STORE_", "RETURN_", "RAISE_", "RERAISE", "JUMP_", "END_")
_STILL = frozenset({"EXTENDED_ARG", "CACHE", "NOP", "RESUME", "KW_NAMES", "NOT_TAKEN"})
