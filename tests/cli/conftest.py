"""A working folder as a new user has it, and commands run in it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opro_dspy.cli import app
from opro_dspy.simulation import make_examples

Command = Callable[..., Result]

APP = """
import dspy

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.solve(question=question)

class Free(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.Predict("question -> answer")

    def forward(self, **inputs):
        return self.solve(**inputs)

def make():
    return Program()

def needs(lm):
    return Program()

def close(example, prediction, trace=None):
    return 0.75 if example.answer == prediction.answer else 0.25

def nothing(example, prediction, trace=None):
    return None

A_NUMBER = 3
"""

ROWS = [
    {"question": e.question, "answer": e.answer} for e in make_examples("arithmetic", n=40, seed=0)
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `train.jsonl`, `val.jsonl` and a module `my_app`, which one is in."""
    write_lines(tmp_path / "train.jsonl", ROWS[:12])
    write_lines(tmp_path / "val.jsonl", ROWS[12:20])
    write_lines(tmp_path / "test.jsonl", ROWS[20:])
    (tmp_path / "my_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_app", raising=False)
    return tmp_path


def run(*words: str, width: int = 300, **env: str) -> Result:
    """Run a command; `stdout` and `stderr` of the result are apart."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": str(width), **env})


def compiled(*words: str) -> Result:
    """Compile a signature on simulated LMs."""
    sets = ("--trainset", "train.jsonl", "--valset", "val.jsonl", "--metric", "exact_text")
    small = ("--model", "simulated", "--max-steps", "2", "--set", "num_candidates=4")
    return run("compile", "question -> answer", *sets, *small, *words)


def plain(text: str) -> str:
    """Return `text` without frames and line breaks."""
    return " ".join(re.sub(r"[\u2500-\u257f]", " ", text).split())
