"""What feedback in the meta-prompt adds, on a simulated optimizer LM that can use it.

    python benchmarks/feedback.py [--seeds 5] [--calls 600] [--jobs 2] [--out feedback.json]

All simulated: the metric looks into the landscape, and half of what it says helps
(`FeedbackMetric`); the optimizer LM takes up one in two things that it reads
(`feedback_optimizer_lm`). So the figures show that feedback arrives where it can be used, and not
how much a real LM would make of real feedback. True held-out quality on 400 fresh examples at equal
numbers of metric calls, 60 training examples of arithmetic.
"""

import argparse
import json
import logging
import multiprocessing
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import dspy

from opro_dspy import OPRO
from opro_dspy.simulation import (
    LANDSCAPE_NAMES,
    FeedbackMetric,
    feedback_optimizer_lm,
    landscape,
    make_examples,
    scorer_lm,
)

EXEMPLARS = ("random", "current_most_frequent", "with_feedback")
NUM_EXAMPLES, NUM_FRESH, FRESH_SEED = 60, 400, 10_000


def measure(job: tuple[str, str, int, int]) -> float:
    """Make one run; return the true held-out quality of what it chose, in percent."""
    exemplars, name, seed, calls = job
    logging.disable(logging.CRITICAL)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    examples = make_examples("arithmetic", NUM_EXAMPLES, seed=seed)
    fresh = make_examples("arithmetic", NUM_FRESH, seed=FRESH_SEED + seed)
    shape = landscape(name, seed=seed)
    optimizer = OPRO(
        metric=FeedbackMetric(shape),
        prompt_model=feedback_optimizer_lm(seed=seed),
        exemplars=exemplars,
        max_metric_calls=calls,
        max_steps=100,
        num_threads=1,
        cache_dir=None,
        track_stats=False,
        verbose=False,
        seed=seed,
    )
    with dspy.context(lm=scorer_lm(answer_key=examples, landscape=shape)):
        program = optimizer.compile(dspy.Predict("question -> answer"), trainset=examples)
    return 100 * shape.expected_accuracy(program.predictors()[0].signature.instructions, fresh)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=600, help="metric calls of each run")
    parser.add_argument("--landscapes", nargs="+", default=list(LANDSCAPE_NAMES))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    cells = [(name, seed) for name in options.landscapes for seed in range(options.seeds)]
    figures = {}
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for exemplars in EXEMPLARS:
            jobs = [(exemplars, name, seed, options.calls) for name, seed in cells]
            figures[exemplars] = pool.map(measure, jobs, chunksize=1)
    print(f"simulated LMs and metric; {options.calls} metric calls; quality %, ± standard error")
    for exemplars, values in figures.items():
        error = stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
        print(f"{exemplars:>24} {fmean(values):6.1f} ± {error:.1f}")
    if options.out:
        options.out.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
