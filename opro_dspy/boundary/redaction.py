"""Credentials of an LM, and taking them out of what an error says."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import dspy

from opro_dspy.boundary.faults import chain
from opro_dspy.fingerprints import is_secret

SHORTEST = 8
"""Shorter values are too common to be taken out of texts."""

HIDDEN = "[redacted]"


def secrets_of(lm: dspy.BaseLM | None, options: Mapping[str, Any] | None = None) -> set[str]:
    """Return the keys and header values that `lm`, its engine or the environment holds.

    Args:
        lm: The LM, if there is one.
        options: Of a call.
    """
    engine = getattr(lm, "engine", None)
    places = [getattr(lm, "kwargs", None), options, os.environ, *_held(lm), *_held(engine)]
    found = {text for place in places for text in _secrets(place)}
    return {part for text in found for part in (text, text.removeprefix("Bearer "))}


def secrets_held(owner: Any) -> set[str]:
    """Return what stands under names that speak of credentials in `owner` and what it holds.

    Args:
        owner: A mapping, or any object: its attributes, those of the objects among them, and the
            entries of the mappings among them are looked at, and nothing deeper.
    """
    places = [owner] if isinstance(owner, Mapping) else []
    return {text for place in (*places, *_held(owner)) for text in _secrets(place)}


def _held(owner: Any) -> Iterator[Any]:
    """Yield the attributes of `owner`, and of the clients and the like that it holds."""
    own = getattr(owner, "__dict__", None) or {}
    yield own
    for value in list(own.values()):
        yield value if isinstance(value, Mapping) else getattr(value, "__dict__", None)


def _secrets(place: Any) -> Iterator[str]:
    """Yield the texts in a mapping under names that speak of credentials."""
    if not isinstance(place, Mapping):
        return
    for name, value in place.items():
        if not isinstance(name, str) or not is_secret(name.lstrip("_")):
            continue
        parts = value.values() if isinstance(value, Mapping) else [value]
        yield from (part for part in parts if isinstance(part, str) and len(part) >= SHORTEST)


def redact(error: BaseException, secrets: set[str]) -> None:
    """Take `secrets` out of the texts of `error` and of what it came from."""
    for link in chain(error):
        link.args = tuple(_hidden(arg, secrets) for arg in link.args)
        for name, value in list(getattr(link, "__dict__", {}).items()):
            if isinstance(value, (str, dict, list, tuple)):
                hidden = _hidden(value, secrets)
                if hidden != value:
                    setattr(link, name, hidden)


def _hidden(value: Any, secrets: set[str]) -> Any:
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
    elif isinstance(value, dict):
        return {_hidden(key, secrets): _hidden(item, secrets) for key, item in value.items()}
    elif type(value) in (list, tuple):
        return type(value)(_hidden(item, secrets) for item in value)
    return value
