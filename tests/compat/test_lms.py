"""LMs beside those of predictors: a module's, an adapter's. They are metered as the scorer LM."""

from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError, Price
from opro_dspy.program import Program
from tests.compat.adapters import BY_TITLE
from tests.compat.kinds import ASK, HoldsLM, all_right, plain
from tests.compat.running import optimized, students
from tests.compat.world import Interpreter, world_lm

HOLDS_LM = BY_TITLE["an LM that a module holds"]


def test_the_second_lm_of_two_steps_is_metered_as_the_first() -> None:
    adapter, lm = dspy.TwoStepAdapter(world_lm("extraction")), world_lm()
    kind = BY_TITLE["Predict"]
    result = optimized(kind, students(kind), lm, adapter=adapter).detailed_results
    (second,) = [row for row in result.usage if row.model == "world/extraction"]
    assert second.calls == len(adapter.extraction_model.engine.prompts) > 0
    assert second.input_tokens > 0


def test_the_second_lm_of_two_steps_is_tried_again_by_the_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opro_dspy.boundary.passage.MAX_BACKOFF_S", 0.0)
    adapter = dspy.TwoStepAdapter(world_lm("extraction"))
    adapter.extraction_model.num_retries = 2
    adapter.extraction_model.engine.refuses = 2
    kind, options = BY_TITLE["Predict"], {"max_steps": 0, "num_threads": 1}
    program = optimized(kind, students(kind), world_lm(), adapter=adapter, **options)
    (second,) = [r for r in program.detailed_results.usage if r.model == "world/extraction"]
    assert (second.failures, second.retries) == (2, 2)


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


def test_an_lm_that_a_module_holds_is_metered_and_stays_who_it_is() -> None:
    student = HoldsLM()
    program = optimized(HOLDS_LM, student, world_lm())
    (row,) = [r for r in program.detailed_results.usage if r.role == "scorer"]
    assert (row.model, row.calls) == ("world/fast", len(student.fast.engine.prompts))
    assert program.fast is student.fast


def test_an_lm_that_a_module_holds_never_passes_a_budget() -> None:
    cap = 3_000
    student = HoldsLM()
    student.fast.kwargs["max_tokens"] = 60
    result = optimized(HOLDS_LM, student, world_lm(), max_tokens=cap).detailed_results
    assert 0 < sum(row.input_tokens + row.output_tokens for row in result.usage) <= cap
    assert "max_tokens" in result.stop_reason


def test_the_lms_of_lists_and_of_agents_are_found() -> None:
    sub_lm, listed = world_lm("sub"), world_lm("listed")
    agent = dspy.RLM(ASK, sub_lm=sub_lm, interpreter_factory=Interpreter)
    agent.judges = [listed, {"again": listed}]
    assert Program(agent).other_lms == {"RLM.sub_lm": sub_lm, "RLM.judges[0]": listed}


def test_a_run_with_such_lms_goes_on_and_notices_another_one(tmp_path: Path) -> None:
    student, lm, author = HoldsLM(), world_lm(), world_lm("author")
    options: dict[str, Any] = {"log_dir": tmp_path, "prompt_model": author, "max_steps": 0}
    optimized(HOLDS_LM, student, lm, **options)
    calls = len(student.fast.engine.prompts)
    optimized(HOLDS_LM, student, lm, **options)
    assert len(student.fast.engine.prompts) == calls > 0
    student.fast = world_lm("other")
    with pytest.raises(ConfigurationError, match=r"HoldsLM.fast.*'world/fast' → 'world/other'"):
        optimized(HOLDS_LM, student, lm, **options)


def test_the_lm_that_a_module_holds_is_enough() -> None:
    student = HoldsLM()
    optimized(HOLDS_LM, student, None, prompt_model=world_lm("author"), max_steps=0)
    assert student.fast.engine.prompts
