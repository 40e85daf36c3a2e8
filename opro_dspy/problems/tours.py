"""Tours that need no LM: the exact optimum, nearest neighbour and farthest insertion."""

from collections.abc import Sequence
from math import dist
from typing import Any

Point = tuple[float, float]

_EXTRA = 'pip install "opro_dspy[tsp]"'


def exact(points: Sequence[Point]) -> tuple[int, ...]:
    """Return a shortest tour from point 0, proven by mixed-integer programming.

    One binary variable for each pair of points, two of them chosen at each point; whenever the
    solution falls apart into several tours, a constraint that joins them is added, and it is solved
    again.

    Args:
        points: Shape (n, 2), n at least 1; up to about 100 points are solved within a minute.

    Raises:
        ImportError: If scipy is not there.

    Source:
        Dantzig, Fulkerson & Johnson 1954, "Solution of a large-scale traveling-salesman problem";
        solved by HiGHS (scipy.optimize.milp).
    """
    n = len(points)
    if n < 4:
        return tuple(range(n))
    try:
        import numpy as np
        from scipy.optimize import LinearConstraint, milp
        from scipy.sparse import csr_array
    except ImportError as error:
        raise ImportError(f"the exact optimum needs scipy: {_EXTRA}") from error
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    lengths = np.array([dist(points[i], points[j]) for i, j in pairs])
    at = np.zeros((n, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        at[i, k] = at[j, k] = 1.0
    rows, least = [*at], [2.0] * n
    most = [2.0] * n
    while True:
        found = milp(
            lengths,
            integrality=np.ones(len(pairs)),
            bounds=(0, 1),
            constraints=LinearConstraint(csr_array(np.array(rows)), least, most),
            options={"mip_rel_gap": 0.0},
        )
        if not found.success:
            raise RuntimeError(f"the solver did not find the shortest tour: {found.message}")
        parts = _parts(n, [pairs[k] for k in np.flatnonzero(found.x > 0.5)])
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            inside = np.zeros(n)
            inside[list(part)] = 1.0
            rows.append((inside @ at == 1.0).astype(float))
            least.append(2.0)
            most.append(np.inf)


def _parts(n: int, edges: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return the closed tours that `edges` form, each as its points in order."""
    beside: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges:
        beside[i].append(j)
        beside[j].append(i)
    left, parts = dict.fromkeys(range(n)), []
    while left:
        part = [next(iter(left))]
        del left[part[0]]
        while onward := [k for k in beside[part[-1]] if k in left]:
            part.append(onward[0])
            del left[onward[0]]
        parts.append(tuple(part))
    return parts


def nearest_neighbour(points: Sequence[Point]) -> tuple[int, ...]:
    """Return the tour that always goes to the nearest point left, from point 0.

    Raises:
        ImportError: If networkx is not there.
    """
    if len(points) < 2:
        return tuple(range(len(points)))
    try:
        import networkx as nx
    except ImportError as error:
        raise ImportError(f"nearest neighbour needs networkx: {_EXTRA}") from error
    graph: Any = nx.Graph()
    graph.add_weighted_edges_from(
        (i, j, dist(points[i], points[j])) for i in range(len(points)) for j in range(i)
    )
    return tuple(nx.approximation.greedy_tsp(graph, source=0)[:-1])


def farthest_insertion(points: Sequence[Point]) -> tuple[int, ...]:
    """Return the tour into which always the costliest point was inserted where it costs least.

    No well-kept library has it (networkx has greedy, Christofides and annealing).

    Source:
        OPRO (arXiv:2309.03409), section 3.2: among the points left, the one with the greatest
        minimal insertion cost d(i, k) + d(k, j) - d(i, j) is next.
    """
    tour, left = [0], list(range(1, len(points)))

    def cheapest(k: int) -> tuple[float, int]:
        """Return the least cost of inserting `k`, and the place behind which that is."""
        costs = (
            (dist(a, points[k]) + dist(points[k], b) - dist(a, b), place)
            for place, (a, b) in enumerate(
                (points[i], points[j]) for i, j in zip(tour, [*tour[1:], tour[0]], strict=True)
            )
        )
        return min(costs)

    while left:
        chosen = max(left, key=lambda k: cheapest(k)[0])
        tour.insert(cheapest(chosen)[1] + 1, chosen)
        left.remove(chosen)
    return tuple(tour)
