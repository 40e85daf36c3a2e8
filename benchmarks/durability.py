"""What it saves to run a compile again, and what it costs to write it down, on simulated LMs.

    python benchmarks/durability.py [--steps 5] [--out durability.json]

A cold compile, the same again in a new process, and one that goes on from the middle: LM calls
and seconds of `compile`, imports aside, as ratios to the cold one. Then by how much a run takes
longer for being written down, and the size of its journal.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dspy

from opro_dspy import OPRO
from opro_dspy.simulation import (
    Latency,
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)

CALL_S = 0.02
NUM_THREADS = 8


def compile_once(log_dir: Path | None, steps: int) -> dict[str, float]:
    """Compile in `log_dir`; return calls and seconds."""
    examples = make_examples("arithmetic", n=90, seed=0)
    scorer = scorer_lm(
        answer_key=examples,
        landscape=landscape("many_small_effects", seed=0),
        latency=Latency(mean_s=CALL_S, sigma=0.0),
        cache=False,
    )
    optimizer = optimizer_lm(seed=0, latency=Latency(mean_s=CALL_S, sigma=0.0), cache=False)
    start = time.perf_counter()
    with dspy.context(lm=scorer):
        compiled = OPRO(
            metric=exact_match,
            prompt_model=optimizer,
            max_steps=steps,
            num_threads=NUM_THREADS,
            verbose=False,
            log_dir=log_dir,
        ).compile(dspy.Predict("question -> answer"), trainset=examples[:60], valset=examples[60:])
    return {
        "calls": scorer.engine.calls + optimizer.engine.calls,
        "seconds": time.perf_counter() - start,
        "score": compiled.score,
    }


def in_a_new_process(log_dir: Path, steps: int) -> dict[str, float]:
    """Compile in `log_dir` in a process of its own."""
    command = [sys.executable, __file__, "--once", str(log_dir), "--steps", str(steps)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def log_share(folder: Path, steps: int, rounds: int) -> float:
    """Return by how much a cold run takes longer with its log, as a share.

    Runs with and without take turns, and the least of each counts: on a shared machine the least
    is what the work itself takes.
    """
    without, with_log = [], []
    for i in range(rounds):
        without.append(compile_once(None, steps)["seconds"])
        with_log.append(compile_once(folder / str(i), steps)["seconds"])
    return min(with_log) / min(without) - 1.0


def cut_in_the_middle(log_dir: Path, aside: Path) -> None:
    """Make a copy of a run as if it had been killed when half of it was written."""
    shutil.copytree(log_dir, aside)
    path = aside / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def measure(steps: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        first, half, timed = Path(folder) / "run", Path(folder) / "half", Path(folder) / "timed"
        cold = in_a_new_process(first, steps)
        cut_in_the_middle(first, half)
        again, resumed = in_a_new_process(first, steps), in_a_new_process(half, steps)
        share = log_share(timed, steps, rounds)
        lines = (first / "journal.jsonl").read_text().splitlines()
        scored = sum(json.loads(line)["type"] == "score" for line in lines)
        size = (first / "journal.jsonl").stat().st_size
    if not cold["score"] == again["score"] == resumed["score"]:
        raise SystemExit("the runs differ")
    return {
        "cold": cold,
        "again": again,
        "from the middle": resumed,
        "share of the log": share,
        "bytes per scored example": size / scored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("dspy").setLevel(logging.ERROR)
    if options.once:
        print(json.dumps(compile_once(options.once, options.steps)))
        return
    figures = measure(options.steps, options.rounds)
    print("simulated LMs, 20 ms a call")
    print(f"{'':18}{'LM calls':>9}{'ratio':>7}{'seconds':>9}{'ratio':>7}")
    cold = figures["cold"]
    for name in ("cold", "again", "from the middle"):
        row = figures[name]
        print(
            f"{name:18}{row['calls']:>9,}{row['calls'] / cold['calls']:>7.2f}"
            f"{row['seconds']:>9.2f}{row['seconds'] / cold['seconds']:>7.2f}"
        )
    print(f"a cold run takes longer with its log by: {figures['share of the log']:.2%}")
    print(f"journal's bytes per scored example: {figures['bytes per scored example']:.0f}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
