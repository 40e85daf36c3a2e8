"""The figure of several runs side by side."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from textwrap import wrap
from typing import Any

from opro_dspy.plots.axes import AXES, Against, Unit
from opro_dspy.plots.data import Contender, comparison_data
from opro_dspy.plots.style import dress, new_figure, series_style
from opro_dspy.result import OPROResult


def plot_comparison(
    results: Mapping[str, OPROResult | Sequence[OPROResult]], *, against: Against = "steps"
) -> Any:
    """Draw several runs side by side: how they went, and what they ended with.

    Args:
        results: Label to a run, or to runs of the same kind, whose mean is drawn in bold.
        against: What the x axis is: "steps", "scored examples", "tokens" or "cost".

    Returns:
        A matplotlib `Figure`.

    Raises:
        ConfigurationError: If there is nothing to compare, or a result does not tell.
        ImportError: If matplotlib is not there.
    """
    unit, contenders = comparison_data(results, against=against)
    figure = new_figure(10, max(3.8, 2.4 + 0.4 * len(contenders)))
    left, right = figure.subplots(1, 2)
    for place, contender in enumerate(contenders):
        _contender(left, right, contender, place)
    label = unit.label("best training estimate")
    if any(len(contender.curves) > 1 for contender in contenders):
        label += "\n(thin: single runs, bold: their mean)"
    dress(left, xlabel=AXES[against], ylabel=label, whole_x=against == "steps")
    right.set_yticks(range(len(contenders)), [wrapped(c.label) for c in contenders])
    right.set_ylim(len(contenders) - 0.5, -0.5)
    dress(right, xlabel=_finals_label(unit, contenders))
    return figure


def wrapped(label: str) -> str:
    """Return a label in short lines, so that the curves keep their room."""
    return "\n".join(wrap(label, 22, max_lines=3, placeholder=" …")) or label


def _finals_label(unit: Unit, contenders: Sequence[Contender]) -> str:
    """Return what the right panel says it shows: the set, the bars, the hollow marks."""
    sets = list(dict.fromkeys(name for c in contenders for name in c.sets))
    several = any(len(c.finals) > 1 for c in contenders)
    return "\n".join(
        [
            unit.label(f"chosen candidate on the {' or '.join(sets)}" if sets else "no candidate"),
            "(" + "mean ± standard error of runs; " * several + "hollow: the student)",
        ]
    )


def _contender(left: Any, right: Any, contender: Contender, place: int) -> None:
    style = series_style(place)
    many = len(contender.curves) > 1
    faint = {"color": style["color"], "linestyle": style["linestyle"]}
    for curve in contender.curves if many else ():
        left.plot(*zip(*curve, strict=True), **faint, linewidth=0.8, alpha=0.4) if curve else None
    mean = mean_curve(contender.curves)
    if mean:
        left.plot(
            *zip(*mean, strict=True),
            **style,
            linewidth=2,
            markersize=5,
            markevery=max(1, len(mean) // 12),
            label=contender.label,
        )
    if contender.before and not many:  # the error bars of several would lie on it
        ends = [fmean(contender.before), fmean(contender.finals)]
        right.plot(ends, [place, place], **faint, linewidth=2, alpha=0.4)
    hollow = {"markerfacecolor": "white", "alpha": 0.7}
    for values, more in ((contender.before, hollow), (contender.finals, {})):
        if not values:
            continue
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        right.errorbar(
            fmean(values),
            place,
            xerr=error,
            fmt=style["marker"],
            capsize=3,
            color=style["color"],
            **more,
        )


def mean_curve(
    curves: Sequence[Sequence[tuple[float, float]]],
) -> list[tuple[float, float]]:
    """Return the mean of curves that keep their value until the next point.

    It goes from where all have begun to where the last ends; a run that ended keeps its value.
    """
    known = [curve for curve in curves if curve]
    if not known:
        return []
    first = max(curve[0][0] for curve in known)
    places = sorted({x for curve in known for x, _ in curve if x >= first})
    return [(x, fmean([v for at, v in c if at <= x][-1] for c in known)) for x in places]
