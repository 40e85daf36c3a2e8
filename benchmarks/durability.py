"""What it saves to run a compile again, and what it costs to write it down, on simulated LMs.

    python benchmarks/durability.py [--steps 5] [--out durability.json]

A cold compile, the same again in a new process, one that goes on from the middle, and one without
that log that finds all in the cache: LM calls and seconds of `compile`, imports aside, as ratios
to the cold one. Then what a call takes more for the run's log and cache: wall-clock, as a share of
the run's, and CPU time, as a share of the 20 ms that the LM takes. On a busy machine the wall-clock
of a run swings more than that; CPU time says what the work is. Last the size of the journal.
DSPy's own cache is off throughout.
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


def compile_once(
    steps: int, *, log_dir: Path | None = None, cache_dir: Path | None = None
) -> dict[str, float]:
    """Compile with log and cache, if given; return calls and seconds."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    examples = make_examples("arithmetic", n=90, seed=0)
    scorer = scorer_lm(
        answer_key=examples,
        landscape=landscape("many_small_effects", seed=0),
        latency=Latency(mean_s=CALL_S, sigma=0.0),
    )
    optimizer = optimizer_lm(seed=0, latency=Latency(mean_s=CALL_S, sigma=0.0))
    start, cpu = time.perf_counter(), time.process_time()
    with dspy.context(lm=scorer):
        compiled = OPRO(
            metric=exact_match,
            prompt_model=optimizer,
            max_steps=steps,
            num_threads=NUM_THREADS,
            verbose=False,
            log_dir=log_dir,
            cache_dir=cache_dir,
        ).compile(dspy.Predict("question -> answer"), trainset=examples[:60], valset=examples[60:])
    return {
        "calls": scorer.engine.calls + optimizer.engine.calls,
        "seconds": time.perf_counter() - start,
        "cpu seconds": time.process_time() - cpu,
        "score": compiled.score,
    }


def in_a_new_process(steps: int, log_dir: Path, cache_dir: Path | None = None) -> dict[str, float]:
    """Compile in a process of its own."""
    command = [sys.executable, __file__, "--once", str(log_dir), "--steps", str(steps)]
    command += [] if cache_dir is None else ["--cache", str(cache_dir)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def shares(folder: Path, steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return what a call takes more in a cold run with log, cache, or both.

    The ways take turns, and the least of each counts: on a shared machine the least is what the
    work itself takes. For each call, because a run with a cache makes some more: the chosen
    program meets all training examples.

    Returns:
        Name of the way to "wall-clock", a share of the run without either, and "cpu", a share of
        what an LM call takes.
    """
    ways = {"nothing": "", "log": "log", "cache": "cache", "both": "log cache"}
    kinds_of_time = ("seconds", "cpu seconds")
    least = {name: dict.fromkeys(kinds_of_time, float("inf")) for name in ways}
    for i in range(rounds):
        for name, kinds in ways.items():
            places = {f"{kind}_dir": folder / f"{name}-{kind}-{i}" for kind in kinds.split()}
            found = compile_once(steps, **places)
            for time_of in kinds_of_time:
                least[name][time_of] = min(least[name][time_of], found[time_of] / found["calls"])
    bare = least.pop("nothing")
    return {
        name: {
            "wall-clock": mine["seconds"] / bare["seconds"] - 1.0,
            "cpu": (mine["cpu seconds"] - bare["cpu seconds"]) / CALL_S,
        }
        for name, mine in least.items()
    }


def cut_in_the_middle(log_dir: Path, aside: Path) -> None:
    """Make a copy of a run as if it had been killed when half of it was written."""
    shutil.copytree(log_dir, aside)
    path = aside / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def measure(steps: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        first, half, other = (Path(folder) / name for name in ("run", "half", "other"))
        cache = Path(folder) / "cache"
        cold = in_a_new_process(steps, first, cache)
        cut_in_the_middle(first, half)
        again, resumed = in_a_new_process(steps, first), in_a_new_process(steps, half)
        recalled = in_a_new_process(steps, other, cache)
        share = shares(Path(folder) / "timed", steps, rounds)
        lines = (first / "journal.jsonl").read_text().splitlines()
        scored = sum(json.loads(line)["type"] == "score" for line in lines)
        size = (first / "journal.jsonl").stat().st_size
    if not cold["score"] == again["score"] == resumed["score"] == recalled["score"]:
        raise SystemExit("the runs differ")
    return {
        "cold": cold,
        "again": again,
        "from the middle": resumed,
        "from the cache": recalled,
        "shares": share,
        "bytes per scored example": size / scored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("dspy").setLevel(logging.ERROR)
    if options.once:
        found = compile_once(options.steps, log_dir=options.once, cache_dir=options.cache)
        print(json.dumps(found))
        return
    figures = measure(options.steps, options.rounds)
    print("simulated LMs, 20 ms a call")
    print(f"{'':18}{'LM calls':>9}{'ratio':>7}{'seconds':>9}{'ratio':>7}")
    cold = figures["cold"]
    for name in ("cold", "again", "from the middle", "from the cache"):
        row = figures[name]
        print(
            f"{name:18}{row['calls']:>9,}{row['calls'] / cold['calls']:>7.2f}"
            f"{row['seconds']:>9.2f}{row['seconds'] / cold['seconds']:>7.2f}"
        )
    print("a call takes more, wall-clock of the run and CPU time of the LM's 20 ms:")
    for name, share in figures["shares"].items():
        print(f"{name:18}{share['wall-clock']:>9.1%}{share['cpu']:>7.1%}")
    print(f"journal's bytes per scored example: {figures['bytes per scored example']:.0f}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
