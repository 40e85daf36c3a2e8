"""Who an LM is: model, parameters, engine and endpoint; never its keys and headers."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from dspy import LM

from opro_dspy.fingerprints.credentials import (
    URLS,
    is_secret,
    without_credentials,
    without_secrets,
)
from opro_dspy.fingerprints.hashing import fingerprint
from opro_dspy.fingerprints.objects import state_of

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
        shown = request_parts(without_secrets(held), describe)
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
    state = without_secrets(state_of(engine))
    return {"class": describe(type(engine)), "state": without_secrets(describe(state))}


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
