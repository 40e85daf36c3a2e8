"""Benchmarks run, in a small size, and each is on their page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "problems.py"


def test_the_tables_of_both_problems_stand_beside_the_papers_figures(tmp_path: Path) -> None:
    out = tmp_path / "problems.json"
    printed = subprocess.run(
        [sys.executable, SCRIPT, "--seeds", "1", "--steps", "2", "--sizes", "4", "--out", out],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "DSPY_CACHEDIR": str(tmp_path)},
    ).stdout
    assert "Linear regression: steps" in printed and "Travelling salesman: gap" in printed
    assert "arXiv:2309.03409" in printed and "The LMs differ" in printed
    assert "simulated LM" in printed
    assert len(json.loads(out.read_text())["lines"]) == 7


def test_both_strategies_beat_optimizing_the_last_predictor_alone(tmp_path: Path) -> None:
    """One seed of the benchmark, whose figures have more."""
    out = tmp_path / "predictors.json"
    subprocess.run(
        [
            *(sys.executable, SCRIPT.parent / "predictors.py", "--seeds", "1", "--jobs", "1"),
            *("--stages", "2", "4", "--shifts", "3", "--landscapes", "wording_noise"),
            *("--budgets", "500", "--out", out),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "DSPY_CACHEDIR": str(tmp_path)},
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["stages"] for row in rows] == [2, 4]
    for row in rows:
        for strategy in ("round_robin", "all"):
            assert row[strategy][0] > row["last only"][0] + 4


@pytest.mark.processes
def test_the_benchmark_of_many_workers_runs_all_its_tables(tmp_path: Path) -> None:
    pytest.importorskip("loky")
    out = tmp_path / "scale.json"
    printed = subprocess.run(
        [
            *(sys.executable, SCRIPT.parent / "scale.py", "--quick", "--rounds", "1"),
            *("--executor", "loky", "--workers", "10", "20", "--call-s", "0.2", "--out", out),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "DSPY_CACHEDIR": str(tmp_path)},
    ).stdout
    assert "5 jobs out" in printed
    figures = json.loads(out.read_text())
    assert figures["driver"]["jobs"] == 8_000
    assert [row["workers"] for row in figures["curve"]] == [10, 20]
    assert all(row["share of the ideal"] < 1.0 for row in figures["curve"])


def test_the_page_of_the_benchmarks_has_the_command_of_each() -> None:
    told = (SCRIPT.parent / "README.md").read_text(encoding="utf-8")
    scripts = [path.name for path in SCRIPT.parent.glob("[!_]*.py")]
    assert [name for name in scripts if f"`python benchmarks/{name}" not in told] == []
