"""Simulated LMs behind DSPy's engine interface, and tasks for them: offline, seeded, fast."""

from opro_dspy.simulation.conditions import Faults, Latency
from opro_dspy.simulation.feedback import (
    FeedbackMetric,
    FeedbackOptimizer,
    feedback_optimizer_lm,
)
from opro_dspy.simulation.kinds import LANDSCAPE_NAMES, landscape
from opro_dspy.simulation.landscapes import Landscape
from opro_dspy.simulation.lm import SimulatedLM
from opro_dspy.simulation.numeric_engine import SimulatedNumericOptimizer, numeric_optimizer_lm
from opro_dspy.simulation.optimizer_engine import SimulatedOptimizer, optimizer_lm
from opro_dspy.simulation.pipelines import StagedProgram, StagedScorer, staged_scorer_lm
from opro_dspy.simulation.scorer import SimulatedScorer, scorer_lm
from opro_dspy.simulation.tasks import TASK_NAMES, exact_match, make_examples

__all__ = [
    "LANDSCAPE_NAMES",
    "TASK_NAMES",
    "Faults",
    "FeedbackMetric",
    "FeedbackOptimizer",
    "Landscape",
    "Latency",
    "SimulatedLM",
    "SimulatedNumericOptimizer",
    "SimulatedOptimizer",
    "SimulatedScorer",
    "StagedProgram",
    "StagedScorer",
    "exact_match",
    "feedback_optimizer_lm",
    "landscape",
    "make_examples",
    "numeric_optimizer_lm",
    "optimizer_lm",
    "scorer_lm",
    "staged_scorer_lm",
]
