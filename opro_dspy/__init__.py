"""OPRO, "Large Language Models as Optimizers" (arXiv:2309.03409), as a DSPy optimizer."""

import opro_dspy.early  # noqa: F401 - Ctrl-C, before the imports that take seconds
from opro_dspy.boundary.cached_lm import cached
from opro_dspy.boundary.prices import Price
from opro_dspy.cache import CacheDir
from opro_dspy.errors import (
    ConfigurationError,
    ExecutorError,
    InvalidSolution,
    JournalError,
    LMCallError,
    LogDirInUseError,
    MetricError,
    OproError,
    ProgramFailedError,
    ResumeError,
    RunError,
    TellError,
    UnknownArgumentError,
    UnknownPriceError,
)
from opro_dspy.estimate import RunEstimate
from opro_dspy.filters import Filters
from opro_dspy.optimizer import Optimizer, View
from opro_dspy.positions import positioned
from opro_dspy.protocols import Problem
from opro_dspy.racing import Racing
from opro_dspy.records import Candidate, Estimate, Evaluation
from opro_dspy.result import CandidateResult, OPROResult
from opro_dspy.runs import read_run
from opro_dspy.solving import Result, Solution, optimize
from opro_dspy.teleprompter import OPRO
from opro_dspy.trajectory import Trajectory

__version__ = "0.1.0"

__all__ = [
    "OPRO",
    "CacheDir",
    "Candidate",
    "CandidateResult",
    "ConfigurationError",
    "Estimate",
    "Evaluation",
    "ExecutorError",
    "Filters",
    "InvalidSolution",
    "JournalError",
    "LMCallError",
    "LogDirInUseError",
    "MetricError",
    "OPROResult",
    "OproError",
    "Optimizer",
    "Price",
    "Problem",
    "ProgramFailedError",
    "Racing",
    "Result",
    "ResumeError",
    "RunError",
    "RunEstimate",
    "Solution",
    "TellError",
    "Trajectory",
    "UnknownArgumentError",
    "UnknownPriceError",
    "View",
    "cached",
    "optimize",
    "positioned",
    "read_run",
]
