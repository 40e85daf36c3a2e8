"""Bookkeeping per example with an instant LM, beside dspy.Evaluate in the same run.

    python benchmarks/overhead.py [--out overhead.json]

Prints microseconds per example for one candidate at 500 to 8,000 examples, what a bare loop over
the program costs, and the two ratios that the project claims: ours to dspy.Evaluate's overhead at
500 examples, and ours at 8,000 to ours at 500. The two take turns, and each figure is the least of
several rounds: on a shared machine the least is what the work itself takes.
"""

import argparse
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dspy

from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.conditions import Conditions, NoTrace
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.metric import Metric
from opro_dspy.pool import DaemonExecutor
from opro_dspy.program import Program
from opro_dspy.trajectory import Trajectory

NUM_THREADS = 8
EXECUTOR = DaemonExecutor(NUM_THREADS, name="overhead")  # a compile has one for all its steps
SIZES = (500, 1000, 2000, 4000, 8000)


class Instant(dspy.Module):
    """Answers at once, without an LM: what is left is the evaluator's own work."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """Return the question as the answer."""
        return dspy.Prediction(answer=question)


def metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return a cheap number."""
    return float(len(prediction.answer) % 2)


def examples_of(n: int) -> list[dspy.Example]:
    return [dspy.Example(question=str(i), answer="").with_inputs("question") for i in range(n)]


def ours(program: Program, examples: list[dspy.Example]) -> None:
    meter = Meter()
    conditions = Conditions(
        metric=Metric(metric),
        executor=EXECUTOR,
        num_threads=NUM_THREADS,
        context=partial(meter.role, SCORER, trace=NoTrace()),
        gate=Gate(meter, max_in_flight=NUM_THREADS),
        timeout_s=600.0,
    )
    evaluator = ProgramEvaluator(program.build, examples=examples, conditions=conditions)
    evaluator.evaluate([program.candidate], Trajectory())


def theirs(student: dspy.Module, examples: list[dspy.Example]) -> None:
    with dspy.context(trace=None):
        dspy.Evaluate(devset=examples, metric=metric, num_threads=NUM_THREADS)(student)


def bare(student: dspy.Module, examples: list[dspy.Example]) -> None:
    with dspy.context(trace=None):
        for example in examples:
            metric(example, student(**example.inputs()))


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(n: int, rounds: int) -> dict[str, float]:
    student, examples = Instant(), examples_of(n)
    program = Program(student)  # once for a compile
    taken: dict[str, list[float]] = {"ours": [], "dspy.Evaluate": [], "bare loop": []}
    for _ in range(rounds):
        taken["ours"].append(seconds(partial(ours, program, examples)))
        taken["dspy.Evaluate"].append(seconds(partial(theirs, student, examples)))
        taken["bare loop"].append(seconds(partial(bare, student, examples)))
    return {name: 1e6 * min(times) / n for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    logging.getLogger("dspy").setLevel(logging.ERROR)
    measure(200, 2)  # warm up
    table = {n: measure(n, options.rounds) for n in SIZES}
    print(f"{'examples':>9} {'ours':>10} {'dspy.Evaluate':>14} {'bare loop':>10}   µs per example")
    for n, row in table.items():
        print(
            f"{n:>9} {row['ours']:>10.1f} {row['dspy.Evaluate']:>14.1f} {row['bare loop']:>10.1f}"
        )

    def overhead(n: int, name: str) -> float:
        return table[n][name] - table[n]["bare loop"]

    figures = {
        "ours / dspy.Evaluate, overhead at 500": overhead(500, "ours")
        / overhead(500, "dspy.Evaluate"),
        "ours, 8,000 / 500": table[8000]["ours"] / table[500]["ours"],
        "dspy.Evaluate, 8,000 / 500": table[8000]["dspy.Evaluate"] / table[500]["dspy.Evaluate"],
    }
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")
    if options.out:
        options.out.write_text(json.dumps({"us_per_example": table, "ratios": figures}, indent=2))


if __name__ == "__main__":
    main()
