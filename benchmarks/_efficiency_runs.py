"""One run of efficiency.py: an optimizer on a simulated landscape, counted and judged."""

import ast
import hashlib
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import dspy
from _efficiency_peers import ENTRANTS, Seats
from dspy.lm15 import Request, Response

import opro_dspy
from opro_dspy.simulation import (
    SimulatedLM,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)

TASK = "arithmetic"
NUM_EXAMPLES = 60
NUM_FRESH = 400
FRESH_SEED = 1_000_000
"""Added to a run's seed for its held-out examples."""


@dataclass(frozen=True, order=True)
class Job:
    """One run to make; in the order in which they are made."""

    seed: int
    landscape: str
    entrant: str
    budget: int

    def key(self) -> str:
        """Return what a record must agree on to stand for this job: its settings and the code."""
        settings = ENTRANTS[self.entrant].settings(self.budget)
        return f"{self} {sorted(settings.items())} {code_of(self.entrant)}"


@dataclass
class Counted:
    """Passes requests on to a simulated engine and adds up their tokens."""

    engine: Any
    tokens_in: int = 0
    tokens_out: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counted":
        return self

    def complete(self, request: Request) -> Response:
        """Answer as the engine does."""
        response: Response = self.engine.complete(request)
        with self.lock:
            self.tokens_in += response.usage.input_tokens
            self.tokens_out += response.usage.output_tokens
        return response

    def figures(self) -> dict[str, int]:
        """Return calls (as the engine counts them) and tokens."""
        return {
            "calls": self.engine.calls,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }


@cache
def code_of(entrant: str) -> str:
    """Return a fingerprint of the code that an entrant's figures depend on.

    That is the simulation for all, and the rest of `opro_dspy` for OPRO too; comments and
    docstrings do not count.
    """
    package = Path(opro_dspy.__file__).parent
    pattern = "**/*.py" if entrant.startswith("OPRO") else "simulation/*.py"
    digest = hashlib.sha256()
    for path in sorted(package.glob(pattern)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):  # a docstring is a statement that is only a text
                node.body = [s for s in body if not _is_text(s)]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def measure(job: Job) -> dict[str, Any]:
    """Make one run.

    Returns:
        The record: the job, scorer and optimizer usage, seconds of CPU, the instruction found,
        its true held-out quality (a fraction) and, for OPRO, the curve of (scorer calls, quality)
        after each step, with `choice_calls`, what its final choice cost.
    """
    examples = make_examples(TASK, NUM_EXAMPLES, seed=job.seed)
    fresh = make_examples(TASK, NUM_FRESH, seed=FRESH_SEED + job.seed)
    shape = landscape(job.landscape, seed=job.seed)
    scorer = Counted(scorer_lm(answer_key=examples, landscape=shape).engine)
    optimizer = Counted(optimizer_lm(seed=job.seed).engine)
    steps: list[tuple[int, str]] = []
    seats = Seats(
        student=dspy.Predict("question -> answer"),
        examples=examples,
        scorer=SimulatedLM("counted/scorer", engine=scorer, cache=False),
        optimizer=SimulatedLM("counted/optimizer", engine=optimizer, cache=False),
        seed=job.seed,
        on_step=lambda instruction: steps.append((scorer.engine.calls, instruction)),
    )
    entrant = ENTRANTS[job.entrant]
    start = time.process_time()
    with dspy.context(lm=seats.scorer):
        program = entrant.run(seats, **entrant.settings(job.budget))
    seconds = time.process_time() - start
    instruction = program.predictors()[0].signature.instructions
    return {
        "key": job.key(),
        **asdict(job),
        "quality": shape.expected_accuracy(instruction, fresh),
        "student_quality": shape.expected_accuracy(seats.student.signature.instructions, fresh),
        "scorer": scorer.figures(),
        "optimizer": optimizer.figures(),
        "seconds": seconds,
        "instruction": instruction,
        "curve": [(calls, shape.expected_accuracy(text, fresh)) for calls, text in steps],
        "choice_calls": scorer.engine.calls - steps[-1][0] if steps else 0,
    }
