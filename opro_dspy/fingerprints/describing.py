"""Any value as JSON that says what it is; never fails, and never says where it lies in memory."""

import hashlib
import threading
import types
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from logging import Handler, Logger
from pathlib import PurePath
from re import Pattern
from typing import Annotated, Any, TypeVar, get_args, get_origin
from uuid import UUID

import dspy
from pydantic import BaseModel

from opro_dspy.fingerprints import code, libraries, lms, objects, programs, sources
from opro_dspy.fingerprints.hashing import canonical, in_order

MAX_DEPTH = 24
"""What lies deeper is told by its type alone."""

_BY_REPR = (
    *(complex, Decimal, Fraction, range, slice),
    *(date, time, timedelta, PurePath, Pattern, UUID),
)
"""Types whose repr says all."""

_BY_TYPE = (
    *(threading.local, weakref.ref, weakref.WeakSet),
    *(weakref.WeakKeyDictionary, weakref.WeakValueDictionary, Handler),
)
"""Types whose content comes and goes as a process works."""


def describe(value: Any) -> Any:
    """Return `value` as JSON data; what is alike gives the same in every process.

    Functions and classes of the user's are told by their code, decorators included, and by what of
    their module that uses; those of installed packages and modules by name and version. Modules of
    the user's that are held, or imported as a function runs, are told by their files.

    Objects are told by `dump_state()` if they have it, dataclasses and pydantic models by their
    fields, arrays and tables by their data, all others by their class and their public attributes,
    with private ones that are named as an argument of their class. What of this changes as an
    object is used (a counter, a memo, a list that grows) makes it another; other private
    attributes are not told.

    It may hold what a program was given as a secret: show only its fingerprint.
    """
    return _Describer()(value)


def describe_metric(metric: Any) -> Any:
    """Return what a metric computes: its code, closure, helpers and constants. As `describe`."""
    return describe(metric)


def describe_program(
    program: dspy.Module, *, without_texts_of: Collection[dspy.Predict] = ()
) -> Any:
    """Return the structure of `program` as JSON data. As `describe`.

    That is the code of its modules' classes, their attributes, and of each predictor the fields,
    types and remarks of its signature, instructions, demos, config and own LM.

    Args:
        program: The program, without results that an optimizer hung on it.
        without_texts_of: Predictors whose instructions are left out: those that are optimized.
    """
    return _Describer({id(predictor) for predictor in without_texts_of})(program)


def describe_example(example: dspy.Example) -> Any:
    """Return inputs and labels of an example as JSON data, DSPy's notes (`dspy_uuid`) apart."""
    return describe(example)


def describe_adapter(adapter: dspy.Adapter | None) -> Any:
    """Return class and state of an adapter as JSON data; None for the one that DSPy uses then."""
    told = describe(adapter)
    return None if told == describe(dspy.ChatAdapter()) else told


def describe_lm(lm: dspy.BaseLM) -> dict[str, Any]:
    """Return class, model, parameters, engine and endpoint of `lm` as JSON data.

    It holds no key, header or environment variable. A class of the user's is told by its code, too,
    and its LMs by their attributes; of both show only the fingerprint.

    An engine object is told by `dump_state()` if it has it, else by its class and its public
    attributes, without numbers that its methods assign, and without what is no argument of its
    class: numbers, lists, and what a call assigns or changes in place. These may be counters, logs
    and memos; the same goes for LMs. Two that differ in nothing of this are taken for the same.
    """
    return lms.lm_parts(lm, describe)


def describe_engine(lm: dspy.LM) -> Any:
    """Return the name of the engine of `lm`, or its class and state; see `describe_lm`."""
    return lms.engine_parts(lm.engine, describe)


def describe_lm_class(kind: type) -> dict[str, Any]:
    """Return the name of an LM's class; if it is the user's own, also its code."""
    return lms.class_parts_of(kind, describe)


def describe_attributes(lm: dspy.BaseLM) -> Any:
    """Return what `lm`, of a class of the user's, holds beside what DSPy gave it."""
    return lms.own_attributes(lm, describe)


def describe_request(request: Any) -> Any:
    """Return what of a request has a part in its answer: no keys, headers or timeouts.

    Args:
        request: A `dspy.lm15.Request`, or messages and options by name.
    """
    if isinstance(request, Mapping):
        return lms.request_parts(request, describe)
    return describe(request)


class _Describer:
    """One walk through a value."""

    def __init__(self, blank: Collection[int] = ()) -> None:
        self._blank = blank
        """Predictors whose instructions do not count, by id."""
        self._path: set[int] = set()
        self._told: dict[int, tuple[Any, int]] = {}
        """Functions and classes told before, by id, with their number."""

    def __call__(self, value: Any) -> Any:
        if value is None or (isinstance(value, (bool, str)) and type(value) in (bool, str)):
            return value
        if type(value) is int:
            return value if value.bit_length() < 10_000 else hex(value)
        if type(value) is float:
            return value if value == value and abs(value) != float("inf") else repr(value)
        if id(value) in self._path or len(self._path) >= MAX_DEPTH:
            return {"~again": type(value).__qualname__}
        self._path.add(id(value))
        try:
            return self._composed(value)
        finally:
            self._path.discard(id(value))

    def _composed(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return [self(item) for item in value]
        if isinstance(value, (set, frozenset)):
            return {"~set": [self(item) for item in self._ordered(value)]}
        if (named := self._named(value)) is not None:
            return named
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {"~bytes": hashlib.sha256(value).hexdigest()}
        if get_origin(value) is not None or isinstance(value, TypeVar):
            return self._annotation(value)
        return self._callable(value) if callable(value) else self._object(value)

    def _named(self, value: Any) -> Any:
        """Return what is told by name, text or type alone, or None."""
        if isinstance(value, types.ModuleType):
            return sources.module_parts(value)
        if isinstance(value, Logger):
            return {"~logger": value.name}
        if isinstance(value, _BY_TYPE):
            return {"~object": self(type(value))}
        if isinstance(value, Enum):
            return {"~enum": self(type(value)), "name": value.name, "value": self(value._value_)}
        if isinstance(value, _BY_REPR) or value is Ellipsis or value is NotImplemented:
            return {"~value": code.text_of(value)}
        return None

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        held = list(value.items())  # at once: another thread may add to it
        if all(type(key) is str for key, _ in held):
            return {key: self(item) for key, item in sorted(held, key=lambda pair: pair[0])}
        content = dict(held)
        return {"~mapping": [[self(key), self(content[key])] for key in self._ordered(content)]}

    def _ordered(self, items: Iterable[Any]) -> list[Any]:
        """Return items in an order that is the same in every process."""
        return in_order(items, self._begun(_Outline), lambda item: self._begun(_Describer)(item))

    def _begun(self, kind: "type[_Describer]") -> "_Describer":
        """Return a walk that begins where this one is."""
        walk = kind(self._blank)
        walk._path = set(self._path)
        return walk

    def _annotation(self, value: Any) -> Any:
        if isinstance(value, TypeVar):
            return {"~typevar": str(value)}
        told = {"~type": self(get_origin(value)), "of": [self(arg) for arg in get_args(value)]}
        if get_origin(value) is Annotated:
            told["notes"] = [self(note) for note in value.__metadata__]
        return told

    def _callable(self, value: Any) -> Any:
        if isinstance(value, type):
            return self._once(value, self._class)
        if isinstance(value, partial):
            return {"~partial": self(value.func), "of": self([list(value.args), value.keywords])}
        if isinstance(value, types.MethodType):
            return {"~method": self(value.__func__), "of": self(value.__self__)}
        if code.is_builtin(value):
            owner = getattr(value, "__self__", None)
            of = None if isinstance(owner, types.ModuleType) else self(owner)
            return {"~builtin": value.__qualname__, "of": of}
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
        if (library := libraries.from_library(value)) is not None:
            return library
        if id(value) in self._told:
            return {"~told": self._told[id(value)][1]}
        self._told[id(value)] = value, len(self._told)
        return tell(value)

    def _function(self, value: Any) -> Any:
        return code.function_parts(value, self)

    def _class(self, value: type) -> Any:
        if issubclass(value, dspy.Signature):
            return programs.signature_parts(value, self)
        told = code.class_parts(value, self)
        if issubclass(value, BaseModel):
            told["members"] = {"fields": self(value.model_fields), **told["members"]}
        elif annotations := vars(value).get("__annotations__"):
            told["annotations"] = self(annotations)
        return told

    def _object(self, value: Any) -> Any:
        if isinstance(value, dspy.BaseLM):
            return lms.lm_parts(value, self)
        if isinstance(value, dspy.Module):
            return programs.module_parts(value, self, text=id(value) not in self._blank)
        if isinstance(value, dspy.Example):
            return programs.example_parts(value, self)
        if isinstance(value, dspy.Adapter):
            return lms.adapter_parts(value, self)
        if isinstance(value, Iterator):  # looking would use it up
            return {"~object": self(type(value))}
        return {"~object": self(type(value)), "state": self(objects.state_of(value))}


class _Outline(_Describer):
    """A walk that tells functions and classes without what they use, whatever was told before."""

    def _once(self, value: Any, tell: Any) -> Any:
        told = [str(getattr(value, "__module__", None)), str(value.__qualname__)]
        if isinstance(value, type):
            return told
        return [*told, code.code_parts(value.__code__, self), self(code.closure_of(value))]

    def _ordered(self, items: Iterable[Any]) -> list[Any]:
        return sorted(list(items), key=lambda item: canonical(self(item)))
