"""LMs that program or metric bring along: caps hold for them too, and they need a price."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, Price, UnknownPriceError
from opro_dspy.records import Usage
from tests.executors import Elsewhere, shared
from tests.fakes import TRAIN, compiled, exact, field, keyword_scorer, scripted_lm, word_optimizer

PRICE = Price(input_per_million=1.0, output_per_million=4.0)
THREADS = 4
TOKENS, USD = 320, 4e-4
"""More than an example takes here."""


class Hidden(dspy.Module):  # type: ignore[misc]
    """A program that no one sees asking `lm`; also several times for an example."""

    def __init__(self, lm: dspy.LM, calls: int = 1) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.held = [lambda: lm]
        self.calls = calls

    def forward(self, question: str) -> Any:
        with dspy.context(lm=self.held[0]()):
            found = [self.predict(question=question) for _ in range(self.calls)]
        return found[-1]


def judged_by(judge: dspy.LM) -> Callable[..., bool]:
    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        judge(f"{example.question} Is it {prediction.answer}?")
        return exact(example, prediction)

    return metric


def tokens(rows: list[Usage]) -> int:
    return sum(row.input_tokens + row.output_tokens for row in rows)


def usd(rows: list[Usage]) -> float:
    return sum(PRICE.cost(row.input_tokens, row.output_tokens) for row in rows)


def prices(*lms: dspy.LM) -> dict[str, Price]:
    return {lm.model: PRICE for lm in lms}


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("racing", [True, False])
@pytest.mark.parametrize("cap", [{"max_tokens": 6_000}, {"max_cost": 0.0075}])
def test_what_a_hidden_lm_used_up_ends_step_and_choice_once_calls_in_flight_are_back(
    cap: dict[str, float], racing: bool, elsewhere: bool
) -> None:
    hidden, optimizer = keyword_scorer(delay_s=0.002), word_optimizer(max_tokens=50)
    scorer = keyword_scorer(max_tokens=50)
    if elsewhere:
        hidden, scorer = shared(hidden), shared(scorer)
    options: dict[str, Any] = {"prompt_model": optimizer, "racing": racing, "num_threads": THREADS}
    if "max_cost" in cap:
        options["prices"] = prices(hidden, optimizer, scorer)
    if elsewhere:
        options["executor"] = Elsewhere()
    program = compiled(Hidden(hidden), scorer=scorer, **{**options, **cap})
    result = program.detailed_results
    assert result.best_index is not None
    (most,) = cap.values()
    counted = "max_tokens" in cap
    spent, each = (tokens(result.usage), TOKENS) if counted else (usd(result.usage), USD)
    assert most < spent + each
    assert spent <= most + THREADS * each


def test_examples_that_wait_for_a_thread_do_not_begin_once_a_cap_is_used_up() -> None:
    hidden = keyword_scorer(delay_s=0.05)
    compiled(Hidden(hidden), num_threads=2, max_tokens=1, max_steps=0, valset=None)
    assert hidden.engine.calls == 2


def test_a_free_lm_is_asked_nothing_either_once_usd_are_used_up() -> None:
    judge, scorer, optimizer = scripted_lm(lambda text: "yes"), keyword_scorer(), word_optimizer()
    free = Price(input_per_million=0, output_per_million=0)
    compiled(
        scorer=scorer,
        prompt_model=optimizer,
        metric=judged_by(judge),
        max_cost=1e-6,
        prices={**prices(judge), scorer.model: free, optimizer.model: free},
        num_threads=1,
    )
    assert scorer.engine.calls == judge.engine.calls == 1


def test_a_run_that_passed_its_cap_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    hidden, optimizer, scorer = keyword_scorer(delay_s=0.002), word_optimizer(), keyword_scorer()
    options: dict[str, Any] = {"prompt_model": optimizer, "scorer": scorer, "log_dir": tmp_path}
    student = Hidden(hidden)
    first = compiled(student, max_tokens=6_000, **options).detailed_results
    n = hidden.engine.calls, optimizer.engine.calls
    again = compiled(student, max_tokens=6_000, **options).detailed_results
    assert (hidden.engine.calls, optimizer.engine.calls) == n
    assert [(c.scores, c.selection_scores) for c in again.candidates] == [
        (c.scores, c.selection_scores) for c in first.candidates
    ]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("judge", [True, False])
def test_a_hidden_lm_without_a_price_stops_a_run_with_max_cost_at_once(
    judge: bool, history: bool, elsewhere: bool
) -> None:
    hidden, optimizer, scorer = keyword_scorer(delay_s=0.01), word_optimizer(), keyword_scorer()
    if elsewhere:
        hidden, scorer = shared(hidden), shared(scorer)
    options: dict[str, Any] = {"prompt_model": optimizer, "prices": prices(optimizer, scorer)}
    options |= {"metric": judged_by(hidden)} if judge else {}
    options |= {"executor": Elsewhere()} if elsewhere else {}
    student = None if judge else Hidden(hidden)
    with (
        dspy.context(disable_history=not history),
        pytest.raises(UnknownPriceError) as caught,
    ):
        compiled(student, scorer=scorer, num_threads=THREADS, max_cost=1.0, **options)
    said = str(caught.value)
    assert f"`max_cost` needs the price of every LM, and none is known of {hidden.model!r}" in said
    assert f"`prices={{{hidden.model!r}: Price(" in said
    engine = hidden.engine._engine if elsewhere else hidden.engine
    assert 0 < engine.calls <= THREADS
    assert optimizer.engine.calls == 0
    assert caught.value.result is not None


def test_a_run_that_lacked_a_price_goes_on_with_it_and_counts_what_was_spent_before(
    tmp_path: Path,
) -> None:
    hidden, optimizer, scorer = keyword_scorer(), word_optimizer(), keyword_scorer()
    student = Hidden(hidden)
    options: dict[str, Any] = {"prompt_model": optimizer, "scorer": scorer, "log_dir": tmp_path}
    options |= {"max_cost": 0.02, "num_threads": THREADS}
    with pytest.raises(UnknownPriceError, match="log_dir"):
        compiled(student, prices=prices(optimizer, scorer), **options)
    n = hidden.engine.calls
    result = compiled(student, prices=prices(hidden, optimizer, scorer), **options).detailed_results
    assert result.best_index is not None
    assert sum(row.calls for row in result.usage if row.model == hidden.model) == (
        hidden.engine.calls
    )
    assert hidden.engine.calls > n
    assert sum(row.cost_usd or 0.0 for row in result.usage) == pytest.approx(usd(result.usage))


def test_a_hidden_lm_whose_cost_dspy_tells_needs_no_price() -> None:
    hidden, optimizer, scorer = keyword_scorer(), word_optimizer(), keyword_scorer()

    class Priced(dspy.LM):  # type: ignore[misc]
        def update_history(self, entry: dict[str, Any]) -> None:
            super().update_history({**entry, "cost": 0.01})

    hidden.__class__ = Priced
    program = compiled(
        Hidden(hidden, calls=2),
        scorer=scorer,
        prompt_model=optimizer,
        prices=prices(optimizer, scorer),
        max_cost=0.5,
        num_threads=THREADS,
    )
    (row,) = [r for r in program.detailed_results.usage if r.model == hidden.model]
    assert row.cost_usd == pytest.approx(0.01 * hidden.engine.calls)
    assert 0.48 < row.cost_usd <= 0.5 + THREADS * 0.02


def test_answers_of_a_hidden_lm_that_a_cache_gives_need_no_price() -> None:
    hidden, optimizer, scorer = keyword_scorer(cache=True), word_optimizer(), keyword_scorer()
    student = Hidden(hidden)
    with dspy.context(lm=scorer):
        for example in TRAIN:
            student(**example.inputs())
        n = hidden.engine.calls
        OPRO(
            metric=exact,
            prompt_model=optimizer,
            prices=prices(optimizer, scorer),
            max_cost=1.0,
            max_steps=0,
        ).compile(student, trainset=TRAIN)
    assert hidden.engine.calls == n


def test_a_cap_on_tokens_says_which_lms_may_pass_it(caplog: pytest.LogCaptureFixture) -> None:
    scorer, optimizer = keyword_scorer(), word_optimizer(max_tokens=50)
    said = "`max_tokens` can be passed by calls in flight, for nobody knows how long the answers of"
    with caplog.at_level(logging.WARNING):
        compiled(scorer=scorer, prompt_model=optimizer, max_tokens=50_000)
    (told,) = [r.getMessage() for r in caplog.records if "can be passed" in r.getMessage()]
    assert told.startswith(f"{said} {scorer.model!r} get.")
    assert "dspy.LM(…, max_tokens=1000)" in told


@pytest.mark.parametrize("own", ["max_tokens", "max_completion_tokens"])
def test_lms_with_a_limit_of_their_own_and_runs_without_such_a_cap_are_told_nothing(
    own: str, caplog: pytest.LogCaptureFixture
) -> None:
    limit = {own: 50}
    compiled(
        scorer=keyword_scorer(**limit), prompt_model=word_optimizer(**limit), max_tokens=50_000
    )
    compiled(max_metric_calls=50)
    assert "can be passed" not in caplog.text


def test_the_first_examples_are_measured_whatever_time_the_choice_would_take() -> None:
    class Twice(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (dspy.Predict("question -> answer") for _ in range(2))

        def forward(self, question: str) -> Any:
            self.first(question=question)
            return self.second(question=question)

    scorer = scripted_lm(lambda text: field("answer", "1"), delay_s=0.4)
    program = compiled(Twice(), scorer=scorer, num_threads=8, max_seconds=1.2, max_steps=5)
    result = program.detailed_results
    assert result.stop_reason.startswith("max_seconds: ")
    assert result.best_index == 0 and program.score is not None
    assert len(result.baseline.scores) > 0
