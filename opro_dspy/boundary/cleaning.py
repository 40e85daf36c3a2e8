"""Taking credentials out of what an error says."""

import base64
import builtins
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import ValidationError

from opro_dspy.fingerprints import clean_urls

HIDDEN = "[redacted]"

MAX_DEPTH = 12
"""Dicts and lists within each other that are looked into."""

_SLOTS = (MemberDescriptorType, GetSetDescriptorType)


def redact(error: BaseException, secrets: set[str]) -> BaseException:
    """Take `secrets`, and those in URLs, out of the texts of `error` and of what it came from.

    That is in place where it can be: in arguments, notes and attributes. What says them even so
    (pydantic's errors cannot be changed) is replaced by a `RuntimeError` with its name, its words
    without them, and its traceback.

    Returns:
        `error`, or what stands in for it.
    """
    secrets = {spelled for secret in secrets for spelled in spellings(secret)}
    links = list(_tree(error))
    for link in links:
        _clean(link, secrets)
    found: dict[int, BaseException] = {}
    for link in reversed(links):  # what a group holds comes after it
        found[id(link)] = _changed(link, secrets, found)
    for link in links:
        _relink(link, found[id(link)], found)
    return found[id(error)]


def spellings(secret: str) -> Iterator[str]:
    """Yield `secret` as it is and as it is quoted in URLs, escaped in texts, or put in base64.

    In base64 that is what stands for it alone, after anything (`user:`) and before anything.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    yield from quoted
    yield from (re.sub("%..", lambda code: code[0].lower(), text) for text in quoted)
    escaped = {secret}
    for _ in range(2):  # JSON in JSON, too
        for text in list(escaped):
            escaped |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
            escaped.add(repr(text)[1:-1])
    yield from escaped
    for before in range(3):
        bits = (before + len(raw)) * 8
        told = base64.b64encode(bytes(before) + raw).decode()[-(-before * 8 // 6) : bits // 6]
        yield from (told, told.translate(str.maketrans("+/", "-_")))


def _tree(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, what it came from, and what groups among them hold, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        link = left.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        left += [link.__context__, link.__cause__, *_members(link)]


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """Return what an exception group holds; there are none in Python 3.10."""
    kind = getattr(builtins, "BaseExceptionGroup", None)
    return error.exceptions if kind is not None and isinstance(error, kind) else ()


def _clean(link: BaseException, secrets: set[str]) -> None:
    """Take `secrets` out of what `link` holds, where it lets us."""
    with suppress(AttributeError, TypeError, ValueError):
        link.args = tuple(_hidden(arg, secrets, objects=True) for arg in link.args)
    for name in _attributes(link):
        with suppress(AttributeError, TypeError, ValueError):
            value = getattr(link, name)
            if isinstance(value, (str, bytes, dict, list, tuple, set, frozenset)):
                hidden = _hidden(value, secrets)
                if hidden != value:
                    setattr(link, name, hidden)


def _attributes(link: BaseException) -> Iterator[str]:
    """Yield the names of what `link` holds: in its dict, in slots, or as builtins do."""
    yield from list(getattr(link, "__dict__", {}))
    for kind in type(link).__mro__:
        for name, held in vars(kind).items():
            if isinstance(held, _SLOTS) and not name.startswith("__") and name != "args":
                yield name


def _changed(
    link: BaseException, secrets: set[str], found: Mapping[int, BaseException]
) -> BaseException:
    """Return `link`, or what stands in for it if it or what it holds still tells a secret."""
    members = [found.get(id(member), member) for member in _members(link)]
    told = f"{_words(link)} {_words(link, repr)} {_inputs(link)}"
    same = all(old is new for old, new in zip(_members(link), members, strict=True))
    if same and _hidden(told, secrets) == told:
        return link
    kind: Any = type(link)
    bases: tuple[type, ...] = (RuntimeError if isinstance(link, Exception) else BaseException,)
    words: tuple[Any, ...] = (_hidden(_words(link), secrets),)
    if members:
        message = getattr(link, "message", "")
        groups = "ExceptionGroup" if isinstance(link, Exception) else "BaseExceptionGroup"
        bases, words = (getattr(builtins, groups),), (_hidden(str(message), secrets), members)
    name = _hidden(kind.__name__, secrets)
    stand_in: BaseException = type(name, bases, {"__module__": kind.__module__})(*words)
    vars(stand_in).update(getattr(link, "__dict__", {}))  # clean by now; tells whose fault it is
    return stand_in.with_traceback(link.__traceback__)


def _relink(link: BaseException, new: BaseException, found: Mapping[int, BaseException]) -> None:
    """Let `new` come from what `link` came from, or from what stands in for that."""
    cause, context, suppressed = link.__cause__, link.__context__, link.__suppress_context__
    new.__cause__ = None if cause is None else found.get(id(cause), cause)
    new.__context__ = None if context is None else found.get(id(context), context)
    new.__suppress_context__ = suppressed


def _words(error: Any, how: Callable[[Any], str] = str) -> str:
    """Return what `error` says; of pydantic's without its inputs, which it cuts in the middle."""
    try:
        if isinstance(error, ValidationError) and how is str:
            faults = error.errors(include_url=False, include_input=False)
            lines = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
            return "\n".join([f"{len(faults)} validation errors for {error.title}", *lines])
        return how(error)
    except Exception as failed:  # noqa: BLE001  (a `__str__` or `__repr__` of the user's)
        return f"<{type(error).__name__}, which cannot be shown: {type(failed).__name__}>"


def _inputs(error: BaseException) -> str:
    """Return what pydantic's errors show, in full."""
    return repr(error.errors()) if isinstance(error, ValidationError) else ""


def _hidden(value: Any, secrets: set[str], *, objects: bool = False, depth: int = MAX_DEPTH) -> Any:
    """Return `value` without `secrets`; with `objects` those that show one become texts."""
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
        return clean_urls(value)
    if isinstance(value, (bytes, bytearray)):
        text = value.decode("utf-8", "surrogateescape")
        hidden = _hidden(text, secrets)
        return value if hidden == text else hidden.encode("utf-8", "surrogateescape")
    hide = partial(_hidden, secrets=secrets, objects=objects, depth=depth - 1)
    if isinstance(value, dict) and depth:
        return {hide(key): hide(item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset) and depth:
        return type(value)(hide(item) for item in value)
    if objects and not isinstance(value, (int, float, BaseException, type)):
        for how in (str, repr):
            shown = _words(value, how)
            if _hidden(shown, secrets) != shown:
                return _hidden(shown, secrets)
    return value
