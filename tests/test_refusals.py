"""Requests refused as bad after others were answered: one example's own fault, or an outage."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import InvalidRequestError
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy import LMCallError, OPROResult
from opro_dspy.journal.lines import ScoreLine
from opro_dspy.refusals import WAVE, Refusal, Refusals
from tests.helpers import properties
from tests.test_resume import SCORE, Bench, found

REFUSED = InvalidRequestError("no such option.")


def refuse(refusals: Refusals, index: int, settled: list[int], *, name: str = "valset") -> None:
    refusal = Refusal((name, index), REFUSED, settle=lambda: settled.append(index))
    refusals.add(refusal, n_examples=100)


def test_a_refusal_is_settled_by_an_answer_that_set_out_when_it_was_known() -> None:
    refusals, settled = Refusals(), list[int]()
    refuse(refusals, 7, settled)
    known = refusals.n_known
    refuse(refusals, 8, settled)
    refusals.answered(0)
    assert settled == []
    refusals.answered(known)
    assert settled == [7] and refusals
    refusals.answered(refusals.n_known)
    assert settled == [7, 8] and not refusals


@properties
@given(st.lists(st.tuples(st.sampled_from(["trainset", "valset"]), st.integers(0, 6)), max_size=20))
def test_a_wave_is_counted_in_examples_not_in_requests(examples: list[tuple[str, int]]) -> None:
    refusals = Refusals()
    for name, index in examples:
        refuse(refusals, index, [], name=name)
    assert refusals.n_examples == len(set(examples))
    assert refusals.is_wave == (len(set(examples)) >= WAVE)


@pytest.mark.parametrize(("size", "is_wave"), [(1, False), (2, True), (3, False)])
def test_all_of_a_small_set_are_a_wave_but_one_example_never_is(size: int, is_wave: bool) -> None:
    refusals = Refusals()
    for index in range(min(size, 2)):
        refusals.add(Refusal(("valset", index), REFUSED, settle=lambda: None), n_examples=size)
    assert refusals.is_wave is is_wave


def failed_lines(bench: Bench) -> list[ScoreLine]:
    return [x for x in bench.lines() if isinstance(x, ScoreLine) and x.failed is not None]


def after(bench: Bench, n: int, then: Callable[[str], str | Exception]) -> None:
    """Let the bench's scorer answer `n` calls, and `then` say what becomes of the others."""
    answered, lock = Counter[str](), threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            answered["n"] += 1
            late = answered["n"] > n
        return then(text) if late else SCORE(text)

    bench.reply = reply


class Careless(dspy.Module):  # type: ignore[misc]
    """Swallows every error and answers something."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        try:
            return self.answer(question=question)
        except Exception:  # noqa: BLE001
            return dspy.Prediction(answer="sorry")


@pytest.mark.parametrize(
    ("n", "racing", "careless"),
    [(4, True, False), (11, True, True), (14, True, False), (26, True, False), (17, False, False)],
)
def test_a_provider_that_refuses_everything_in_mid_run_is_an_outage(
    n: int, racing: bool, careless: bool, tmp_path: Path
) -> None:
    student = Careless() if careless else dspy.Predict("question -> answer")
    whole = found(Bench(tmp_path / "whole").compile(student, racing=racing))
    bench = Bench(tmp_path / "run")
    after(bench, n, lambda text: REFUSED)
    said = r"something changed at the provider.* Call compile again with `log_dir`"
    with pytest.raises(LMCallError, match=said) as caught:
        bench.compile(student, racing=racing)
    assert "no such option. The requests for" in str(caught.value)
    result = caught.value.result
    assert isinstance(result, OPROResult)
    assert failed_lines(bench) == []
    bench.reply = SCORE
    again = found(bench.compile(student, racing=racing))
    assert bench.paid < again["usage"][1]["calls"]
    for part in ("usage", "steps", "spent"):
        whole.pop(part), again.pop(part)
    assert again == whole


def test_an_example_that_alone_is_refused_is_its_own_fault(bench: Bench) -> None:
    bench.reply = lambda text: REFUSED if "What is 103 plus" in text else SCORE(text)
    program = bench.compile(num_threads=1)
    result = program.detailed_results
    met = [c for c in result.candidates if c.selection_scores]
    assert met and all(set(c.selection_failures) == {3} for c in met)
    assert all(c.selection_scores[3] == 0.0 for c in met)
    n_lines = len(bench.lines())
    assert found(bench.compile(num_threads=1)) == found(program)
    assert bench.paid == 0 and len(bench.lines()) == n_lines


def test_a_refusal_of_the_very_last_example_is_asked_again_when_the_run_is_called_again(
    bench: Bench,
) -> None:
    """Nothing was answered since: it may have been the beginning of an outage."""
    bench.reply = lambda text: REFUSED if "What is 107 plus" in text else SCORE(text)
    result = bench.compile(num_threads=1, cache_dir=None).detailed_results
    met = [c for c in result.candidates if c.selection_scores]
    assert all(set(c.selection_failures) == {7} for c in met)
    bench.reply = SCORE
    again = bench.compile(num_threads=1, cache_dir=None).detailed_results
    assert bench.paid == 1
    assert [len(c.selection_failures) for c in again.candidates].count(1) == len(met) - 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")
