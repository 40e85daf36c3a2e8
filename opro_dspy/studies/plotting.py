"""The figure of a study: what it shows, and how it is drawn."""

from dataclasses import dataclass
from pathlib import Path

from opro_dspy.plots.style import dress, new_figure, series_style
from opro_dspy.studies.table import StudyTable

SCORES = ("start", "own before", "transferred", "score from scratch", "score")
"""Measures that are scores on the validation set, and so share an axis."""

MARKERS = dict(zip(SCORES, "<<Dso", strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One variant in the figure."""

    label: str
    steps: tuple[int, ...]
    best: tuple[float, ...]
    """Mean of the best training estimate, at `steps`."""
    scores: dict[str, tuple[float, float]]
    """Measure to its mean and standard error; 0.0 where that is not known."""


def figure_data(table: StudyTable) -> list[Series]:
    """Return what the figure of `table` shows, one series for each variant."""
    found = []
    for row in table.rows:
        known = [(step, best) for step, best in enumerate(row.curve) if best is not None]
        figures = {name: row.figures[name] for name in SCORES if name in row.figures}
        found.append(
            Series(
                label=row.variant,
                steps=tuple(step for step, _ in known),
                best=tuple(best for _, best in known),
                scores={
                    name: (figure.mean, figure.stderr or 0.0)
                    for name, figure in figures.items()
                    if figure.mean is not None
                },
            )
        )
    return found


def plot(table: StudyTable, path: Path) -> None:
    """Draw the curves and the scores of a study into a file (PNG, SVG or PDF).

    Raises:
        ImportError: If matplotlib is not there.
    """
    series = figure_data(table)
    figure = new_figure(11, max(4.8, 2.4 + 0.4 * len(series)))
    curves, scores = figure.subplots(1, 2)
    for place, one in enumerate(series):
        style = series_style(place)
        colour, every = style["color"], max(1, len(one.steps) // 12)
        curves.plot(one.steps, one.best, **style, markersize=4, markevery=every, label=one.label)
        for above, (name, (mean, stderr)) in enumerate(reversed(one.scores.items())):
            shown, y = colour if name == "score" else "0.6", place - 0.1 * above
            scores.errorbar(mean, y, xerr=stderr, fmt=MARKERS[name], color=shown, capsize=3)
    for name in (name for name in SCORES if any(name in one.scores for one in series)):
        scores.plot([], [], MARKERS[name], color="0.2" if name == "score" else "0.6", label=name)
    dress(curves, xlabel="step", ylabel="best training estimate (mean over seeds)", whole_x=True)
    dress(scores, xlabel="score on the validation set (mean ± standard error)")
    scores.set_yticks(range(len(series)), [one.label for one in series])
    scores.set_ylim(len(series) - 0.5, -0.5)
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    scores.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    note = " (simulated LMs)" * table.simulated
    figure.suptitle(f"{table.question}{note}", fontsize="medium")
    figure.savefig(path, dpi=120)
