import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.forecast import Forecast
from opro_dspy.boundary.pace import Pace, pace_of
from opro_dspy.errors import ConfigurationError
from opro_dspy.foresight import Habits
from opro_dspy.records import Usage
from tests.fakes import scripted_lm


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def hammer(budget: Budget, work: Callable[[Random], None], *, n_threads: int) -> None:
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, [Random(f"worker {i}") for i in range(n_threads)]))


@given(cap=st.integers(0, 400), n_threads=st.integers(1, 8), share=st.floats(0.0, 1.0))
def test_no_cap_is_passed_over_any_number_of_threads(
    cap: int, n_threads: int, share: float
) -> None:
    budget = Budget(max_metric_calls=cap, max_tokens=10 * cap, max_cost=cap / 100)
    kept = budget.keep(metric_calls=round(share * cap))
    most = threading.Lock(), [0]

    def work(random: Random) -> None:
        for _ in range(40):
            need = random.randint(1, 60)
            held = budget.admit(metric_calls=1, tokens=need, cost=need / 1000)
            if held is None:
                budget.refusal(metric_calls=1, tokens=need, cost=need / 1000)
            elif random.random() < 0.2:
                held.release()
            else:
                used = random.randint(0, need)
                held.settle(tokens=used, cost=used / 1000)
            with most[0]:
                most[1][0] = max(most[1][0], budget.spent.tokens)

    hammer(budget, work, n_threads=n_threads)
    spent = budget.spent
    assert spent.metric_calls <= cap - round(share * cap)
    assert spent.tokens <= most[1][0] <= 10 * cap
    assert spent.cost <= cap / 100 + 1e-9
    kept.release()
    hammer(budget, work, n_threads=n_threads)
    assert budget.spent.metric_calls <= cap
    assert budget.spent.tokens <= 10 * cap
    assert budget.spent.cost <= cap / 100 + 1e-9


@given(cap=st.integers(1, 200), n_threads=st.integers(1, 8))
def test_every_metric_call_up_to_the_cap_is_admitted(cap: int, n_threads: int) -> None:
    budget = Budget(max_metric_calls=cap)

    def work(random: Random) -> None:
        while (held := budget.admit(metric_calls=1)) is not None:
            held.settle()

    hammer(budget, work, n_threads=n_threads)
    assert budget.spent.metric_calls == cap
    assert budget.exhausted == f"max_metric_calls: {cap} of {cap} used"


def test_a_call_that_fits_once_others_come_back_is_not_refused() -> None:
    budget = Budget(max_tokens=1000)
    held = budget.admit(tokens=800)
    assert held is not None
    assert budget.admit(tokens=300) is None
    assert budget.refusal(tokens=300) is None
    assert budget.exhausted is None
    held.settle(tokens=100)
    assert budget.admit(tokens=300) is not None


def test_a_call_that_can_never_fit_is_refused_and_the_reason_names_the_cap() -> None:
    budget = Budget(max_tokens=10_000)
    held = budget.admit(tokens=9_500)
    assert held is not None
    held.settle()
    assert budget.refusal(tokens=800) == (
        "max_tokens: 9,500 of 10,000 used; the next call may need 800"
    )
    assert budget.exhausted == budget.refusal(tokens=800)


def test_a_call_that_used_more_than_reserved_is_counted_in_full() -> None:
    budget = Budget(max_cost=1.0)
    held = budget.admit(cost=0.5)
    assert held is not None
    held.settle(cost=1.25)
    assert budget.spent.cost == 1.25
    assert budget.admit(cost=0.01) is None
    assert budget.exhausted == "max_cost: $1.2500 of $1.0000 used"


@pytest.mark.parametrize(("cap", "spent"), [("max_tokens", "tokens"), ("max_cost", "cost")])
def test_what_was_never_admitted_uses_a_cap_up_too(cap: str, spent: str) -> None:
    budget = Budget(max_metric_calls=10, **{cap: 100})  # type: ignore[arg-type]
    budget.charge(**{spent: 99})
    assert budget.used_up is None
    budget.charge(**{spent: 1})
    assert str(budget.used_up).startswith(f"{cap}: ")
    assert budget.exhausted == budget.used_up


def test_an_example_of_the_last_metric_calls_may_ask_lms() -> None:
    budget = Budget(max_metric_calls=1, max_tokens=100)
    held = budget.admit(metric_calls=1)
    assert held is not None and budget.used_up is None
    held.settle()
    assert budget.used_up is None and budget.exhausted is not None


def test_time_that_is_over_uses_a_budget_up() -> None:
    clock = Clock()
    budget = Budget(max_seconds=100, clock=clock)
    clock.now += 99
    assert budget.used_up is None
    clock.now += 1
    assert budget.used_up == "max_seconds: 100.0 s of 100.0 s used"


def test_the_last_word_on_what_was_used_counts() -> None:
    budget = Budget(max_tokens=100)
    held = budget.admit(tokens=80)
    assert held is not None
    held.settle()
    assert budget.spent.tokens == 80
    held.settle(tokens=30)
    assert budget.spent.tokens == 30
    assert budget.admit(tokens=70) is not None


def test_what_is_kept_is_there_for_the_final_choice() -> None:
    budget = Budget(max_metric_calls=100)
    with budget.keep(metric_calls=40):
        score(budget, 60)
        assert budget.refusal(metric_calls=1) == budget.exhausted
        assert budget.exhausted == (
            "max_metric_calls: 60 of 100 used (40 kept for the final choice)"
        )
    assert budget.exhausted is None
    assert sum(budget.admit(metric_calls=1) is not None for _ in range(50)) == 40


def score(budget: Budget, n: int, *, tokens: int = 0, cost: float = 0.0) -> None:
    """Let so many examples be scored, each with one LM call."""
    for _ in range(n):
        example = budget.admit(metric_calls=1)
        call = budget.admit(tokens=tokens, cost=cost)
        assert example is not None and call is not None
        call.settle()
        budget.scored([Usage(role="scorer", model="a", calls=1)])
        example.settle()


def paced(**caps: float) -> Budget:
    """A budget of which an example takes 10 tokens, 0.02 USD and 0.5 seconds."""
    pace = Pace(tokens=10, cost=0.02, seconds=0.5)
    return Budget(pace=lambda used, n, seconds: pace, **caps)  # type: ignore[arg-type]


def test_of_other_caps_is_kept_what_the_choice_takes_by_what_examples_took() -> None:
    budget = paced(max_tokens=1000, max_cost=2.0)
    with budget.keep(metric_calls=20):
        first = budget.admit(tokens=1000)  # all of it, as long as there is nothing to choose from
        assert first is not None
        first.release()
        score(budget, 1, tokens=10, cost=0.02)
        # 20 examples, half as much again as they took, and a call of theirs in flight
        kept = 1.5 * 20 * 10 + 10
        assert budget.admit(tokens=1000 - 10 - round(kept) + 1) is None
        assert budget.admit(tokens=1000 - 10 - round(kept)) is not None
        assert budget.admit(cost=2.0 - 0.02 - (1.5 * 20 * 0.02 + 0.02) + 1e-6) is None
    assert budget.admit(cost=1.9) is not None


def test_nothing_is_kept_for_a_choice_that_scores_nothing() -> None:
    budget = paced(max_tokens=1000, max_seconds=50)
    with budget.keep(metric_calls=0):
        assert budget.seconds_left == pytest.approx(50, abs=1)
        score(budget, 1, tokens=10)
        assert budget.admit(tokens=990) is not None


def test_at_most_half_is_kept() -> None:
    budget = paced(max_tokens=1000)
    with budget.keep(metric_calls=200):
        score(budget, 1, tokens=10)
        assert budget.admit(tokens=491) is None
        assert budget.admit(tokens=490) is not None


def test_time_is_kept_too() -> None:
    clock = Clock()
    budget = Budget(
        max_seconds=100, clock=clock, pace=lambda used, n, s: Pace(tokens=0, cost=0, seconds=s / n)
    )
    kept = budget.keep(metric_calls=5)
    clock.now += 10
    score(budget, 2)
    assert budget.seconds_left == 90 - 1.5 * 5 * 5
    clock.now += 52.5
    assert budget.admit(metric_calls=1) is None
    assert budget.exhausted == (
        "max_seconds: 62.5 s of 100.0 s used (37.5 s kept for the final choice)"
    )
    kept.release()
    kept.release()
    assert budget.admit(metric_calls=1) is not None
    clock.now += 37.5
    assert budget.admit(metric_calls=1) is None


def test_what_is_left_is_told_in_examples() -> None:
    assert Budget().metric_calls_left is None
    budget = paced(max_tokens=1000, max_metric_calls=500)
    assert budget.metric_calls_left == 500
    score(budget, 10, tokens=10)
    assert budget.metric_calls_left == (1000 - 100 - 10) // 15


def test_an_example_takes_what_paid_calls_took_times_its_calls() -> None:
    scored = Usage(role="scorer", model="b", calls=5, failures=1, input_tokens=400, cost_usd=0.8)
    known = Usage(role="scorer", model="b", cache_hits=4)
    once = Pace(tokens=100, cost=0.2, seconds=2.0)
    twice = Pace(tokens=200, cost=0.4, seconds=4.0)
    assert pace_of([scored], 4, 10.0, n_predictors=1) == once
    assert pace_of([scored, known], 4, 10.0, n_predictors=1) == twice
    assert pace_of([scored], 4, 10.0, n_predictors=2) == twice
    assert pace_of([known], 4, 10.0, n_predictors=1) is None


def test_what_is_kept_is_told_by_scores_and_not_by_calls_in_flight() -> None:
    each = Usage(role="scorer", model="a", calls=1, input_tokens=10)
    paid, recalled = (
        Budget(max_tokens=1000, pace=partial(pace_of, n_predictors=2)) for _ in range(2)
    )
    for budget in (paid, recalled):
        budget.keep(metric_calls=5)
        budget.charge(tokens=20)
        budget.scored([each, each])
    example, call = paid.admit(metric_calls=1), paid.admit(tokens=10)
    assert example is not None and call is not None
    call.settle(tokens=500)  # a long answer, on the way to a score
    recalled.widen(call.need)
    recalled.charge(tokens=500)
    kept = round(1.5 * 5 * 20 + 10)
    for budget in (paid, recalled):
        assert budget.admit(tokens=480 - kept + 1) is None
        assert budget.admit(tokens=480 - kept) is not None


def test_without_caps_everything_is_admitted() -> None:
    budget = Budget()
    assert budget.admit(metric_calls=10**9, tokens=10**12, cost=1e9) is not None
    assert budget.exhausted is None
    assert not budget.counts_lm_calls


def test_a_call_without_cost_passes_a_cap_on_cost() -> None:
    budget = Budget(max_cost=0.0)
    assert budget.admit(tokens=5) is not None
    assert budget.admit(cost=0.01) is None


@pytest.mark.parametrize("cap", [-1, float("nan")])
def test_a_cap_below_nothing_is_refused(cap: float) -> None:
    with pytest.raises(ConfigurationError, match=r"`max_cost` must be a number of at least 0"):
        Budget(max_cost=cap)


def test_what_a_log_tells_of_earlier_answers_bounds_the_next_ones() -> None:
    forecast, lm = Forecast({}), scripted_lm(lambda text: "ok")
    before = forecast.need(lm, ("Hello",), {}).tokens
    forecast.remember(lm.model, Habits(longest=20))
    forecast.remember(lm.model, Habits(longest=21))
    forecast.remember(lm.model, Habits(longest=7))
    assert forecast.need(lm, ("Hello",), {}).tokens == before - 1024 + 2 * 21
