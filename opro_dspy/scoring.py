"""One example of one candidate: run the program, ask the metric. On a thread, or on a worker."""

from dataclasses import dataclass

import dspy

from opro_dspy.calling import call, own_cancellations
from opro_dspy.fields import as_text
from opro_dspy.metric import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What an example came to; plain data, as a worker sends it."""

    value: float
    """What the metric says."""
    output: str
    """What the program answered, in short."""
    feedback: str = ""
    """What the metric says in words."""


def score_example(
    program: dspy.Module, example: dspy.Example, metric: Metric, *, where: str
) -> Scored:
    """Return what `program` makes of `example`; whatever program and metric raise passes through.

    Args:
        program: A working copy with a candidate's instructions.
        example: The example, with inputs set.
        metric: The metric.
        where: Names the example in errors.
    """
    prediction = call(program, example)
    with own_cancellations():
        said = metric.judge(example, prediction, where=where)
    return Scored(value=said.score, output=as_text(prediction), feedback=said.feedback)
