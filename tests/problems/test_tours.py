import sys
from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opro_dspy.problems import TravelingSalesman
from opro_dspy.problems.tours import exact, farthest_insertion, nearest_neighbour

Maker = Callable[[Sequence[tuple[float, float]]], tuple[int, ...]]
MAKERS: tuple[Maker, ...] = (exact, nearest_neighbour, farthest_insertion)

grid_points = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=7
)  # few places, so that points repeat and lie on a line


@settings(derandomize=True, deadline=None, max_examples=40)
@given(grid_points)
def test_the_exact_tour_is_as_short_as_the_shortest_of_all(points: list[tuple[int, int]]) -> None:
    problem = TravelingSalesman(points=tuple(points))
    every = ((0, *rest) for rest in permutations(range(1, len(points))))
    assert problem.score(exact(points)) == pytest.approx(min(map(problem.score, every)), abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(grid_points)
def test_every_maker_gives_a_tour(points: list[tuple[int, int]]) -> None:
    for make in MAKERS:
        tour = make(points)
        assert tour[0] == 0 and sorted(tour) == list(range(len(points)))


def test_nearest_neighbour_goes_to_the_nearest_point_left() -> None:
    assert nearest_neighbour([(0, 0), (5, 0), (1, 0), (-2, 0)]) == (0, 2, 3, 1)


def test_farthest_insertion_takes_the_costliest_point_first() -> None:
    square_with_middle = [(0, 0), (4, 0), (4, 4), (0, 4), (2, 1)]
    assert farthest_insertion(square_with_middle) in ((0, 4, 1, 2, 3), (0, 3, 2, 1, 4))


@pytest.mark.parametrize("seed", [0, 1])
def test_fifty_points_are_solved_and_no_baseline_is_better(seed: int) -> None:
    problem = TravelingSalesman.random(n=50, seed=seed)
    best = problem.score(exact(problem.points))
    for make in MAKERS[1:]:
        assert best <= problem.score(make(problem.points)) < 1.5 * best


@pytest.mark.parametrize("make", MAKERS[:2])
def test_a_missing_library_names_the_extra(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scipy.optimize", "networkx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "opro_dspy\[tsp\]"'):
        make(TravelingSalesman.random(n=5).points)
