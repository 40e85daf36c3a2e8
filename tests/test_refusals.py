"""Requests refused as bad: an example's own fault, or an outage."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import InvalidRequestError, ServerError
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy import LMCallError, OPROResult
from opro_dspy.journal.lines import ScoreLine
from opro_dspy.race import Cell
from opro_dspy.refusals import MAX_DOUBTS, Doubt, Refusals
from tests.fakes import exact, questions
from tests.helpers import properties
from tests.test_resume import SCORE, Bench, found

REFUSED = InvalidRequestError("no such option.")


def refuse(refusals: Refusals, cell: Cell) -> None:
    refusals.add(Doubt(cell, Future(), REFUSED, in_part=False))


def test_a_refusal_is_settled_by_an_answer_that_set_out_when_it_was_known() -> None:
    refusals = Refusals()
    refuse(refusals, Cell(0, 7))
    known = refusals.n_known
    refuse(refusals, Cell(0, 8))
    assert refusals.answered(0) == []
    assert [doubt.cell.place for doubt in refusals.answered(known)] == [7] and refusals
    assert [doubt.cell.place for doubt in refusals.answered(refusals.n_known)] == [8]
    assert not refusals


@properties
@given(st.lists(st.builds(Cell, st.integers(0, 3), st.integers(0, 6)), max_size=9, unique=True))
def test_refusals_are_settled_in_the_order_of_the_race(cells: list[Cell]) -> None:
    refusals = Refusals()
    for cell in cells:
        refuse(refusals, cell)
    assert refusals.is_full == (len(cells) >= MAX_DOUBTS)
    settled = [doubt.cell for doubt in refusals.answered(refusals.n_known)]
    assert settled == sorted(cells, key=lambda cell: (cell.candidate, cell.place))


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


def filtered(*numbers: int) -> Callable[[str], str | Exception]:
    """Refuse the questions about these numbers, as a content filter does."""
    return lambda text: REFUSED if any(f"is {n} plus" in text for n in numbers) else SCORE(text)


def scored(program: Any) -> Any:
    result = found(program)
    return result["candidates"], result["best_index"]


@pytest.mark.parametrize("num_threads", [1, 2, 4, 8])
def test_a_refused_example_among_the_first_is_no_matter_of_threads(
    num_threads: int, bench: Bench
) -> None:
    refused, reply = threading.Event(), filtered(0)

    def slow_to_answer(text: str) -> str | Exception:
        answer = reply(text)
        if answer is REFUSED:
            refused.set()
        assert refused.wait(9)
        return answer

    bench.reply = slow_to_answer
    result = bench.compile(num_threads=num_threads, racing=False).detailed_results
    assert all(set(c.failures) == {0} for c in result.candidates)


@pytest.mark.parametrize("num_threads", [1, 8])
@pytest.mark.parametrize("n", [MAX_DOUBTS - 1, MAX_DOUBTS, 16])
def test_the_run_stops_when_all_of_the_first_requests_are_refused(
    n: int, num_threads: int, bench: Bench
) -> None:
    bench.reply = filtered(*range(n))
    if n < MAX_DOUBTS:
        assert bench.compile(num_threads=num_threads, racing=False).detailed_results.num_steps == 2
        return
    with pytest.raises(LMCallError, match="none was ever answered"):
        bench.compile(num_threads=num_threads, racing=False)
    assert bench.calls == MAX_DOUBTS
    assert failed_lines(bench) == []


def test_a_filter_that_is_quick_to_refuse_is_no_outage_with_many_threads(tmp_path: Path) -> None:
    val, numbers = questions(16, start=100), (101, 102, 104, 105, 107)
    one = Bench(tmp_path / "one", filtered(*numbers))
    many, refused, all_refused = Bench(tmp_path / "many"), list[str](), threading.Event()

    def slow_to_answer(text: str) -> str | Exception:
        answer = filtered(*numbers)(text)
        if answer is REFUSED:
            refused.append(text)
            if len(refused) == len(numbers):
                all_refused.set()
        elif "What is 100 plus" in text:  # the first of them all
            assert all_refused.wait(9)
        return answer

    many.reply = slow_to_answer
    options: dict[str, Any] = {"valset": val, "racing": False, "max_steps": 1}
    a = one.compile(num_threads=1, **options)
    b = many.compile(num_threads=16, **options)
    assert scored(a) == scored(b)
    assert set(b.detailed_results.best.selection_failures) == {1, 2, 4, 5, 7}


@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("n", [13, 15, 19])
def test_an_outage_in_a_step_is_known_before_anybody_is_told(
    n: int, num_threads: int, bench: Bench
) -> None:
    after(bench, n, lambda text: REFUSED)
    with pytest.raises(LMCallError, match="one that was answered before") as caught:
        bench.compile(num_threads=num_threads)
    result = caught.value.result
    assert isinstance(result, OPROResult)
    assert not any(c.failures or c.dropped for c in result.candidates)
    assert bench.calls <= n + MAX_DOUBTS + 3 * num_threads
    n_steps = len(result.steps)
    assert bench.optimizer.engine.calls == 3 * n_steps


def test_the_last_refusal_is_settled_by_asking_once_again_what_was_answered(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"num_threads": 1, "racing": False}
    plain, bench = Bench(tmp_path / "plain"), Bench(tmp_path / "run", filtered(107))
    plain.compile(**options)
    result = bench.compile(**options).detailed_results
    met = [c for c in result.candidates if c.selection_scores]
    assert met and all(set(c.selection_failures) == {7} for c in met)
    assert bench.calls == plain.calls + 1
    bench.reply = SCORE
    again = bench.compile(**options)
    assert bench.paid == 0 and again.detailed_results.candidates == result.candidates
    n_calls = [sum(row.calls for row in r.usage) for r in (again.detailed_results, result)]
    assert n_calls[0] == n_calls[1]


def test_what_is_asked_again_may_meet_an_outage_that_passes_and_is_not_judged(
    bench: Bench,
) -> None:
    seen, said = set[str](), list[str]()

    def reply(text: str) -> str | Exception:
        if text in seen:
            said.append("again")
            return ServerError("overloaded") if len(said) == 1 else SCORE(text)
        seen.add(text)
        return filtered(107)(text)

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        judged.append(example.question)
        return float(exact(example, prediction))

    judged = list[str]()
    bench.reply = reply
    result = bench.compile(num_threads=1, racing=False, metric=metric).detailed_results
    assert said == ["again", "again"]
    assert result.best.selection is not None
    assert len(judged) == len([text for text in seen if "is 107 plus" not in text])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")
