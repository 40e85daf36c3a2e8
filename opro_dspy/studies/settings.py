"""Studies of single settings: temperature, candidates per step, and what the meta-prompt shows."""

from collections.abc import Mapping, Sequence

from opro_dspy.asking import View
from opro_dspy.studies.cells import Measured
from opro_dspy.studies.study import Job, Study, Variant, best_and_worst, measured
from opro_dspy.studies.table import Row, counted


def _run(job: Job) -> Measured:
    return measured(job.run())


def _by_view(views: Mapping[str, View]) -> list[Variant]:
    return [Variant(label=label, settings={"view": view}) for label, view in views.items()]


def _temperatures(max_steps: int) -> list[Variant]:
    constant = [
        Variant(label=f"{t:.1f}", settings={"init_temperature": t})
        for t in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]
    falling = {"init_temperature": 1.5, "end_temperature": 0.5, "temperature_schedule": "linear"}
    return [
        *constant,
        Variant(label="1.5 to 0.5", settings=falling),
        Variant(label="adaptive", settings={"temperature_schedule": "adaptive"}),
    ]


def _says_temperature(rows: Sequence[Row]) -> str:
    said = "; ".join(
        f"{row.variant}: {row.figures['new per step']} new a step, "
        f"{counted(row.figures['steps to 95 %'], 'step')} to 95 %"
        for row in rows
    )
    return f"{best_and_worst(rows)} Diversity and speed: {said}."


TEMPERATURE = Study(
    name="temperature",
    question="What does the optimizer LM's temperature do?",
    variants=_temperatures,
    measure=_run,
    says=_says_temperature,
)


def _numbers_of_candidates(max_steps: int) -> list[Variant]:
    """Return variants with as many candidates in all as `max_steps` steps of 8 have."""
    total = 8 * max_steps
    return [
        Variant(label=str(k), settings={"num_candidates": k, "max_steps": -(-total // k)})
        for k in (1, 2, 4, 8, 16)
    ]


CANDIDATES = Study(
    name="candidates",
    question="How many candidates a step are best, at an equal number of them in all?",
    variants=_numbers_of_candidates,
    measure=_run,
    says=best_and_worst,
)

ORDER = Study(
    name="order",
    question="Does it matter in which order the meta-prompt shows the instructions?",
    variants=lambda max_steps: _by_view(
        {
            "ascending": View(),
            "descending": View(order="descending"),
            "random": View(order="random"),
        }
    ),
    measure=_run,
    says=best_and_worst,
)

SCORES = Study(
    name="scores",
    question="How should the meta-prompt show scores?",
    variants=lambda max_steps: _by_view(
        {
            "100 buckets": View(score_buckets=100),
            "20 buckets": View(score_buckets=20),
            "hidden": View(show_scores=False),
        }
    ),
    measure=_run,
    says=best_and_worst,
)

EXEMPLARS = Study(
    name="exemplars",
    question="How many exemplars should the meta-prompt show?",
    variants=lambda max_steps: _by_view({str(n): View(num_exemplars=n) for n in (0, 3, 10)}),
    measure=_run,
    says=best_and_worst,
)
