"""A walk through any value that tells it as JSON; it never fails, and tells no address."""

import hashlib
import types
from collections import defaultdict
from collections.abc import Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from itertools import repeat
from logging import Handler, Logger
from math import isfinite
from pathlib import PurePath
from re import Pattern
from typing import Any, TypeVar, get_origin
from uuid import UUID

import dspy

from opro_dspy.fingerprints import (
    code,
    data,
    kinds,
    libraries,
    lms,
    objects,
    programs,
    sources,
    values,
)
from opro_dspy.fingerprints.hashing import by_name, in_order

MAX_DEPTH = 24
"""What lies deeper is told apart from the rest, in a piece of its own."""

MAX_PIECES = 10_000
"""So many of these; what is left then is told by its type alone."""

MAX_OBJECTS = 2_000
"""After so many, an object that was told before is told by its number, so that a walk ends."""

_BY_REPR = (complex, Decimal, Fraction, range, slice, date, time, timedelta, PurePath, UUID)
"""Types whose repr says all."""

_BY_TYPE = (*data.PASSING, Handler)
"""Types whose content says nothing."""

_CODE = (
    *(type, types.ModuleType, types.FunctionType, types.MethodType, Enum, Logger, Pattern),
    *(TypeVar, type(Ellipsis), type(NotImplemented)),
)
"""Types that are told in the same way wherever they are met."""


class Walk:
    """One walk through a value.

    Args:
        blank: Predictors whose instructions do not count, by id.
        whole: Whether all data of objects count, or what shows of them alone; see `describe`.
    """

    def __init__(self, blank: Collection[int] = (), *, whole: bool = False) -> None:
        self._blank, self._whole = blank, whole
        self.in_full = True
        """Whether nothing was met whose data cannot be told; see `whole`."""
        self._path: dict[int, int] = {}
        """What is being told, by id, with its depth."""
        self._told: dict[tuple[int, bool], tuple[Any, int]] = {}
        """Functions and classes told before, and objects as data, by id, with their number."""
        self._num_objects = 0
        self._later: list[tuple[Any, bool]] = []
        """What is told apart, as data or not."""
        self._numbers: dict[tuple[int, bool], int] = {}
        """Its places there, by id."""
        self._around: list[types.CodeType] = []
        """Code of the functions that are being told."""

    def all_of(self, value: Any) -> Any:
        """Return the description of `value`, with that of what lies deep in it."""
        told, pieces = self(value), list[Any]()
        while len(pieces) < len(self._later):
            piece, whole = self._later[len(pieces)]
            with self._telling(whole=whole):
                pieces.append(self(piece))
        return {"~top": told, "deeper": pieces} if pieces else told

    def __call__(self, value: Any) -> Any:
        """Return the description of `value`; what lies deep in it follows in `all_of`."""
        if value is None or (isinstance(value, (bool, str)) and type(value) in (bool, str)):
            return value
        if type(value) is int:
            return value if value.bit_length() < 10_000 else {"~int": hex(value)}
        if type(value) is float:
            return value if isfinite(value) else {"~float": repr(value)}
        if id(value) in self._path:
            return {"~again": self._path[id(value)]}
        if len(self._path) >= MAX_DEPTH:
            return self._apart(value)
        self._path[id(value)] = len(self._path)
        try:
            return self._as_data(value) if self._whole else self._as_used(value)
        finally:
            del self._path[id(value)]

    def _apart(self, value: Any) -> Any:
        """Put off what lies deep; it is told once, wherever it is met."""
        key = id(value), self._whole
        if key not in self._numbers:
            if len(self._later) >= MAX_PIECES:
                self.in_full = False
                return {"~deeper": type(value).__qualname__}
            self._numbers[key] = len(self._later)
            self._later.append((value, self._whole))
        return {"~deeper": self._numbers[key]}

    @contextmanager
    def _telling(self, *, whole: bool) -> Iterator[None]:
        before, self._whole = self._whole, whole
        try:
            yield
        finally:
            self._whole = before

    def _as_data(self, value: Any) -> Any:
        """Tell `value` by all its data; note if that cannot be."""
        if (plain := self._plain_data(value)) is not None:
            return plain
        if isinstance(value, _CODE) or code.is_builtin(value) or get_origin(value) is not None:
            if data.is_fleeting(value):
                self.in_full = False
            return self._as_used(value)
        if callable(value) and (library := libraries.standing_in_library(value)) is not None:
            return library
        if (key := (id(value), True)) in self._told:
            return {"~told": self._told[key][1]}
        if not data.is_fleeting(value):
            if not values.is_plain(value):  # equal ones are the same, wherever they lie
                self._told[key] = value, len(self._told)
            try:
                return data.data_parts(value, self)
            except Exception:  # noqa: BLE001  (a user's object may refuse in any way)
                self._told.pop(key, None)
        self.in_full = False
        with self._telling(whole=False):
            return self._as_used(value)

    def _plain_data(self, value: Any) -> Any:
        kind = type(value)
        if kind is list:
            return [self(item) for item in value]
        if kind is tuple:
            return {"~tuple": [self(item) for item in value]}
        if kind is dict:  # in order: that is how an LM sees it
            return {"~dict": [[self(key), self(item)] for key, item in list(value.items())]}
        if kind in data.BY_REPR:
            return {"~value": repr(value), "of": kind.__name__}
        if kind in (bytes, bytearray):
            return {"~bytes": hashlib.sha256(value).hexdigest(), "of": kind.__name__}
        if not isinstance(value, (set, frozenset)):
            return None
        told = {"~set": [self(item) for item in self._ordered(value)], "of": self(kind)}
        held = [[name, self(item)] for name, item in sorted(values.held_by(value).items())]
        return {**told, "held": held} if held else told

    def _as_used(self, value: Any) -> Any:
        """Tell `value` by what shows of it."""
        if type(value) is list:
            return [self(item) for item in value]
        if type(value) is tuple:
            return {"~tuple": [self(item) for item in value]}
        if isinstance(value, (set, frozenset)):
            return self._set(value)
        if (named := self._named(value)) is not None:
            return named
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, (KeysView, ValuesView, ItemsView)):
            return {"~object": self(type(value)), "content": [self(item) for item in value]}
        if isinstance(value, (bytes, bytearray, memoryview)):
            told = {"~bytes": hashlib.sha256(value).hexdigest()}
            return told if type(value) is bytes else {**told, "of": self(type(value))}
        if kinds.is_annotation(value):
            return kinds.annotation_parts(value, self)
        return self._callable(value) if callable(value) else self._object(value)

    def _named(self, value: Any) -> Any:
        """Return what is told by name, text or type alone, or None."""
        if isinstance(value, types.ModuleType):
            return sources.module_parts(value, self)
        if isinstance(value, Logger):
            return {"~logger": value.name}
        if isinstance(value, _BY_TYPE):
            return {"~object": self(type(value))}
        if isinstance(value, Enum):
            return {"~enum": self(type(value)), "name": value.name, "value": self(value._value_)}
        if isinstance(value, Pattern):
            return {"~pattern": self(value.pattern), "flags": value.flags}
        if isinstance(value, _BY_REPR) or value is Ellipsis or value is NotImplemented:
            return {"~value": code.text_of(value)}
        return None

    def _set(self, value: Collection[Any]) -> Any:
        content = {"~set": [self(item) for item in self._ordered(value)]}
        return content if type(value) is set else self._derived(value, content)

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        try:
            held = list(value.items())  # at once: another thread may add to it
        except Exception as error:  # noqa: BLE001  (a user's object may refuse in any way)
            return self._derived(value, {"~refused": type(error).__name__})
        told = self._pairs(held, in_order=isinstance(value, (dict, types.MappingProxyType)))
        return told if type(value) is dict else self._derived(value, told)

    def _pairs(self, held: list[tuple[Any, Any]], *, in_order: bool) -> dict[str, Any]:
        """Tell names and values. The order counts in dicts; attributes are set in any order."""
        if not all(type(key) is str and not key.startswith("~") for key, _ in held):
            content = dict(held)
            keys = content if in_order else self._ordered(content)
            return {"~mapping": [[self(key), self(content[key])] for key in keys]}
        told: dict[str, Any] = by_name(dict(held), self)
        names = [key for key, _ in held]
        return {"~order": names, **told} if in_order and names != list(told) else told

    def _derived(self, value: Any, content: Any) -> Any:
        """Tell a set or mapping by its class and attributes, too."""
        told = {"~object": self(type(value)), "content": content}
        if isinstance(value, defaultdict):
            told["default"] = self(value.default_factory)
        if held := objects.attributes_or_none(value):
            told["state"] = by_name(held, self)
        return told

    def _ordered(self, items: Iterable[Any]) -> list[Any]:
        """Return items in an order that is the same in every process."""
        return in_order(items, lambda item: _Outline(self)(item), self._by_itself)

    def _by_itself(self, value: Any) -> Any:
        """Return the description of `value` in a walk that begins where this one is."""
        walk = Walk(self._blank, whole=self._whole)
        walk._path = dict(self._path)
        return walk.all_of(value)

    def _callable(self, value: Any) -> Any:
        if isinstance(value, type):
            return self._once(value, self._class)
        if isinstance(value, partial):
            return {"~partial": self(value.func), "of": self([list(value.args), value.keywords])}
        if isinstance(value, types.MethodType):
            return {"~method": self(value.__func__), "of": self(value.__self__)}
        if code.is_builtin(value):
            return {"~builtin": value.__qualname__, "of": self(getattr(value, "__self__", None))}
        if type(value) is types.FunctionType:
            return self._once(value, self._function)
        if (library := libraries.standing_in_library(value)) is not None:
            return library
        told = self._object(value)
        if (wrapped := libraries.wrapped_by(value)) is not None:
            told = {**told, "wraps": self(wrapped)}
        return told

    def _once(self, value: Any, tell: Any) -> Any:
        """Tell a function or class in full the first time, by its number later."""
        name = data.name_of(value) if self._whole else None
        library = libraries.from_library(value)
        if library is not None and (name is None or name["stands"]):
            return library
        whole = name is not None and not name["stands"]
        key = id(value), whole
        if key in self._told:
            return {"~told": self._told[key][1]}
        self._told[key] = value, len(self._told)
        with self._telling(whole=whole):
            told = tell(value)
        return told if name is None else {"~named": name, "is": told}

    def _function(self, value: Any) -> Any:
        self._around.append(value.__code__)
        try:
            told = code.function_parts(value, self)
            held = code.attributes_of(value, self._around)
            return {**told, "attributes": by_name(held, self)} if held else told
        finally:
            self._around.pop()

    def _class(self, value: type) -> Any:
        if issubclass(value, dspy.Signature):
            return programs.signature_parts(value, self)
        return kinds.class_parts(value, self)

    def _object(self, value: Any) -> Any:
        if isinstance(value, dspy.BaseLM):
            return lms.lm_parts(value, self)
        if isinstance(value, dspy.Module):
            return programs.module_parts(value, self, text=id(value) not in self._blank)
        if isinstance(value, dspy.Example):
            return programs.example_parts(value, self)
        if isinstance(value, dspy.Adapter):
            return lms.adapter_parts(value, self)
        if isinstance(value, Iterator) and not isinstance(value, repeat):  # looking uses it up
            return {"~object": self(type(value))}
        self._num_objects += 1
        number = self._told.setdefault((id(value), False), (value, len(self._told)))[1]
        if self._num_objects > MAX_OBJECTS and number != len(self._told) - 1:
            return {"~told": number}
        state = objects.state_of(value)
        if type(state) is dict:
            told = self._pairs(list(state.items()), in_order=False)
        else:
            told = self._as_used(state) if type(state) is list else self(state)
        return {"~object": self(type(value)), "state": told}


class _Outline(Walk):
    """A walk that tells functions and classes without what they use, whatever was told before.

    What lies deep is left out: it serves to put things in an order.
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk._blank, whole=walk._whole)
        self._above = {*walk._path, *getattr(walk, "_above", ())}

    def __call__(self, value: Any) -> Any:
        if id(value) in self._above and not isinstance(value, (str, int, float, type(None))):
            return {"~again": type(value).__qualname__}
        return super().__call__(value)

    def _apart(self, value: Any) -> Any:
        return {"~deeper": type(value).__qualname__}

    def _once(self, value: Any, tell: Any) -> Any:
        told = [str(getattr(value, "__module__", None)), str(value.__qualname__)]
        if isinstance(value, type):
            return told
        return [*told, code.code_parts(value.__code__, self), self(code.closure_of(value))]
