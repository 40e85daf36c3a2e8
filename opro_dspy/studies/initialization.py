"""The initialization study: how far the starting instruction decides the result."""

from collections.abc import Sequence
from statistics import fmean, pstdev

from opro_dspy.studies.cells import Measured
from opro_dspy.studies.study import Job, Study, Variant, measured
from opro_dspy.studies.table import Row

STARTS = {
    "empty": "",
    "plain": "Let's solve the problem.",
    "good": "Think step by step, list the given facts, and verify each step before you answer.",
    "misleading": "Answer as quickly as you can without any reasoning, and go with your gut.",
}
"""An empty instruction becomes DSPy's default text."""

WARM = (
    "Let's think step by step.",
    "Take a deep breath and work on this problem step-by-step.",
)
"""What a warm start has beside: by Kojima et al. 2022, and OPRO's own (its table 1)."""


def _variants(max_steps: int) -> list[Variant]:
    cold = [Variant(label=name, instructions=text) for name, text in STARTS.items()]
    adaptive = [
        Variant(
            label=f"{name}, adaptive",
            instructions=text,
            settings={"temperature_schedule": "adaptive"},
        )
        for name, text in STARTS.items()
    ]
    warm = [
        Variant(
            label=f"{name}, warm",
            instructions=text,
            settings={"initial_instructions": list(WARM)},
        )
        for name, text in STARTS.items()
    ]
    return [*cold, *warm, *adaptive]


def _measure(job: Job) -> Measured:
    return measured(job.run())


def _spread(rows: Sequence[Row], ending: str) -> str:
    means = [
        row.figures["score"].mean
        for name in STARTS
        for row in rows
        if row.variant == name + ending and row.figures["score"].mean is not None
    ]
    known = [mean for mean in means if mean is not None]
    if len(known) < 2:
        return "unknown"
    return f"{pstdev(known):.3g} around a mean of {fmean(known):.3g}"


def _says(rows: Sequence[Row]) -> str:
    return (
        "The spread of the scores over the four starts (standard deviation) is "
        f"{_spread(rows, '')}; with two well-known instructions beside each (warm) "
        f"it is {_spread(rows, ', warm')}; with adaptive temperature {_spread(rows, ', adaptive')}."
    )


INITIALIZATION = Study(
    name="initialization",
    question="How far does the starting instruction decide the result?",
    variants=_variants,
    measure=_measure,
    says=_says,
)
