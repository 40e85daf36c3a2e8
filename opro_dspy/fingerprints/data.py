"""Data in full: two values with the same description are the same, or it says that it cannot tell.

What a metric or program holds changes as it works, so that private state is no part of it. An
example is nothing but its data, and all of that counts.
"""

import sys
import threading
import types
import weakref
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import _lru_cache_wrapper, cached_property, reduce
from pathlib import PurePosixPath, PureWindowsPath
from pickle import PicklingError
from typing import Any
from uuid import UUID

import dspy
from pydantic import BaseModel

from opro_dspy.fingerprints.hashing import Describe, canonical
from opro_dspy.fingerprints.libraries import from_library
from opro_dspy.fingerprints.values import held_by, reduced, without_computed

BY_REPR = frozenset(
    (complex, Decimal, Fraction, range, date, timedelta, UUID, PurePosixPath, PureWindowsPath)
)
"""Types whose repr says all; not those derived from them."""

PASSING = (
    *(threading.local, weakref.ref, weakref.WeakSet),
    *(weakref.WeakKeyDictionary, weakref.WeakValueDictionary),
)
"""Types whose content comes and goes as a process works."""

_FLEETING = (*PASSING, Iterator, dspy.BaseLM)
"""What comes and goes, is used up as one looks, or is more than its data."""

_EXAMPLE = frozenset({"_store", "_demos", "_input_keys"})


def is_fleeting(value: Any) -> bool:
    """Tell whether the data of `value` cannot be told, whatever it is."""
    if isinstance(value, types.ModuleType):
        return sys.modules.get(value.__name__) is not value
    return isinstance(value, _FLEETING)


def data_parts(value: Any, describe: Describe) -> Any:
    """Return class and content of an object.

    Raises:
        Exception: If they cannot be told.
    """
    if isinstance(value, dspy.Example):
        return _example_parts(value, describe)
    if (told := _table_parts(value, describe)) is not None:
        return told
    if isinstance(value, types.MappingProxyType):
        return {"~proxy": describe(dict(value))}
    if isinstance(value, cached_property):
        return {"~property": describe(value.func)}
    if isinstance(value, _lru_cache_wrapper):
        return {"~cached": describe(value.__wrapped__)}
    return _pickled_parts(value, describe)


def _pickled_parts(value: Any, describe: Describe) -> Any:
    kind, found = type(value), reduced(value)
    if isinstance(found, str):
        module = sys.modules[value.__module__]
        if reduce(getattr, found.split("."), module) is not value:
            raise PicklingError(found)
        return {"~object": describe(kind), "module": module.__name__, "name": found}
    made, arguments, state, items, pairs = found
    told = {"~object": describe(kind), "made": describe(made), "of": describe(arguments)}
    told["state"] = _state(kind, state, describe)
    told["items"] = None if items is None else [describe(item) for item in items]
    told["pairs"] = None if pairs is None else [describe(pair) for pair in pairs]
    if _says_too_little(kind):
        told["held"] = _attributes(held_by(value), describe)
    return told


def _state(kind: type, state: Any, describe: Describe) -> Any:
    """Tell the state of an object of `kind`; the order in which attributes were set is no part."""
    if issubclass(kind, BaseModel) and isinstance(state, dict) and "__dict__" in state:
        state = {**state, "__dict__": without_computed(kind, state["__dict__"])}
    if type(state) is dict:
        return {"attributes": _attributes(without_computed(kind, state), describe)}
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return {"attributes": _state(kind, state[0], describe), "slots": describe(state[1])}
    return describe(state)


def _attributes(held: dict[Any, Any], describe: Describe) -> list[Any]:
    return sorted(([describe(n), describe(item)] for n, item in held.items()), key=_name)


def _name(pair: list[Any]) -> str:
    return canonical(pair[0])


def _says_too_little(kind: type) -> bool:
    """Tell whether a class of the user's is pickled as its base in a library says.

    Then what the class itself adds (to a `datetime`, a `Decimal`) is not in it.
    """
    for base in kind.__mro__[:-1]:
        if vars(base).keys() & {"__reduce_ex__", "__reduce__", "__getstate__"}:
            return from_library(base) is not None and from_library(kind) is None
    return False


def _example_parts(example: dspy.Example, describe: Describe) -> Any:
    """Return inputs and labels of an example, DSPy's notes (`dspy_uuid`, ...) apart."""
    keys = getattr(example, "_input_keys", None)
    told = {
        "~example": _attributes(dict(example.items()), describe),
        "inputs": None if keys is None else sorted(map(str, keys)),
    }
    if type(example) is dspy.Example:
        return told
    more = {name: item for name, item in vars(example).items() if name not in _EXAMPLE}
    return {**told, "of": describe(type(example)), "held": _attributes(more, describe)}


def _table_parts(value: Any, describe: Describe) -> Any:
    """Return class and content of what pandas brings, None for all else and for single values.

    How it lies in memory is no part: that changes as a table is used.
    """
    kind, module = type(value), type(value).__module__
    if not isinstance(module, str) or module.partition(".")[0] != "pandas":
        return None
    if kind.__name__ in ("DataFrame", "Series"):
        about = [value.index, value.attrs, value.flags.allows_duplicate_labels]
        if kind.__name__ == "Series":
            parts = [value.name, value.array]
        else:
            parts = [value.columns, *(value.iloc[:, i].array for i in range(value.shape[1]))]
    elif hasattr(value, "dtype") and hasattr(value, "tolist"):  # an index or an array
        about = [value.dtype, list(getattr(value, "names", ())), str(getattr(value, "freq", None))]
        parts = value.tolist()
    else:
        return None
    told = {"~table": describe(kind), "about": [describe(part) for part in about]}
    return {**told, "parts": [describe(part) for part in parts]}


def name_of(value: Any) -> dict[str, Any]:
    """Return module and name of a function or class, and whether it is what stands there."""
    module, name = getattr(value, "__module__", None), value.__qualname__
    try:
        stands = reduce(getattr, name.split("."), sys.modules[str(module)]) is value
    except (AttributeError, KeyError):
        stands = False
    return {"module": str(module), "name": name, "stands": stands}
