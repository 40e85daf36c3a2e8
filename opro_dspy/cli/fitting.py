"""Whether program, data and metric fit together, told before anything is paid for."""

import inspect
from collections.abc import Sequence
from typing import Any

import dspy

from opro_dspy.cli.finding import METRICS
from opro_dspy.cli.screen import note
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import clipped, counted


def inputs_of(program: dspy.Module) -> tuple[str, ...]:
    """Return the input fields of a program: its signature's, or the arguments of its `forward`.

    Raises:
        ConfigurationError: If only its author can know them.
    """
    signature = _signature(program)
    if signature is None and (arguments := _arguments(program)):
        return arguments
    if signature is None:
        raise ConfigurationError(
            "pass --inputs with the names of the program's input fields, such as "
            "--inputs question,context: neither a signature nor `forward` tells them."
        )
    return tuple(signature.input_fields)


def check_inputs_of(program: dspy.Module, inputs: tuple[str, ...]) -> None:
    """Refuse inputs that are not the fields of the program's signature, where it has one alone."""
    signature = _signature(program)
    missing = [name for name in (signature.input_fields if signature else ()) if name not in inputs]
    if missing:
        raise ConfigurationError(
            f"the program reads {', '.join(signature.input_fields)}, but --inputs has no "
            f"{missing[0]!r}: {', '.join(inputs)}. Name all of them."
        )
    others = [name for name in inputs if signature and name not in signature.input_fields]
    if others:
        raise ConfigurationError(
            f"the program reads {', '.join(signature.input_fields)}, but --inputs names "
            f"{others[0]!r} too. Name its input fields only: what it is compared with is no input."
        )


def check_answers(program: dspy.Module, field: str) -> None:
    """Refuse a program whose signature does not write the field that a ready metric compares."""
    signature = _signature(program)
    if signature is not None and field not in signature.output_fields:
        raise ConfigurationError(
            f"the metric compares {field!r}, but the program writes "
            f"{', '.join(signature.output_fields) or 'nothing'}. Name the field with --field."
        )


def check_labels(examples: Sequence[dspy.Example], field: str, *, metric: str, option: str) -> None:
    """Refuse examples without the field that a ready metric compares.

    Where it holds nothing that can be compared, the row is named; refused if that is so in all.
    """
    for number, example in enumerate(examples, start=1):
        if field not in example:
            raise ConfigurationError(
                f"row {number} of {option} has no field {field!r} to compare answers with; it has: "
                f"{', '.join(map(str, example.keys()))}. Name the field with --field."
            )
    judge = METRICS[metric]
    lost = [
        number
        for number, example in enumerate(examples, start=1)
        if _is_blank(example[field]) or not judge(example, example, field=field)
    ]
    if not lost:
        return
    said = (
        f"{metric} finds nothing to compare in the {field!r} of row {lost[0]} of {option}, which "
        f"is {clipped(repr(examples[lost[0] - 1][field]), 60)}"
    )
    if len(lost) == len(examples):
        raise ConfigurationError(
            f"{said}, nor in any other row. Name the field with --field, or take another metric."
        )
    others = f", nor in {counted(len(lost) - 1, 'other row')}" if len(lost) > 1 else ""
    note(f"{said}{others}: there no answer counts as right. Fill it in, or leave the row out.")


def _is_blank(value: Any) -> bool:
    return value is None or not str(value).strip()


def _arguments(program: dspy.Module) -> tuple[str, ...]:
    """Return the arguments of `forward`; none if some can be left out, or have no names."""
    kind = type(program)  # DSPy warns of whoever takes `forward` from the program itself
    forward = getattr(kind, "forward", None) or getattr(kind, "aforward", None)
    if forward is None:
        return ()
    found = list(inspect.signature(forward).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    certain = all(p.kind in named and p.default is p.empty for p in found)
    return tuple(p.name for p in found) if certain else ()


def _signature(program: dspy.Module) -> Any:
    """Return the signature of a program that is a predictor, or None."""
    if isinstance(program, dspy.Predict):
        return program.signature
    return program.predict.signature if isinstance(program, dspy.ChainOfThought) else None
