"""The travelling salesman: the shortest closed tour through all points."""

import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import dist, fsum
from random import Random

from opro_dspy.errors import ConfigurationError, InvalidSolution
from opro_dspy.problems.numbers import finite, is_whole
from opro_dspy.problems.tours import exact

Point = tuple[float, float]
Tour = tuple[int, ...]

_NUMBERS = re.compile(r"[0-9]+(?:(?:(?:[\s,;\u2192]|[-=]>)+|-)[0-9]+)*")
_GLUED = re.compile(r"\w|\.[0-9]")
_AT_END = re.compile(r"[\s.!)\]}*`\"']*\Z")
_MAX_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class TravelingSalesman:
    """Find the shortest tour that starts at point 0, visits every point once, and returns.

    Example:
        ```python
        result = optimize(TravelingSalesman.random(n=10, seed=1), prompt_model=lm, max_steps=500)
        ```

    Raises:
        ConfigurationError: If there is no point, or a coordinate is not finite.

    Source:
        OPRO (arXiv:2309.03409), section 3.2.
    """

    points: tuple[Point, ...]
    optimum: float | None = None
    """Length of the shortest tour, if known: the run ends when it is found."""
    num_initial: int = 5

    higher_is_better = False
    tag = "trace"

    def __post_init__(self) -> None:
        """Take any sequence of pairs of numbers; refuse what has no tour."""
        pairs = self.points if isinstance(self.points, Iterable) else ()
        points = tuple(finite(pair) for pair in pairs)
        if not points or not all(point is not None and len(point) == 2 for point in points):
            raise ConfigurationError(
                "`points` must hold at least one (x, y) of finite numbers, got "
                f"{reprlib.repr(self.points)}."
            )
        if not is_whole(self.num_initial, 1):
            raise ConfigurationError(
                f"`num_initial` must be a whole number of at least 1, got {self.num_initial!r}."
            )
        object.__setattr__(self, "points", points)

    @classmethod
    def random(cls, *, n: int, seed: int = 0) -> "TravelingSalesman":
        """Return the paper's problem: n points with whole coordinates in [-100, 100]."""
        if not is_whole(n, 1):
            raise ConfigurationError(f"`n` must be a whole number of at least 1, got {n!r}.")
        rng = Random(f"{seed}:points")
        points = tuple((rng.randint(-100, 100), rng.randint(-100, 100)) for _ in range(n))
        return cls(points=points)

    def with_optimum(self) -> "TravelingSalesman":
        """Return the problem with the length of its shortest tour, by an exact solver.

        Raises:
            ImportError: If the extra is not there: `pip install "opro_dspy[tsp]"`.
        """
        return replace(self, optimum=self.score(exact(self.points)))

    def describe(self) -> str:
        """Return the task with the coordinates of all points."""
        points = ", ".join(f"({i}): ({x:g}, {y:g})" for i, (x, y) in enumerate(self.points))
        return (
            "A tour starts at point 0, visits every other point exactly once and returns to point "
            "0. Its value is its length, a sum of straight lines. The points, with their "
            f"coordinates: {points}\n"
            "A solution lists the numbers of all points in the order of the visit, 0 first, "
            "separated by commas; the return is not written."
        )

    def initial(self, rng: Random) -> Sequence[Tour]:
        """Return random tours; fewer where there are not so many."""
        others = range(1, len(self.points))
        drawn = ((0, *rng.sample(others, len(others))) for _ in range(self.num_initial))
        return list(dict.fromkeys(drawn))

    def format(self, solution: Tour) -> str:
        """Return the tour as `0,3,1,2`."""
        return ",".join(map(str, solution))

    def parse(self, text: str) -> Tour:
        """Return the only tour in `text`, or the one that it ends with.

        Numbers may be separated by commas, blanks, dashes or arrows; the return to 0 at the end
        may be written.

        Raises:
            InvalidSolution: If there is none, or it is not certain which.
        """
        lists = [
            (match.end(), re.findall("[0-9]+", match[0]))
            for match in _NUMBERS.finditer(text)
            if not _GLUED.match(text, match.end()) and not _is_glued(text, match.start())
        ]
        tours = [(end, tour) for end, numbers in lists if (tour := self._tour(numbers))]
        if not tours:
            longest = max((numbers for _, numbers in lists), key=len, default=[])
            raise InvalidSolution(self._complaint(longest))
        end, last = tours[-1]
        if len({tour for _, tour in tours}) > 1 and not _AT_END.match(text, end):
            raise InvalidSolution("several tours")
        return last

    def score(self, solution: Tour) -> float:
        """Return the length of the tour."""
        stops = [self.points[i] for i in solution]
        return fsum(map(dist, stops, [*stops[1:], stops[0]]))

    def is_optimal(self, solution: Tour, value: float) -> bool:
        """Tell whether no tour is shorter, as far as that is known."""
        if len(self.points) < 4:  # there is but one tour, in two directions
            return True
        return self.optimum is not None and value <= self.optimum * (1 + 1e-9)

    def gap(self, value: float) -> float:
        """Return how much longer a tour of length `value` is than the optimum, as a fraction.

        Raises:
            ConfigurationError: If the optimum is not known; see `with_optimum`.

        Source:
            OPRO (arXiv:2309.03409), section 3.2, "optimality gap".
        """
        if self.optimum is None:
            raise ConfigurationError("the optimum is not known. Call with_optimum() before.")
        return value / self.optimum - 1.0 if self.optimum else 0.0

    def _tour(self, numbers: Sequence[str]) -> Tour | None:
        n = len(self.points)
        if n < len(numbers) == n + 1 and _number(numbers[-1]) == 0:
            numbers = numbers[:-1]
        tour = tuple(map(_number, numbers)) if len(numbers) == n else ()
        return tour if sorted(tour) == list(range(n)) and tour[0] == 0 else None

    def _complaint(self, numbers: Sequence[str]) -> str:
        """Return why a list of numbers is no tour."""
        n = len(self.points)
        if len(numbers) < 2 <= n:
            return "no list of points"
        tour = [_number(number) for number in numbers]
        if max(tour, default=n) >= n:
            return "an unknown point"
        if len(tour) != n:
            return "not every point once"
        return "a point twice" if len(set(tour)) < n else "does not start at point 0"


def _is_glued(text: str, start: int) -> bool:
    """Tell whether what begins at `start` is part of a word, a fraction or a signed number."""
    before = text[start - 1 : start]
    return before.isalnum() or before in ("_", ".", "+", "-", "\u2212")


def _number(digits: str) -> int:
    """Return the number, or one that no point has where there are too many digits."""
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
