"""Credentials: those that an LM, the environment, or anything else holds."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import dspy

from opro_dspy.fingerprints import is_secret, may_be_secret, secrets_in_urls

SHORTEST = 8
"""Shorter values are too common to be taken out of texts."""

MAX_DEPTH = 12
"""Dicts and lists within each other that are looked into."""

MAX_ENTRIES = 1000
"""Larger collections are data."""

_RECORDS = ("history", "callbacks", "demos", "traces", "train")
"""Attributes that hold texts of calls and examples."""

_ANY = re.compile(r".*", re.DOTALL)
_KEY_LIKE = re.compile(r"(?=.*\d)\S+|\S{20,}")
"""No name of a field, and no sentence."""


def secrets_of(
    lm: dspy.BaseLM | None, options: Mapping[str, Any] | None = None, *, doubtful: bool = True
) -> set[str]:
    """Return the credentials that `lm`, its engine or the environment holds.

    Args:
        lm: The LM, if there is one.
        options: Of a call.
        doubtful: See `secrets_held`.
    """
    told = set(_Search(doubtful=doubtful, users=False).texts(dict(os.environ)))
    return told | secrets_held(lm, getattr(lm, "engine", None), options, doubtful=doubtful)


def secrets_held(*owners: Any, doubtful: bool = True, demos: bool = False) -> set[str]:
    """Return the credentials in `owners`.

    These are texts under names that speak of credentials, and those in URLs.

    Args:
        *owners: Mappings, or any objects: their attributes, those of the objects among them, and
            in both the entries of dicts and lists at any depth are looked at, and nothing deeper.
            Attributes are also those in slots, those of the class, and the defaults of a
            function's parameters. A bound method is taken for what it is bound to, and a
            `functools.partial` for its function and arguments.
        doubtful: Whether text that looks like a key counts under names like `key`, too.
        demos: Whether text that looks like a key counts in demos, too.
    """
    search = _Search(doubtful=doubtful, demos=demos)
    return {text for owner in owners for text in search.texts(owner)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """For credentials, in any value; see `secrets_held`."""

    doubtful: bool
    users: bool = True
    """Whether users in URLs count that have a password."""
    demos: bool = False
    known: re.Pattern[str] = _ANY
    """What text matches that counts under a name that speaks of credentials."""

    def texts(self, value: Any) -> Iterator[str]:
        for text in self._texts(value, None, objects=2, depth=MAX_DEPTH):
            parts = (text, text.removeprefix("Bearer "))
            yield from (part for part in parts if len(part) >= SHORTEST)

    def _texts(
        self, value: Any, named: re.Pattern[str] | None, *, objects: int, depth: int
    ) -> Iterator[str]:
        """Yield what is a credential; with `named` all texts that match it are."""
        if isinstance(value, str):
            if named is not None and named.fullmatch(value):
                yield value
            yield from secrets_in_urls(value, users=self.users)
            return
        items: Sequence[tuple[Any, Any]] = ()
        if isinstance(value, Mapping):
            items = list(value.items())
        elif isinstance(value, (list, tuple)):
            items = [(None, item) for item in value]
        elif isinstance(value, (partial, MethodType)):
            items = _wrapped(value)
        elif objects and not isinstance(value, (type, ModuleType)):
            held = _attributes(value)
            items = [(name, item) for name, item in held.items() if name not in _RECORDS]
            objects -= 1
            if self.demos and "demos" in held:
                data = replace(self, known=_KEY_LIKE)
                yield from data._texts(held["demos"], None, objects=objects, depth=depth - 1)
        if depth and len(items) <= MAX_ENTRIES:
            for name, item in items:
                yield from self._texts(
                    item, self._named(name) or named, objects=objects, depth=depth - 1
                )

    def _named(self, name: Any) -> re.Pattern[str] | None:
        """Return what texts under `name` have to match to be credentials; None if none is."""
        own = name.lstrip("_") if isinstance(name, str) else ""
        if is_secret(own):
            return self.known
        return _KEY_LIKE if self.doubtful and may_be_secret(own) else None


def _wrapped(value: Any) -> list[tuple[str | None, Any]]:
    """Return what a partial or a bound method passes on, and to whom."""
    if isinstance(value, partial):
        return [(None, value.func), (None, value.args), *value.keywords.items()]
    return [(None, value.__self__), (None, value.__func__)]


def _attributes(value: Any) -> dict[str, Any]:
    """Return the data that an object holds by name; see `secrets_held`."""
    held: dict[str, Any] = {}
    for kind in reversed(type(value).__mro__):
        of_class = vars(kind)
        for name, item in list(of_class.items()):
            if "__slots__" in of_class and isinstance(item, MemberDescriptorType):
                held |= {name: item.__get__(value)} if hasattr(value, name) else {}
            elif not (name.startswith("__") or hasattr(item, "__get__")):
                held[name] = item
    if isinstance(value, FunctionType):
        held |= _defaults(value)
    return held | dict(getattr(value, "__dict__", None) or {})


def _defaults(function: FunctionType) -> dict[str, Any]:
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    by_name = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    return by_name | (function.__kwdefaults__ or {})
