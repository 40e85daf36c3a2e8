"""Figures of runs: for each, a function for its data and one that draws (extra `plots`)."""

from opro_dspy.plots.axes import Against, Unit
from opro_dspy.plots.comparison import plot_comparison
from opro_dspy.plots.data import (
    Contender,
    Curve,
    Dot,
    HeatMap,
    SearchRow,
    comparison_data,
    curve_data,
    heat_map_data,
    search_data,
)
from opro_dspy.plots.figures import plot_curve, plot_heat_map, plot_search
from opro_dspy.plots.problems import (
    Regression,
    TourAt,
    plot_regression,
    plot_tours,
    regression_data,
    tours_data,
)

__all__ = [
    "Against",
    "Contender",
    "Curve",
    "Dot",
    "HeatMap",
    "Regression",
    "SearchRow",
    "TourAt",
    "Unit",
    "comparison_data",
    "curve_data",
    "heat_map_data",
    "plot_comparison",
    "plot_curve",
    "plot_heat_map",
    "plot_regression",
    "plot_search",
    "plot_tours",
    "regression_data",
    "search_data",
    "tours_data",
]
