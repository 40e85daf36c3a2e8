"""Whether a program takes the inputs that examples give, as far as that shows without a call."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import dspy

from opro_dspy.calling import is_async_only
from opro_dspy.errors import ConfigurationError
from opro_dspy.seats import is_async

logger = logging.getLogger(__name__)

PRIVILEGED = frozenset({"config", "demos", "lm", "prediction", "signature"})
"""Inputs that `dspy.Predict` takes beside those of its signature."""

Given = Mapping[str, Sequence[str]]
"""Name of an example ("trainset[3]") to its inputs: the first example that gives just these."""


def check_inputs(student: dspy.Module, sets: Mapping[str, Sequence[dspy.Example]]) -> None:
    """Refuse examples whose inputs `student` cannot take; warn of those that it may not use.

    Args:
        student: The program; not called.
        sets: Name of a set to its examples, with inputs set.

    Raises:
        ConfigurationError: If the program's `forward` (or `aforward`) would raise for the names of
            an example's inputs, or a `dspy.Predict` would show none of them, or `forward` is a
            coroutine function.
    """
    given = {
        where: names for name, examples in sets.items() for where, names in _given(name, examples)
    }
    function, signature = _function_of(student), _signature_of(student)
    if signature is not None:
        _check_fields(student, signature, given)
    elif function is None or _takes_anything(function):
        _warn_of_mixed(given)
    else:
        _check_arguments(student, function, given)


def _given(name: str, examples: Sequence[dspy.Example]) -> Iterator[tuple[str, Sequence[str]]]:
    seen = set()
    for index, example in enumerate(examples):
        names = tuple(sorted(example.inputs().keys()))
        if names not in seen:
            seen.add(names)
            yield f"{name}[{index}]", names


def _is_dspys(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == "dspy"


def _function_of(student: dspy.Module) -> Callable[..., Any] | None:
    """Return the method that gets the inputs; None if that cannot be told.

    Raises:
        ConfigurationError: If it is `forward`, and a coroutine function.
    """
    awaited = is_async_only(student)
    call, name = ("acall", "aforward") if awaited else ("__call__", "forward")
    if not _is_dspys(getattr(type(student), call)):
        return None
    try:  # DSPy warns of whoever asks for `forward` in another way
        function: Callable[..., Any] = object.__getattribute__(student, name)
    except AttributeError:
        return None
    if not awaited and is_async(function):
        kind = type(student).__name__
        also = hasattr(type(student), "aforward")
        raise ConfigurationError(
            f"{kind}.forward is a coroutine function (`async def`), which nobody would await. "
            + ("Take it away: `aforward` is awaited." if also else "Name it `aforward`.")
        )
    return function


def _signature_of(student: dspy.Module) -> type[dspy.Signature] | None:
    """Return the signature whose fields the inputs are, of a module of DSPy's own; else None."""
    function = _function_of(student)
    if function is None or not _is_dspys(function):
        return None
    holder = student.predict if isinstance(student, dspy.ChainOfThought) else student
    signature = getattr(holder, "signature", None)
    is_one = isinstance(signature, type) and issubclass(signature, dspy.Signature)
    return signature if is_one else None


def _takes_anything(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return True
    required = any(
        p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        for p in parameters
    )
    return not required and any(p.kind is p.VAR_KEYWORD for p in parameters)


def _check_arguments(student: dspy.Module, function: Callable[..., Any], given: Given) -> None:
    signature = inspect.signature(function, follow_wrapped=False)
    name = f"{type(student).__name__}.{'aforward' if is_async_only(student) else 'forward'}"
    for where, names in given.items():
        try:
            signature.bind(**dict.fromkeys(names))
        except TypeError as error:
            plain = signature.replace(
                parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
                return_annotation=signature.empty,
            )
            raise ConfigurationError(
                f"`{where}` gives the inputs {list(names)}, but {name} takes {plain}: {error}. "
                "Name the example's fields as its arguments, and all that it needs in "
                ".with_inputs(...)."
            ) from None


def _check_fields(student: dspy.Module, signature: type[dspy.Signature], given: Given) -> None:
    """Refuse examples that a module of DSPy would not show; warn of those it would show in part."""
    fields, kind = signature.input_fields, type(student).__name__
    known = {*fields, *PRIVILEGED} if isinstance(student, dspy.Predict) else set(fields)
    for where, names in given.items():
        if fields and not known & set(names):
            raise ConfigurationError(
                f"`{where}` gives the inputs {list(names)}, but {kind} reads {list(fields)}: no "
                "prompt would show the example. Name its fields as the signature does, and name "
                "them in .with_inputs(...)."
            )
    needed = [
        name
        for name, field in fields.items()
        if field.is_required() and type(None) not in get_args(field.annotation)
    ]
    _warn(
        "`%s` does not give the inputs %s that %s reads: prompts will lack them.",
        {where: [n for n in needed if n not in names] for where, names in given.items()},
        kind,
    )
    _warn(
        "`%s` gives the inputs %s that are no input fields of %s: no prompt will show them.",
        {where: [n for n in names if n not in known] for where, names in given.items()},
        kind,
    )


def _warn(message: str, found: Given, kind: str) -> None:
    """Warn of the first example with which something is wrong."""
    for where, names in found.items():
        if names:
            logger.warning(message, where, list(names), kind)
            return


def _warn_of_mixed(given: Given) -> None:
    first, *others = given.items()
    for where, names in others:
        if names != first[1]:
            logger.warning(
                "`%s` gives the inputs %s, but `%s` %s: whether the program takes both cannot be "
                "told before it is called.",
                where,
                list(names),
                first[0],
                list(first[1]),
            )
            return
