"""Values as Python would pickle them: class, arguments, state and items. Nothing is unpickled."""

import copyreg
import inspect
from functools import cached_property
from types import MemberDescriptorType
from typing import Any

from opro_dspy.fingerprints.libraries import from_library

_CONSTANT = ("operator", "ipaddress", "zoneinfo", "datetime")
"""Modules whose objects do not change."""

_WITHIN = (
    *("decimal.Context", "itertools.repeat"),
    *("xml.etree.ElementTree.Element", "xml.etree.ElementTree.ElementTree"),
)
"""Other types of Python whose objects hold what no attribute shows."""

Reduction = tuple[Any, Any, Any, list[Any] | None, list[Any] | None]


def reduced(value: Any) -> str | Reduction:
    """Return what makes `value` again: a function, its arguments, state, items, and pairs.

    An object that stands under a name in its module may give just this.

    Raises:
        Exception: If it cannot be pickled, or as a method of its own raises.
    """
    reducer = copyreg.dispatch_table.get(type(value))
    found = value.__reduce_ex__(4) if reducer is None else reducer(value)
    if isinstance(found, str):
        return found
    made, arguments, state, items, pairs = (*found, None, None, None)[:5]
    return (
        made,
        arguments,
        state,
        None if items is None else list(items),
        None if pairs is None else [list(pair) for pair in pairs],
    )


def is_plain(value: Any) -> bool:
    """Tell whether `value` is of a library's type that is told by what makes it again.

    That are types which do not change: those of some modules of Python (`operator.itemgetter`,
    `ipaddress`), and others that hash by value; and a few whose objects show nothing else.
    """
    kind = type(value)
    if kind.__module__ in _CONSTANT or f"{kind.__module__}.{kind.__qualname__}" in _WITHIN:
        return True
    by_value = getattr(kind, "__hash__", None) not in (None, object.__hash__)
    return by_value and not hasattr(value, "__dict__") and from_library(kind) is not None


def held_by(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too, but nothing it computed from them."""
    kind = type(value)
    try:
        held = dict(vars(value))
    except TypeError:  # it has slots, or nothing
        held = {}
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType) and name not in held:
                held[name] = getattr(value, name, None)
    return without_computed(kind, held)


def without_computed(kind: type, held: dict[str, Any]) -> dict[str, Any]:
    """Return attributes without those that a `cached_property` of `kind` keeps."""
    return {
        name: item
        for name, item in held.items()
        if not isinstance(inspect.getattr_static(kind, name, None), cached_property)
    }
