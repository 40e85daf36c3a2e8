"""A run as one HTML file, and as a few lines for a notebook."""

from opro_dspy.report.page import render, write
from opro_dspy.report.snippet import snippet

__all__ = ["render", "snippet", "write"]
