"""Cells of a study: run one by one, each kept on disk before the next, within a budget."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from opro_dspy.errors import ConfigurationError
from opro_dspy.result import RunResult

logger = logging.getLogger(__name__)


class Spent(BaseModel):
    """What a cell cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = 0
    cost_usd: float = 0.0
    """USD of the calls whose cost is known."""

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(tokens=self.tokens + other.tokens, cost_usd=self.cost_usd + other.cost_usd)

    @staticmethod
    def of(result: RunResult) -> "Spent":
        """Return what a run cost."""
        return Spent(
            tokens=sum(row.input_tokens + row.output_tokens for row in result.usage),
            cost_usd=sum(row.cost_usd or 0.0 for row in result.usage),
        )


class Measured(BaseModel):
    """What one cell gave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, float | None]
    """Measure to number; None where it is not defined, e.g. steps to what was never reached."""
    curve: tuple[float | None, ...] = ()
    """The best training estimate after each step, step 0 first."""
    spent: Spent = Spent()
    cut_short: str | None = None
    """The cap of the study's budget that ended it early; its values then do not count."""


class Record(BaseModel):
    """One line of a results file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    variant: str
    seed: int
    settings: dict[str, Any]
    """What the cell was run with; records of other settings do not mix."""
    measured: Measured


class Cap(BaseModel):
    """What a whole study may spend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = None
    max_cost: float | None = None
    """USD."""

    def left(self, spent: Spent) -> "Cap":
        """Return what is left after `spent`; never below 0."""
        return Cap(
            max_tokens=None if self.max_tokens is None else max(0, self.max_tokens - spent.tokens),
            max_cost=None if self.max_cost is None else max(0.0, self.max_cost - spent.cost_usd),
        )

    @property
    def reached(self) -> str | None:
        """The cap of which nothing is left, or None."""
        gone = [name for name, left in self if left is not None and left <= 0]
        return gone[0] if gone else None

    def settings(self) -> dict[str, float]:
        """Return the caps as settings of a run."""
        return {name: left for name, left in self if left is not None}


def run_cells(
    study: str,
    cells: Sequence[tuple[str, int]],
    measure: Callable[[str, int, Cap], Measured],
    *,
    settings: Mapping[str, Any],
    cap: Cap | None = None,
    path: Path | None = None,
) -> list[Record]:
    """Run the cells that `path` does not hold yet, in order, until the budget ends.

    Args:
        study: Name of the study.
        cells: Variant and seed of each.
        measure: Runs a cell within what is left of the budget.
        settings: What all cells are run with.
        cap: The budget of the whole study; what earlier runs spent counts.
        path: Where each cell is written when it is done, as a line of JSON; None keeps nothing.

    Returns:
        The finished cells, in the order of `cells`.

    Raises:
        ConfigurationError: If `path` holds something else, or cells of other settings.
    """
    cap, settings = cap or Cap(), json.loads(json.dumps(dict(settings), default=str))
    before = [] if path is None else _read(path, study, settings)
    done = {(r.variant, r.seed): r for r in before if r.measured.cut_short is None}
    spent = sum((r.measured.spent for r in before), Spent())
    for variant, seed in cells:
        if (variant, seed) in done:
            continue
        if reached := cap.left(spent).reached:
            logger.warning("The study %s ends early: %s is used up.", study, reached)
            break
        measured = measure(variant, seed, cap.left(spent))
        record = Record(
            study=study, variant=variant, seed=seed, settings=settings, measured=measured
        )
        if path is not None:
            _append(path, record)
        spent += measured.spent
        if measured.cut_short is not None:
            logger.warning("The study %s ends early: %s.", study, measured.cut_short)
            break
        done[variant, seed] = record
    return [done[cell] for cell in cells if cell in done]


def _append(path: Path, record: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(record.model_dump_json() + "\n")


def _read(path: Path, study: str, settings: Mapping[str, Any]) -> list[Record]:
    """Return the records of a results file; a torn last line is cut off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole, _, torn = text.rpartition("\n")
    if torn:
        path.write_text(whole + "\n" * bool(whole), encoding="utf-8")
    records = []
    for number, line in enumerate(whole.split("\n") if whole else [], start=1):
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            raise ConfigurationError(
                f"line {number} of {path} is no cell of a study: {error.errors()[0]['msg']}."
            ) from error
        if record.study != study or record.settings != settings:
            raise ConfigurationError(
                f"{path} holds cells of {record.study!r} with the settings {record.settings}, "
                f"not of {study!r} with {dict(settings)}. Take another file, or delete it."
            )
        records.append(record)
    return records
