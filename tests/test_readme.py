"""Every code block of the README runs, and the demo prints what the README shows."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Candidate, Proposal
from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]


class CountingProposer:
    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        return [
            [Proposal(component=r.component, raw="", text=f"Try {r.step}.{i}") for i in range(r.n)]
            for r in requests
        ]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_every_python_block_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_examples("arithmetic", n=30, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))

    class ByName:  # a class, as `dspy.LM` is for whoever asks what an LM is
        def __new__(cls, model: str, **options: Any) -> Any:
            return scorer if "mini" in model else optimizer_lm(seed=0)

    def quality(candidate: Candidate) -> float:
        return len(str(candidate.texts)) / 1000

    monkeypatch.setattr(dspy, "LM", ByName)
    monkeypatch.setattr(dspy, "configure", lambda **settings: None)
    monkeypatch.chdir(tmp_path)
    names = {
        "metric": exact_match,
        "trainset": examples[:20],
        "valset": examples[20:],
        "dspy": dspy,
        "program": dspy.ChainOfThought("question -> answer"),
        "proposer": CountingProposer(),
        "quality": quality,
    }
    with dspy.context(lm=scorer):
        exec(compile(code, "README.md", "exec"), names)


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    commands = [code for language, code in BLOCKS if language == "bash"]
    command = commands[0].split("&&")[1].split()
    assert command[:2] == ["python", "-m"]
    printed = subprocess.run(
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
    ).stdout
    shown = next(code for language, code in BLOCKS if language == "text")
    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


def test_the_second_command_runs_the_tests() -> None:
    assert "pip install -e '.[dev]' && python -m pytest\n" in README
