"""Data sets that a command line names: files of rows, or the Hugging Face hub."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dspy

from opro_dspy.cli.logs import silent
from opro_dspy.cli.screen import note
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import sentence
from opro_dspy.rows import as_examples

HELP = (
    "A .jsonl, .json, .csv or .parquet file, or a set on the Hugging Face hub as NAME:SPLIT or "
    "NAME:CONFIG:SPLIT, such as openai/gsm8k:main:train."
)


def read_examples(
    spec: str, inputs: Sequence[str], *, option: str, folder: Path, limit: int | None = None
) -> list[dspy.Example]:
    """Return the examples of a data set.

    Args:
        spec: A file, or `NAME:SPLIT` or `NAME:CONFIG:SPLIT` on the hub.
        inputs: Names of the input fields; every row must have them.
        option: Which option names the set, for errors.
        folder: What a relative path begins at.
        limit: Take so many from the beginning; all if None.

    Raises:
        ConfigurationError: If it cannot be read, is empty, or a row lacks an input field.
        ImportError: If an extra is missing.
    """
    path = folder / spec
    read = _READERS.get(path.suffix.lower())
    if read is None and ":" in spec and not path.exists():
        rows = _from_hub(spec, option)
    elif read is None:
        raise ConfigurationError(f"{option} {spec!r} is no set that can be read. {HELP}")
    else:
        rows = _from_file(path, read, option)
    rows = rows[:limit]
    if not rows:
        raise ConfigurationError(f"{option} {spec} holds no rows. Give at least one.")
    _check_fields(rows, inputs, f"{option} {spec}")
    return as_examples(rows, inputs)


def _check_fields(rows: Sequence[Any], inputs: Sequence[str], where: str) -> None:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ConfigurationError(
                f"row {number} of {where} must be an object with named fields, got "
                f"{type(row).__name__}."
            )
        missing = [name for name in inputs if name not in row]
        if missing:
            raise ConfigurationError(
                f"row {number} of {where} has no field {missing[0]!r}; it has: "
                f"{', '.join(map(str, row))}. Name the input fields with --inputs."
            )


def _from_file(path: Path, read: Callable[[Path], list[Any]], option: str) -> list[Any]:
    try:
        return read(path)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{option} {path} does not exist. Check the path.") from error
    except OSError as error:
        raise ConfigurationError(f"{option} {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # JSON, text that is no UTF-8, Parquet
        raise ConfigurationError(
            f"{option} {path} cannot be read: {sentence(str(error))}"
        ) from error


def _json_lines(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is no JSON ({error})") from error
    return rows


def _json(path: Path) -> list[Any]:
    rows = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(rows, list):
        raise ValueError(f"it must hold a list of objects, got {type(rows).__name__}")
    return rows


def _csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(csv.DictReader(file, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from error
    columns = [name for name in rows[0] if name is not None] if rows else []
    other = next((mark for mark in _MARKS if len(columns) == 1 and mark in columns[0]), None)
    if other is not None:
        raise ValueError(f"its columns are separated by {_MARKS[other]}; write it with commas")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has not as many cells as there are columns")
    return list(rows)


def _parquet(path: Path) -> list[Any]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            'Parquet files need pyarrow: pip install "opro_dspy[datasets]"'
        ) from error
    with path.open("rb") as file:
        rows: list[Any] = parquet.read_table(file).to_pylist()
    return rows


_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What stands between cells elsewhere."""

_READERS: dict[str, Callable[[Path], list[Any]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _from_hub(spec: str, option: str) -> list[Any]:
    name, _, rest = spec.partition(":")
    config, _, split = rest.partition(":") if _is_config(rest) else ("", "", rest)
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            f"{option} {spec!r} is no file, and the hub needs Hugging Face datasets: pip install "
            '"opro_dspy[datasets]"'
        ) from error
    note(f"Asking the Hugging Face hub for {spec}.")
    try:
        with silent("huggingface_hub"):
            return [dict(row) for row in load_dataset(name, config or None, split=split)]
    except Exception as error:
        raise ConfigurationError(
            f"{option} {spec!r} is no file, and was not loaded from the Hugging Face hub either: "
            f"{type(error).__name__}: {sentence(str(error))}"
        ) from error


def _is_config(rest: str) -> bool:
    """Tell whether a configuration stands before the split, which may hold `[:100]`."""
    return ":" in rest.partition("[")[0]
