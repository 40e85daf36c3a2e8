from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import AuthError, InvalidRequestError, RateLimitError

from opro_dspy.meter import OPTIMIZER, SCORER, Meter, lm_failure
from opro_dspy.pool import completed
from tests.fakes import exact, field, keyword_scorer, questions, scripted_lm


def predict(lm: dspy.LM | None = None) -> dspy.Predict:
    program = dspy.Predict("question -> answer")
    program.lm = lm
    return program


def test_calls_are_counted_over_threads_and_tokens_add_up() -> None:
    lm, meter, program = keyword_scorer(), Meter(), predict()
    with meter.role(SCORER, lm=meter.watch(lm)), ThreadPoolExecutor(8) as pool:
        calls = [(i, partial(program, question=f"What is {i} plus 1?")) for i in range(50)]
        for _, future in completed(pool, calls, window=16):
            future.result()
    (row,) = meter.usage()
    assert (row.role, row.model, row.calls, row.failures) == (SCORER, lm.model, 50, 0)
    assert row.input_tokens == sum(len(text) // 4 for text in lm.engine.requests)
    assert row.seconds > 0


@pytest.mark.parametrize("disable_history", [False, True])
@pytest.mark.parametrize("track_usage", [False, True])
def test_cache_hits_are_told_from_calls(disable_history: bool, track_usage: bool) -> None:
    if disable_history and track_usage:
        pytest.skip("DSPy tells nobody of hits then")
    lm, meter, program = keyword_scorer(cache=True), Meter(), predict()
    with dspy.context(disable_history=disable_history, track_usage=track_usage):  # noqa: SIM117
        with meter.role(SCORER, lm=meter.watch(lm)):
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
    watched = meter.watch(lm)
    with meter.role(OPTIMIZER):
        watched("one")
    with meter.role(SCORER):
        watched("two")
    assert [(u.role, u.calls) for u in meter.usage()] == [(OPTIMIZER, 1), (SCORER, 1)]


def test_a_failed_call_is_counted_and_its_error_known_as_the_lms() -> None:
    lm, meter = scripted_lm(lambda text: RateLimitError("slow down")), Meter()
    with (
        meter.role(SCORER, lm=meter.watch(lm)),
        pytest.raises(Exception, match="slow down") as caught,
    ):
        predict()(question="q")
    (row,) = meter.usage()
    assert (row.calls, row.failures) == (1, 1)
    assert lm_failure(caught.value, answered=False) is not None


def test_the_users_lm_is_not_changed_and_keeps_its_history() -> None:
    lm, meter = keyword_scorer(), Meter()
    before = list(lm.callbacks)
    with meter.role(SCORER, lm=meter.watch(lm)):
        predict()(question="What is 1 plus 1?")
    assert lm.callbacks == before
    assert len(lm.history) == 1


def test_adapter_retries_are_calls_of_their_own() -> None:
    lm, meter = scripted_lm(lambda text: "no field in here"), Meter()
    with (
        meter.role(SCORER, lm=meter.watch(lm)),
        pytest.raises(Exception, match=r"(?i)pars") as caught,
    ):
        predict()(question="q")
    assert meter.total(SCORER).calls == lm.engine.calls == 2
    assert lm_failure(caught.value, answered=True) is None


def raised_by(error: Exception) -> Exception:
    lm, meter = scripted_lm(lambda text: error), Meter()
    with meter.role(SCORER, lm=meter.watch(lm)):
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
        assert lm_failure(outer, answered=True) is not None


def test_a_refused_request_after_others_were_answered_is_the_examples() -> None:
    error = raised_by(InvalidRequestError("content policy"))
    assert lm_failure(error, answered=True) is None
    assert lm_failure(error, answered=False) is not None


def test_an_error_of_the_program_is_not_the_lms() -> None:
    assert lm_failure(KeyError("x"), answered=False) is None


def test_usage_reaches_the_users_prediction_when_tracking_is_on(tmp_path: Path) -> None:
    lm, meter = keyword_scorer(), Meter()
    with dspy.context(track_usage=True), meter.role(SCORER, lm=meter.watch(lm)):
        prediction = predict()(question="What is 1 plus 1?")
    assert prediction.get_lm_usage()[lm.model]["prompt_tokens"] > 0
    assert exact(questions(1)[0], dspy.Prediction(answer="1"))
    assert field("a", "b").startswith("[[ ##")
