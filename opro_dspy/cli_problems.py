"""`python -m opro_dspy demo --problem …`: a run on one of the paper's problems."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from opro_dspy import Result, optimize
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.simulation import numeric_optimizer_lm


def solve(console: Console, name: str, *, steps: int, seed: int) -> None:
    """Show a run on one of the paper's problems."""
    problem: Any = LinearRegression.random(w=15, b=14, seed=seed)
    said = "LinearRegression: the line through 50 points; the LM sees (w, b) and losses only."
    if name == "tsp":
        problem = TravelingSalesman.random(n=10, seed=seed)
        said = "TravelingSalesman: the shortest tour through 10 points."
        try:
            problem = problem.with_optimum()
        except ImportError as error:
            said += f" It is not known how long that is: {escape(str(error))}."
    console.print(
        f"{said}\nThe optimizer LM is [bold]simulated[/]: these are numbers of the simulation, not "
        "of a real model.\n"
    )
    result = optimize(
        problem, prompt_model=numeric_optimizer_lm(seed=seed), max_steps=steps, seed=seed
    )
    used = result.used("optimizer")
    console.print(_solutions_table(result))
    console.print(
        f"The search ended with {result.stop_reason}. Steps: {result.num_steps}; "
        f"{result.num_distinct} distinct solutions, {used.calls:,} calls, {used.cache_hits:,} "
        "answers from the cache."
    )
    for reason, count in result.invalid.items():
        console.print(f"Answers that were no solution: {count} ({escape(reason)}).")


def _solutions_table(result: Result[Any]) -> Table:
    table = Table(title="Solutions better than all before", title_justify="left")
    for name in ("step", "value"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("solution", no_wrap=True)
    best: float | None = None
    for solution in result.candidates:
        score = solution.score
        if score is None or (best is not None and (score > best) != result.higher_is_better):
            continue
        if score != best:
            best = score
            table.add_row(str(solution.step), f"{score:,.1f}", Text(solution.text))
    return table
