"""What an object holds, as far as it shows."""

import gc
import inspect
from array import array
from collections import deque
from dataclasses import fields, is_dataclass
from decimal import Context
from functools import cmp_to_key
from itertools import repeat
from struct import Struct
from typing import Any

from pydantic import BaseModel

from opro_dspy.fingerprints.values import held_by, is_plain, reduced


def state_of(value: Any) -> Any:
    """Return what an object holds: what it dumps, its fields or items, and its attributes.

    Attributes are the public ones, and private ones named as an argument of its class. Tables
    (pandas, polars) and arrays are told by their data, small types of Python by what makes them.
    """
    try:
        return _state(value)
    except Exception as error:  # noqa: BLE001  (a user's object may refuse in any way)
        return {"~refused": type(error).__name__, **attributes_or_none(value)}


def attributes_or_none(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, none if it refuses."""
    try:
        return attributes_of(value)
    except Exception:  # noqa: BLE001  (as above)
        return {}


def _state(value: Any) -> Any:
    if (data := _data(value)) is not None:
        return data
    if (content := _content(value)) is not None:
        attributes = attributes_of(value)
        return {"content": content, **attributes} if attributes else content
    if isinstance(value, BaseModel):
        fields_of = {name: getattr(value, name) for name in type(value).model_fields}
        return {**fields_of, **(value.model_extra or {})}
    if is_dataclass(value):
        own = {f.name: getattr(value, f.name, None) for f in fields(value)}
        return {**attributes_of(value), **own}
    if callable(dump := getattr(value, "dump_state", None)):
        return dump()
    if isinstance(value, Struct):
        return value.format
    if isinstance(value, _COMPARING):  # Python shows its function nowhere else
        return [held for held in gc.get_referents(value) if held is not type(value)]
    return _made_of(value) if is_plain(value) else attributes_of(value)


_COMPARING = type(cmp_to_key(lambda a, b: 0))


def _made_of(value: Any) -> list[Any]:
    """Return what makes `value` again, without what changes as it is used."""
    if isinstance(value, Context):
        value = value.copy()
        value.clear_flags()
    told = list(reduced(value))
    return [told[0], told[1][:1]] if isinstance(value, repeat) else told


def _content(value: Any) -> Any:
    """Return what an object of a class derived from a plain type holds as one of these."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, deque):
        return [value.maxlen, *value]
    if isinstance(value, array):
        return [value.typecode, value.tobytes()]
    if isinstance(value, (str, int, float)):
        return next(base(value) for base in (str, int, float) if isinstance(value, base))
    return None


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
    own = {f"_{name}" for name in arguments_of(type(value))}
    own |= {f"_{k.__name__.lstrip('_')}_{name}" for k in type(value).__mro__ for name in own}
    told = {
        name: item
        for name, item in held_by(value).items()
        if not name.startswith("_") or name in own
    }
    for name in _ADDRESSES:
        if isinstance(getattr(type(value), name, None), property):
            told[name] = str(getattr(value, name, None))
    return told


def arguments_of(kind: type) -> dict[str, bool]:
    """Return the names of the arguments of a class, and whether it needs them."""
    try:
        arguments = inspect.signature(kind).parameters.items()
    except (TypeError, ValueError):  # classes in C need not tell
        return {}
    return {name: argument.default is inspect.Parameter.empty for name, argument in arguments}
