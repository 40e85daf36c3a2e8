import re
import sys

import pytest
from typer.testing import CliRunner

from opro_dspy.cli import app

RUNNER = CliRunner()


def plain(text: str) -> str:
    return " ".join(re.sub(r"[\u2500-\u257f]", " ", text).split())


def test_help_lists_the_commands() -> None:
    result = RUNNER.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "demo" in result.stdout


def test_a_short_demo_says_what_it_found_and_that_it_is_simulated() -> None:
    result = RUNNER.invoke(
        app, ["demo", "--steps", "1", "--task", "object_counting", "--seed", "5"]
    )
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    for said in ("simulated", "Best instruction", "Held-out score", "cache hits", "tokens in"):
        assert said in text


def test_a_wrong_task_is_refused_with_the_right_names() -> None:
    result = RUNNER.invoke(app, ["demo", "--task", "chess"])
    assert result.exit_code == 2
    assert "arithmetic" in result.output


@pytest.mark.parametrize("problem", ["linear-regression", "tsp"])
def test_the_demo_of_a_problem_ends_at_its_optimum(problem: str) -> None:
    result = RUNNER.invoke(app, ["demo", "--problem", problem, "--seed", "1"])
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert "simulated" in text and "ended with optimal" in text


def test_the_demo_of_tours_runs_without_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    result = RUNNER.invoke(app, ["demo", "--problem", "tsp", "--steps", "1"])
    assert result.exit_code == 0, result.output
    assert "opro_dspy[tsp]" in plain(result.stdout)
