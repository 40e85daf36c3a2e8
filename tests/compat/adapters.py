"""DSPy's adapters, each with kinds of programs: rows of docs/compatibility.md."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from tests.compat.kinds import KINDS
from tests.compat.world import world_lm

BY_TITLE = {kind.title.strip("`"): kind for kind in KINDS}
PLAIN = ("Predict", "nested modules", "typed fields: pydantic models, lists, `Literal")


FORMS = {
    "Chat": "Respond with the corresponding output fields, starting with the field `[[ ## ",
    "JSON": "Respond with a JSON object in the following order of fields",
    "XML": "Respond with the corresponding output fields wrapped in XML tags",
    "TwoStep": "You should lay out your outputs in detail so that your answer can be understood",
}
"""What only the prompts of an adapter say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderAdapter:
    """An adapter: a row of the table."""

    title: str
    make: Callable[[], Any]
    form: str
    """Whose form all prompts have."""
    kinds: tuple[str, ...] = PLAIN
    native: bool = False
    note: str = ""


ADAPTERS = (
    UnderAdapter(
        title="`ChatAdapter`",
        make=dspy.ChatAdapter,
        form="Chat",
        kinds=("Predict",),
        note="DSPy's default: all programs above run under it",
    ),
    UnderAdapter(
        title="`JSONAdapter`", make=dspy.JSONAdapter, form="JSON", kinds=(*PLAIN, "ReActV2")
    ),
    UnderAdapter(title="`XMLAdapter`", make=dspy.XMLAdapter, form="XML", kinds=(*PLAIN, "ReActV2")),
    UnderAdapter(
        title="`TwoStepAdapter`",
        make=lambda: dspy.TwoStepAdapter(world_lm("extraction")),
        form="TwoStep",
        kinds=("Predict", "ChainOfThought"),
        note="its second LM is within all budgets and limits",
    ),
    UnderAdapter(
        title="`ChatAdapter`, native function calling",
        make=lambda: dspy.ChatAdapter(use_native_function_calling=True),
        form="Chat",
        kinds=("ReActV2",),
        native=True,
        note="the tools travel beside the prompt",
    ),
    UnderAdapter(
        title="`JSONAdapter`, native function calling",
        make=lambda: dspy.JSONAdapter(use_native_function_calling=True),
        form="JSON",
        kinds=("ReActV2",),
        native=True,
        note="the tools travel beside the prompt",
    ),
)
