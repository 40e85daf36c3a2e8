"""The figures of a run."""

from itertools import pairwise
from typing import Any, Literal

from opro_dspy.plots.axes import AXES, Against
from opro_dspy.plots.data import (
    curve_data,
    heat_map_data,
    search_data,
)
from opro_dspy.plots.style import (
    COLOURS,
    GREY,
    dress,
    heat_colours,
    name_ticks,
    new_figure,
    series_style,
)
from opro_dspy.result import OPROResult

MAX_PARTED = 30
"""Steps that lines part in a heat map; more would hide it."""


def plot_curve(result: OPROResult, *, against: Against = "steps") -> Any:
    """Draw the optimization curve: every candidate, the mean by step, the best so far.

    Args:
        result: The run's.
        against: What the x axis is: "steps", "scored examples", "tokens" or "cost".

    Returns:
        A matplotlib `Figure`; a notebook shows it, `savefig` writes it.

    Raises:
        ConfigurationError: If the result does not tell what `against` asks for.
        ImportError: If matplotlib is not there.

    Source:
        OPRO (arXiv:2309.03409), figure 1.
    """
    data = curve_data(result, against=against)
    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    dots = {"linestyle": "none", "zorder": 2}
    for found, style in (
        (
            data.dots,
            {
                "marker": "o",
                "markersize": 4,
                "color": GREY,
                "label": "candidate (training estimate)",
            },
        ),
        (data.dropped, {"marker": "x", "markersize": 4, "color": "0.75", "label": "given up"}),
    ):
        if found:
            axes.plot([d.x for d in found], [d.score for d in found], alpha=0.7, **dots, **style)
    if data.means:
        x, mean, spread = zip(*data.means, strict=True)
        low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
        blue = COLOURS["blue"]
        axes.plot(
            x,
            mean,
            color=blue,
            marker="o",
            markersize=4,
            label="mean of the step ± standard deviation",
        )
        axes.fill_between(x, low, high, color=blue, alpha=0.18, linewidth=0)
    if data.best:
        x, best = zip(*data.best, strict=True)
        style = {"color": COLOURS["vermillion"], "linestyle": "--", "linewidth": 2}
        axes.step(x, best, where="post", label="best so far", **style)
    if data.baseline is not None:
        axes.axhline(data.baseline, color="black", linestyle=":", label="baseline (the student)")
    if data.selection:
        axes.errorbar(
            [d.x for d in data.selection],
            [d.score for d in data.selection],
            yerr=[d.stderr for d in data.selection],
            fmt="D",
            markersize=6,
            markerfacecolor="white",
            color=COLOURS["green"],
            capsize=3,
            zorder=4,
            label=f"on the {data.selection_set} (± standard error)",
        )
    label = data.unit.label("score")
    dress(axes, xlabel=AXES[against], ylabel=label, whole_x=against == "steps")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    return figure


def plot_heat_map(result: OPROResult, *, on: Literal["trainset", "selection"] = "trainset") -> Any:
    """Draw which candidate scores what on which example; hardest examples on top.

    Args:
        result: The run's.
        on: The training set, or the set that the choice was made on.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ConfigurationError: If no candidate was scored there.
        ImportError: If matplotlib is not there.
    """
    data = heat_map_data(result, on=on)
    n_rows, n_columns = len(data.examples), len(data.candidates)
    figure = new_figure(
        min(11.0, max(4.5, 2.5 + 0.12 * n_columns)), min(9.0, max(2.6, 1.4 + 0.1 * n_rows))
    )
    axes = figure.subplots()
    nan = float("nan")
    cells = [[nan if score is None else score for score in row] for row in data.scores]
    image = axes.imshow(cells, aspect="auto", cmap=heat_colours(), interpolation="nearest")
    if data.unit.name:
        image.set_clim(0, 100)
    starts = [result.candidates[i].step for i in data.candidates]
    few = len(set(starts)) <= MAX_PARTED
    for place, (before, after) in enumerate(pairwise(starts)):
        if few and before != after:
            axes.axvline(place + 0.5, color="0.5", linewidth=0.5)
    dress(
        axes,
        xlabel="candidate, oldest first" + (" (lines part the steps)" if few else ""),
        ylabel="example, hardest first",
    )
    axes.grid(visible=False)
    name_ticks(axes.xaxis, data.candidates, most=15)
    name_ticks(axes.yaxis, data.examples, most=20)
    shown_set = on if on == "trainset" else result.selection_set
    axes.set_title(f"Scores on the {shown_set}", fontsize="medium", loc="left")
    figure.colorbar(image, label=data.unit.label("score") + " (white: not seen)", shrink=0.9)
    return figure


def plot_search(result: OPROResult) -> Any:
    """Draw temperature and diversity of the candidates by step.

    Returns:
        A matplotlib `Figure`.

    Raises:
        ImportError: If matplotlib is not there.
    """
    rows = search_data(result)
    figure = new_figure(7.5, 5.0)
    heat, words = figure.subplots(2, 1, sharex=True)
    for axes, known, label, place in (
        (heat, [(r.step, r.temperature) for r in rows], "temperature", 1),
        (words, [(r.step, r.diversity) for r in rows], "share of words not shared", 0),
    ):
        seen = [(step, value) for step, value in known if value is not None]
        axes.plot([s for s, _ in seen], [v for _, v in seen], markersize=5, **series_style(place))
        top = max((v for _, v in seen), default=1.0)
        dress(
            axes,
            ylabel=label,
            whole_x=True,
        )
        axes.set_ylim(0, max(1.0, 1.1 * top))
        if not seen:
            axes.text(0.5, 0.5, "no step to show", ha="center", transform=axes.transAxes)
    heat.set_title("Sampling temperature of the optimizer LM", fontsize="medium", loc="left")
    words.set_title(
        "Diversity: words that two candidates of a step do not share", fontsize="medium", loc="left"
    )
    words.set_xlabel("step")
    return figure
