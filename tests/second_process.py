"""What tests run in a process of its own: `python -m tests.second_process JOB URL CACHE …`."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import dspy

import opro_dspy
from opro_dspy import OPRO
from tests.fakes import exact, questions

TRAIN, VAL = questions(80), questions(12, start=100)


def lm_at(url: str, model: str = "scorer") -> dspy.LM:
    return dspy.LM(
        f"openai/{model}",
        api_base=url,
        api_key="sk-planted-0123456789",
        temperature=1.0,
        num_retries=0,
        timeout=20,
    )


class TwoStages(dspy.Module):  # type: ignore[misc]
    """A program whose second stage sees one thing only: its requests are shared by candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("question -> draft")
        self.answer = dspy.Predict("question, draft -> answer")

    def forward(self, question: str) -> Any:
        draft = "sum" if self.draft(question=question).draft else ""
        return self.answer(question=question, draft=draft)


def run(url: str, cache: str | None, folder: Path) -> dict[str, Any]:
    program = TwoStages()
    optimizer = OPRO(
        metric=exact,
        prompt_model=lm_at(url, "optimizer"),
        max_steps=3,
        num_threads=4,
        cache_dir=cache,
        verbose=False,
        component_selector="all",
        num_candidates=3,
    )
    with dspy.context(lm=lm_at(url)):
        compiled = optimizer.compile(program, trainset=TRAIN, valset=VAL)
    compiled.save(folder / "program.json")
    result = compiled.detailed_results
    return {
        "instructions": [candidate.instructions for candidate in result.candidates],
        "scores": [candidate.scores for candidate in result.candidates],
        "best": result.best.instructions,
        "calls": result.total_calls,
        "usage": {role: vars_of(result.used(role)) for role in ("optimizer", "scorer")},
    }


def vars_of(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def answer(url: str, cache: str | None, folder: Path) -> dict[str, Any]:
    """Answer all examples with the saved program."""
    program = TwoStages()
    program.load(folder / "program.json")
    lm = lm_at(url) if cache is None else opro_dspy.cached(lm_at(url), cache_dir=cache)
    with dspy.context(lm=lm):
        answers = [program(**example.inputs()).answer for example in [*TRAIN, *VAL]]
    return {"answers": answers}


def hammer(url: str, cache: str | None, folder: Path) -> dict[str, Any]:
    """Ask for the same answers as another process does at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    lm = opro_dspy.cached(lm_at(url), cache_dir=cache)
    lm("What is 999 plus 1?")  # whatever is slow the first time
    (folder / f"ready-{os.getpid()}").touch()
    while len(list(folder.glob("ready-*"))) < 2:
        pass
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: lm(f"What is {n % 60} plus 1?")[0], range(120)))
    return {"answers": answers}


def reply(text: str) -> str:
    """Answer as the server that the jobs ask: never twice the same."""
    token = os.urandom(3).hex()
    if "<INS>" in text:
        return f"<INS>Add the numbers with care {token}.</INS>"
    number = int(re.findall(r"What is (\d+) plus 1", text)[-1])
    if "`draft`" in text and "`answer`" not in text:
        return f"[[ ## draft ## ]]\ndraft {token}\n\n[[ ## completed ## ]]"
    if "[[ ## answer ## ]]" not in text:
        return f"{number + 1} {token}"
    right = int(token, 16) % 3 > 0
    value = number + 1 if right else f"no {token}"
    return f"[[ ## answer ## ]]\n{value}\n\n[[ ## completed ## ]]"


if __name__ == "__main__":
    job, url, cache, folder = sys.argv[1:]
    done = globals()[job](url, cache if cache != "-" else None, Path(folder))
    sys.stdout.write(json.dumps(done))
