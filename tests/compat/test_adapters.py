"""Programs under each of DSPy's adapters."""

import dspy
import pytest

from opro_dspy.boundary.adapters import lms_of
from tests.compat.adapters import ADAPTERS, BY_TITLE, FORMS, UnderAdapter
from tests.compat.kinds import Kind
from tests.compat.running import optimized, students
from tests.compat.world import world_lm


def forms(lm: dspy.LM) -> set[tuple[str, ...]]:
    """The forms that the prompts of `lm` had."""
    prompts = lm.engine.prompts
    return {tuple(name for name, mark in FORMS.items() if mark in prompt) for prompt in prompts}


CASES = [(adapter, BY_TITLE[kind]) for adapter in ADAPTERS for kind in adapter.kinds]


@pytest.mark.parametrize(
    ("under", "kind"), CASES, ids=[f"{a.title}-{k.title}".replace("`", "") for a, k in CASES]
)
def test_instructions_get_better_under_each_adapter_and_prompts_have_its_form(
    under: UnderAdapter, kind: Kind
) -> None:
    lm, adapter = world_lm(native=under.native), under.make()
    program = optimized(kind, students(kind), lm, adapter=adapter)
    result = program.detailed_results
    assert forms(lm) == {(under.form,)}
    for second in lms_of(adapter).values():
        assert forms(second) == {("Chat",)}
    assert result.best.score > result.baseline.score
    if under.native:
        assert set(lm.engine.tools) == {("successor", "submit")}
