"""The generic door: the loop on any problem whose solutions can be written as text."""

from opro_dspy.solving.door import optimize
from opro_dspy.solving.result import Result, Solution

__all__ = ["Result", "Solution", "optimize"]
