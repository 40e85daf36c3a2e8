"""Where a program's instruction stands in the prompt, and adapters that put it elsewhere.

In DSPy the adapter decides where an instruction goes, and a saved program says nothing of it: so a
position is a property of an adapter, which the user configures for optimizing and for running
alike. The text itself stays in the signature, as ever: a program saved so loads and runs without
`opro_dspy` too, with its instruction where the adapter then in use puts it.
"""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError

START = "start"
POSITIONS: Mapping[str, str] = {
    START: "at the start of the prompt, in the system message",
    "Q_begin": "at the beginning of the question",
    "Q_end": "at the end of the question",
    "A_begin": "at the beginning of the answer",
}
"""The places where an instruction may stand, the last three by the paper's names."""

_MOVABLE = ("Q_begin", "Q_end")
_INSTRUCTION, _QUESTION = "Opro-instruction-probe", "opro-question-probe"


def positioned(adapter: dspy.ChatAdapter, position: str) -> dspy.ChatAdapter:
    """Return a copy of `adapter` that puts the instruction at another place of the prompt.

    The instruction leaves the system message and stands in the last message of the user, before or
    behind its input fields, and so in each turn of a `dspy.History`, which DSPy writes as it writes
    that message. Demos stay as they are.

    Args:
        adapter: A `dspy.ChatAdapter`, `JSONAdapter` or `XMLAdapter`, or a subclass of them.
        position: "Q_begin" or "Q_end".

    Raises:
        ConfigurationError: If there is no such position, or the adapter cannot render it.

    Source:
        OPRO (arXiv:2309.03409), section 5.1: Q_begin, Q_end.
    """
    if position not in _MOVABLE:
        raise ConfigurationError(
            f"`position` must be one of {', '.join(_MOVABLE)}, got {position!r}. DSPy's adapters "
            "put it at the start of the prompt by themselves, and cannot begin an LM's answer."
        )
    if not isinstance(adapter, dspy.ChatAdapter):
        raise ConfigurationError(
            f"`adapter` must be a dspy.ChatAdapter, JSONAdapter or XMLAdapter, got {adapter!r}. "
            "An adapter of your own can put the instruction there itself."
        )
    plain = adapter.plain if isinstance(adapter, Positioned) else adapter
    kind: Any = type(plain)
    moved = copy.copy(plain)
    moved.__class__ = _positioned_class(kind)
    moved.plain, moved.instruction_position = plain, position
    if (found := position_of(moved)) != position:
        raise ConfigurationError(
            f"{type(plain).__name__} cannot be made to put the instruction "
            f"{POSITIONS[position]}: it stands {_told(found)}. "
            "Let it write its messages as dspy.ChatAdapter does."
        )
    return moved


class Positioned:
    """What an adapter does that puts the instruction into the question; see `positioned`."""

    plain: Any
    """The adapter as its user made it."""
    instruction_position: str

    def format_task_description(self, signature: Any) -> str:
        """Say where the instruction stands."""
        place = "beginning" if self.instruction_position == "Q_begin" else "end"
        return f"Your objective stands at the {place} of the question."

    def format_user_message_content(
        self,
        signature: Any,
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """Put the instruction before the input fields of the question."""
        if main_request and self.instruction_position == "Q_begin":
            prefix = "\n\n".join(filter(None, (prefix, signature.instructions)))
        found: str = super().format_user_message_content(  # type: ignore[misc]
            signature, inputs, prefix, suffix, main_request
        )
        return found

    def user_message_output_requirements(self, signature: Any) -> str:
        """Put the instruction behind the input fields: DSPy's reminder of the form follows them."""
        found: str = super().user_message_output_requirements(signature)  # type: ignore[misc]
        if self.instruction_position != "Q_end":
            return found
        return "\n\n".join(filter(None, (signature.instructions, found)))

    def _make_json_adapter_fallback(self) -> Any:
        fallback = super()._make_json_adapter_fallback()  # type: ignore[misc]
        return positioned(fallback, self.instruction_position)

    def __reduce__(self) -> Any:
        return positioned, (self.plain, self.instruction_position)


@cache
def _positioned_class(kind: type) -> type:
    return type(f"Positioned{kind.__name__}", (Positioned, kind), {})


def _told(position: str | None) -> str:
    return POSITIONS[position] if position else "at no place that is known"


def position_of(adapter: Any) -> str | None:
    """Return where `adapter` puts an instruction, as a prompt of it shows; None if nowhere known.

    Args:
        adapter: A DSPy adapter; None is DSPy's default.
    """
    signature = dspy.Signature("question -> answer", _INSTRUCTION)
    with dspy.context(callbacks=[]):
        messages = (adapter or dspy.ChatAdapter()).format(signature, [], {"question": _QUESTION})
    holders = [m for m in messages if _INSTRUCTION in str(m.get("content"))]
    if len(holders) != 1:
        return None
    role, text = holders[0].get("role"), str(holders[0].get("content"))
    if role == "assistant" and holders[0] is messages[-1]:
        return "A_begin"
    if role in ("system", "developer"):
        return START
    if _QUESTION not in text:
        return None
    return "Q_begin" if text.index(_INSTRUCTION) < text.index(_QUESTION) else "Q_end"


def place_shown(wanted: str | None, adapter: Any) -> str:
    """Return where in an example the meta-prompt shows the instruction: Q_begin, Q_end or A_begin.

    What stands at the start of the prompt is shown before the question. So is, if nothing was
    `wanted`, what an adapter of the user's puts at a place that is not known.

    Args:
        wanted: The place that the user named; None for wherever the adapter puts it.
        adapter: The adapter in use; None is DSPy's default.

    Raises:
        ConfigurationError: If the adapter puts it elsewhere; says what to configure.
    """
    try:
        found = position_of(adapter)
    except Exception:  # noqa: BLE001  (an adapter of the user's may refuse in any way)
        found = None
    if wanted not in (None, found):
        name = type(adapter or dspy.ChatAdapter()).__name__
        raise ConfigurationError(
            f"`instruction_position` is {wanted!r}, but the adapter {name} puts the instruction "
            f"{_told(found)}. {_ADVICE[str(wanted)]}{_lost(adapter, wanted)}"
        )
    return found if found in ("Q_end", "A_begin") else "Q_begin"


def _lost(adapter: Any, wanted: str | None) -> str:
    """Return what the advice to take a ChatAdapter would cost, a sentence or nothing."""
    if wanted not in _MOVABLE or adapter is None or isinstance(adapter, dspy.ChatAdapter):
        return ""
    name = type(adapter).__name__
    return (
        f" What {name} does beside is lost then (as the second step of a TwoStepAdapter); to keep "
        "it, leave `instruction_position` out."
    )


_CONFIGURE = (
    "Write dspy.configure(adapter=opro_dspy.positioned(dspy.ChatAdapter(), {!r})), for optimizing "
    "and for running alike."
)
_ADVICE = {
    START: "Configure the adapter as it was before `positioned`.",
    "A_begin": "No adapter of DSPy can begin an LM's answer: take one of your own that does.",
    **{position: _CONFIGURE.format(position) for position in _MOVABLE},
}
