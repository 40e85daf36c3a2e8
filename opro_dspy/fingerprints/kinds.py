"""Classes and annotations: what they do, what passes them, and what a schema of them shows."""

import dataclasses
import inspect
import typing
from enum import Enum
from typing import Annotated, Any, ForwardRef, NewType, TypeVar, get_args, get_origin

from pydantic import BaseModel

from opro_dspy.fingerprints.hashing import Describe

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

_ENUM_NOISE = frozenset(
    f"_{name}_"
    for name in (
        *("member_map", "member_names", "value2member_map"),
        *("hashable_values", "unhashable_values", "unhashable_values_map"),
    )
)
"""What an enum keeps of its members; some of it grows as flags are combined."""


def class_parts(kind: type, describe: Describe) -> dict[str, Any]:
    """Return what a class does and shows: bases, members, words, and fields with their checks."""
    noise = set(_NOISE)
    if _is_of_pydantic(kind):
        noise |= {"__signature__", "model_fields", "model_computed_fields"}
    members: dict[str, Any] = {}
    if issubclass(kind, Enum):
        noise |= {*_ENUM_NOISE, *kind.__members__}
        members["~values"] = [[n, describe(m.value)] for n, m in kind.__members__.items()]
    members |= {
        name: describe(_unwrapped(member))
        for name, member in sorted(vars(kind).items())
        if name not in noise and not name.startswith("__pydantic")
    }
    told = {
        "~class": kind.__name__,
        "bases": [describe(base) for base in kind.__bases__ if base is not object],
        "members": members,
        **_fields(kind, describe),
    }
    if words := _words(kind):
        told["words"] = words
    if type(kind) is not type:
        told["metaclass"] = describe(type(kind))
    return told


def _unwrapped(member: Any) -> Any:
    """Return the functions in a member of a class."""
    if isinstance(member, (staticmethod, classmethod)):
        return [type(member).__name__, member.__func__]
    if isinstance(member, property):
        return ["property", member.fget, member.fset, member.fdel]
    return member


def _words(kind: type) -> str | None:
    """Return the docstring of a class: schemas show it. That of a dataclass is made by Python."""
    made = dataclasses.is_dataclass(kind) and not _is_of_pydantic(kind)
    words = None if made else vars(kind).get("__doc__")
    return words if isinstance(words, str) else None


def _is_of_pydantic(kind: type) -> bool:
    return "__pydantic_decorators__" in vars(kind)


def _fields(kind: Any, describe: Describe) -> dict[str, Any]:
    """Return the fields of a class in their order, and of a pydantic model what checks which."""
    if not _is_of_pydantic(kind):
        annotations = _annotations(kind)
        return {"annotations": describe(annotations)} if annotations else {}
    if issubclass(kind, BaseModel) and not kind.__pydantic_complete__:
        kind.model_rebuild(raise_errors=False)  # as pydantic does when it is used
    decorators = kind.__pydantic_decorators__
    checks = {
        group.name: [
            [name, _check(decorator.info, describe)]
            for name, decorator in getattr(decorators, group.name).items()
        ]
        for group in dataclasses.fields(decorators)
        if isinstance(getattr(decorators, group.name), dict)
    }
    return {"fields": describe(dict(kind.__pydantic_fields__)), "checks": checks}


def _check(info: Any, describe: Describe) -> dict[str, Any]:
    """Return to which fields a method of a model applies, and how; its code is a member."""
    names = [field.name for field in dataclasses.fields(info) if field.name != "wrapped_property"]
    return {name: describe(getattr(info, name)) for name in names}


_FIELD_MARKS = ("__required_keys__", "_field_defaults")
"""By these a `TypedDict` and a `NamedTuple` are known."""


def _annotations(kind: Any) -> dict[str, Any]:
    """Return annotations of a class; where they are its fields, names are looked up."""
    has_fields = dataclasses.is_dataclass(kind) or any(hasattr(kind, mark) for mark in _FIELD_MARKS)
    try:
        if has_fields:
            return typing.get_type_hints(kind, include_extras=True)
        return dict(inspect.get_annotations(kind))
    except Exception:  # noqa: BLE001  (what they name may not be there)
        return dict(vars(kind).get("__annotations__") or {})


def is_annotation(value: Any) -> bool:
    """Tell whether `value` is a type that is no class: `list[int]`, a `NewType`, an alias."""
    named = isinstance(value, (TypeVar, ForwardRef, NewType)) or _is_alias(value)
    return named or get_origin(value) is not None


def _is_alias(value: Any) -> bool:
    return type(value).__name__ == "TypeAliasType" and hasattr(value, "__value__")


def annotation_parts(value: Any, describe: Describe) -> dict[str, Any]:
    """Return what an annotation says."""
    if isinstance(value, TypeVar):
        bounds = [value.__bound__, *value.__constraints__]
        return {"~typevar": str(value), "of": [describe(bound) for bound in bounds]}
    if isinstance(value, ForwardRef):
        return {"~forward": value.__forward_arg__}
    if isinstance(value, NewType):
        return {"~newtype": value.__name__, "of": describe(value.__supertype__)}
    if _is_alias(value) and get_origin(value) is None:
        return {"~alias": value.__name__, "of": describe(value.__value__)}
    told = {"~type": describe(get_origin(value)), "of": [describe(a) for a in get_args(value)]}
    if get_origin(value) is Annotated:
        told["notes"] = [describe(note) for note in value.__metadata__]
    return told
