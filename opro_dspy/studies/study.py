"""A study: variants of a run, what is measured of each, and what is said of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.result import OPROResult
from opro_dspy.studies.cells import Cap, Measured, Spent, run_cells
from opro_dspy.studies.subject import Subject, SubjectOf
from opro_dspy.studies.table import Row, StudyTable, rows_of

CUT = ("max_tokens:", "max_cost:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One line of a study's table."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `OPRO` in which it differs."""
    instructions: str | None = None
    """What every predictor of the program starts from; None is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell to run."""

    subject: Subject
    other: Subject | None
    """A second task, for studies of transfer."""
    variant: Variant
    seed: int
    max_steps: int
    cap: Cap
    """What is left of the study's budget."""

    def run(self) -> OPROResult:
        """Run the variant within what is left."""
        return self.run_from(self.variant.instructions)

    def run_from(self, instructions: str | Mapping[str, str] | None) -> OPROResult:
        """Run the variant from these instructions, or the program's own if None."""
        subject = self.subject
        if instructions is not None:
            subject = subject.starting_from(instructions)
        everything = {
            "max_steps": self.max_steps,
            "max_empty_steps": self.max_steps,
            **self.variant.settings,
            **self.cap.settings(),
        }
        return subject.run(seed=self.seed, **everything)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question about OPRO, and how it is answered."""

    name: str
    question: str
    variants: Callable[[int], Sequence[Variant]]
    """The variants for a number of steps."""
    measure: Callable[[Job], Measured]
    says: Callable[[Sequence[Row]], str]
    """What is seen in the rows, which are never empty."""
    max_steps: int = 12
    """Steps of a run, where the user asks for no other number."""
    needs_other: bool = False
    """Whether a second task is needed."""


def run_study(
    study: Study,
    subject_of: SubjectOf,
    *,
    other_of: SubjectOf | None = None,
    seeds: int = 3,
    max_steps: int | None = None,
    cap: Cap | None = None,
    path: Path | None = None,
) -> StudyTable:
    """Run what `path` does not hold yet and return the table.

    Args:
        study: The study.
        subject_of: Makes the task and LMs for a seed.
        other_of: The second task, for studies that need one.
        seeds: Runs of each variant, at least 1.
        max_steps: Steps of a run; the study's own number if not given.
        cap: The budget of the whole study.
        path: Where finished cells are kept; run the same again to go on.

    Raises:
        ConfigurationError: If a setting is wrong, or `path` holds another study.
    """
    steps = study.max_steps if max_steps is None else max_steps
    if seeds < 1 or steps < 1:
        raise ConfigurationError(f"a study needs seeds and steps, got {seeds} and {steps}.")
    if study.needs_other and other_of is None:
        raise ConfigurationError(f"the study {study.name} needs a second task: pass `other_of`.")
    variants = {variant.label: variant for variant in study.variants(steps)}
    subject = subject_of(0)

    def measure(label: str, seed: int, left: Cap) -> Measured:
        job = Job(
            subject=subject_of(seed),
            other=None if other_of is None else other_of(seed),
            variant=variants[label],
            seed=seed,
            max_steps=steps,
            cap=left,
        )
        return study.measure(job)

    cells = [(label, seed) for seed in range(seeds) for label in variants]
    settings = {
        "subject": subject.name,
        "other": None if other_of is None else other_of(0).name,
        "optimizer_lm": "simulated" if subject.simulated else subject.prompt_model.model,
        "scorer_lm": "simulated" if subject.simulated else subject.task_model.model,
        "max_steps": steps,
        **subject.settings,
    }
    records = run_cells(study.name, cells, measure, settings=settings, cap=cap, path=path)
    rows = rows_of(records, list(variants))
    seen = study.says(rows) if rows else "Nothing was measured."
    ended = "" if len(records) == len(cells) else " The budget ended before all cells were run."
    note = " These are numbers of the simulation, not of a real model." if subject.simulated else ""
    return StudyTable(
        study=study.name,
        question=study.question,
        subject=subject.name,
        simulated=subject.simulated,
        rows=rows,
        complete=len(records) == len(cells),
        paragraph=f"{study.question} {seen}{ended}{note}",
    )


def measured(result: OPROResult, **more: float | None) -> Measured:
    """Return what every study measures of a run, and `more`.

    `score` is that of the chosen program on the `valset`, `start` that of the one it began with;
    `steps to 95 %` counts until the best training estimate is within 5 % of the run's highest.
    """
    curve = best_so_far(result)
    highest = max((value for value in curve if value is not None), default=None)
    reached = None
    if highest is not None:
        reached = next(i for i, v in enumerate(curve) if v is not None and v >= 0.95 * highest)
    asked = result.steps[1:]
    new = sum(len(step.candidates) for step in asked) / len(asked) if asked else None
    return Measured(
        values={
            "score": None if result.best_index is None else result.best.score,
            "start": None if result.baseline is None else result.baseline.score,
            "steps to 95 %": None if reached is None else float(reached),
            "new per step": new,
            **more,
        },
        curve=tuple(curve),
        spent=Spent.of(result),
        cut_short=cut_short(result),
    )


def cut_short(result: OPROResult) -> str | None:
    """Return the cap of the study's budget that ended a run, if one did."""
    return result.stop_reason if result.stop_reason.startswith(CUT) else None


def best_so_far(result: OPROResult) -> list[float | None]:
    """Return the highest final training estimate among the candidates known after each step."""
    curve: list[float | None] = []
    best: float | None = None
    for step in result.steps:
        mine = [c.train.score for c in result.candidates if c.step == step.index]
        best = max([*mine, *([] if best is None else [best])], default=None)
        curve.append(best)
    return curve


def best_and_worst(rows: Sequence[Row], measure: str = "score") -> str:
    """Return one sentence on the variants with the highest and the lowest mean of `measure`.

    Variants that share the highest mean are all named.
    """
    found = {row.variant: row.figures[measure] for row in rows}
    means = {name: figure.mean for name, figure in found.items() if figure.mean is not None}
    if not means:
        return f"No variant has a {measure}."
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    best = [f"{found[name]} ({name})" for name, mean in means.items() if mean == means[high]]
    if len(means) == 1:
        return f"The highest {measure} is {best[0]}; there is no other variant to compare."
    if len(best) == len(means):
        return f"All variants have the same {measure}, {means[high]:.3g}."
    gap = means[high] - means[low]
    error = sum((found[name].stderr or 0.0) ** 2 for name in (low, high)) ** 0.5
    real = f", {gap / error:.1f} standard errors" if error else ""
    return (
        f"The highest {measure} is {' and '.join(best)}, the lowest {found[low]} ({low}): "
        f"{gap:.3g} apart{real}."
    )
