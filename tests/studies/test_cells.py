from pathlib import Path

import pytest

from opro_dspy.errors import ConfigurationError
from opro_dspy.studies.cells import Cap, Measured, Record, Spent, run_cells

CELLS = [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


class Measure:
    """Notes which cells were run; each costs 10 tokens and a cent."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.run: list[tuple[str, int]] = []
        self.left: list[Cap] = []
        self._fails_at = fails_at

    def __call__(self, variant: str, seed: int, left: Cap) -> Measured:
        if len(self.run) == self._fails_at:
            raise RuntimeError("the machine goes down")
        self.run.append((variant, seed))
        self.left.append(left)
        short = left.max_tokens is not None and left.max_tokens < 10
        return Measured(
            values={"score": float(seed)},
            spent=Spent(tokens=10, cost_usd=0.01),
            cut_short="max_tokens: used up" if short else None,
        )


def run(measure: Measure, path: Path | None, *, cap: Cap | None = None, n: int = 5) -> list[Record]:
    return run_cells("s", CELLS, measure, settings={"steps": n}, cap=cap, path=path)


def test_a_study_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.jsonl"
    with pytest.raises(RuntimeError):
        run(Measure(fails_at=2), path)
    measure = Measure()
    records = run(measure, path)
    assert measure.run == CELLS[2:]
    assert [(r.variant, r.seed) for r in records] == CELLS
    measure = Measure()
    assert run(measure, path) == records
    assert measure.run == []


def test_a_torn_last_line_is_measured_again_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    run(Measure(), path)
    whole = path.read_text()
    for cut in range(len(whole) - 30, len(whole)):
        path.write_text(whole[:cut])
        measure = Measure()
        assert len(run(measure, path)) == 4
        assert measure.run == CELLS[3:]
        assert path.read_text() == whole


def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    run(Measure(), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{}", *lines[2:]]) + "\n")
    with pytest.raises(ConfigurationError, match="line 2 of"):
        run(Measure(), path)


def test_cells_of_other_settings_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    run(Measure(), path)
    with pytest.raises(ConfigurationError, match="Take another file"):
        run(Measure(), path, n=6)


def test_a_budget_ends_the_study_and_counts_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    measure = Measure()
    cap = Cap(max_tokens=25, max_cost=1.0)
    assert len(run(measure, path, cap=cap)) == 2
    assert [left.max_tokens for left in measure.left] == [25, 15, 5]
    measure = Measure()
    assert len(run(measure, path, cap=cap)) == 2
    assert measure.run == []
    measure = Measure()
    assert len(run(measure, path, cap=Cap(max_tokens=100))) == 4
    assert measure.run == CELLS[2:]


def test_without_a_file_nothing_is_kept() -> None:
    assert len(run(Measure(), None)) == 4
    assert Cap().reached is None and Cap(max_cost=0.0).reached == "max_cost"
