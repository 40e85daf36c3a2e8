"""A program's fields as text: their values, types and remarks. No value makes this fail."""

import inspect
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from opro_dspy.filters import printable

MAX_FIELD_CHARS = 2000
"""Longest value of an exemplar's field in the meta-prompt, in characters."""

_CUSTOM_TYPE = re.compile(
    "<<CUSTOM-TYPE-START-IDENTIFIER>>(.*?)<<CUSTOM-TYPE-END-IDENTIFIER>>", re.DOTALL
)
"""How a `dspy.Type` (an image, a document, ...) stands in text, with its content parts as JSON."""
_MAX_INT_BITS = 10_000
"""Python refuses to write integers of more than 4,300 digits in decimal."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")


def as_text(value: Any) -> str:
    """Return a field's value as text, at most `MAX_FIELD_CHARS` long; JSON if it has parts."""
    plain = _safely_plain(value, _readable)
    text = _json(plain) if isinstance(plain, (dict, list)) else str(plain)
    return _cut(inspect.cleandoc(text))


def as_key(value: Any) -> str:
    """Return a value as canonical JSON, whole: equal values have equal keys."""
    return _json(_safely_plain(value, printable), sort_keys=True)


def type_name(annotation: Any) -> str:
    """Return a type as one writes it: `list[Person]`, `Literal['a', 'b']`, `str | None`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        name = f"Literal[{', '.join(map(repr, args))}]"
    elif origin is Annotated:
        name = type_name(args[0])
    elif origin in (Union, types.UnionType):
        name = " | ".join(map(type_name, args))
    elif origin is not None:
        name = f"{type_name(origin)}[{', '.join(map(type_name, args))}]"
    elif annotation in (None, type(None), Ellipsis):
        name = "..." if annotation is Ellipsis else "None"
    else:
        name = getattr(annotation, "__name__", str(annotation))
    return _cut(name)


def field_names(fields: Mapping[str, Any]) -> str:
    """Return the names of a signature's fields, each in backticks."""
    return ", ".join(f"`{name}`" for name in fields)


def _field_line(name: str, field: Any) -> str:
    kind = "" if field.annotation is str else f" ({type_name(field.annotation)})"
    desc = (field.json_schema_extra or {}).get("desc") or ""
    says = "" if desc == f"${{{name}}}" or not desc else f": {desc}"
    return f"`{name}`{kind}{says}"


def field_list(fields: Mapping[str, Any]) -> str:
    """Return the fields with types and remarks; by commas if there are none of these."""
    lines = [_field_line(name, field) for name, field in fields.items()]
    bare = field_names(fields)
    return bare if ", ".join(lines) == bare else "; ".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD_CHARS else text[: MAX_FIELD_CHARS - 1] + "…"


def _json(plain: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=sort_keys)


def _safely_plain(value: Any, text: Callable[[str], str]) -> Any:
    try:
        return _plain(value, text)
    except Exception:  # noqa: BLE001  (it holds itself, or its own methods raise)
        return text(_opaque(value))


def _plain(value: Any, text: Callable[[str], str]) -> Any:
    """Return `value` made of JSON's types, each dict with text keys, each text through `text`."""
    if isinstance(value, Enum):
        return _plain(value.value, text)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return hex(value)
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        keys = (_plain(key, text) for key in value)
        names = (key if isinstance(key, str) else _json(key) for key in keys)
        return {name: _plain(item, text) for name, item in zip(names, value.values(), strict=True)}
    if isinstance(value, (list, tuple)):
        return [_plain(item, text) for item in value]
    if isinstance(value, (set, frozenset)):
        items = [_plain(item, text) for item in value]
        return sorted(items, key=lambda item: _json(item, sort_keys=True))
    return _plain(_taken_apart(value), text)


def _taken_apart(value: Any) -> Any:
    """Return an object's parts (a model's fields, an array's items), or its text."""
    if isinstance(value, Iterator):  # looking would use it up
        return _opaque(value)
    try:
        if isinstance(value, BaseModel):
            return value.model_dump(warnings=False)
        return to_jsonable_python(value, fallback=_self_described)
    except Exception:  # noqa: BLE001  (whatever a user's serializer raises)
        return _opaque(value)


def _self_described(value: Any) -> Any:
    for method in ("toDict", "tolist"):  # examples and predictions; arrays and their scalars
        if callable(getattr(value, method, None)):
            return getattr(value, method)()
    return _opaque(value)


def _opaque(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  (whatever a user's __str__ raises)
        return f"<{type(value).__name__}>"


def _readable(text: str) -> str:
    """Return `text` without what says nothing to a reader: an image's data, an address."""
    return _ADDRESS.sub("", _CUSTOM_TYPE.sub(_shown, printable(text)))


def _shown(custom_type: re.Match[str]) -> str:
    try:
        parts = json.loads(custom_type[1])
    except ValueError:
        parts = None
    parts = parts if isinstance(parts, list) else [{}]
    return " ".join(_part(part) if isinstance(part, dict) else str(part) for part in parts)


def _part(part: Mapping[str, Any]) -> str:
    """Return a content part's text, or its kind in brackets: `[Image]`."""
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "text":  # a document
        text = source.get("data")
    else:
        text = part.get("text")
    if isinstance(text, str):
        return text
    kind = str(part.get("type", "custom type")).removeprefix("input_").removesuffix("_url")
    return f"[{kind.capitalize()}]"
