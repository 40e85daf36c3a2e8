"""Reading DSPy prompts: what a simulated LM is asked, in any adapter's form. Text only."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Form = Literal["chat", "json", "xml", "raw"]

_OBJECTIVE = "In adhering to this structure, your objective is:"
_FIELD = re.compile(r"^\d+\. `(\w+)` \((.*?)\):", re.MULTILINE)
_NOTE = re.compile(r"\{(\w+)\}\s+# note: the value you produce ([^\n]*)")
_INPUT = re.compile(r"(?:\A|\n)\[\[ ## (\w+) ## \]\]\n")
_RESPOND = re.compile(r"(?:\A|\n\n)Respond with (?:the corresponding output fields|a JSON object)")
_TYPE = r"(?: \(must be formatted as a valid Python (.*?)\)"
_ASKED_CHAT = re.compile(r"`\[\[ ## (\w+) ## \]\]`" + _TYPE + r"(?=, then|, and then))?")
_ASKED_JSON = re.compile(r"`(\w+)`" + _TYPE + r"(?=, then|\.\Z))?")
_ASKED_XML = re.compile(r"`<(\w+)>`")


@dataclass(frozen=True, slots=True)
class OutputField:
    """One field that a simulated LM is asked for."""

    name: str
    """Name of the field."""
    annotation: str
    """Its Python type as the prompt gives it, e.g. `str`, `int`, `list[str]`, `Literal['a']`."""
    choices: tuple[str, ...] = ()
    """The allowed values, if the prompt lists them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a simulated LM is asked."""

    instruction: str
    """The instruction, or the whole system text where no DSPy frame is found."""
    inputs: tuple[tuple[str, str], ...]
    """Names and rendered values of the input fields; empty in raw form."""
    outputs: tuple[OutputField, ...]
    """The fields to answer; empty in raw form."""
    form: Form
    """How to write the answer."""
    user: str
    """The whole text of the last message."""


@dataclass(frozen=True, slots=True)
class _System:
    instruction: str
    input_names: tuple[str, ...]
    outputs: dict[str, OutputField]


def read_prompt(system: str, user: str, *, json_wanted: bool = False) -> Prompt:
    """Return what a simulated LM makes of a prompt.

    Args:
        system: The system text, "" if none.
        user: The text of the last message.
        json_wanted: True if the request's settings ask for JSON.

    Returns:
        The instruction, inputs, wanted outputs and their form.
    """
    frame = _read_system(system)
    matches = list(_RESPOND.finditer(user))
    if not matches:
        outputs = tuple(frame.outputs.values())
        form: Form = "json" if json_wanted else "chat" if "[[ ## " in user else "raw"
        inputs = _chat_inputs(user) if form != "raw" else ()
        return Prompt(frame.instruction, inputs, outputs, form, user)
    tail, head = user[matches[-1].start() :].strip(), user[: matches[-1].start()]
    form, named = _read_tail(tail)
    outputs = tuple(_merge(name, annotation, frame) for name, annotation in named)
    inputs = _xml_inputs(head, frame.input_names) if form == "xml" else _chat_inputs(head)
    return Prompt(frame.instruction, inputs, outputs, form, user)


@lru_cache(maxsize=4096)
def _read_system(system: str) -> _System:
    fields, found, instruction = system, _OBJECTIVE in system, system
    if found:
        fields, _, instruction = system.partition(_OBJECTIVE)
    lines = (line.strip() for line in instruction.strip().splitlines())
    instruction = "\n".join(lines)
    if not found:
        return _System(instruction, (), {})
    inputs, _, rest = fields.partition("Your output fields are:")
    outputs, _, structure = rest.partition("All interactions will be structured")
    notes = dict(_NOTE.findall(structure))
    made = {
        name: OutputField(name, annotation, _choices(annotation, notes.get(name, "")))
        for name, annotation in _FIELD.findall(outputs)
    }
    names = tuple(name for name, _ in _FIELD.findall(inputs))
    return _System(instruction, names, made)


def _choices(annotation: str, note: str) -> tuple[str, ...]:
    if annotation.startswith("Literal["):
        try:
            values = ast.literal_eval(f"[{annotation[8:-1]}]")
        except (ValueError, SyntaxError):
            values = []
        if values:
            return tuple(str(value) for value in values)
    if "one of: " in note:
        return tuple(part.strip() for part in note.partition("one of: ")[2].split(";"))
    return ("True", "False") if annotation == "bool" else ()


@lru_cache(maxsize=1024)
def _read_tail(tail: str) -> tuple[Form, tuple[tuple[str, str], ...]]:
    if tail.startswith("Respond with a JSON object"):
        return "json", tuple(_ASKED_JSON.findall(tail))
    if "wrapped in XML tags" in tail:
        return "xml", tuple((name, "") for name in _ASKED_XML.findall(tail))
    asked = tuple(pair for pair in _ASKED_CHAT.findall(tail) if pair[0] != "completed")
    return "chat", asked


def _merge(name: str, annotation: str, frame: _System) -> OutputField:
    known = frame.outputs.get(name)
    if known is not None:
        return known
    return OutputField(name, annotation or "str", _choices(annotation, ""))


def _chat_inputs(text: str) -> tuple[tuple[str, str], ...]:
    parts = _INPUT.split(text)
    return tuple(
        (name, value.strip()) for name, value in zip(parts[1::2], parts[2::2], strict=True)
    )


def _xml_inputs(text: str, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for name in names:
        start, end = text.find(f"<{name}>\n"), text.rfind(f"\n</{name}>")
        if 0 <= start < end:
            found.append((name, text[start + len(name) + 3 : end].strip()))
    return tuple(found)
