"""What a module in memory holds otherwise than its file says: edited or set since its import.

A file is read, not run: what can be told of it are its functions, their defaults, and what is
written out. Of what it works out, a name that stands for something else since the first look is
seen, and that the file was edited since then.
"""

import ast
import dis
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, replace
from enum import Enum
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from opro_dspy.fingerprints.bytecode import all_names, code_hash, names_in, with_inner
from opro_dspy.fingerprints.changes import Stack, changed_in
from opro_dspy.fingerprints.hashing import Describe
from opro_dspy.fingerprints.libraries import library_of_code

Difference = tuple[str, Any]
"""A name, and the description of what it stands for in memory."""


@dataclass(frozen=True, slots=True)
class Body:
    """What the body of a module or class says of the names that it binds, each of them once."""

    written: dict[str, Any] = field(default_factory=dict)
    """Values that are written out."""
    functions: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """Hash of its code, and defaults that are written out, of each plain function."""
    classes: dict[str, "Body"] = field(default_factory=dict)
    decorated: bool = False


def differing(module: ModuleType, code: CodeType, says: Body, describe: Describe) -> list[Any]:
    """Return what a module holds otherwise than its file says; nothing if it is as imported.

    Args:
        module: The module, loaded.
        code: Of its file as it is now.
        says: What stands there.
        describe: Returns what is within a value.
    """
    books = _books(code)
    held = {name: value for name, value in vars(module).items() if name not in books}
    found = [[name, told] for name, told in _differences(says, held, describe)]
    edited, others = _since_first_look(module, code, held)
    if not _makes_names(code):
        bound = names_in(code, _BINDING)
        others |= {n: v for n, v in held.items() if n not in bound and _is_set(n, v)}
    known = says.written.keys() | says.functions.keys() | says.classes.keys()
    found += [[name, describe(others[name])] for name in sorted(others.keys() - known)]
    return [*edited, *found]


_BINDING = frozenset({"STORE_NAME", "STORE_GLOBAL", "IMPORT_NAME"})


def _makes_names(code: CodeType) -> bool:
    """Tell whether a module may have names that its code does not show."""
    return _has_star(code) or not _MAKING.isdisjoint(all_names(code))


_MAKING = frozenset({"globals", "vars", "locals", "exec", "setattr"})


def _has_star(code: CodeType) -> bool:
    """Tell whether code imports all names of a module."""
    steps = dis.get_instructions(code)
    return any(i.opname == "LOAD_CONST" and i.argval == ("*",) for i in steps)


def _is_set(name: str, value: Any) -> bool:
    """Tell whether a name is none that Python, or an import of a module within, gives a module."""
    return name.isidentifier() and not name.startswith("__") and not isinstance(value, ModuleType)


def _differences(says: Body, held: Mapping[str, Any], describe: Describe) -> Iterator[Difference]:
    """Yield what differs. Each value is described once: the second time a number would stand."""
    for name in sorted(says.written.keys() & held.keys()):
        told = describe(held[name])
        if told != describe(says.written[name]):
            yield name, told
    for name in sorted(says.functions.keys() & held.keys()):
        if (told := _other_function(held[name], *says.functions[name], describe)) is not None:
            yield name, told
    for name in sorted(says.classes.keys() & held.keys()):
        kind = held[name]
        if not isinstance(kind, type) or kind.__name__ != name:
            if not says.classes[name].decorated:
                yield name, describe(kind)
        elif inner := list(_differences(says.classes[name], _members(kind), describe)):
            yield name, [list(difference) for difference in inner]


def _members(kind: type) -> dict[str, Any]:
    """Return the members of a class with the defaults of its fields, and an enum's values."""
    held = {n: getattr(member, "__func__", member) for n, member in list(vars(kind).items())}
    for fields in ("__dataclass_fields__", "__pydantic_fields__"):
        items = vars(kind).get(fields, {}).items()
        held |= {n: f.default for n, f in items if f.default_factory in (None, MISSING)}
    if issubclass(kind, Enum):
        held |= {name: member.value for name, member in kind.__members__.items()}
        if hasattr(kind, "__new_member__"):  # it makes the values of what is written
            held = {name: value for name, value in held.items() if name not in kind.__members__}
        held.pop("__new__", None)
    return {**held, **held.get("_field_defaults", {})}


def _other_function(held: Any, code: str, defaults: dict[str, Any], describe: Describe) -> Any:
    """Return the description of what stands in the place of a function; None if that is it."""
    function = inspect.unwrap(held) if callable(held) else held
    if type(function) is not FunctionType:
        return describe(held)
    if library_of_code(function) is not None:  # put there as its class was made
        return None
    if code_hash(function.__code__) != code:
        return describe(held)
    now = {n: p.default for n, p in inspect.signature(function).parameters.items() if n in defaults}
    told = {name: describe(value) for name, value in sorted(now.items())}
    return None if all(told[name] == describe(defaults[name]) for name in told) else told


def body_of(statements: list[ast.stmt], code: CodeType) -> Body:
    """Return what the statements of a module say, whose code is `code`."""
    return Body() if _has_star(code) else _body(statements, code, frozenset())


def _body(statements: list[ast.stmt], code: CodeType, books: frozenset[str]) -> Body:
    """Return what the statements of a module or class say, without what is changed as it runs."""
    says, books_within = Body(), _attributes_set(code)
    inner = {const.co_name: const for const in code.co_consts if isinstance(const, CodeType)}
    stored = Counter(i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME")
    for statement in statements:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            value = _written(statement.value)
            if len(targets) > 1 and isinstance(value, (list, dict, set)):
                continue  # changed by another name, maybe
            names = [t.id for t in targets if isinstance(t, ast.Name) and stored[t.id] == 1]
            names = [name for name in names if name not in books]
            says.written.update(dict.fromkeys(names, value) if value is not _UNKNOWN else {})
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = statement.name
            if stored[name] != 1 or name not in inner:
                continue
            decorated = bool(statement.decorator_list)
            if isinstance(statement, ast.ClassDef):
                within = _body(statement.body, inner[name], books_within | _books(inner[name]))
                says.classes[name] = replace(within, decorated=decorated)
            elif not decorated:
                says.functions[name] = code_hash(inner[name]), _defaults(statement.args)
    return says


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    """Return defaults that are written out, by name."""
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(plain[len(plain) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    told = {argument.arg: _written(value) for argument, value in pairs}
    return {name: value for name, value in told.items() if value is not _UNKNOWN}


_UNKNOWN = object()


def _written(value: ast.expr | None) -> Any:
    """Return the value that an expression writes out, `_UNKNOWN` if it does not."""
    if value is None:
        return _UNKNOWN
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    folded = list(dis.get_instructions(compile(ast.Expression(value), "", "eval")))
    consts = [i.argval for i in folded if i.opname in ("LOAD_CONST", "RETURN_CONST")]
    others = {i.opname for i in folded} - {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    return consts[0] if len(consts) == 1 and not others else _UNKNOWN


@lru_cache(maxsize=1024)
def _books(code: CodeType) -> frozenset[str]:
    """Return the names of a module that its code assigns or changes in place as it runs."""
    parts = list(with_inner(code))
    changed = (_Globals(part, "", {}).changed for part in parts)
    return names_in(code, frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})).union(*changed)


def _attributes_set(code: CodeType) -> frozenset[str]:
    """Return the attributes that code within `code` assigns or changes in place."""
    parts = (part for part in with_inner(code) if part is not code)
    return names_in(code, frozenset({"STORE_ATTR"})).union(*map(changed_in, parts))


class _Globals(Stack):
    """What a function has on its stack, as far as it is from globals."""

    def _step(self, step: dis.Instruction) -> None:
        super()._step(step)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            self._held[-1] = str(step.argval)


_first: dict[str, tuple[ModuleType, str, dict[str, Any]]] = {}
"""By name: a module as it was looked at first, the hash of its file then, and what it held."""


def _since_first_look(
    module: ModuleType, code: CodeType, held: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Return a hash of the file that runs if it was edited, and names that stand for others now."""
    name, now = module.__name__, code_hash(code)
    known = _first.get(name)
    if known is None or known[0] is not module or _ran_again(known[2], held, name, known[1] != now):
        _first[name] = module, now, held
        return [], {}
    _, then, before = known
    others = {n: v for n, v in held.items() if n in before and before[n] is not v and _is_set(n, v)}
    return [then] if then != now else [], others


def _ran_again(before: dict[str, Any], held: dict[str, Any], name: str, edited: bool) -> bool:
    """Tell whether the module was reloaded since: all functions and classes of its own are new."""
    own = [n for n, v in before.items() if getattr(v, "__module__", None) == name]
    own = [n for n in own if isinstance(before[n], (type, FunctionType))]
    if own:
        return all(before[n] is not held.get(n) for n in own)
    return edited and any(before[n] is not held.get(n) for n in before if _is_set(n, before[n]))
