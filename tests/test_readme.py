"""Every code block of the README runs, and the demo prints what the README shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.code_blocks import ROOT, blocks, run

README = ROOT / "README.md"
PYTHON = blocks(README, "python")


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_every_python_block_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([code], "README.md", tmp_path, monkeypatch)


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    command = blocks(README, "bash")[0].split("&&")[1].split()
    assert command[:2] == ["python", "-m"]
    done = subprocess.run(
        [sys.executable, *command[1:]],
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "DSPY_CACHEDIR": str(tmp_path / "dspy"),
            "OPRO_DSPY_CACHE_DIR": str(tmp_path / "opro"),
            "COLUMNS": "80",
        },
    )
    shown, warned = blocks(README, "text")
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines()
    assert " ".join(warned.split()) in " ".join(done.stderr.split())


def test_the_second_command_runs_the_tests() -> None:
    assert "pip install -e '.[dev]' && python -m pytest\n" in README.read_text(encoding="utf-8")
