"""Problems beyond prompts, for `opro_dspy.optimize`: the two of the paper."""

from opro_dspy.problems.linear_regression import Line, LinearRegression
from opro_dspy.problems.tsp import TravelingSalesman

__all__ = ["Line", "LinearRegression", "TravelingSalesman"]
