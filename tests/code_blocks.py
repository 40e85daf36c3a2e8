"""The code blocks of Markdown pages, and a world in which those of Python run: simulated LMs."""

import re
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import dspy
import pytest

from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Candidate, Proposal
from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

ROOT = Path(__file__).parent.parent

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page that are in `language`."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for told, code in found if told == language]


class CountingProposer:
    """Proposes texts with a number in them."""

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        return [
            [Proposal(component=r.component, raw="", text=f"Try {r.step}.{i}") for i in range(r.n)]
            for r in requests
        ]


class OneMachine:
    """Stands for the client of a cluster."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get_executor(self) -> Executor:
        return ThreadPoolExecutor(2)


def quality(candidate: Candidate) -> float:
    return len(str(candidate.texts)) / 1000


def run(codes: Sequence[str], page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run code blocks one after another, as if they were one script in `folder`.

    They find `program`, `metric`, `trainset`, `valset` and what else pages take for granted; an LM
    by name is a simulated one, and settings end with the script.
    """
    examples = make_examples("arithmetic", n=30, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))

    class ByName:  # a class, as `dspy.LM` is for whoever asks what an LM is
        def __new__(cls, model: str, **options: Any) -> Any:
            return scorer if "mini" in model else optimizer_lm(seed=0)

    monkeypatch.setattr(dspy, "LM", ByName)
    monkeypatch.setattr(distributed, "Client", OneMachine)
    monkeypatch.setattr(dspy, "configure", lambda **settings: None)
    monkeypatch.chdir(folder)
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
        for code in codes:
            exec(compile(code, page, "exec"), names)
