"""The figures of the paper's numeric problems: linear regression and tours."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.plots.style import COLOURS, dress, heat_colours, new_figure, whole_numbers
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.problems.linear_regression import Line
from opro_dspy.problems.tsp import Tour
from opro_dspy.solving import Result

MAX_TOURS = 6
"""Tours in a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """How a run on a linear regression went."""

    pairs: tuple[tuple[int, float, float], ...]
    """Step, w and b of each pair that was scored, oldest first."""
    path: tuple[tuple[int, float, float, float], ...]
    """Step, w, b and loss of each pair that was better than all before."""
    losses: tuple[tuple[int, float], ...]
    """Step and the least loss by its end."""
    optimum: tuple[float, float]
    least: float
    """The loss at the optimum: what noise leaves."""


def regression_data(result: Result[Line], problem: LinearRegression) -> Regression:
    """Return how a run on `problem` came closer to the optimum.

    Source:
        OPRO (arXiv:2309.03409), section 3.1.
    """
    path: list[tuple[int, float, float, float]] = []
    for found in result.candidates:
        if found.score is not None and (not path or found.score < path[-1][3]):
            path.append((found.step, found.solution.w, found.solution.b, found.score))
    losses = []
    for step in result.steps:
        done = [loss for at, _, _, loss in path if at <= step.index]
        if done:
            losses.append((step.index, min(done)))
    return Regression(
        pairs=tuple((c.step, c.solution.w, c.solution.b) for c in result.candidates),
        path=tuple(path),
        losses=tuple(losses),
        optimum=(problem.optimum.w, problem.optimum.b),
        least=problem.score(problem.optimum),
    )


def plot_regression(result: Result[Line], problem: LinearRegression) -> Any:
    """Draw the pairs in the plane with the path of the best, and the loss by step.

    Args:
        result: What `optimize(problem, …)` returned.
        problem: The problem.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ImportError: If matplotlib is not there.
    """
    data = regression_data(result, problem)
    figure = new_figure(10, 4.2)
    plane, loss = figure.subplots(1, 2)
    if data.pairs:
        steps, w, b = zip(*data.pairs, strict=True)
        dots = plane.scatter(w, b, c=steps, cmap=heat_colours(), s=16, alpha=0.8, label="pair")
        dots.set_clim(0, max(1, *steps))
        figure.colorbar(dots, ax=plane, label="step", ticks=whole_numbers())
    if data.path:
        _, w, b, _ = zip(*data.path, strict=True)
        line = {"color": COLOURS["vermillion"], "linestyle": "--", "marker": "s", "markersize": 4}
        plane.plot(w, b, label="best so far", **line)
    best = {"color": COLOURS["blue"], "markersize": 15, "markeredgecolor": "white"}
    plane.plot(*data.optimum, "*", label="optimum", **best)
    dress(plane, xlabel="slope w", ylabel="intercept b")
    plane.legend(fontsize="small")
    if data.losses:
        loss.step(
            *zip(*data.losses, strict=True),
            where="post",
            color=COLOURS["vermillion"],
            linestyle="--",
            linewidth=2,
            label="least so far",
        )
    loss.axhline(data.least, color=COLOURS["blue"], linestyle=":", label="at the optimum")
    loss.set_yscale("log" if data.least > 0 else "linear")
    dress(loss, xlabel="step", ylabel="loss: sum of squared errors", whole_x=True)
    loss.legend(fontsize="small")
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class TourAt:
    """The best tour by some step."""

    step: int
    tour: Tour
    length: float
    gap: float | None
    """How much longer it is than the shortest, as a fraction; None if that is not known."""


def tours_data(
    result: Result[Tour], problem: TravelingSalesman, *, most: int = MAX_TOURS
) -> list[TourAt]:
    """Return tours that were shorter than all before, from the first to the best.

    Args:
        result: What `optimize(problem, …)` returned.
        problem: The problem.
        most: Tours at most, at least 2; evenly spread where there are more.

    Raises:
        ConfigurationError: If `most` is less than 2.

    Source:
        OPRO (arXiv:2309.03409), section 3.2.
    """
    if most < 2:
        raise ConfigurationError(f"`most` must be at least 2, got {most!r}.")
    found: list[TourAt] = []
    for c in result.candidates:
        if c.score is not None and (not found or c.score < found[-1].length):
            gap = None if problem.optimum is None else problem.gap(c.score)
            found.append(TourAt(step=c.step, tour=c.solution, length=c.score, gap=gap))
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def plot_tours(result: Result[Tour], problem: TravelingSalesman, *, most: int = MAX_TOURS) -> Any:
    """Draw how the best tour changed, step by step.

    Args:
        result: What `optimize(problem, …)` returned.
        problem: The problem.
        most: Tours at most, at least 2.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ConfigurationError: If `most` is less than 2.
        ImportError: If matplotlib is not there.
    """
    tours = tours_data(result, problem, most=most)
    columns = max(1, min(3, len(tours)))
    rows = max(1, ceil(len(tours) / columns))
    titled = 0.25 if problem.optimum is None else 0.45
    figure = new_figure(3.4 * columns, (_height(problem) + titled) * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(tours) :]:
        axes.set_visible(False)
    for axes, shown in zip(panels.flat, tours, strict=False):
        stops = [problem.points[i] for i in (*shown.tour, shown.tour[0])]
        axes.plot(*zip(*stops, strict=True), "o-", color=COLOURS["blue"], markersize=4)
        axes.plot(*stops[0], "s", color=COLOURS["vermillion"], markersize=8)
        gap = "" if shown.gap is None else f"\n{100 * shown.gap:.1f} % above the shortest"
        title = f"step {shown.step}: length {shown.length:,.0f}{gap}"
        axes.set_title(title, fontsize="medium")
        axes.set_aspect("equal", adjustable="box")
        dress(axes)
    figure.supxlabel("x (the square is point 0)", fontsize="medium")
    figure.supylabel("y", fontsize="medium")
    return figure


def _height(problem: TravelingSalesman) -> float:
    """Return how many inches high a tour some 3 inches wide is: x and y have one scale."""
    wide, high = (max(values) - min(values) for values in zip(*problem.points, strict=True))
    return min(5.0, max(1.2, 2.9 * high / wide)) if wide else 5.0
