import copy
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import AuthError, InvalidRequestError, RateLimitError, UnsupportedModelError

from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import OPTIMIZER, SCORER, Meter, lm_failure
from tests.fakes import exact, field, keyword_scorer, questions, scripted_lm


def predict(lm: dspy.LM | None = None) -> dspy.Predict:
    program = dspy.Predict("question -> answer")
    program.lm = lm
    return program


def gated(meter: Meter, lm: dspy.LM) -> Any:
    return Gate(meter, max_in_flight=16).watch(lm)


def test_calls_are_counted_over_threads_and_tokens_add_up() -> None:
    lm, meter, program = keyword_scorer(), Meter(), predict()
    with meter.role(SCORER, lm=gated(meter, lm)), ThreadPoolExecutor(8) as pool:
        futures = [
            pool.submit(copy_context().run, partial(program, question=f"What is {i} plus 1?"))
            for i in range(50)
        ]
        for future in futures:
            future.result()
    (row,) = meter.usage()
    assert (row.role, row.model, row.calls, row.failures) == (SCORER, lm.model, 50, 0)
    assert row.input_tokens == sum(len(text) // 4 for text in lm.engine.requests)
    assert row.seconds > 0


@pytest.mark.parametrize("disable_history", [False, True])
@pytest.mark.parametrize("track_usage", [False, True])
def test_cache_hits_are_told_from_calls(disable_history: bool, track_usage: bool) -> None:
    lm, meter, program = keyword_scorer(cache=True), Meter(), predict()
    with dspy.context(disable_history=disable_history, track_usage=track_usage):  # noqa: SIM117
        with meter.role(SCORER, lm=gated(meter, lm)):
            for _ in range(3):
                program(question="What is 1 plus 1?")
    (row,) = meter.usage()
    assert (row.calls, row.cache_hits, lm.engine.calls) == (1, 2, 1)


def test_an_lm_that_the_program_brings_along_is_counted_too() -> None:
    hidden, meter = keyword_scorer(cache=True), Meter()

    class Stubborn(dspy.Module):  # type: ignore[misc]
        def forward(self, question: str) -> Any:
            with dspy.context(lm=hidden):
                return dspy.Predict("question -> answer")(question=question)

    with meter.role(SCORER, lm=keyword_scorer()):
        for _ in range(2):
            Stubborn()(question="What is 1 plus 1?")
    (row,) = meter.usage()
    assert (row.model, row.calls, row.cache_hits) == (hidden.model, 1, 1)
    assert row.input_tokens > 0


def test_roles_are_kept_apart() -> None:
    lm, meter = scripted_lm(lambda text: "hello"), Meter()
    watched = gated(meter, lm)
    with meter.role(OPTIMIZER):
        watched("one")
    with meter.role(SCORER):
        watched("two")
    assert [(u.role, u.calls) for u in meter.usage()] == [(OPTIMIZER, 1), (SCORER, 1)]


def test_a_failed_call_is_counted_and_its_error_known_as_the_lms() -> None:
    lm, meter = scripted_lm(lambda text: RateLimitError("slow down")), Meter()
    with (
        meter.role(SCORER, lm=gated(meter, lm)),
        pytest.raises(Exception, match="slow down") as caught,
    ):
        predict()(question="q")
    (row,) = meter.usage()
    assert (row.calls, row.failures) == (1, 1)
    assert lm_failure(caught.value) is not None


def test_the_users_lm_is_not_changed_and_keeps_its_history() -> None:
    lm, meter = keyword_scorer(), Meter()
    before = list(lm.callbacks)
    with meter.role(SCORER, lm=gated(meter, lm)):
        predict()(question="What is 1 plus 1?")
    assert lm.callbacks == before
    assert len(lm.history) == 1


def test_adapter_retries_are_calls_of_their_own() -> None:
    lm, meter = scripted_lm(lambda text: "no field in here"), Meter()
    with (
        meter.role(SCORER, lm=gated(meter, lm)),
        pytest.raises(Exception, match=r"(?i)pars") as caught,
    ):
        predict()(question="q")
    assert meter.total(SCORER).calls == lm.engine.calls == 2
    assert lm_failure(caught.value) is None


def raised_by(error: Exception) -> Exception:
    lm, meter = scripted_lm(lambda text: error), Meter()
    with meter.role(SCORER, lm=gated(meter, lm)):
        try:
            predict()(question="q")
        except Exception as caught:  # noqa: BLE001
            return caught
    raise AssertionError("nothing was raised")


def test_an_error_that_a_program_wraps_is_still_the_lms() -> None:
    try:
        try:
            raise raised_by(AuthError("no"))
        except Exception as inner:
            raise ValueError("the stage failed") from inner
    except ValueError as outer:
        assert lm_failure(outer) is not None


def test_of_a_refused_request_it_is_not_known_whether_it_is_the_lms() -> None:
    assert lm_failure(raised_by(InvalidRequestError("content policy"))) is None
    assert lm_failure(raised_by(UnsupportedModelError("retired"))) is not None


def test_an_error_of_the_program_is_not_the_lms() -> None:
    assert lm_failure(KeyError("x")) is None


def test_usage_reaches_the_users_prediction_when_tracking_is_on(tmp_path: Path) -> None:
    lm, meter = keyword_scorer(), Meter()
    with dspy.context(track_usage=True), meter.role(SCORER, lm=gated(meter, lm)):
        prediction = predict()(question="What is 1 plus 1?")
    assert prediction.get_lm_usage()[lm.model]["prompt_tokens"] > 0
    assert exact(questions(1)[0], dspy.Prediction(answer="1"))
    assert field("a", "b").startswith("[[ ##")


def test_the_cost_that_dspy_tells_is_counted_once_and_not_again_for_a_hit() -> None:
    lm, meter = scripted_lm(lambda text: "hello", cache=True), Meter()
    watched = gated(meter, lm)
    update = type(watched).update_history

    class Priced(type(watched)):  # type: ignore[misc]
        def update_history(self, entry: dict[str, Any]) -> None:
            update(self, {**entry, "cost": 0.25})

    watched.__class__ = Priced
    with meter.role(SCORER):
        watched("one")
        watched("two")
        watched("one")
    row = meter.total(SCORER)
    assert (row.calls, row.cache_hits, row.cost_usd) == (2, 1, 0.5)


def test_the_cost_of_an_lm_that_nobody_watches_is_counted_too() -> None:
    lm, meter = scripted_lm(lambda text: "hello"), Meter()

    class Priced(dspy.LM):  # type: ignore[misc]
        def update_history(self, entry: dict[str, Any]) -> None:
            super().update_history({**entry, "cost": 0.25})

    lm.__class__ = Priced
    with meter.role(SCORER):
        lm("one")
        lm("two", n=3)
    row = meter.total(SCORER)
    assert (row.calls, row.cost_usd) == (lm.engine.calls, 0.5) == (4, 0.5)


def test_without_any_known_cost_none_is_claimed() -> None:
    lm, meter = scripted_lm(lambda text: "hello"), Meter()
    with meter.role(SCORER):
        gated(meter, lm)("one")
    assert meter.total(SCORER).cost_usd is None


def test_a_copy_of_a_watched_lm_is_watched_too() -> None:
    lm, meter = scripted_lm(lambda text: "hello"), Meter()
    with meter.role(SCORER):
        copy.deepcopy(gated(meter, lm))("one")
        gated(meter, lm).copy(temperature=1.0)("two")
    assert meter.total(SCORER).calls == lm.engine.calls == 2


def test_a_run_within_a_run_is_counted_by_both() -> None:
    lm, outer, inner = scripted_lm(lambda text: "hello"), Meter(), Meter()
    with outer.role(SCORER), inner.role(SCORER):
        gated(inner, lm)("one")
    assert outer.total(SCORER) == replace(inner.total(SCORER), seconds=outer.total(SCORER).seconds)
    assert inner.total(SCORER).calls == lm.engine.calls == 1
