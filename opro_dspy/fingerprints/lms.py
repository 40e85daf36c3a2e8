"""Who an LM is: model, parameters, engine and endpoint; never its keys and headers."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from dspy import LM

from opro_dspy.fingerprints.code import assigned_in
from opro_dspy.fingerprints.credentials import (
    URLS,
    is_secret,
    without_credentials,
    without_secrets,
)
from opro_dspy.fingerprints.hashing import fingerprint
from opro_dspy.fingerprints.objects import arguments_of, state_of

_CONNECTION = frozenset({"timeout", "num_retries", "max_retries", "cache"})
"""What decides how an LM is reached, but not what it answers."""


def lm_parts(lm: dspy.BaseLM, describe: Callable[[Any], Any]) -> dict[str, Any]:
    """Return class, model, parameters, engine and endpoint of an LM; see `describe_lm`."""
    kind = type(lm)
    told = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "model": lm.model,
        "model_type": getattr(lm, "model_type", None),
        "parameters": request_parts(without_secrets(getattr(lm, "kwargs", None) or {}), describe),
        "endpoint": endpoint_of(lm),
    }
    if not isinstance(lm, LM):
        known = ("model", "model_type", "kwargs", "history", "callbacks", "adapter")
        held = {n: v for n, v in vars(lm).items() if n not in known and not n.startswith("_")}
        shown = request_parts(without_secrets(_lasting(kind, held)), describe)
        return {**told, "attributes": without_secrets(shown)}
    return {
        **told,
        "developer_role": bool(lm.use_developer_role),
        "engine": engine_parts(lm.engine, describe),
    }


def engine_parts(engine: Any, describe: Callable[[Any], Any]) -> Any:
    """Return the name of an engine, or class and state of an engine object."""
    if isinstance(engine, str):
        return engine
    kind = type(engine)
    told, state = describe(kind), without_secrets(state_of(engine))
    if not callable(getattr(engine, "dump_state", None)) and isinstance(state, dict):
        told, state = _without_counters(told, assigned_in(kind)), _lasting(kind, state)
    return {"class": told, "state": without_secrets(describe(state))}


def _lasting(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an object of `kind` without what seems to be a counter or a log.

    That are numbers that its methods assign, and numbers and lists that are no arguments of it.
    """
    assigned, given = assigned_in(kind), {name.lstrip("_") for name in arguments_of(kind)}
    return {
        name: value
        for name, value in state.items()
        if not (_is_number(value) and name in assigned)
        and (name.lstrip("_") in given or not (_is_number(value) or isinstance(value, list)))
    }


def _without_counters(told: Any, assigned: set[str]) -> Any:
    """Return the description of a class without numbers that its methods assign."""
    if not isinstance(told, dict) or "members" not in told:
        return told
    members = {
        name: value
        for name, value in told["members"].items()
        if not (_is_number(value) and name in assigned)
    }
    bases = [_without_counters(base, assigned) for base in told["bases"]]
    return {**told, "members": members, "bases": bases}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def request_parts(given: Mapping[str, Any], describe: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what of a call or an LM's parameters has a part in the answer."""
    return {
        name: without_credentials(value) if name in URLS else describe(value)
        for name, value in sorted(given.items())
        if value is not None and name not in _CONNECTION and not is_secret(name)
    }


def endpoint_of(lm: dspy.BaseLM, call: Mapping[str, Any] | None = None) -> Any:
    """Return where `lm` is reached if that is not settled by its model's name alone, else None.

    Args:
        lm: The LM.
        call: Options of a call, which override those of the LM.
    """
    options = {**(getattr(lm, "kwargs", None) or {}), **(call or {})}
    for name in URLS:
        if options.get(name):
            return without_credentials(options[name])
    if not isinstance(getattr(lm, "engine", None), str):
        return None
    provider, slash, _ = str(lm.model).partition("/")
    for declared in getattr(lm, "_providers", ()):
        names = (declared.id, *declared.definition.aliases)
        if slash and provider.replace("_", "-") in names:
            return without_credentials(declared.definition.access.base_url)
    prefix = provider.upper() if slash else "OPENAI"
    for variable in (f"{prefix}_API_BASE", f"{prefix}_BASE_URL"):
        if os.environ.get(variable):  # told by its hash: no value of the environment is shown
            return f"{variable}:{fingerprint(os.environ[variable])[:16]}"
    return None
