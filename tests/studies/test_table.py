import csv
import io
from pathlib import Path

import pytest

from opro_dspy.studies.cells import Measured, Record
from opro_dspy.studies.plotting import figure_data, plot
from opro_dspy.studies.table import Figure, StudyTable, rows_of


def record(variant: str, seed: int, score: float | None, curve: tuple[float, ...]) -> Record:
    measured = Measured(values={"score": score}, curve=curve)
    return Record(study="s", variant=variant, seed=seed, settings={}, measured=measured)


RECORDS = [
    record("low", 0, 0.2, (0.1, 0.2)),
    record("low", 1, 0.4, (0.3,)),
    record("high", 0, 0.9, (0.5, 0.7)),
    record("high", 1, None, ()),
]


def table() -> StudyTable:
    return StudyTable(
        study="s",
        question="What is it?",
        subject="nothing",
        simulated=True,
        rows=rows_of(RECORDS, ["high", "low", "never run"]),
        complete=False,
        paragraph="It was seen.",
    )


def test_a_figure_is_the_mean_with_its_standard_error() -> None:
    figure = Figure.of([0.2, 0.4, None])
    assert figure.mean == pytest.approx(0.3)
    assert figure.stderr == pytest.approx(0.1)
    assert (figure.n, str(figure)) == (2, "0.3 ± 0.1")
    assert str(Figure.of([1.0])) == "1"
    assert str(Figure.of([None])) == "-"


def test_rows_come_in_the_order_of_the_variants_with_mean_curves() -> None:
    high, low = table().rows
    assert (high.variant, high.num_seeds, high.curve) == ("high", 2, (0.5, 0.7))
    assert low.curve == pytest.approx((0.2, 0.25))


def test_the_csv_has_every_mean_with_its_standard_error() -> None:
    rows = list(csv.reader(io.StringIO(table().to_csv())))
    assert rows[0] == ["variant", "seeds", "score", "score (standard error)"]
    assert rows[1] == ["high", "2", "0.9", ""]


def test_a_table_is_saved_as_json_csv_and_text(tmp_path: Path) -> None:
    paths = table().save(tmp_path / "out")
    assert [path.name for path in paths] == ["s.json", "s.csv", "s.txt"]
    assert StudyTable.model_validate_json(paths[0].read_text()) == table()
    assert paths[2].read_text() == "It was seen.\n"


def test_the_figure_shows_the_rows_of_the_table(tmp_path: Path) -> None:
    high, low = figure_data(table())
    assert (high.label, high.steps, high.best) == ("high", (0, 1), (0.5, 0.7))
    assert high.scores == {"score": (0.9, 0.0)}
    assert low.scores["score"] == pytest.approx((0.3, 0.1))
    plot(table(), tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
