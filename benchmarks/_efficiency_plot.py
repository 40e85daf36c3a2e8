"""The plot of efficiency.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _efficiency_report import MEAN, RACING, REFERENCE, Cells

from opro_dspy.plots.style import COLOURS

STYLES = {
    "OPRO": (COLOURS["vermillion"], "o"),
    "OPRO full": (COLOURS["orange"], "s"),
    "COPRO": (COLOURS["blue"], "^"),
    "MIPROv2": (COLOURS["green"], "D"),
    "GEPA": (COLOURS["purple"], "v"),
    "SIMBA": (COLOURS["sky"], "<"),
}


def plot(cells: Cells, landscapes: Sequence[str], path: Path) -> None:
    """Draw quality against scorer calls, a panel for each landscape and one for their mean."""
    from matplotlib.figure import Figure

    names = (*landscapes, MEAN)
    n_rows = (len(names) + 1) // 2
    figure = Figure(figsize=(10, 3.8 * n_rows))
    axes = figure.subplots(n_rows, 2, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        _panel(axis, cells, name)
    for axis in axes[:, 0]:
        axis.set_ylabel("true held-out quality, %")
    for axis in axes[-1]:
        axis.set_xlabel("scorer calls used")
    handles, labels = axes.flat[len(names) - 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    seeds = max((cell["n_seeds"] for cell in cells.values()), default=0)
    figure.suptitle(f"Simulated LMs, {seeds} seeds: mean and standard error")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=150)


def _panel(axis: Any, cells: Cells, name: str) -> None:
    ticks = sorted({key[2] for key in cells if key[1] != RACING} or {key[2] for key in cells})
    for shown, (colour, marker) in STYLES.items():
        row = [cells[key] for key in sorted(cells) if key[:2] == (name, shown)]
        if row:
            axis.errorbar(
                [cell["scorer_calls"] for cell in row],
                [100 * cell["quality"] for cell in row],
                yerr=[100 * cell["stderr"] for cell in row],
                label=shown,
                color=colour,
                marker=marker,
                markersize=6,
                linewidth=2.4 if shown == RACING else 1.4,
                linestyle="--" if shown == REFERENCE else "-",
                capsize=2,
            )
    axis.set_title("mean over landscapes" if name == MEAN else name.replace("_", " "))
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
