"""`opro-dspy demo --problem …`: a run on one of the paper's problems."""

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from opro_dspy import Result, optimize
from opro_dspy.cli.finding import SIMULATED, prompt_model_of
from opro_dspy.cli.group import INTERRUPTED
from opro_dspy.cli.screen import bold, console, note, say, say_json
from opro_dspy.cli.telling import end_line
from opro_dspy.filters import shown
from opro_dspy.loop import INTERRUPTED as STOPPED
from opro_dspy.problems import LinearRegression, TravelingSalesman
from opro_dspy.simulation import numeric_optimizer_lm

NUM_STEPS = 500


def solve(
    name: str, prompt_model: str | None, *, steps: int | None, seed: int, as_json: bool
) -> None:
    """Show a run on one of the paper's problems."""
    problem: Any = LinearRegression.random(w=15, b=14, seed=seed)
    said = "LinearRegression: the line through 50 points; the LM sees (w, b) and losses only."
    if name == "tsp":
        problem = TravelingSalesman.random(n=10, seed=seed)
        said = "TravelingSalesman: the shortest tour through 10 points."
        try:
            problem = problem.with_optimum()
        except ImportError as error:
            said += f" It is not known how long that is: {error}."
    simulated = prompt_model in (None, SIMULATED)
    if not as_json:
        _introduce(said, simulated=simulated)
    lm = numeric_optimizer_lm(seed=seed) if simulated else prompt_model_of(prompt_model, Path.cwd())
    result = optimize(
        problem, prompt_model=lm, max_steps=NUM_STEPS if steps is None else steps, seed=seed
    )
    if as_json:
        say_json(_as_json(result, simulated=simulated))
    else:
        _tell(result)
    if result.stop_reason == STOPPED:
        note("Interrupted; the best so far is above.")
        raise typer.Exit(INTERRUPTED)


def _introduce(said: str, *, simulated: bool) -> None:
    if not simulated:
        say(said, "\nThe optimizer LM is real: it costs money.\n")
        return
    numbers = ": these are numbers of the simulation, not of a real model.\n"
    say(said, "\nThe optimizer LM is ", bold("simulated"), numbers)


def _tell(result: Result[Any]) -> None:
    used = result.used("optimizer")
    console().print(_solutions_table(result))
    say(
        f"{end_line(result)} Steps: {result.num_steps}; "
        f"{result.num_distinct} distinct solutions, {used.calls:,} calls, {used.cache_hits:,} "
        "answers from the cache."
    )
    for reason, count in result.invalid.items():
        say(f"Answers that were no solution: {count} ({reason}).")


def _as_json(result: Result[Any], *, simulated: bool) -> dict[str, Any]:
    best, used = result.best, result.used("optimizer")
    return {
        "solution": best.text,
        "score": best.score,
        "num_steps": result.num_steps,
        "num_distinct": result.num_distinct,
        "stop_reason": result.stop_reason,
        "invalid": dict(result.invalid),
        "usage": {"optimizer": {"calls": used.calls, "cache_hits": used.cache_hits}},
        "simulated": simulated,
    }


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
            table.add_row(str(solution.step), f"{score:,.1f}", shown(solution.text))
    return table
