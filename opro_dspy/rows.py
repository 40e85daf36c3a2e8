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
        ConfigurationError: If `rows` has no length, is one text or mapping (such as a
            `DatasetDict`) or a data set in the format of tables, a row has a column without a name,
            or `inputs` is no list of names.
    """
    if isinstance(rows, Mapping):
        raise ConfigurationError(
            f"`{name}` must be a list of dspy.Example, got {type(rows).__name__} with "
            f"{list(rows)}. Pass one of these."
        )
    if type(rows).__name__ == "DataFrame":
        raise ConfigurationError(
            f"`{name}` must be a list of rows, got a DataFrame, which is one of columns. Pass "
            'frame.to_dict("records") of pandas, or frame.to_dicts() of polars, with `inputs`.'
        )
    if isinstance(rows, (str, bytes)) or not _has_length(rows):
        hint = " Pass list(...) of what is streamed." if isinstance(rows, Iterable) else ""
        raise ConfigurationError(
            f"`{name}` must be a list of dspy.Example, got {type(rows).__name__}.{hint}"
        )
    first: Any = next(iter(rows), {}) if hasattr(rows, "with_format") else {}
    if not _is_row(first):
        raise ConfigurationError(
            f"`{name}` must have mappings as rows, got a data set whose format makes each a "
            f"{type(first).__name__}. Pass {name}.with_format(None)."
        )
    if inputs is None:
        return list(rows)
    names = check_inputs(inputs)
    return [
        _example(row, f"{name}[{i}]").with_inputs(*names) if _is_row(row) else row
        for i, row in enumerate(rows)
    ]


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


def _example(row: Any, where: str) -> dspy.Example:
    if isinstance(row, dspy.Example):
        return row
    unnamed = [key for key in row if not isinstance(key, str)]
    if unnamed:
        raise ConfigurationError(
            f"`{where}` has the column {unnamed[0]!r}, but names must be texts. Rename it."
        )
    return dspy.Example(dict(row))  # as keywords a column `base` would be lost
