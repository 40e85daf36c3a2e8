"""Who an LM is: model, parameters, engine and endpoint; never its keys and headers."""

from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from types import ModuleType
from typing import Any

import dspy
from dspy import LM
from pydantic import BaseModel

from opro_dspy.fingerprints import books
from opro_dspy.fingerprints.changes import assigned_in, changed_by_use
from opro_dspy.fingerprints.credentials import (
    URLS,
    clean_urls,
    is_secret,
    without_credentials,
    without_secrets,
)
from opro_dspy.fingerprints.endpoints import endpoint_of
from opro_dspy.fingerprints.hashing import Describe, in_any_order
from opro_dspy.fingerprints.objects import attributes_of, state_of
from opro_dspy.fingerprints.values import held_by

_CONNECTION = frozenset({"timeout", "num_retries", "max_retries", "cache"})
"""What decides how an LM is reached, but not what it answers."""


_BY_BASE = frozenset({"model", "model_type", "kwargs", "history", "callbacks", "adapter"})
_BY_LM = frozenset(
    {"provider", "use_developer_role", "finetuning_model", "launch_kwargs", "train_kwargs"}
)
"""Attributes that DSPy gives an LM: told apart, or without a part in its answers."""

_OURS = "_opro_dspy"
_STANDS_FOR = f"{_OURS}_stands_for"


def standing_for(kind: type, made: type) -> type:
    """Return `made`, a class that passes for the class `kind` of a user's LM."""
    setattr(made, _STANDS_FOR, kind)
    return made


def given_class(kind: type) -> type:
    """Return the class that a user gave an LM which now has the class `kind`."""
    while (given := vars(kind).get(_STANDS_FOR)) is not None:
        kind = given
    return kind


def class_parts_of(kind: type, describe: Describe) -> dict[str, Any]:
    """Return the name of an LM's class, and if it is no library's, its code without keys in it."""
    kind = given_class(kind)
    name, told = {"class": f"{kind.__module__}.{kind.__qualname__}"}, describe(kind)
    if isinstance(told, dict) and "~library" in told:
        return name
    return {**name, "code": _without_counters(_without_keys(told), kind)}


def own_attributes(lm: dspy.BaseLM, describe: Describe) -> Any:
    """Return what an LM of a class of one's own holds beside what DSPy gave it."""
    known, kind = _BY_BASE | _BY_LM if isinstance(lm, LM) else _BY_BASE, given_class(type(lm))
    held = {n: v for n, v in _all_held(lm, attributes_of(lm)).items() if n not in known}
    lasting = books.lasting(kind, held)
    told = without_secrets(request_parts(without_secrets(lasting), describe))
    return {**told, **books.apart(lm, kind, told)}


def _all_held(value: Any, shown: dict[str, Any]) -> dict[str, Any]:
    """Return private attributes of an object, too, but for what this package hung on it."""
    held = {name: item for name, item in held_by(value).items() if not name.startswith(_OURS)}
    return {**held, **shown}


def lm_parts(lm: dspy.BaseLM, describe: Describe) -> dict[str, Any]:
    """Return class, model, parameters, engine and endpoint of an LM; see `describe_lm`."""
    told = {
        **class_parts_of(type(lm), describe),
        "model": lm.model,
        "model_type": getattr(lm, "model_type", None),
        "parameters": request_parts(without_secrets(getattr(lm, "kwargs", None) or {}), describe),
        "endpoint": endpoint_of(lm),
    }
    if "code" in told or not isinstance(lm, LM):
        told["attributes"] = own_attributes(lm, describe)
    if not isinstance(lm, LM):
        return told
    return {
        **told,
        "developer_role": bool(lm.use_developer_role),
        "engine": engine_parts(lm.engine, describe),
    }


def adapter_parts(adapter: dspy.Adapter, describe: Describe) -> dict[str, Any]:
    """Return class and state of an adapter; DSPy's callbacks have no part in answers."""
    state = state_of(adapter)
    held = {n: v for n, v in state.items() if n != "callbacks"} if type(state) is dict else state
    return {"~object": describe(type(adapter)), "state": in_any_order(held, describe)}


def engine_parts(engine: Any, describe: Describe) -> Any:
    """Return the name of an engine, or class and state of an engine object."""
    if isinstance(engine, str):
        return engine
    if isinstance(engine, (type, ModuleType)):
        return {"class": describe(engine), "state": None}
    kind = type(engine)
    told, state = describe(kind), state_of(engine)
    if callable(getattr(engine, "dump_state", None)):
        return {"class": told, "state": _described(state, describe)}
    if isinstance(state, dict):
        held = state if isinstance(engine, BaseModel) else _all_held(engine, state)
        told, state = _without_counters(told, kind), books.lasting(kind, held)
    shown = _described(state, describe)
    return {"class": told, "state": shown, **books.apart(engine, kind, shown)}


def _described(state: Any, describe: Describe) -> Any:
    return without_secrets(in_any_order(without_secrets(state), describe))


def _without_keys(told: Any) -> Any:
    """Return the description of a class without texts under names of credentials."""
    if isinstance(told, dict):
        return {
            name: _without_keys(item)
            for name, item in told.items()
            if not (isinstance(item, str) and is_secret(name))
        }
    if isinstance(told, list):
        return [_without_keys(item) for item in told]
    return clean_urls(told) if isinstance(told, str) else told


def _without_counters(told: Any, kind: type) -> Any:
    """Return the description of a class without numbers that its methods assign.

    Nor with lists, sets and dicts of the class that a call changes in place.
    """
    if not isinstance(told, dict) or "members" not in told:
        return told
    assigned, used = assigned_in(kind), changed_by_use(kind)
    members = {
        name: value
        for name, value in told["members"].items()
        if not (books.is_number(value) and name in assigned)
        and not (name in used and _holds_items(getattr(kind, name, None)))
    }
    bases = [base for base in kind.__bases__ if base is not object]
    if len(bases) == len(told["bases"]):
        told = {**told, "bases": list(map(_without_counters, told["bases"], bases))}
    return {**told, "members": members}


def _holds_items(value: Any) -> bool:
    return isinstance(value, (MutableMapping, MutableSet, MutableSequence))


def request_parts(given: Mapping[str, Any], describe: Describe) -> dict[str, Any]:
    """Return what of a call or an LM's parameters has a part in the answer."""
    told: dict[str, Any] = {}
    for name, value in sorted(given.items()):
        if value is None or name in _CONNECTION or is_secret(name):
            continue
        if name in URLS:
            told[name] = without_credentials(value)
        elif name == "messages" and isinstance(value, list):
            told[name] = [in_any_order(message, describe) for message in value]
        else:
            told[name] = describe(value)
    return told
