"""Rows of any table as examples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError


def as_examples(rows: Any, inputs: Sequence[str] | None = None, *, name: str = "rows") -> list[Any]:
    """Return `rows` as a list, those that are mappings as `dspy.Example`.

    Args:
        rows: A list of examples or of mappings, a Hugging Face `Dataset`, or any other container of
            them that has a length.
        inputs: Names of the input fields, set on every row; without it rows stay as they are.
        name: What to call `rows` in an error.

    Raises:
        ConfigurationError: If `rows` has no length or is one text or mapping (such as a
            `DatasetDict`), or `inputs` is no list of names.
    """
    if isinstance(rows, Mapping):
        raise ConfigurationError(
            f"`{name}` must be a list of dspy.Example, got {type(rows).__name__} with "
            f"{list(rows)}. Pass one of these."
        )
    if isinstance(rows, (str, bytes)) or not _has_length(rows):
        hint = " Pass list(...) of what is streamed." if isinstance(rows, Iterable) else ""
        raise ConfigurationError(
            f"`{name}` must be a list of dspy.Example, got {type(rows).__name__}.{hint}"
        )
    if inputs is None:
        return list(rows)
    names = check_inputs(inputs)
    return [_example(row).with_inputs(*names) if _is_row(row) else row for row in rows]


def check_inputs(inputs: Any) -> Sequence[str]:
    """Return `inputs` if it is a list of names, at least one, else raise ConfigurationError."""
    is_list = isinstance(inputs, Sequence) and not isinstance(inputs, str)
    if not is_list or not inputs or not all(isinstance(name, str) for name in inputs):
        raise ConfigurationError(
            f"`inputs` must be a list of names of input fields, got {inputs!r}. "
            "Write inputs=['question']."
        )
    return list(inputs)


def _has_length(rows: Any) -> bool:
    return isinstance(rows, Iterable) and hasattr(rows, "__len__")


def _is_row(row: Any) -> bool:
    return isinstance(row, (Mapping, dspy.Example))


def _example(row: Any) -> dspy.Example:
    return row if isinstance(row, dspy.Example) else dspy.Example(**row)
