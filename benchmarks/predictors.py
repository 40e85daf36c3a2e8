"""Programs of several predictors: both strategies beside optimizing only the last predictor.

    python benchmarks/predictors.py [--seeds 8] [--budgets 1000 2000 4000] [--shifts 1.6 3]
        [--jobs 2] [--out predictors.json]

Simulated LMs, caches off: programs of two and of four stages, each stage with a landscape of its
own, 60 training examples of arithmetic. How much later stages depend on earlier ones is the shift,
the logits that an earlier stage's note adds or takes: with 1.6 a good last instruction makes up for
most muddled notes, with 3 it hardly does. Per strategy and seed there is one run; its figure at a
budget is the true held-out accuracy of the best candidate when so many scorer calls had been made
(calls that reached the simulated engine: a note that is shared is paid for once).
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import dspy

from opro_dspy import OPRO
from opro_dspy.protocols import Event, StepEnded
from opro_dspy.simulation import (
    LANDSCAPE_NAMES,
    StagedProgram,
    exact_match,
    make_examples,
    optimizer_lm,
    staged_scorer_lm,
)

STRATEGIES = ("last only", "round_robin", "all")
NUM_EXAMPLES, NUM_FRESH, FRESH_SEED = 60, 200, 10_000
MAX_STEPS = 200


def measure(job: tuple[int, float, str, str, int, int]) -> dict[str, Any]:
    """Make one run; return the curve of (scorer calls, true accuracy), step by step."""
    num_stages, note_shift, landscape, strategy, seed, budget = job
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    examples = make_examples("arithmetic", NUM_EXAMPLES, seed=seed)
    fresh = make_examples("arithmetic", NUM_FRESH, seed=FRESH_SEED + seed)
    scorer = staged_scorer_lm(
        answer_key=examples,
        landscape_name=landscape,
        num_stages=num_stages,
        note_shift=note_shift,
        seed=seed,
    )
    student = StagedProgram(num_stages)
    texts = {name: p.signature.instructions for name, p in student.named_predictors()}
    curve: list[tuple[int, float]] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepEnded):
            best = event.trajectory.best.candidate.texts
            quality = scorer.engine.expected_accuracy({**texts, **best}, fresh)
            curve.append((scorer.engine.calls, quality))

    def over(trajectory: Any) -> str | None:
        return "budget" if scorer.engine.calls >= budget else None

    optimizer = OPRO(
        metric=exact_match,
        prompt_model=optimizer_lm(seed=seed),
        component_selector="round_robin" if strategy == "last only" else strategy,
        max_steps=MAX_STEPS,
        stop=over,
        num_threads=1,
        cache_dir=None,
        track_stats=False,
        verbose=False,
        seed=seed,
        observers=[watch],
    )
    with dspy.context(lm=scorer):
        program = student.frozen_but_last() if strategy == "last only" else student
        # One example to choose on: the curve is that of the search, the choice would come on top.
        optimizer.compile(program, trainset=examples, valset=fresh[:1])
    keys = ("stages", "shift", "landscape", "strategy", "seed")
    return {**dict(zip(keys, job[:5], strict=True)), "curve": curve}


def at(record: dict[str, Any], calls: int) -> float:
    """Return the quality of the best candidate when so many scorer calls had been made."""
    done = [quality for used, quality in record["curve"] if used <= calls]
    return float(done[-1])


def rows(records: Sequence[dict[str, Any]], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """Return the quality by program, budget and strategy, and what each is ahead of "last only".

    Each is a mean with its standard error; what a strategy is ahead is paired by landscape and
    seed, which all strategies have in common.
    """
    found = []
    for stages, shift in sorted({(record["stages"], record["shift"]) for record in records}):
        for budget in budgets:
            row: dict[str, Any] = {"stages": stages, "shift": shift, "calls": budget}
            values = {
                strategy: {
                    (r["landscape"], r["seed"]): 100 * at(r, budget)
                    for r in records
                    if (r["stages"], r["shift"], r["strategy"]) == (stages, shift, strategy)
                }
                for strategy in STRATEGIES
            }
            last = values["last only"]
            for strategy in STRATEGIES:
                row[strategy] = mean(list(values[strategy].values()))
            for strategy in STRATEGIES[1:]:
                row[f"{strategy} ahead"] = mean([q - last[k] for k, q in values[strategy].items()])
            found.append(row)
    return found


def mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return fmean(values), stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows as the lines of a table."""
    ahead = [f"{strategy} ahead" for strategy in STRATEGIES[1:]]
    heads = "".join(f"{name:>19}" for name in (*STRATEGIES, *ahead))
    lines = [f"{'stages':>6} {'shift':>6} {'calls':>7}{heads}"]
    for row in found:
        cells = [f"{row[s][0]:.1f} ± {row[s][1]:.1f}" for s in STRATEGIES]
        cells += [f"{row[s][0]:+.1f} ± {row[s][1]:.1f}" for s in ahead]
        program = f"{row['stages']:>6} {row['shift']:>6g} {row['calls']:>7,}"
        lines.append(program + "".join(f"{c:>19}" for c in cells))
    return lines


def _silence() -> None:
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--budgets", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--shifts", type=float, nargs="+", default=[1.6, 3.0])
    parser.add_argument("--landscapes", nargs="+", default=list(LANDSCAPE_NAMES))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    jobs = [
        (stages, shift, landscape, strategy, seed, max(options.budgets))
        for seed in range(options.seeds)
        for landscape in options.landscapes
        for stages in options.stages
        for shift in options.shifts
        for strategy in STRATEGIES
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs, initializer=_silence) as pool:
        records = []
        for record in pool.imap_unordered(measure, jobs):
            records.append(record)
            if options.out:  # as they come: what is measured is not lost
                options.out.write_text(json.dumps({"runs": records}), encoding="utf-8")
    found = rows(records, sorted(options.budgets))
    print("simulated LMs; true held-out accuracy, % ± standard error over seeds and landscapes")
    print("\n".join(table(found)))
    if options.out:
        options.out.write_text(json.dumps({"rows": found, "runs": records}), encoding="utf-8")


if __name__ == "__main__":
    main()
