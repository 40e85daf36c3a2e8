"""The transfer study: what instructions found on one task are worth on another."""

from collections.abc import Sequence
from dataclasses import replace

from opro_dspy.errors import ConfigurationError
from opro_dspy.result import OPROResult
from opro_dspy.studies.cells import Measured, Spent
from opro_dspy.studies.study import Job, Study, Variant, best_so_far, cut_short
from opro_dspy.studies.table import Row, counted

THERE, BACK = "first to second task", "second to first task"


def _measure(job: Job) -> Measured:
    """Compile on the first task, then on the second both from scratch and from what was found.

    The aim of both is 95 % of the highest training estimate of the run from scratch. On the
    second task, `own before` is the score of the program's own instructions, `transferred` that of
    those found on the first.
    """
    if job.other is None:
        raise ConfigurationError("a study of transfer needs a second task.")
    tasks = (job.subject, job.other) if job.variant.label == THERE else (job.other, job.subject)
    runs: list[OPROResult] = []
    for target, start in ((tasks[0], None), (tasks[1], None), (tasks[1], 0)):
        found = None if start is None else runs[start].best.instructions
        spent = sum(map(Spent.of, runs), Spent())
        runs.append(replace(job, subject=target, cap=job.cap.left(spent)).run_from(found))
        if (cut := cut_short(runs[-1])) is not None:
            return Measured(values={}, spent=sum(map(Spent.of, runs), Spent()), cut_short=cut)
    scratch, adapted = runs[1:]
    scratch_curve, curve = best_so_far(scratch), best_so_far(adapted)
    aim = 0.95 * max((value for value in scratch_curve if value is not None), default=0.0)
    return Measured(
        values={
            "own before": _start(scratch),
            "transferred": _start(adapted),
            "score": adapted.best.score,
            "score from scratch": scratch.best.score,
            "steps to the aim": _steps_to(curve, aim),
            "steps from scratch": _steps_to(scratch_curve, aim),
        },
        curve=tuple(curve),
        spent=sum(map(Spent.of, runs), Spent()),
    )


def _start(result: OPROResult) -> float | None:
    return None if result.baseline is None else result.baseline.score


def _steps_to(curve: Sequence[float | None], aim: float) -> float | None:
    return next((float(i) for i, v in enumerate(curve) if v is not None and v >= aim), None)


def _says(rows: Sequence[Row]) -> str:
    said = []
    for row in rows:
        f = row.figures
        said.append(
            f"From the {row.variant}: {f['own before']} with the program's own instruction, "
            f"{f['transferred']} with the one that was found on the other task, {f['score']} "
            f"after adapting it and {f['score from scratch']} from scratch; the aim took "
            f"{counted(f['steps to the aim'], 'step')} from there ({f['steps to the aim'].n} of "
            f"{row.num_seeds} seeds reached it) and {f['steps from scratch']} from scratch."
        )
    return " ".join(said)


TRANSFER = Study(
    name="transfer",
    question="What is an instruction that was found on one task worth on another?",
    variants=lambda max_steps: [Variant(label=THERE), Variant(label=BACK)],
    measure=_measure,
    says=_says,
    needs_other=True,
)
