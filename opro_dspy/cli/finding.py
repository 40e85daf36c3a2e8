"""What a command line names: programs, metrics and LMs, in Python modules or by a short name."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import sentence
from opro_dspy.metrics import exact_number, exact_text, multiple_choice, yes_no
from opro_dspy.simulation import landscape, optimizer_lm, scorer_lm

METRICS: dict[str, Callable[..., bool]] = {
    metric.__name__: metric for metric in (exact_number, exact_text, multiple_choice, yes_no)
}
"""Ready metrics by name."""

SIMULATED = "simulated"
"""Name of the LMs that answer offline, for trying things out."""

LANDSCAPE = "many_small_effects"

_SIGNATURE = re.compile(r"(?:(Predict|ChainOfThought)\((.+)\)|([^()]*->.*))", re.DOTALL)
_PLACE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)")


def program_of(spec: str, folder: Path) -> dspy.Module:
    """Return the program that `spec` names.

    Args:
        spec: `module:object`, where the object is a `dspy.Module`, or a class or function that
            returns one without arguments; or a signature: "question -> answer",
            "ChainOfThought(question -> answer)".
        folder: Where modules are looked for first.

    Raises:
        ConfigurationError: If it names none.
    """
    signature = _SIGNATURE.fullmatch(spec.strip())
    if signature is not None:
        return _of_signature(spec, signature[1] or "Predict", signature[2] or signature[3])
    hint = 'or a signature such as "question -> answer"'
    found = _made(spec, folder, "program", hint, kind=dspy.Module)
    if not isinstance(found, dspy.Module):
        raise ConfigurationError(
            f"the program {spec!r} must be a dspy.Module, or a class or function that makes one, "
            f"got {type(found).__name__}."
        )
    return found


def metric_of(spec: str, folder: Path, *, field: str = "answer") -> Callable[..., Any]:
    """Return the metric that `spec` names.

    Args:
        spec: The name of a ready metric, or `module:function`.
        folder: Where modules are looked for first.
        field: Which field a ready metric compares.

    Raises:
        ConfigurationError: If it names none; says the nearest.
    """
    if spec in METRICS:
        return METRICS[spec] if field == "answer" else partial(METRICS[spec], field=field)
    if ":" not in spec:
        nearest = get_close_matches(spec, METRICS, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ConfigurationError(
            f"there is no metric {spec!r}.{hint} It is one of {', '.join(METRICS)}, or a function "
            "of yours as module:function."
        )
    found = _found(spec, folder, "metric", f"or one of {', '.join(METRICS)}")
    if not callable(found):
        raise ConfigurationError(
            f"the metric {spec!r} must be a function of (example, prediction, trace=None), got "
            f"{type(found).__name__}."
        )
    return found  # type: ignore[no-any-return]


def scorer_of(
    spec: str | None, folder: Path, examples: Sequence[dspy.Example], *, seed: int = 0
) -> dspy.LM | None:
    """Return the LM that runs the program, or None if `spec` is None.

    Args:
        spec: A name for `dspy.LM`, `module:object`, or "simulated".
        folder: Where modules are looked for first.
        examples: What the simulated one knows the answers of.
        seed: Of the simulated one.

    Raises:
        ConfigurationError: If there is no such LM.
    """
    if spec == SIMULATED:
        return scorer_lm(answer_key=examples, landscape=landscape(LANDSCAPE, seed=seed))
    return None if spec is None else lm_of(spec, folder)


def prompt_model_of(spec: str | None, folder: Path, *, seed: int = 0) -> dspy.LM | None:
    """Return the optimizer LM, or None if `spec` is None; see `scorer_of`."""
    if spec == SIMULATED:
        return optimizer_lm(seed=seed)
    return None if spec is None else lm_of(spec, folder)


def lm_of(spec: str, folder: Path) -> dspy.LM:
    """Return the LM that `spec` names, which is no simulated one; see `scorer_of`."""
    if "/" not in spec and ":" in spec:
        hint = "or a name such as openai/gpt-5-mini"
        found = _made(spec, folder, "LM", hint, kind=dspy.BaseLM)
        if not isinstance(found, dspy.BaseLM):
            raise ConfigurationError(
                f"the LM {spec!r} must be a dspy.LM, or a function that makes one, got "
                f"{type(found).__name__}."
            )
        return found
    if not re.fullmatch(r"[^/\s]+/\S+", spec):
        raise ConfigurationError(
            f"an LM is named as provider/model, such as openai/gpt-5-mini, got {spec!r}. "
            f"{SIMULATED!r} answers offline; module:object takes a dspy.LM of yours."
        )
    return dspy.LM(spec)


def _of_signature(spec: str, module: str, signature: str) -> dspy.Module:
    try:
        made: dspy.Module = getattr(dspy, module)(signature.strip())
    except (ValueError, TypeError, SyntaxError, NameError) as error:
        raise ConfigurationError(
            f"{spec!r} is no signature that DSPy reads: {sentence(str(error))} Write "
            'inputs -> outputs, such as "question, context -> answer: float".'
        ) from error
    return made


def _made(spec: str, folder: Path, what: str, hint: str, *, kind: type) -> Any:
    """Return the object that `spec` names, or what it makes when it is not of `kind` but called."""
    found = _found(spec, folder, what, hint)
    return _called(found, spec) if not isinstance(found, kind) and callable(found) else found


def _found(spec: str, folder: Path, what: str, otherwise: str) -> Any:
    """Return the object at `module:object`."""
    place = _PLACE.fullmatch(spec)
    if place is None:
        raise ConfigurationError(f"the {what} must be module:object, {otherwise}, got {spec!r}.")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    found = _imported(place[1], folder)
    for name in place[2].split("."):
        if not hasattr(found, name):
            raise ConfigurationError(
                f"module {place[1]!r} has no {name!r}.{_known_in(found, name)}"
            )
        found = getattr(found, name)
    return found


def _known_in(owner: Any, name: str) -> str:
    """Return what of a module may have been meant by `name`: the nearest, or all its own names."""
    known = [n for n in vars(owner) if not n.startswith("_")]
    nearest = get_close_matches(name, known, n=1)
    if nearest:
        return f" Did you mean {nearest[0]}?"
    own = [n for n in known if getattr(vars(owner)[n], "__module__", None) == owner.__name__]
    return f" It has: {', '.join(own)}." if own else ""


def _imported(name: str, folder: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = f"needs {error.name!r}, which is not installed"
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            missing = f"was not found; looked in {folder} and in what is installed"
        raise ConfigurationError(f"module {name!r} {missing}.") from error
    except Exception as error:
        raise ConfigurationError(
            f"module {name!r} raised {type(error).__name__} when it was imported: "
            f"{sentence(str(error))} --debug shows where."
        ) from error


def _called(make: Callable[[], Any], spec: str) -> Any:
    needed = [
        p.name
        for p in inspect.signature(make).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigurationError(
            f"{spec!r} needs the arguments {', '.join(needed)}. Name an object that is made "
            "already, or a function without arguments."
        )
    return make()
