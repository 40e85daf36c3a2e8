"""What it saves to run a compile again, and what it costs to write it down, on simulated LMs.

    python benchmarks/durability.py [--steps 10] [--rounds 9] [--out durability.json]

A cold compile, the same again in a new process, one that goes on from the middle, and one without
that log that finds all in the cache: LM calls and seconds of `compile`, imports aside, as ratios
to the cold one. Then what a call takes more for the run's log and cache, one call at a time and 8
at once: wall-clock, as a share of the run's, and CPU time, as a share of the 20 ms that the LM
takes; medians over pairs of runs, with their standard errors. Last the size of the journal.
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
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import median, stdev
from typing import Any

import dspy

from opro_dspy import OPRO
from opro_dspy.cache import CacheDir, DiskStore
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
WAYS = {"log": ("log_dir",), "cache": ("cache_dir",), "both": ("log_dir", "cache_dir")}
MEDIAN_ERROR = 1.2533  # standard error of a median beside that of a mean, for normal errors


def compile_once(
    steps: int,
    *,
    log_dir: Path | None = None,
    cache_dir: Path | None = None,
    num_threads: int = NUM_THREADS,
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
            num_threads=num_threads,
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


def shares(folder: Path, steps: int, rounds: int, num_threads: int) -> list[dict[str, Any]]:
    """Return what a call takes more in a cold run with log, cache, or both.

    In each round the ways take turns with a run without either, so that what else the machine
    does meets both of a pair. A cache is empty, but its folder is made before, once for good. For
    each call, because a run with a cache makes some more: the chosen program meets all training
    examples.

    Returns:
        A row for each way: "wall-clock", a share of the run's, and "cpu", a share of what an LM
        call takes, each as median and standard error.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for i in range(rounds):
        bare = compile_once(steps, num_threads=num_threads)
        for name, kinds in WAYS.items():
            places = {kind: folder / f"{num_threads}-{name}-{kind}-{i}" for kind in kinds}
            if "cache_dir" in places:
                DiskStore(CacheDir(path=places["cache_dir"])).close()
            mine = compile_once(steps, num_threads=num_threads, **places)
            seconds, cpu = (
                (mine[kind] / mine["calls"], bare[kind] / bare["calls"])
                for kind in ("seconds", "cpu seconds")
            )
            found[name].append((seconds[0] / seconds[1] - 1.0, (cpu[0] - cpu[1]) / CALL_S))
    return [
        {
            "way": name,
            "threads": num_threads,
            "wall-clock": middle([wall for wall, _ in pairs]),
            "cpu": middle([cpu for _, cpu in pairs]),
        }
        for name, pairs in found.items()
    ]


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the median of `values` and its standard error."""
    error = MEDIAN_ERROR * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    return median(values), error


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
        timed = Path(folder) / "timed"
        share = [row for n in (1, NUM_THREADS) for row in shares(timed, steps, rounds, n)]
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
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
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
    print("a call takes more: of the run's wall-clock, and CPU time as a share of the LM's 20 ms")
    print(f"{'':9}{'threads':>9}{'wall-clock':>18}{'CPU time':>18}")
    for row in figures["shares"]:
        cells = (f"{row[kind][0]:+.1%} ± {row[kind][1]:.1%}" for kind in ("wall-clock", "cpu"))
        print(f"{row['way']:9}{row['threads']:>9}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"journal's bytes per scored example: {figures['bytes per scored example']:.0f}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
