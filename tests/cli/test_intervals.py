import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opro_dspy.cli.intervals import difference_of, interval_of


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_is_that_of_the_textbooks(
    right: int, n: int, low: float, high: float
) -> None:
    found = interval_of([1.0] * right + [0.0] * (n - right))
    assert found.method == "Wilson"
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_paired_difference_of_zeros_and_ones_is_agresti_and_mins() -> None:
    # 10 and 2 of 50 pairs differ: with a half more in each of 4 cases, n = 52, b = 10.5, c = 2.5
    before = [0.0] * 10 + [1.0] * 2 + [1.0] * 38
    after = [1.0] * 10 + [0.0] * 2 + [1.0] * 38
    found = difference_of(before, after)
    assert found.mean == pytest.approx(0.16)
    half = 1.959964 * ((10.5 + 2.5 - 8.0**2 / 52) ** 0.5) / 52
    assert (found.low, found.high) == pytest.approx((8 / 52 - half, 8 / 52 + half), abs=1e-6)


def test_programs_that_agree_everywhere_still_have_an_interval() -> None:
    found = difference_of([1.0] * 20, [1.0] * 20)
    assert found.mean == 0.0 and found.low < -0.01 and found.high > 0.01


@settings(max_examples=15)
@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=20))
def test_a_bootstrap_interval_holds_the_mean(scores: list[float]) -> None:
    found = interval_of(scores)
    assert found.method == "bootstrap percentiles"
    assert min(scores) - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= max(scores) + 1e-9


def test_pairing_tells_more_than_two_intervals_do() -> None:
    rng = random.Random(0)
    before = [rng.uniform(0.1, 0.8) for _ in range(40)]
    after = [score + 0.05 + rng.uniform(-0.01, 0.01) for score in before]
    found = difference_of(before, after)
    assert found.low > 0
    assert interval_of(before).high > interval_of(after).low
