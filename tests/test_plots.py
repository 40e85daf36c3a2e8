import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opro_dspy import OPROResult, optimize
from opro_dspy.errors import ConfigurationError
from opro_dspy.plots import (
    comparison_data,
    curve_data,
    heat_map_data,
    plot_comparison,
    plot_curve,
    plot_heat_map,
    plot_regression,
    plot_search,
    plot_tours,
    regression_data,
    search_data,
    tours_data,
)
from opro_dspy.plots.axes import tick
from opro_dspy.plots.comparison import mean_curve
from opro_dspy.plots.style import series_style
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.records import Spent
from opro_dspy.simulation import numeric_optimizer_lm
from tests.runs import START, a_run, candidate


def solved(problem: Any, steps: int) -> Any:
    lm = numeric_optimizer_lm(seed=0)
    return optimize(problem, prompt_model=lm, max_steps=steps, cache_dir=None, verbose=False)


def empty() -> OPROResult:
    return a_run(candidates=(), best_index=None, steps=(), spent=())


def test_the_curve_shows_every_candidate_mean_spread_best_and_baseline() -> None:
    curve = curve_data(a_run())
    assert [(d.x, d.score) for d in curve.dots] == [(0, 50), (1, 0), (1, 75)]
    assert curve.means == ((0, 50, 0), (1, 37.5, 37.5))
    assert curve.best == ((0, 50), (1, 75))
    assert curve.baseline == 50
    assert [(d.index, d.score) for d in curve.selection] == [(0, 25), (2, 75)]


def test_a_candidate_that_was_given_up_counts_for_nothing() -> None:
    broken = candidate("Break.", 1, {0: 1.0}, dropped="2 errors")
    curve = curve_data(a_run(candidates=(*a_run().candidates[:2], broken), best_index=0))
    assert [d.index for d in curve.dropped] == [2]
    assert curve.best[-1] == (1, 50)
    assert curve.means[-1] == (1, 0, 0)


def test_a_curve_is_drawn_against_what_was_spent() -> None:
    assert curve_data(a_run(), against="scored examples").best == ((2, 50), (9, 75))
    assert curve_data(a_run(), against="tokens").best == ((100, 50), (500, 75))
    spent = (Spent(cost_usd=0.5), Spent(cost_usd=2.0))
    assert curve_data(a_run(spent=spent), against="cost").best == ((0.5, 50), (2.0, 75))


@pytest.mark.parametrize(
    ("changes", "against", "message"),
    [
        ({}, "cost", "no call of this run has a known cost"),
        ({"spent": ()}, "tokens", "does not hold what its steps spent"),
        ({}, "days", "`against` must be one of steps, scored examples, tokens, cost"),
    ],
)
def test_what_a_result_does_not_tell_is_refused(
    changes: dict[str, Any], against: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        curve_data(a_run(**changes), against=against)


def test_scores_beyond_the_unit_range_are_not_percent() -> None:
    curve = curve_data(a_run(candidates=(candidate(START, 0, {0: -3.0}),), best_index=0))
    assert curve.baseline == -3.0
    assert curve.unit.label("score") == "score, in the metric's unit"


def test_the_heat_map_has_a_gap_where_they_did_not_meet_and_the_hardest_first() -> None:
    heat = heat_map_data(a_run(), on="trainset")
    assert heat.examples == (3, 0, 1, 2)
    assert heat.scores[0] == (None, None, 0.0, None)
    assert heat.candidates == (0, 1, 2, 3)
    assert heat_map_data(a_run(), on="selection").candidates == (0, 2)


def test_a_heat_map_without_scores_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no candidate"):
        heat_map_data(empty(), on="trainset")
    with pytest.raises(ConfigurationError, match="`on` must be"):
        heat_map_data(a_run(), on="valset")  # type: ignore[arg-type]


def test_diversity_is_the_share_of_words_that_two_candidates_do_not_share() -> None:
    start, step = search_data(a_run())
    assert (start.temperature, start.diversity) == (None, None)
    assert (step.temperature, step.diversity, step.num_new) == (0.5, 1.0, 3)


def test_a_comparison_has_one_unit_and_what_each_run_ended_with() -> None:
    other = a_run(best_index=0)
    unit, (one, two) = comparison_data({"one": a_run(), "two": [other, a_run()]})
    assert unit.name == "%"
    assert one.finals == (75,)
    assert two.finals == (25, 75)
    assert two.before == (25, 25)
    with pytest.raises(ConfigurationError, match="at least one run"):
        comparison_data({"one": []})


def test_the_mean_of_curves_keeps_the_value_of_a_run_that_ended() -> None:
    assert mean_curve([[(0, 1.0), (2, 3.0)], [(0, 3.0), (1, 5.0)], []]) == [
        (0, 2.0),
        (1, 3.0),
        (2, 4.0),
    ]
    assert mean_curve([]) == []


def test_the_columns_of_a_heat_map_are_named_as_the_candidates_are() -> None:
    axes = plot_heat_map(a_run(), on="selection").axes[0]
    assert heat_map_data(a_run(), on="selection").candidates == (0, 2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2"]


def test_a_comparison_names_the_sets_and_says_what_bars_and_thin_lines_are() -> None:
    one = plot_comparison({"a": a_run(), "b": a_run()})
    many = plot_comparison({"a": [a_run(), a_run()], "b": a_run(selection_set="trainset")})
    assert [axes.get_xlabel() for axes in (one.axes[1], many.axes[1])] == [
        "chosen candidate on the valset, %\n(hollow: the student)",
        "chosen candidate on the valset or trainset, %\n"
        "(mean ± standard error of runs; hollow: the student)",
    ]
    thin = [axes.get_ylabel() for axes in (one.axes[0], many.axes[0])]
    assert ["thin: single runs" in label for label in thin] == [False, True]


def test_long_names_leave_the_curves_their_room_and_stand_there_once() -> None:
    name = "a run on a large model with racing=False, another meta-prompt and seed 3 " * 3
    figure = plot_comparison({name: a_run(), "short": a_run()})
    figure.canvas.draw()
    curves, finals = figure.axes
    assert curves.get_position().width > 0.33
    assert finals.get_yticklabels()[0].get_text().startswith("a run on a large model")
    assert figure.legends == []
    assert curves.get_legend() is None


def test_the_axis_of_the_curve_holds_for_all_that_is_drawn_on_it() -> None:
    axes = plot_curve(a_run()).axes[0]
    assert axes.get_ylabel() == "score, %"
    names = axes.get_legend_handles_labels()[1]
    assert "candidate (training estimate)" in names
    assert "on the valset (± standard error)" in names


def test_the_dots_of_late_steps_are_well_told_from_white() -> None:
    line = LinearRegression.random(w=2, b=3, seed=0)
    dots = plot_regression(solved(line, 1), line).axes[0].collections[0]
    red, green, blue, _ = dots.get_cmap()(1.0)
    assert 0.3 * red + 0.6 * green + 0.1 * blue < 0.75


@pytest.mark.parametrize("optimum", [None, 100.0])
@pytest.mark.parametrize("flat", [1.0, 0.6])
def test_rows_of_tours_stand_close_together(optimum: float | None, flat: float) -> None:
    trip = TravelingSalesman.random(n=15, seed=1)
    trip = replace(trip, points=tuple((x, flat * y) for x, y in trip.points), optimum=optimum)
    figure = plot_tours(solved(trip, 20), trip)
    figure.canvas.draw()
    upper, lower = (figure.axes[i].get_tightbbox() for i in (0, 3))
    assert 0 < (upper.y0 - lower.y1) / figure.dpi < 0.3


def test_axes_part_thousands_and_tours_name_the_length() -> None:
    assert [tick(x) for x in (200_000.0, 0.30000000000000004, -2.5)] == ["200,000", "0.3", "−2.5"]
    spent = (Spent(tokens=0), Spent(tokens=200_000))
    axes = plot_curve(a_run(spent=spent), against="tokens").axes[0]
    assert "200,000" in {label.get_text() for label in axes.get_xticklabels()}
    trip = TravelingSalesman.random(n=4)
    assert plot_tours(solved(trip, 0), trip).axes[0].get_title().startswith("step 0: length ")


def test_the_steps_of_a_short_regression_are_whole() -> None:
    line = LinearRegression.random(w=2, b=3, seed=0)
    bar = plot_regression(solved(line, 1), line).axes[2]
    assert bar.get_ylabel() == "step"
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "1"]


def test_series_differ_in_more_than_colour() -> None:
    styles = [tuple(series_style(place).values()) for place in range(28)]
    assert len(set(styles)) == 28
    assert len({style[1:] for style in styles[:7]}) == 7


def test_the_regression_shows_losses_falling_to_the_optimum() -> None:
    problem = LinearRegression.random(w=15, b=14, seed=0)
    data = regression_data(solved(problem, 30), problem)
    losses = [loss for _, loss in data.losses]
    assert losses == sorted(losses, reverse=True)
    assert data.optimum == (15, 14)
    assert data.least == problem.score(problem.optimum) <= losses[-1]


def test_tours_go_from_the_first_to_the_best() -> None:
    problem = TravelingSalesman.random(n=8, seed=0)
    result = solved(problem, 20)
    everything, few = tours_data(result, problem, most=99), tours_data(result, problem, most=2)
    assert [t.length for t in everything] == sorted((t.length for t in everything), reverse=True)
    assert few == [everything[0], everything[-1]]
    assert few[-1].length == result.best.score
    with pytest.raises(ConfigurationError, match="`most` must be at least 2"):
        tours_data(result, problem, most=1)


@pytest.mark.parametrize("run", [a_run, empty], ids=["run", "empty"])
@pytest.mark.parametrize(
    "plot", [plot_curve, plot_search, lambda r: plot_comparison({"a": [r, r], "b": r})]
)
def test_figures_are_drawn(
    plot: Callable[[OPROResult], Any], run: Callable[[], OPROResult], tmp_path: Path
) -> None:
    figure = plot(run())
    figure.savefig(tmp_path / "figure.png")
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)


def test_figures_of_problems_and_examples_are_drawn_and_shown_in_notebooks() -> None:
    line, trip = LinearRegression.random(w=2, b=3, seed=0), TravelingSalesman.random(n=4)
    figures = [
        plot_heat_map(a_run()),
        plot_regression(solved(line, 0), line),
        plot_tours(solved(trip, 0), trip),
    ]
    assert all(figure._repr_png_().startswith(b"\x89PNG") for figure in figures)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"opro_dspy\[plots\]"):
        plot_curve(a_run())
