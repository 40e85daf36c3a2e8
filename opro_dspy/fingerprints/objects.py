"""What an object holds, as far as it shows."""

import inspect
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import MemberDescriptorType
from typing import Any

from pydantic import BaseModel


def state_of(value: Any) -> Any:
    """Return what an object holds: what it dumps, its fields or items, or its attributes.

    Attributes are the public ones, and private ones named as an argument of its class. Tables
    (pandas, polars) and arrays are told by their data.
    """
    try:
        return _state(value)
    except Exception as error:  # noqa: BLE001  (a user's object may refuse in any way)
        return {"~refused": type(error).__name__, **attributes_of(value)}


def _state(value: Any) -> Any:
    if (data := _data(value)) is not None:
        return data
    if isinstance(value, (list, tuple)):  # of a class derived from these, as below
        return list(value)
    if isinstance(value, (str, int, float)):
        return next(base(value) for base in (str, int, float) if isinstance(value, base))
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value):
        return {f.name: getattr(value, f.name, None) for f in fields(value)}
    if callable(dump := getattr(value, "dump_state", None)):
        return dump()
    return attributes_of(value)


def _data(value: Any) -> Any:
    """Return type and content of an array, a series or a table; None if it is none of these."""
    table = value.to_frame() if hasattr(value, "dtype") and hasattr(value, "to_frame") else value
    if hasattr(table, "dtypes") and hasattr(table, "columns") and hasattr(table, "to_dict"):
        how = {"orient": "split"} if hasattr(table, "index") else {"as_series": False}
        return [[str(kind) for kind in table.dtypes], table.to_dict(**how)]
    if not hasattr(value, "dtype"):
        return None
    told = [str(value.dtype), list(getattr(value, "shape", ()))]
    if callable(getattr(value, "tobytes", None)) and not getattr(value.dtype, "hasobject", False):
        return [*told, value.tobytes()]
    return [*told, value.tolist()] if callable(getattr(value, "tolist", None)) else None


_ADDRESSES = ("base_url", "api_base", "endpoint", "url", "model")
"""Properties by which clients of a network service tell whom they ask."""


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the public attributes of an object, and private ones named as an argument of it."""
    try:
        held = dict(vars(value))
    except TypeError:  # it has slots, or nothing
        held = {}
    for kind in type(value).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType) and name not in held:
                held[name] = getattr(value, name, None)
    own = {f"_{name}" for name in arguments_of(type(value))}
    own |= {f"_{k.__name__.lstrip('_')}_{name}" for k in type(value).__mro__ for name in own}
    told = {
        name: item
        for name, item in held.items()
        if (not name.startswith("_") or name in own)
        and not isinstance(inspect.getattr_static(type(value), name, None), cached_property)
    }
    for name in _ADDRESSES:
        if isinstance(getattr(type(value), name, None), property):
            told[name] = str(getattr(value, name, None))
    return told


def arguments_of(kind: type) -> list[str]:
    """Return the names of the arguments of a class."""
    try:
        return list(inspect.signature(kind).parameters)
    except (TypeError, ValueError):  # classes in C need not tell
        return []
