from itertools import product
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError, InvalidSolution
from opro_dspy.problems import Line, LinearRegression
from tests.helpers import any_text, properties

PAPER = ((15, 14), (17, 17), (16, 10), (3, 5), (25, 23), (2, 30), (36, -1))
PROBLEM = LinearRegression.random(w=15, b=14, seed=1)
PIECES = [
    "w",
    "b",
    "=",
    ":",
    "is",
    ",",
    " ",
    "[",
    "]",
    "(",
    ")",
    "3",
    "-4",
    "1e3",
    "nan",
    "inf",
    ".",
]


@properties
@given(
    st.integers(0, 6),
    st.floats(-1e9, 1e9, allow_nan=False),
    st.floats(-1e9, 1e9, allow_nan=False),
)
def test_what_is_formatted_is_parsed_as_the_same_pair(decimals: int, w: float, b: float) -> None:
    problem = LinearRegression(x=(0.0, 1.0), y=(0.0, 1.0), decimals=decimals)
    pair = Line(round(w, decimals) + 0.0, round(b, decimals) + 0.0)
    assert problem.parse(problem.format(pair)) == pair
    assert problem.parse(problem.format(Line(w, b))) == pair


@properties
@given(any_text | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_parsed_or_refused_with_the_documented_error(text: str) -> None:
    try:
        pair = PROBLEM.parse(text)
    except InvalidSolution:
        return
    assert PROBLEM.parse(PROBLEM.format(pair)) == pair


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("w=3, b=4", (3, 4)),
        ("w = 3, b = -4.", (3, -4)),
        ("b: 4; w: 3", (3, 4)),
        ("w is 3 and b is 4", (3, 4)),
        ("[3, 4]", (3, 4)),
        ("(w, b) = (3, 4)", (3, 4)),
        ("3, 4", (3, 4)),
        ("  3 4 ", (3, 4)),
        ("1.5e1, 1.4e+1", (15, 14)),
        ("w=14.6, b=14.2", (15, 14)),
        ("w=\u22123, b=4", (-3, 4)),
        ("The pair [10, 14] was too low, so I try\n[15, 14].", (15, 14)),
        ("w=3, b=4. Again: [3, 4], and that is all.", (3, 4)),
        ("**w=3**, **b=4**", (3, 4)),
        ("$w = 3$, $b = 4$", (3, 4)),
        ('{"w": 3, "b": 4}', (3, 4)),
        ("w=3, b=4 - lower than all", (3, 4)),
    ],
)
def test_a_pair_whose_meaning_is_certain_is_read(text: str, pair: tuple[float, float]) -> None:
    assert PROBLEM.parse(text) == pair


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no pair of numbers"),
        ("w=three, b=four", "no pair of numbers"),
        ("15", "no pair of numbers"),
        ("w=3", "no pair of numbers"),
        ("[1, 2, 3]", "no pair of numbers"),
        ("w=1,000, b=2", "no pair of numbers"),
        ("w=3x, b=4", "no pair of numbers"),
        ("Take [3, 4] or [5, 6], as you like", "several pairs"),
        ("[nan, 4]", "not a finite number"),
        ("w=inf, b=4", "not a finite number"),
        ("w=-Infinity, b=4", "not a finite number"),
        ("w=1e999, b=4", "not a finite number"),
        ("w=2e9, b=4", "a number out of range"),
        (", ".join("1" for _ in range(10_000)), "no pair of numbers"),
        ("w=" + "1" * 100_000 + ", b=4", "no pair of numbers"),
        ("w=1, b=" * 20_000, "no pair of numbers"),
        ("[1, 2" * 20_000, "no pair of numbers"),
        ("w=\u0131nf, b=4", "no pair of numbers"),
        ("w=1.5.2, b=4", "no pair of numbers"),
        ("w=3, b=4/2", "no pair of numbers"),
        ("w=3, b=4 - 1", "no pair of numbers"),
        ("w=3, b=4**2", "no pair of numbers"),
        ("w=3, b=4%", "no pair of numbers"),
        ("-w=3, b=4", "no pair of numbers"),
        ("w=3, b=4 or 5", "no pair of numbers"),
        ("[3, 4]/2", "no pair of numbers"),
        ('w"' * 20_000 + "w='3" + "'" * 20_000, "no pair of numbers"),
    ],
)
def test_what_is_not_certain_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidSolution, match=reason):
        PROBLEM.parse(text)


@pytest.mark.parametrize(("w", "b"), PAPER)
def test_the_papers_problem_has_its_true_pair_as_optimum(w: int, b: int) -> None:
    problem = LinearRegression.random(w=w, b=b, seed=3)
    assert problem.optimum == (w, b)
    assert problem.is_optimal(Line(w, b), problem.score(Line(w, b)))
    beside = Line(w, b + 1.0)
    assert not problem.is_optimal(beside, problem.score(beside))
    assert len(problem.x) == 50 and problem.x[0] == 1.0 and problem.x[-1] == 50.0


@properties
@given(
    st.lists(
        st.tuples(st.integers(-9, 9), st.integers(-99, 99)),
        min_size=2,
        max_size=8,
        unique_by=lambda p: p[0],
    ),
    st.integers(0, 1),
)
def test_the_optimum_is_the_best_pair_of_the_grid(
    points: list[tuple[int, int]], decimals: int
) -> None:
    x, y = zip(*points, strict=True)
    problem = LinearRegression(x=tuple(map(float, x)), y=tuple(map(float, y)), decimals=decimals)
    w, b = problem.optimum
    step = 10.0**-decimals
    near = product((w + i * step for i in range(-6, 7)), (b + i * step for i in range(-40, 41)))
    least = min(problem.score(Line(*pair)) for pair in near)
    assert problem.score(problem.optimum) == pytest.approx(least, abs=1e-9)


def test_the_same_seed_gives_the_same_data_and_another_seed_others() -> None:
    assert LinearRegression.random(w=3, b=5, seed=2) == LinearRegression.random(w=3, b=5, seed=2)
    assert LinearRegression.random(w=3, b=5, seed=2) != LinearRegression.random(w=3, b=5, seed=3)


@pytest.mark.parametrize(
    "data",
    [
        {"x": (1.0,), "y": (1.0,)},
        {"x": (1.0, 1.0), "y": (1.0, 2.0)},
        {"x": (1.0, 2.0), "y": (1.0,)},
        {"x": (1.0, nan), "y": (1.0, 2.0)},
        {"x": (1.0, 2.0), "y": (1.0, inf)},
    ],
)
def test_data_that_no_line_fits_best_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="at least two different x"):
        LinearRegression(**data)


def test_noise_that_hides_the_pair_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Take less noise"):
        LinearRegression.random(w=3, b=5, noise=1e6)
    with pytest.raises(ConfigurationError, match="whole numbers"):
        LinearRegression.random(w=3.5, b=5)


def test_any_sequences_of_numbers_make_the_same_problem() -> None:
    made: Any = LinearRegression(x=[1, 2, 3], y=np.array([2.0, 4.0, 6.0]))  # type: ignore[arg-type]
    assert made == LinearRegression(x=(1.0, 2.0, 3.0), y=(2.0, 4.0, 6.0))
    assert made.optimum == (2, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"x": ("a", "b")}, "`x` and `y`"),
        ({"y": 3}, "`x` and `y`"),
        ({"y": "12"}, "`x` and `y`"),
        ({"start": (5,)}, "`start`"),
        ({"start": (nan, 1)}, "`start`"),
        ({"decimals": 1.5}, "`decimals`"),
        ({"num_initial": 2.5}, "`num_initial`"),
    ],
)
def test_a_wrong_field_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        LinearRegression(**{"x": (1, 2), "y": (1, 2), **wrong})


@pytest.mark.parametrize(
    "wrong", [{"w": nan}, {"b": inf}, {"num_points": 1}, {"num_points": 2.5}, {"noise": -1.0}]
)
def test_a_random_problem_refuses_what_it_cannot_be_made_from(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"`{next(iter(wrong))}`"):
        LinearRegression.random(**{"w": 3, "b": 4, **wrong})
