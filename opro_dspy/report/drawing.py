"""The optimization curve as numbers for an inline SVG; no library draws it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from opro_dspy.filters import shown
from opro_dspy.plots.axes import tick
from opro_dspy.plots.data import Curve, Dot

LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 12.0, 40.0
"""Margins, in the drawing's units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A dot: where it is, and what it says of itself."""

    x: float
    y: float
    low: float
    """Where its error bar ends below."""
    high: float
    index: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A curve laid out in `width` × `height` units, y going down."""

    name: str
    width: int
    height: int
    left: float
    right: float
    bottom: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    dots: tuple[Mark, ...]
    dropped: tuple[Mark, ...]
    selection: tuple[Mark, ...]
    mean: str
    """Points of the line, as SVG takes them."""
    spread: str
    """Points of the band around it."""
    best: str
    baseline: float | None


class _Scale:
    """Maps values to places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def lay_out(curve: Curve, *, name: str, width: int, height: int) -> Drawing:
    """Return `curve` laid out for a drawing of `width` × `height` units."""
    ys = [d.score for d in (*curve.dots, *curve.dropped)]
    ys += [v for d in curve.selection for v in (d.score - d.stderr, d.score + d.stderr)]
    ys += [v for _, mean, spread in curve.means for v in (mean - spread, mean + spread)]
    ys += [] if curve.baseline is None else [curve.baseline]
    y_ticks = nice_ticks(min(ys, default=0.0), max(ys, default=1.0), most=6)
    last = max((d.x for d in (*curve.dots, *curve.dropped)), default=0.0)
    last = max(1.0, last, *(x for x, _ in curve.best))
    x_ticks = [t for t in nice_ticks(0.0, last, most=width // 60) if t <= last and t == round(t)]
    margin = 0.03 * last
    at_x = _Scale(-margin, last + margin, LEFT, width - RIGHT)
    at_y = _Scale(y_ticks[0], y_ticks[-1], height - BOTTOM, TOP)

    def marks(dots: Sequence[Dot], said: str) -> tuple[Mark, ...]:
        return tuple(
            Mark(
                x=at_x(d.x),
                y=at_y(d.score),
                low=at_y(d.score - d.stderr),
                high=at_y(d.score + d.stderr),
                index=d.index,
                said=f"{said} {d.index}, step {d.x:g}: {d.score:.4g} ± {d.stderr:.2g}",
            )
            for d in dots
        )

    means = [(at_x(x), at_y(m), at_y(m + s), at_y(m - s)) for x, m, s in curve.means]
    band = [(x, high) for x, _, high, _ in means] + [(x, low) for x, _, _, low in reversed(means)]
    return Drawing(
        name=name,
        width=width,
        height=height,
        left=LEFT,
        right=width - RIGHT,
        bottom=height - BOTTOM,
        x_ticks=tuple((at_x(t), tick(t)) for t in x_ticks),
        y_ticks=tuple((at_y(t), tick(t)) for t in y_ticks),
        dots=marks(curve.dots, "candidate"),
        dropped=marks(curve.dropped, "given up: candidate"),
        selection=marks(curve.selection, f"{shown(curve.selection_set)}: candidate"),
        mean=_points([(x, y) for x, y, _, _ in means]),
        spread=_points(band),
        best=_points(_stairs([(at_x(x), at_y(y)) for x, y in curve.best])),
        baseline=None if curve.baseline is None else at_y(curve.baseline),
    )


def nice_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Return round numbers, at least two, that span `low` to `high`."""
    span = (high - low) or max(1.0, abs(high) * 0.1)
    if not high > low:
        low, high = low - span / 2, high + span / 2
    raw = span / max(1, most - 1)
    power = 10.0 ** floor(log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    found = list(points[:1])
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
