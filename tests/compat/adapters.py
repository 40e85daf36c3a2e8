"""DSPy's adapters, each with kinds of programs: rows of docs/compatibility.md."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from tests.compat.kinds import KINDS
from tests.compat.world import world_lm

BY_TITLE = {kind.title.strip("`"): kind for kind in KINDS}
PLAIN = ("Predict", "nested modules", "typed fields: pydantic models, lists, `Literal")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderAdapter:
    """An adapter: a row of the table."""

    title: str
    make: Callable[[], Any]
    kinds: tuple[str, ...] = PLAIN
    native: bool = False
    note: str = ""


ADAPTERS = (
    UnderAdapter(
        title="`ChatAdapter`",
        make=dspy.ChatAdapter,
        kinds=("Predict",),
        note="DSPy's default: all programs above run under it",
    ),
    UnderAdapter(title="`JSONAdapter`", make=dspy.JSONAdapter, kinds=(*PLAIN, "ReActV2")),
    UnderAdapter(title="`XMLAdapter`", make=dspy.XMLAdapter, kinds=(*PLAIN, "ReActV2")),
    UnderAdapter(
        title="`TwoStepAdapter`",
        make=lambda: dspy.TwoStepAdapter(world_lm("extraction")),
        kinds=("Predict", "ChainOfThought"),
        note="its second LM is within all budgets and limits",
    ),
    UnderAdapter(
        title="`ChatAdapter`, native function calling",
        make=lambda: dspy.ChatAdapter(use_native_function_calling=True),
        kinds=("ReActV2",),
        native=True,
        note="the tools travel beside the prompt",
    ),
    UnderAdapter(
        title="`JSONAdapter`, native function calling",
        make=lambda: dspy.JSONAdapter(use_native_function_calling=True),
        kinds=("ReActV2",),
        native=True,
        note="the tools travel beside the prompt",
    ),
)
