"""Wall-clock against its lower bound, beside COPRO in the same run, on simulated LMs that wait.

    python benchmarks/wall_clock.py [--steps 5] [--seeds 5] [--out wall_clock.json]

Scorer 100 ms, optimizer LM 500 ms, both lognormal with sigma 0.5; 16 threads; 60 examples, every
candidate on all of them. The bound of a step is the slowest of its 8 samples plus the scorer's
total time divided by 16: proposals come before scores, and nothing else need be waited for. Each
optimizer is compared with the bound of the calls that it made itself.

Then the wall-clock to the same quality, over seeds: COPRO runs to its end as above, OPRO with
racing and `OPRO_SETTINGS`, which use that proposals are asked for at the same time. The true
accuracy of what each returns is judged on fresh examples; the medians are to be about the same.
COPRO's time is given twice: that of its whole run, and that by which it had scored what it returns.
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
from statistics import median
from typing import Any

import dspy
from dspy.lm15 import Request, Response
from dspy.teleprompt import COPRO

from opro_dspy import OPRO
from opro_dspy.racing import Racing
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
NUM_FRESH = 400
FRESH_SEED = 1_000_000
"""Added to a run's seed for its fresh examples."""
OPRO_SETTINGS = {
    "num_candidates": 32,
    "max_steps": 4,
    "racing": Racing(scouting_steps=0, num_contenders=8),
}
"""Many proposals at the same time, few steps one after the other."""


@dataclass
class Log:
    """Start and duration of each call, by role, in seconds."""

    calls: list[tuple[float, str, float]] = field(default_factory=list)
    scored: list[tuple[float, str]] = field(default_factory=list)
    """End and instruction of each scorer call, white space made single spaces."""
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


def instruction_of(request: Request) -> str:
    """Return the instruction that DSPy's ChatAdapter put into a request."""
    return " ".join(str(request.system).rpartition("your objective is:")[2].split())


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
        end = time.perf_counter()
        with self._log.lock:
            self._log.calls.append((start, self._role, end - start))
            if self._role == "scorer":
                self._log.scored.append((end, instruction_of(request)))
        return response


@dataclass(frozen=True, kw_only=True)
class Seats:
    """What every optimizer gets."""

    examples: list[dspy.Example]
    scorer: dspy.LM
    optimizer: dspy.LM
    quality: Callable[[str], float]
    """An instruction's true accuracy on fresh examples, a fraction."""
    log: Log


def seats(seed: int = 0) -> Seats:
    log, shape = Log(), landscape("many_small_effects", seed=seed)
    examples = make_examples("arithmetic", n=NUM_EXAMPLES, seed=seed)
    fresh = make_examples("arithmetic", n=NUM_FRESH, seed=FRESH_SEED + seed)
    scorer = scorer_lm(answer_key=examples, landscape=shape, latency=Latency(mean_s=0.1, sigma=0.5))
    optimizer = optimizer_lm(seed=seed, latency=Latency(mean_s=0.5, sigma=0.5))
    return Seats(
        examples=examples,
        scorer=SimulatedLM("timed/scorer", engine=Timed(scorer.engine, "scorer", log), cache=False),
        optimizer=SimulatedLM(
            "timed/optimizer", engine=Timed(optimizer.engine, "optimizer", log), cache=False
        ),
        quality=lambda instruction: shape.expected_accuracy(instruction, fresh),
        log=log,
    )


def run_opro(given: Seats, **options: Any) -> str:
    """Return the instruction that OPRO finds."""
    with dspy.context(lm=given.scorer):
        program = OPRO(
            metric=exact_match,
            prompt_model=given.optimizer,
            num_threads=NUM_THREADS,
            cache_dir=None,
            verbose=False,
            **options,
        ).compile(dspy.Predict("question -> answer"), trainset=given.examples)
    return str(program.signature.instructions)


def run_copro(given: Seats, *, steps: int) -> str:
    """Return the instruction that COPRO finds."""
    quiet = contextlib.redirect_stdout(io.StringIO())  # it prints its LM's history
    with dspy.context(lm=given.scorer), quiet:
        program = COPRO(
            prompt_model=given.optimizer, metric=exact_match, breadth=8, depth=steps
        ).compile(
            dspy.Predict("question -> answer"),
            trainset=given.examples,
            eval_kwargs={"num_threads": NUM_THREADS, "display_progress": False},
        )
    return str(program.signature.instructions)


def against_bound(find: Callable[[Seats], str]) -> dict[str, float]:
    """Return how long a run took beside the bound of its own calls."""
    given = seats()
    start = time.perf_counter()
    find(given)
    seconds = time.perf_counter() - start
    n_scores = len(given.log.scored)
    return {
        "seconds": seconds,
        "bound": given.log.bound(),
        "ratio": seconds / given.log.bound(),
        "scorer_calls": n_scores,
        "optimizer_calls": len(given.log.calls) - n_scores,
    }


def to_equal_quality(seed: int, *, steps: int) -> dict[str, float]:
    """Return the seconds that COPRO and OPRO took, and how good what they return is."""
    given = seats(seed)
    start = time.perf_counter()
    instruction = run_copro(given, steps=steps)
    copro_s = time.perf_counter() - start
    told = [end for end, text in given.log.scored if text == " ".join(instruction.split())]
    other = seats(seed)
    start_opro = time.perf_counter()
    found = run_opro(other, seed=seed, **OPRO_SETTINGS)
    opro_s = time.perf_counter() - start_opro
    return {
        "seed": seed,
        "copro_seconds": copro_s,
        "copro_seconds_to_found": sorted(told)[NUM_EXAMPLES - 1] - start,
        "copro_quality": given.quality(instruction),
        "opro_seconds": opro_s,
        "opro_quality": other.quality(found),
        "opro_scorer_calls": len(other.log.scored),
    }


def compared(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians over seeds, and OPRO's share of COPRO's time."""
    found = {name: median(row[name] for row in rows) for name in rows[0] if name != "seed"}
    for name in ("copro_seconds", "copro_seconds_to_found"):
        share = median(row["opro_seconds"] / row[name] for row in rows)
        found[f"share_of_{name}"] = share
    return found


def line(name: str, row: dict[str, float]) -> str:
    return (
        f"{name:8}{row['copro_seconds']:>9.1f}{row['copro_seconds_to_found']:>10.1f}"
        f"{row['opro_seconds']:>8.1f}{row['copro_quality']:>14.1%}{row['opro_quality']:>12.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="runs to equal quality")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    logging.getLogger("dspy").setLevel(logging.ERROR)
    steps = options.steps
    table = {
        "OPRO": against_bound(lambda given: run_opro(given, max_steps=steps, racing=False)),
        "COPRO": against_bound(lambda given: run_copro(given, steps=steps)),
    }
    print("simulated LMs; seconds")
    print(f"{'':8}{'wall-clock':>11}{'bound':>8}{'ratio':>7}{'scorer calls':>14}{'proposals':>11}")
    for name, row in table.items():
        print(
            f"{name:8}{row['seconds']:>11.1f}{row['bound']:>8.1f}{row['ratio']:>7.2f}"
            f"{row['scorer_calls']:>14,}{row['optimizer_calls']:>11,}"
        )
    print("to the same quality, OPRO with racing; seconds, and true accuracy on fresh examples")
    print(f"{'seed':8}{'COPRO':>9}{'to found':>10}{'OPRO':>8}{'COPRO found':>14}{'OPRO found':>12}")
    rows = []
    for seed in range(options.seeds):
        row = to_equal_quality(seed, steps=steps)
        rows.append(row)
        print(line(str(seed), row))
    medians = compared(rows) if rows else {}
    if medians:
        print(line("median", medians))
        whole, to_found = (
            medians[f"share_of_{name}"] for name in ("copro_seconds", "copro_seconds_to_found")
        )
        print(f"OPRO's share of COPRO's time: {whole:.2f}, of that to what it found {to_found:.2f}")
    if options.out:
        figures = {**table, "to_equal_quality": {"medians": medians, "runs": rows}}
        options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
