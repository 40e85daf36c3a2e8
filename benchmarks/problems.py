"""The paper's two problems: linear regression and the travelling salesman.

    python benchmarks/problems.py [--seeds 5] [--steps 500] [--lm openai/gpt-5]
        [--sizes 10 15 20 50] [--resume problems.jsonl] [--out problems.json]

The paper's settings: 8 candidates a step at temperature 1.0, the best 20 solutions with values
rounded to whole numbers, 5 starting points, at most 500 steps, the end when the optimum is
proposed. The optimizer LM is the simulated one unless `--lm` names a real one. Beside it stand the
paper's figures for GPT-4: tables 2 and 3 of arXiv:2309.03409, on its own instances and its own LM.
A run that was cut off goes on with `--resume`.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import dspy

from opro_dspy import Result, View, optimize
from opro_dspy.cache import DEFAULT_CACHE
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.problems.tours import farthest_insertion, nearest_neighbour
from opro_dspy.protocols import Problem
from opro_dspy.simulation import numeric_optimizer_lm
from opro_dspy.studies.cells import Cap, Measured, Record, Spent, run_cells
from opro_dspy.studies.table import Row, rows_of

REMARK = (
    "GPT-4: as printed in tables 2 and 3 of the paper (arXiv:2309.03409). The LMs differ, and so "
    "do the instances: the columns are no contest."
)

PAPER_LINES = {
    (15, 14): ("4.0 ± 1.5", "17.2 ± 5.1"),
    (17, 17): ("6.0 ± 3.7", "26.0 ± 10.6"),
    (16, 10): ("6.2 ± 3.1", "24.2 ± 8.2"),
    (3, 5): ("12.2 ± 2.0", "33.0 ± 4.0"),
    (25, 23): ("12.2 ± 3.7", "44.2 ± 8.3"),
    (2, 30): ("38.0 ± 15.9", "99.0 ± 24.6"),
    (36, -1): ("50.4 ± 18.8", "116.4 ± 32.7"),
}
"""(w, b) to steps and distinct pairs of GPT-4: mean ± standard deviation of 5 runs."""

PAPER_TOURS = {
    10: ("13.0", "3.2", "0.0", "9.6 ± 3.0 (5)"),
    15: ("9.4", "1.2", "0.2", "58.5 ± 29.0 (4)"),
    20: ("16.0", "0.2", "1.4", "195.5 ± 127.6 (2)"),
    50: ("19.7", "9.8", "11.0", "- (0)"),
}
"""Points to the gaps in percent of nearest neighbour, farthest insertion and GPT-4, and GPT-4's
steps to the optimum with the number of instances, of 5, on which it was found."""


def solve(problem: Problem, seed: int, options: argparse.Namespace, cap: Cap) -> Result:
    lm = dspy.LM(options.lm) if options.lm else numeric_optimizer_lm(seed=seed, cache=False)
    return optimize(
        problem,
        prompt_model=lm,
        max_steps=options.steps,
        max_empty_steps=max(1, options.steps),
        view=View(score_decimals=0),
        seed=seed,
        cache_dir=DEFAULT_CACHE if options.lm else None,
        **cap.settings(),
    )


def measured(result: Result, **more: float | None) -> Measured:
    found = result.stop_reason.startswith("optimal")
    return Measured(
        values={
            "steps": float(result.num_steps) if found else None,
            "distinct": float(result.num_distinct),
            "found": float(found),
            "invalid": float(sum(result.invalid.values())),
            **more,
        },
        spent=Spent.of(result),
    )


def measure_line(variant: str, seed: int, options: argparse.Namespace, cap: Cap) -> Measured:
    w, b = map(int, variant.split())
    return measured(solve(LinearRegression.random(w=w, b=b, seed=seed), seed, options, cap))


def measure_tour(variant: str, seed: int, options: argparse.Namespace, cap: Cap) -> Measured:
    problem = TravelingSalesman.random(n=int(variant), seed=seed).with_optimum()
    result = solve(problem, seed, options, cap)
    points = problem.points
    return measured(
        result,
        gap=100 * problem.gap(result.best.score or 0.0),
        nearest=100 * problem.gap(problem.score(nearest_neighbour(points))),
        farthest=100 * problem.gap(problem.score(farthest_insertion(points))),
    )


def records_of(study: str, variants: Sequence[str], options: argparse.Namespace) -> list[Record]:
    measure = measure_line if study == "lines" else measure_tour
    cells = [(variant, seed) for variant in variants for seed in range(options.seeds)]

    def run(variant: str, seed: int, cap: Cap) -> Measured:
        print(f"{study} {variant}, seed {seed}", flush=True)
        return measure(variant, seed, options, cap)

    return run_cells(
        study,
        cells,
        run,
        settings={"steps": options.steps, "lm": options.lm or "simulated"},
        path=options.resume and options.resume.with_suffix(f".{study}.jsonl"),
    )


def table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines, strict=True)]
    rows = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in (header, *lines)]
    return "\n".join([title, *rows])


def lines_table(rows: Sequence[Row], lm: str) -> str:
    header = ("w, b", "found", f"steps ({lm})", "distinct", "GPT-4 steps", "GPT-4 distinct")
    return table(
        "Linear regression: steps to the optimum and distinct pairs tried "
        "(mean ± standard error; the paper: ± standard deviation)",
        header,
        [
            (
                row.variant.replace(" ", ", "),
                f"{row.figures['found'].mean or 0:.0%}",
                str(row.figures["steps"]),
                str(row.figures["distinct"]),
                *PAPER_LINES[w, b],
            )
            for row in rows
            for w, b in [tuple(map(int, row.variant.split()))]
        ],
    )


def tours_table(rows: Sequence[Row], lm: str) -> str:
    header = (
        *("n", f"gap % ({lm})", "NN gap %", "FI gap %", "found", "steps", "invalid"),
        *("paper: NN", "FI", "GPT-4 gap %", "GPT-4 steps (found)"),
    )
    return table(
        "Travelling salesman: gap to the exact optimum, steps where it was found "
        "(mean ± standard error)",
        header,
        [
            (
                row.variant,
                *(str(row.figures[name]) for name in ("gap", "nearest", "farthest")),
                f"{row.figures['found'].mean or 0:.0%}",
                *(str(row.figures[name]) for name in ("steps", "invalid")),
                *PAPER_TOURS.get(int(row.variant), ("-",) * 4),
            )
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lm", help="a real LM; needs its key")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 15, 20, 50])
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--out", type=Path, default=Path("problems.json"))
    options = parser.parse_args()
    if options.seeds < 1 or options.steps < 0 or min(options.sizes, default=1) < 1:
        parser.error("--seeds and --sizes must be at least 1, --steps at least 0.")
    logging.getLogger("opro_dspy").setLevel(logging.ERROR)
    variants = {
        "lines": [f"{w} {b}" for w, b in PAPER_LINES],
        "tours": [str(n) for n in options.sizes],
    }
    rows = {name: rows_of(records_of(name, v, options), v) for name, v in variants.items()}
    lm = options.lm or "simulated"
    print("\n" + lines_table(rows["lines"], lm) + "\n\n" + tours_table(rows["tours"], lm))
    print(f"\n{REMARK}" + ("" if options.lm else " Ours is a simulated LM."))
    found = {name: [row.model_dump() for row in part] for name, part in rows.items()}
    options.out.write_text(json.dumps({"lm": lm, "remark": REMARK, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
