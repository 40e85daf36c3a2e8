"""Calls that never come back: one example's own fault, or an outage that stops the run."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import RateLimitError

from opro_dspy import LMCallError, OPROResult, ProgramFailedError
from opro_dspy.errors import ExecutorError
from opro_dspy.hangs import MANY, Hang, Hangs
from opro_dspy.journal.lines import ScoreLine
from tests.fakes import exact, questions
from tests.test_grid import compiled, outcome
from tests.test_resume import SCORE, Bench, found

TIMEOUT_S = 0.5


def hang(example: int, number: int, **options: Any) -> Hang:
    """A call that hangs for good."""
    given = {"set_name": "trainset", "n_examples": 100, "model": "lm", "future": Future[Any]()}
    return Hang(example=example, number=number, **{**given, **options})


def hangs_of(*places: tuple[str, int], **options: Any) -> Hangs:
    """Hangs of such candidates and examples, in the order in which they set out."""
    hangs = Hangs()
    for candidate, example in places:
        told = hang(example, hangs.set_out(), **options)
        hangs.given_up((candidate, example), told, in_doubt=True)
    return hangs


# --- whose fault it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "is_wave"),
    [
        ([("a", i) for i in range(MANY)], True),
        ([("a", i) for i in range(MANY - 1)], False),
        ([(c, 0) for c in "abcdefgh"], False),
        ([(c, i) for i in range(2) for c in "abc"], True),
    ],
)
def test_many_hangs_on_two_or_more_examples_are_an_outage(
    places: list[tuple[str, int]], is_wave: bool
) -> None:
    assert hangs_of(*places).is_wave is is_wave


@pytest.mark.parametrize(("size", "is_wave"), [(1, False), (2, True), (3, False)])
def test_all_of_a_small_set_are_an_outage_but_one_example_never_is(
    size: int, is_wave: bool
) -> None:
    assert hangs_of(*[("a", i) for i in range(min(2, size))], n_examples=size).is_wave is is_wave


def test_where_there_is_one_example_candidates_stand_for_themselves() -> None:
    hangs = hangs_of(*[(str(i), 0) for i in range(MANY)], n_examples=1)
    assert hangs.is_wave
    assert not hangs.is_left_out(("new", 0), n_examples=1)


def test_a_hang_is_the_examples_own_once_an_lm_answers_what_set_out_later() -> None:
    hangs, told = Hangs(), list[str]()
    before = hangs.set_out()
    hangs.given_up(("a", 3), hang(3, hangs.set_out()), in_doubt=True)
    after = hangs.set_out()
    hangs.leave_out(("a", 3), lambda: told.append("left out"))
    hangs.answered(before, by_lm=True)
    hangs.answered(after, by_lm=False)
    assert told == []
    hangs.answered(after, by_lm=True)
    assert told == ["left out"]
    hangs.leave_out(("a", 3), lambda: told.append("at once"))
    assert told == ["left out", "at once"]


def test_a_program_that_hangs_by_itself_is_settled_by_whatever_comes_back() -> None:
    hangs = hangs_of(*[("a", i) for i in range(MANY)], model=None)
    hangs.answered(hangs.set_out(), by_lm=False)
    assert not hangs.is_wave


def test_a_call_that_comes_back_is_in_doubt_no_more() -> None:
    hangs = hangs_of(*[("a", i) for i in range(MANY)])
    hangs.came_back(("a", 0), answered=True)
    hangs.came_back(("a", 1), answered=False)
    assert not hangs.is_wave
    assert [hangs.times(("a", i)) for i in range(3)] == [0, 1, 1]


def test_an_example_that_hangs_with_two_candidates_is_not_begun_with_a_third() -> None:
    hangs = hangs_of(("a", 3), ("b", 3))
    assert hangs.is_left_out(("c", 3), n_examples=100)
    assert not hangs.is_left_out(("c", 4), n_examples=100)
    told: list[str] = []
    hangs.leave_out(("c", 3), lambda: told.append("left out"))
    assert told == []
    hangs.answered(hangs.set_out(), by_lm=True)
    assert told == ["left out"]
    hangs._known["a", 3][0].future.set_result(None)
    assert not hangs.is_left_out(("c", 3), n_examples=100)


def test_the_error_names_what_hangs() -> None:
    error = hangs_of(("a", 1), ("a", 2)).error(7.0)
    assert isinstance(error, LMCallError)
    assert "a scorer LM ('lm') hung on 2 examples" in str(error) and "(7 s)" in str(error)
    error = hangs_of(("a", 1), model=None).error(7.0)
    assert isinstance(error, ProgramFailedError)
    assert str(error).startswith("the program or the metric hung.")
    error = hangs_of(("a", 1)).error(7.0, remote=True)
    assert isinstance(error, ExecutorError)


# --- a provider that hangs for good ----------------------------------------------------------


class Provider:
    """Answers the first `n` calls and none of the others, until it is well again."""

    def __init__(self, n: int) -> None:
        self.n = self._left = n
        self._lock, self.well = threading.Lock(), threading.Event()

    def __call__(self, text: str) -> str:
        with self._lock:
            self._left -= 1
            hangs = self._left < 0
        if hangs:
            self.well.wait(30)
        return SCORE(text)


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    made = Provider(request.param)
    yield made
    made.well.set()


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        (0, {"num_threads": 4}),
        (0, {"num_threads": 1}),
        (9, {"racing": False}),
        (14, {"num_threads": 2}),
        (17, {}),
        (25, {"num_threads": 8}),
        (30, {"racing": False}),
    ],
    indirect=["provider"],
)
def test_a_provider_that_hangs_for_good_stops_the_run_and_resume_asks_again(
    provider: Provider, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = found(Bench(tmp_path / "whole").compile(**options))
    bench = Bench(tmp_path / "run", provider)
    said = r"a scorer LM \('bench/scorer'\) hung on .* Call compile again with `log_dir`"
    with pytest.raises(LMCallError, match=said) as caught:
        bench.compile(timeout=TIMEOUT_S, **options)
    result = caught.value.result
    assert isinstance(result, OPROResult)
    num_threads = options.get("num_threads", 4)
    assert bench.scorer.engine.most_in_flight <= 2 * num_threads + MANY
    assert not any(line.hung for line in bench.lines() if isinstance(line, ScoreLine))
    provider.well.set()
    again = found(bench.compile(timeout=30.0, **options))
    assert bench.paid <= sum(row["calls"] for row in again["usage"]) - provider.n
    for part in ("usage", "steps", "spent", "settings"):
        whole.pop(part), again.pop(part)
    assert again == whole


@pytest.mark.parametrize("provider", [0], indirect=True)
@pytest.mark.parametrize("n", [1, 3])
def test_a_small_set_that_hangs_is_an_outage_too(
    provider: Provider, n: int, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "run", provider)
    with pytest.raises(LMCallError, match=r"a scorer LM .* hung"):
        bench.compile(timeout=TIMEOUT_S, trainset=questions(n), valset=None)


def test_a_metric_that_hangs_stops_the_run_and_is_named(bench: Bench) -> None:
    go_on = threading.Event()

    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        go_on.wait(30)
        return exact(example, prediction)

    try:
        with pytest.raises(ProgramFailedError, match="the program or the metric hung on"):
            bench.compile(timeout=TIMEOUT_S, metric=metric)
    finally:
        go_on.set()


def test_examples_that_hang_while_others_are_answered_stop_nothing(bench: Bench) -> None:
    go_on = threading.Event()

    def reply(text: str) -> str:
        if any(f"What is {i} plus" in text for i in range(0, 16, 3)):
            go_on.wait(30)
        return SCORE(text)

    bench.reply = reply
    try:
        result = bench.compile(timeout=TIMEOUT_S, racing=False, max_steps=0).detailed_results
    finally:
        go_on.set()
    assert set(result.baseline.scores) == {i for i in range(16) if i % 3}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run")


# --- waiting is no hang ----------------------------------------------------------------------


def pushing_back(*, calls: range, retry_after: float) -> Callable[[str], str | Exception]:
    """What a provider says that wants a pause after so many calls."""
    n_calls = itertools.count()
    slow_down: Exception = RateLimitError("slow down", retry_after=retry_after)

    def reply(text: str) -> str | Exception:
        return slow_down if next(n_calls) in calls else SCORE(text)

    return reply


@pytest.mark.parametrize("first", [0, 20])
def test_a_retry_after_longer_than_the_timeout_changes_nothing_but_the_calls(first: int) -> None:
    def run(calls: range) -> Any:
        reply = pushing_back(calls=calls, retry_after=1.3)
        engine = Bench(Path(), reply).scorer.engine
        lm = dspy.LM("bench/scorer", engine=engine, cache=False, num_retries=3)
        return compiled(lm, timeout=TIMEOUT_S)

    disturbed = run(range(first, first + 6))
    assert disturbed.detailed_results.used("scorer").failures >= 6
    assert outcome(disturbed) == outcome(run(range(0)))
