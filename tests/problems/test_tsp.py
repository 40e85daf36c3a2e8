from math import inf
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError, InvalidSolution
from opro_dspy.problems import TravelingSalesman
from tests.helpers import any_text, properties

FOUR = TravelingSalesman(points=((0, 0), (0, 3), (4, 3), (4, 0)))
PIECES = [
    "\u0660",
    "\u00b2",
    "0",
    "1",
    "2",
    "3",
    "9",
    ",",
    " ",
    "-",
    "->",
    "\n",
    ".",
    "x",
    "[",
    "]",
    "\u2192",
    "1e3",
]


@properties
@given(st.permutations(range(1, 12)))
def test_what_is_formatted_is_parsed_as_the_same_tour(others: list[int]) -> None:
    problem = TravelingSalesman.random(n=12)
    tour = (0, *others)
    assert problem.parse(problem.format(tour)) == tour


@properties
@given(any_text | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_parsed_or_refused_with_the_documented_error(text: str) -> None:
    try:
        tour = FOUR.parse(text)
    except InvalidSolution:
        return
    assert tour[0] == 0 and sorted(tour) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "0,2,1,3",
        " 0, 2, 1, 3. ",
        "0 2 1 3",
        "0 -> 2 -> 1 -> 3 -> 0",
        "0-2-1-3",
        "[0,2,1,3,0]",
        "The tour 0,1,2,3 crosses itself; 4 points, so:\n0,2,1,3",
    ],
)
def test_a_tour_whose_meaning_is_certain_is_read(text: str) -> None:
    assert FOUR.parse(text) == (0, 2, 1, 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no list of points"),
        ("zero, one, two, three", "no list of points"),
        ("0,1,2", "not every point once"),
        ("0,1,2,3,1", "not every point once"),
        ("0,1,2,2", "a point twice"),
        ("1,0,2,3", "does not start at point 0"),
        ("0,1,2,4", "an unknown point"),
        ("0,1,2," + "9" * 5000, "an unknown point"),
        ("0,1.5,2,3", "no list of points"),
        ("0,-1,2,3", "no list of points"),
        ("0,1,2,3x", "no list of points"),
        ("0,1,2,3 or 0,2,1,3, who knows", "several tours"),
        (",".join(str(i) for i in range(10_000)), "an unknown point"),
        (",".join("1" for _ in range(10_000)), "not every point once"),
        ("0" + " ," * 50_000 + "x", "no list of points"),
        ("1-" * 50_000, "not every point once"),
    ],
)
def test_what_is_no_tour_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidSolution, match=reason):
        FOUR.parse(text)


def test_a_tours_value_is_its_length_with_the_way_back() -> None:
    assert FOUR.score((0, 1, 2, 3)) == 14.0
    assert FOUR.score((0, 2, 1, 3)) == 18.0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_with_up_to_three_points_every_tour_is_optimal(n: int) -> None:
    problem = TravelingSalesman.random(n=n)
    tours = problem.initial(Random(0))
    assert 1 <= len(tours) <= 2
    for tour in tours:
        assert problem.parse(problem.format(tour)) == tour
        assert problem.is_optimal(tour, problem.score(tour))


def test_the_optimum_ends_a_run_only_where_it_is_known() -> None:
    assert not FOUR.is_optimal((0, 1, 2, 3), 14.0)
    solved = FOUR.with_optimum()
    assert solved.optimum == 14.0
    assert solved.is_optimal((0, 3, 2, 1), 14.0) and not solved.is_optimal((0, 2, 1, 3), 18.0)
    assert solved.gap(21.0) == 0.5
    with pytest.raises(ConfigurationError, match="with_optimum"):
        FOUR.gap(21.0)


def test_the_papers_problem_has_whole_coordinates_up_to_100() -> None:
    problem = TravelingSalesman.random(n=50, seed=4)
    assert len(problem.points) == 50
    assert all(n == round(n) and abs(n) <= 100 for point in problem.points for n in point)
    assert problem == TravelingSalesman.random(n=50, seed=4)
    assert problem != TravelingSalesman.random(n=50, seed=5)
    starts = problem.initial(Random(1))
    assert len(starts) == 5 and all(tour[0] == 0 for tour in starts)


@pytest.mark.parametrize("points", [(), ((0.0, inf),), ((0.0, 1.0, 2.0),)])
def test_points_without_a_tour_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        TravelingSalesman(points=points)


@pytest.mark.parametrize("points", [(1, 2), "ab", (("a", "b"),), 5, ((0, 0), None)])
def test_what_are_no_points_is_refused_at_once(points: Any) -> None:
    with pytest.raises(ConfigurationError, match="`points`"):
        TravelingSalesman(points=points)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "5"])
def test_a_random_problem_needs_a_whole_number_of_points(n: Any) -> None:
    with pytest.raises(ConfigurationError, match="`n` must be a whole number"):
        TravelingSalesman.random(n=n)


def test_any_sequences_of_points_make_the_same_problem() -> None:
    lists: Any = [[0, 0], [0, 3], [4, 3], [4, 0]]
    assert TravelingSalesman(points=lists) == TravelingSalesman(points=np.array(lists)) == FOUR  # type: ignore[arg-type]
