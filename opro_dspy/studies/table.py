"""What a study found: a table with standard errors, as JSON, CSV and text."""

import csv
import io
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict

from opro_dspy.studies.cells import Record


class Figure(BaseModel):
    """A mean over seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float | None
    """None when no seed has a value."""
    stderr: float | None
    """Standard error of `mean`; None when fewer than two seeds have a value."""
    n: int
    """Seeds with a value."""

    @staticmethod
    def of(values: Sequence[float | None]) -> "Figure":
        """Return the mean of the values that there are."""
        known = [value for value in values if value is not None]
        stderr = stdev(known) / sqrt(len(known)) if len(known) > 1 else None
        return Figure(mean=fmean(known) if known else None, stderr=stderr, n=len(known))

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.3g}" + ("" if self.stderr is None else f" ± {self.stderr:.2g}")


def counted(figure: Figure, what: str) -> str:
    """Return a figure with what it counts, e.g. "1 step", "2.5 ± 0.5 steps"."""
    return f"{figure} {what}{'' if str(figure) == '1' else 's'}"


class Row(BaseModel):
    """One variant of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    num_seeds: int
    figures: dict[str, Figure]
    """Measure to its mean over seeds."""
    curve: tuple[float | None, ...]
    """Mean over seeds of the best training estimate after each step, step 0 first."""


class StudyTable(BaseModel):
    """What a study found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    question: str
    subject: str
    simulated: bool
    rows: tuple[Row, ...]
    complete: bool
    """False when a budget ended the study before all cells were run."""
    paragraph: str
    """What was seen, in words."""

    def row(self, variant: str) -> Row | None:
        """Return the row of `variant`, if it was measured."""
        return next((row for row in self.rows if row.variant == variant), None)

    def to_csv(self) -> str:
        """Return the table with one column for each mean and its standard error."""
        measures = list(self.rows[0].figures) if self.rows else []
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = [column for m in measures for column in (m, f"{m} (standard error)")]
        writer.writerow(["variant", "seeds", *columns])
        for row in self.rows:
            figures = [n for m in measures for n in (row.figures[m].mean, row.figures[m].stderr)]
            writer.writerow([row.variant, row.num_seeds, *figures])
        return out.getvalue()

    def save(self, folder: Path) -> list[Path]:
        """Write JSON, CSV and the paragraph; return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "json": self.model_dump_json(indent=2) + "\n",
            "csv": self.to_csv(),
            "txt": self.paragraph + "\n",
        }
        paths = []
        for ending, text in texts.items():
            paths.append(folder / f"{self.study}.{ending}")
            paths[-1].write_text(text, encoding="utf-8")
        return paths


def rows_of(records: Sequence[Record], variants: Sequence[str]) -> tuple[Row, ...]:
    """Return a row for each variant that was measured, in order."""
    rows = []
    for variant in variants:
        mine = [record.measured for record in records if record.variant == variant]
        if not mine:
            continue
        length = max(len(measured.curve) for measured in mine)
        rows.append(
            Row(
                variant=variant,
                num_seeds=len(mine),
                figures={
                    name: Figure.of([measured.values.get(name) for measured in mine])
                    for name in mine[0].values
                },
                curve=tuple(
                    Figure.of([_at(measured.curve, step) for measured in mine]).mean
                    for step in range(length)
                ),
            )
        )
    return tuple(rows)


def _at(curve: Sequence[float | None], step: int) -> float | None:
    """Return the curve at `step`; a run that ended early stays where it was."""
    return curve[min(step, len(curve) - 1)] if curve else None
