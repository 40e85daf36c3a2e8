"""Whether program, data and metric fit together, told before anything is paid for."""

from collections.abc import Sequence
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError


def inputs_of(program: dspy.Module) -> tuple[str, ...]:
    """Return the input fields of a program that is one signature.

    Raises:
        ConfigurationError: If only its author can know them.
    """
    signature = _signature(program)
    if signature is None:
        raise ConfigurationError(
            "pass --inputs with the names of the program's input fields, such as "
            "--inputs question,context: its signature does not tell them."
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


def check_labels(examples: Sequence[dspy.Example], field: str, *, option: str) -> None:
    """Refuse examples without the field that a ready metric compares."""
    for number, example in enumerate(examples, start=1):
        if field not in example:
            raise ConfigurationError(
                f"row {number} of {option} has no field {field!r} to compare answers with; it has: "
                f"{', '.join(map(str, example.keys()))}. Name the field with --field."
            )


def _signature(program: dspy.Module) -> Any:
    """Return the signature of a program that is a predictor, or None."""
    if isinstance(program, dspy.Predict):
        return program.signature
    return program.predict.signature if isinstance(program, dspy.ChainOfThought) else None
