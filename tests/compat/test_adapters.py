"""Programs under each of DSPy's adapters."""

import pytest

from tests.compat.adapters import ADAPTERS, BY_TITLE, UnderAdapter
from tests.compat.kinds import Kind
from tests.compat.running import optimized, students
from tests.compat.world import world_lm

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
