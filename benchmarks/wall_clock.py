"""Wall-clock against its lower bound, beside COPRO in the same run, on simulated LMs that wait.

    python benchmarks/wall_clock.py [--steps 5] [--out wall_clock.json]

Scorer 100 ms, optimizer LM 500 ms, both lognormal with sigma 0.5; 16 threads; 60 examples, every
candidate on all of them. The bound of a step is the slowest of its 8 samples plus the scorer's
total time divided by 16: proposals come before scores, and nothing else need be waited for. Each
optimizer is compared with the bound of the calls that it made itself.
"""

import argparse
import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
from dspy.lm15 import Request, Response
from dspy.teleprompt import COPRO

from opro_dspy import OPRO
from opro_dspy.simulation import (
    Latency,
    SimulatedLM,
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)

NUM_THREADS = 16
NUM_EXAMPLES = 60


@dataclass
class Log:
    """Start and duration of each call, by role, in seconds."""

    calls: list[tuple[float, str, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bound(self) -> float:
        """Return the least time that these calls need: proposals in rounds, scores on threads."""
        total, slowest, scoring = 0.0, 0.0, 0.0
        for _, role, seconds in sorted(self.calls):
            if role == "optimizer":
                slowest = max(slowest, seconds)
            else:
                total, slowest = total + slowest, 0.0
                scoring += seconds
        return total + slowest + scoring / NUM_THREADS


class Timed:
    """Passes requests on to a simulated engine and writes down how long each took."""

    def __init__(self, engine: Any, role: str, log: Log) -> None:
        self._engine, self._role, self._log = engine, role, log

    def __deepcopy__(self, memo: dict[int, Any]) -> "Timed":
        return self

    def complete(self, request: Request) -> Response:
        """Answer as the engine does."""
        start = time.perf_counter()
        response: Response = self._engine.complete(request)
        with self._log.lock:
            self._log.calls.append((start, self._role, time.perf_counter() - start))
        return response


def run(compile_with: Callable[[Any, list[dspy.Example]], None]) -> dict[str, float]:
    log = Log()
    examples = make_examples("arithmetic", n=NUM_EXAMPLES, seed=0)
    scorer = scorer_lm(
        answer_key=examples,
        landscape=landscape("many_small_effects", seed=0),
        latency=Latency(mean_s=0.1, sigma=0.5),
    )
    optimizer = optimizer_lm(seed=0, latency=Latency(mean_s=0.5, sigma=0.5))
    timed_scorer = SimulatedLM(
        "timed/scorer", engine=Timed(scorer.engine, "scorer", log), cache=False
    )
    timed_optimizer = SimulatedLM(
        "timed/optimizer", engine=Timed(optimizer.engine, "optimizer", log), cache=False
    )
    start = time.perf_counter()
    with dspy.context(lm=timed_scorer):
        compile_with(timed_optimizer, examples)
    seconds = time.perf_counter() - start
    n_scores = sum(role == "scorer" for _, role, _ in log.calls)
    return {
        "seconds": seconds,
        "bound": log.bound(),
        "ratio": seconds / log.bound(),
        "scorer_calls": n_scores,
        "optimizer_calls": len(log.calls) - n_scores,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    logging.getLogger("dspy").setLevel(logging.ERROR)
    student = dspy.Predict("question -> answer")

    def opro(optimizer: Any, examples: list[dspy.Example]) -> None:
        OPRO(
            metric=exact_match,
            prompt_model=optimizer,
            num_threads=NUM_THREADS,
            max_steps=options.steps,
            racing=False,
            cache_dir=None,
            verbose=False,
        ).compile(student, trainset=examples)

    def copro(optimizer: Any, examples: list[dspy.Example]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its LM's history
            COPRO(
                prompt_model=optimizer, metric=exact_match, breadth=8, depth=options.steps
            ).compile(
                student,
                trainset=examples,
                eval_kwargs={"num_threads": NUM_THREADS, "display_progress": False},
            )

    table = {"OPRO": run(opro), "COPRO": run(copro)}
    print("simulated LMs; seconds")
    print(f"{'':8}{'wall-clock':>11}{'bound':>8}{'ratio':>7}{'scorer calls':>14}{'proposals':>11}")
    for name, row in table.items():
        print(
            f"{name:8}{row['seconds']:>11.1f}{row['bound']:>8.1f}{row['ratio']:>7.2f}"
            f"{row['scorer_calls']:>14,}{row['optimizer_calls']:>11,}"
        )
    if options.out:
        options.out.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
