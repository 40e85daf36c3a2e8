"""Linear regression with one variable, as a black box: the LM sees pairs and losses only."""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, isfinite, sqrt
from random import Random
from typing import NamedTuple

import numpy as np

from opro_dspy.errors import ConfigurationError, InvalidSolution
from opro_dspy.problems.numbers import finite, is_whole

MAX_NUMBER = 1e9
"""Numbers beyond are refused."""

_N = (
    r"[-+\u2212]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:e[-+]?[0-9]{1,9})?"
    r"|[-+\u2212]?(?-i:[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN])"
)
_END = (
    r"(?!\w|\.\w|,[0-9]|\s{0,3}[%^/]|\s{0,3}[-+*\u2212\u00d7]{1,2}\s{0,3}[0-9(]"
    r"|\s{1,3}(?:or|to)\s{1,3}[-+.0-9])"
)
"""A number ends here, and is neither part of a sum or range nor one of several."""
_BLANK = r"[\s*`$\"']{0,9}"
"""Blanks, and the marks of Markdown, LaTeX and JSON."""
_IS = rf"{_BLANK}(?:=|:|\bis\b){_BLANK}"
_THEN = rf"{_BLANK}(?:[,;]|\band\b|\s){_BLANK}(?:\band\b{_BLANK})?"
_PAIR = re.compile(
    rf"(?<![\w.\-\u2212])w{_IS}(?P<w1>{_N}){_END}{_THEN}b{_IS}(?P<b1>{_N}){_END}"
    rf"|(?<![\w.\-\u2212])b{_IS}(?P<b2>{_N}){_END}{_THEN}w{_IS}(?P<w2>{_N}){_END}"
    rf"|[\[(]\s{{0,9}}(?P<w3>{_N})\s{{0,9}}[,;]\s{{0,9}}(?P<b3>{_N})\s{{0,9}}[\])]{_END}",
    re.IGNORECASE,
)
_BARE = re.compile(rf"(?P<w4>{_N})(?:\s{{0,9}}[,;]\s{{0,9}}|\s{{1,9}})(?P<b4>{_N})", re.IGNORECASE)
_AT_END = re.compile(r"[\s.!)\]}*`\"']*\Z")


class Line(NamedTuple):
    """y = w x + b."""

    w: float
    b: float


@dataclass(frozen=True, kw_only=True)
class LinearRegression:
    """Find the line with the least squared error; (w, b) lie on a grid, whole numbers by default.

    Example:
        ```python
        result = optimize(LinearRegression.random(w=15, b=14, seed=1), prompt_model=lm)
        ```

    Raises:
        ConfigurationError: If there are fewer than two different x, or numbers that are not finite.

    Source:
        OPRO (arXiv:2309.03409), section 3.1.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    """Shape (n_points,), like `x`."""
    decimals: int = 0
    """Decimals of w and b; what the LM proposes is rounded to them."""
    start: tuple[float, float] = (10.0, 20.0)
    """Region in which w and b of the first pairs lie."""
    num_initial: int = 5

    higher_is_better = False
    tag = "pair"

    def __post_init__(self) -> None:
        """Take any sequences of numbers; refuse data that no line fits best."""
        x, y, start = finite(self.x), finite(self.y), finite(self.start)
        if x is None or y is None or len(x) != len(y) or len(set(x)) < 2:
            raise ConfigurationError(
                "`x` and `y` must be equally many finite numbers, with at least two different x, "
                f"got {reprlib.repr(self.x)} and {reprlib.repr(self.y)}."
            )
        if start is None or len(start) != 2 or max(map(abs, start)) > MAX_NUMBER:
            raise ConfigurationError(
                f"`start` must be two numbers of at most {MAX_NUMBER:g}, got {self.start!r}."
            )
        if not (
            is_whole(self.decimals, 0) and self.decimals <= 6 and is_whole(self.num_initial, 1)
        ):
            raise ConfigurationError(
                "`decimals` must be a whole number in [0, 6] and `num_initial` one of at least 1, "
                f"got {self.decimals!r} and {self.num_initial!r}."
            )
        for name, values in (("x", x), ("y", y), ("start", start)):
            object.__setattr__(self, name, values)

    @classmethod
    def random(
        cls, *, w: float, b: float, seed: int = 0, num_points: int = 50, noise: float = 1.0
    ) -> "LinearRegression":
        """Return the paper's problem: x = 1 … num_points, y = w x + b + N(0, noise²).

        The noise is drawn anew while another pair of whole numbers than (w, b) fits better: so the
        pair that the paper stops at is the optimum.

        Args:
            w: The true slope, a whole number.
            b: The true intercept, a whole number.
            seed: Decides the noise.
            num_points: At least 2.
            noise: Standard deviation, at least 0.

        Raises:
            ConfigurationError: If w or b is not whole, or the noise hides them.
        """
        if finite((w, b)) is None or w != round(w) or b != round(b):
            raise ConfigurationError(f"`w` and `b` must be whole numbers, got {w!r} and {b!r}.")
        if not is_whole(num_points, 2) or finite([noise]) is None or noise < 0:
            raise ConfigurationError(
                "`num_points` must be a whole number of at least 2 and `noise` not negative, got "
                f"{num_points!r} and {noise!r}."
            )
        x = tuple(float(i) for i in range(1, num_points + 1))
        for attempt in range(100):
            rng = Random(f"{seed}:{attempt}:noise")
            problem = cls(x=x, y=tuple(w * xi + b + rng.gauss(0.0, noise) for xi in x))
            if problem.optimum == (w, b):
                return problem
        raise ConfigurationError(
            f"with `noise` {noise:g} and {num_points} points, ({w:g}, {b:g}) is hardly ever the "
            "best pair of whole numbers. Take less noise or more points."
        )

    def describe(self) -> str:
        """Return the task; the data stay hidden."""
        places = {0: "whole numbers", 1: "numbers with 1 decimal"}
        numbers = places.get(self.decimals, f"numbers with {self.decimals} decimals")
        return (
            "Two numbers, w and b, go into a function that gives a value. What the function looks "
            f"like is not known. A solution is a pair of {numbers}, written like "
            f"{self.format(Line(3.0, -4.0))}."
        )

    def initial(self, rng: Random) -> Sequence[Line]:
        """Return the first pairs, drawn evenly from `start`."""
        return [
            self._on_grid(rng.uniform(*self.start), rng.uniform(*self.start))
            for _ in range(self.num_initial)
        ]

    def format(self, solution: Line) -> str:
        """Return the pair as `w=3, b=-4`."""
        w, b = (f"{n:.{self.decimals}f}" for n in self._on_grid(*solution))
        return f"w={w}, b={b}"

    def parse(self, text: str) -> Line:
        """Return the only pair in `text`, or the one that it ends with.

        Read are `w=3, b=4` (in any order), `[3, 4]`, `(3, 4)`, and two numbers alone.

        Raises:
            InvalidSolution: If there is none, it is not certain which, or a number is not finite
                or too large.
        """
        bare = _BARE.fullmatch(text.strip())
        found = [bare] if bare else list(_PAIR.finditer(text))
        if not found:
            raise InvalidSolution("no pair of numbers")
        if len({_numbers(m) for m in found}) > 1 and not _AT_END.match(text, found[-1].end()):
            raise InvalidSolution("several pairs")
        w, b = _numbers(found[-1])
        if not (isfinite(w) and isfinite(b)):
            raise InvalidSolution("not a finite number")
        if max(abs(w), abs(b)) > MAX_NUMBER:
            raise InvalidSolution("a number out of range")
        return self._on_grid(w, b)

    def score(self, solution: Line) -> float:
        """Return the sum of squared errors."""
        w, b = solution
        return float(np.sum((self._y - (w * self._x + b)) ** 2))

    def is_optimal(self, solution: Line, value: float) -> bool:
        """Tell whether no pair of the grid has a lower value."""
        return value <= self.score(self.optimum)

    @cached_property
    def optimum(self) -> Line:
        """The best pair of the grid, exactly: every w that could be beside its best b.

        For a given w the loss is a parabola in b around mean(y) - w mean(x), so its best b on the
        grid is the nearest one; and over w, with that b free, a parabola around the least-squares
        slope, so that only slopes near it can win.
        """
        step = 10.0**-self.decimals
        mean_x, mean_y = float(np.mean(self._x)), float(np.mean(self._y))
        spread = float(np.sum((self._x - mean_x) ** 2))
        slope = float(np.sum((self._x - mean_x) * (self._y - mean_y))) / spread

        def with_best_b(k: int) -> Line:
            w = round(k * step, self.decimals)
            return self._on_grid(w, mean_y - w * mean_x)

        least = self.score(Line(slope, mean_y - slope * mean_x))
        above = max(0.0, self.score(with_best_b(round(slope / step))) - least)
        reach = sqrt(above / spread) * (1 + 1e-9) + 1e-12
        slopes = range(floor((slope - reach) / step), ceil((slope + reach) / step) + 1)
        return min((with_best_b(k) for k in slopes), key=self.score)

    @cached_property
    def _x(self) -> "np.typing.NDArray[np.float64]":
        return np.asarray(self.x, dtype=np.float64)

    @cached_property
    def _y(self) -> "np.typing.NDArray[np.float64]":
        return np.asarray(self.y, dtype=np.float64)

    def _on_grid(self, w: float, b: float) -> Line:
        return Line(round(w, self.decimals) + 0.0, round(b, self.decimals) + 0.0)


def _numbers(match: "re.Match[str]") -> tuple[float, float]:
    """Return (w, b) of a match of any form."""
    said = {name[0]: text for name, text in match.groupdict().items() if text is not None}
    w, b = (float(said[name].replace("\u2212", "-")) for name in "wb")
    return w, b
