"""Writing answers in the form a DSPy adapter reads; used by both simulated LMs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opro_dspy.simulation.landscapes import plain_data, render_value
from opro_dspy.simulation.prompts import Form, OutputField


def render_answer(values: Mapping[str, Any], form: Form) -> str:
    """Return a simulated answer as text.

    Args:
        values: Value of each output field, in order; plain Python data.
        form: `chat` markers, a `json` object, `xml` tags, or `raw`: the values by themselves.

    Returns:
        The text of the answer.
    """
    if form == "json":
        return json.dumps(dict(values), ensure_ascii=False, default=plain_data)
    if form == "xml":
        return "\n\n".join(
            f"<{name}>\n{_escaped(render_value(value))}\n</{name}>"
            for name, value in values.items()
        )
    if form == "chat":
        blocks = [f"[[ ## {name} ## ]]\n{render_value(value)}" for name, value in values.items()]
        return "\n\n".join([*blocks, "[[ ## completed ## ]]\n"])
    return "\n".join(render_value(value) for value in values.values())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def typed(value: Any, field: OutputField) -> Any:
    """Return a simulated answer's value as the field's annotation wants it, where that is easy."""
    kind = field.annotation.removeprefix("Optional[").rstrip("]")
    if not isinstance(value, str):
        return value
    try:
        if kind == "int":
            return int(float(value.replace(",", "").replace("$", "")))
        if kind == "float":
            return float(value.replace(",", "").replace("$", ""))
    except ValueError:
        return value
    if kind == "bool":
        return value.strip().lower() in ("true", "yes", "1")
    return value


def filler(field: OutputField, text: str) -> Any:
    """Return a harmless simulated value for a field that no key answers.

    Args:
        field: The field.
        text: What to say in it, where it takes text.

    Returns:
        `text` for a text field, else the plainest value of its type.
    """
    annotation = field.annotation
    if field.choices:
        return "finish" if "finish" in field.choices else field.choices[0]
    if annotation in ("int", "float"):
        return 0
    if annotation == "list[str]":
        return [text]
    if annotation.startswith(("list", "List")):
        return []
    if annotation.startswith(("dict", "Dict")):
        return {}
    return text
