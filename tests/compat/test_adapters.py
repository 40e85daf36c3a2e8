"""Programs under each of DSPy's adapters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError, Price
from tests.compat.kinds import KINDS, Kind, all_right, plain
from tests.compat.running import optimized, students
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
    UnderAdapter(title="`ChatAdapter`", make=dspy.ChatAdapter, kinds=("Predict",)),
    UnderAdapter(title="`JSONAdapter`", make=dspy.JSONAdapter, kinds=(*PLAIN, "ReActV2")),
    UnderAdapter(title="`XMLAdapter`", make=dspy.XMLAdapter),
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

CASES = [(adapter, BY_TITLE[kind]) for adapter in ADAPTERS for kind in adapter.kinds]


@pytest.mark.parametrize(
    ("under", "kind"), CASES, ids=[f"{a.title}-{k.title}".replace("`", "") for a, k in CASES]
)
def test_instructions_get_better_under_each_adapter(under: UnderAdapter, kind: Kind) -> None:
    lm = world_lm(native=under.native)
    program = optimized(kind, students(kind), lm, adapter=under.make())
    result = program.detailed_results
    assert result.best.score > result.baseline.score
    if under.native:
        assert set(lm.engine.tools) == {("successor", "submit")}


def test_the_second_lm_of_two_steps_is_metered_as_the_first() -> None:
    adapter, lm = dspy.TwoStepAdapter(world_lm("extraction")), world_lm()
    kind = BY_TITLE["Predict"]
    result = optimized(kind, students(kind), lm, adapter=adapter).detailed_results
    (second,) = [row for row in result.usage if row.model == "world/extraction"]
    assert second.calls == len(adapter.extraction_model.engine.prompts) > 0
    assert second.input_tokens > 0


@pytest.mark.parametrize("cap", [2_000, 5_000])
def test_the_second_lm_of_two_steps_never_passes_a_budget(cap: int) -> None:
    adapter, lm = dspy.TwoStepAdapter(world_lm("extraction")), world_lm()
    lm.kwargs["max_tokens"] = adapter.extraction_model.kwargs["max_tokens"] = 60
    kind = BY_TITLE["Predict"]
    program = optimized(kind, students(kind), lm, adapter=adapter, max_tokens=cap, max_steps=1)
    usage = program.detailed_results.usage
    spent = sum(row.input_tokens + row.output_tokens for row in usage)
    assert 0 < spent <= cap
    assert "max_tokens" in program.detailed_results.stop_reason


def test_a_cost_cap_wants_the_price_of_the_second_lm_too() -> None:
    price = Price(input_per_million=1.0, output_per_million=1.0)
    lm, author = world_lm(), world_lm("author")
    prices = {lm.model: price, author.model: price}
    optimizer = OPRO(metric=all_right, prompt_model=author, max_cost=1.0, prices=prices)
    adapter = dspy.TwoStepAdapter(world_lm("extraction"))
    with (
        dspy.context(lm=lm, adapter=adapter),
        pytest.raises(ConfigurationError, match="world/extraction"),
    ):
        optimizer.compile(dspy.Predict("question -> answer"), trainset=[plain(1)])
