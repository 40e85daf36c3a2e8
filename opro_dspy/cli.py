"""The command line; thin, and the only place that prints."""

import logging
from typing import Literal

import dspy
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opro_dspy import OPRO, OproError, OPROResult, RunEstimate, cli_cache
from opro_dspy.cli_problems import solve
from opro_dspy.cli_study import study
from opro_dspy.journal import repair as repair_journal
from opro_dspy.simulation import (
    LANDSCAPE_NAMES,
    TASK_NAMES,
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="OPRO, 'Large Language Models as Optimizers', for DSPy programs.",
)
app.add_typer(cli_cache.app, name="cache")
app.command()(study)


@app.callback()
def main() -> None:
    """OPRO, 'Large Language Models as Optimizers', for DSPy programs."""


@app.command()
def demo(
    problem: Literal["prompt", "linear-regression", "tsp"] = typer.Option(
        "prompt", help="What to optimize."
    ),
    task: str = typer.Option("arithmetic", help=f"One of {', '.join(TASK_NAMES)}."),
    land: str = typer.Option(
        "many_small_effects", "--landscape", help=f"One of {', '.join(LANDSCAPE_NAMES)}."
    ),
    steps: int | None = typer.Option(
        None, min=0, help="Steps of 8 candidates; 8, or 500 for a problem of numbers."
    ),
    seed: int = typer.Option(0, help="Another seed, another run."),
    estimate: bool = typer.Option(False, "--estimate", help="Only say what it would cost."),
) -> None:
    """Optimize a small DSPy program, or a problem of numbers, offline on simulated LMs.

    Example: python -m opro_dspy demo --task object_counting --steps 5
    """
    console = Console()
    if problem != "prompt":
        solve(console, problem, steps=500 if steps is None else steps, seed=seed)
        return
    if task not in TASK_NAMES or land not in LANDSCAPE_NAMES:
        raise typer.BadParameter(
            f"--task is one of {', '.join(TASK_NAMES)}; "
            f"--landscape is one of {', '.join(LANDSCAPE_NAMES)}."
        )
    logging.getLogger("dspy").setLevel(logging.WARNING)
    examples = make_examples(task, n=300, seed=seed)
    trainset, valset, held_out = examples[:50], examples[50:100], examples[100:]
    scorer = scorer_lm(answer_key=examples, landscape=landscape(land, seed=seed))
    program = dspy.ChainOfThought("question -> answer")

    console.print(
        f"Optimizing [bold]dspy.ChainOfThought('question -> answer')[/] on {task}: "
        f"{len(trainset)} training, {len(valset)} validation, {len(held_out)} held-out examples.\n"
        "Both LMs are [bold]simulated[/]: these are numbers of the simulation, not of a real "
        "model.\n",
    )
    optimizer = OPRO(
        metric=exact_match,
        prompt_model=optimizer_lm(seed=seed),
        max_steps=8 if steps is None else steps,
        seed=seed,
    )
    if estimate:
        with dspy.context(lm=scorer):
            cost = optimizer.estimate(program, trainset=trainset, valset=valset)
        console.print(_estimate_table(cost))
        return
    with dspy.context(lm=scorer):
        compiled = optimizer.compile(program, trainset=trainset, valset=valset)
        evaluate = dspy.Evaluate(devset=held_out, metric=exact_match)
        before, after = evaluate(program).score, evaluate(compiled).score

    result = compiled.detailed_results
    console.print(_trajectory_table(result, width=console.width))
    console.print(_cost_table(result))
    _print_savings(console, result)
    console.print(f"The search ended with {result.stop_reason}.\n")
    _print_choice(console, result)
    console.print("[bold]Best instruction[/]")
    console.print(Text(_instruction(result)))
    console.print(
        f"\n[bold]Held-out score[/] ({len(held_out)} examples that the search never saw): "
        f"{before:.1f} before, [bold]{after:.1f}[/] after."
    )


@app.command()
def repair(
    log_dir: str = typer.Argument(help="The folder of a run, as in OPRO(log_dir=…)."),
) -> None:
    """Drop the damaged lines of a run's journal, so that it can go on.

    What they held is paid for again. The journal as it was stays beside it, as `….damaged`.
    """
    console = Console()
    try:
        dropped = repair_journal(log_dir)
    except OproError as error:
        raise typer.BadParameter(str(error)) from None
    if not dropped:
        console.print("Nothing is damaged.")
    for damage in dropped:
        why = f"line {damage.number}: {damage.size:,} bytes dropped; {damage.why}"
        console.print(Text(why), soft_wrap=True)


def _print_savings(console: Console, result: OPROResult) -> None:
    rows, reuse = [result.used(role) for role in ("optimizer", "scorer")], result.score_reuse
    hits = sum(row.cache_hits for row in rows)
    if not hits + reuse.hits:
        return
    tokens_in = sum(row.input_tokens_saved for row in rows) + reuse.input_tokens_saved
    tokens_out = sum(row.output_tokens_saved for row in rows) + reuse.output_tokens_saved
    console.print(
        f"The cache knew {reuse.hits:,} scores and {hits:,} answers, which saved {tokens_in:,} "
        f"tokens in and {tokens_out:,} tokens out."
    )


def _print_choice(console: Console, result: OPROResult) -> None:
    best, baseline = result.best, result.baseline
    if best.selection is None or baseline is None or baseline.selection is None:
        return
    above = 100 * (result.optimism or 0.0)
    console.print(
        f"On the {result.selection_set}: {100 * baseline.selection.score:.1f} before, "
        f"{100 * best.selection.score:.1f} ± {100 * best.selection.stderr:.1f} after. The training "
        f"estimate was {100 * best.train.score:.1f} ± {100 * best.train.stderr:.1f}"
        + (f", {above:.1f} higher: that is what choosing flatters.\n" if above > 0 else ".\n")
    )


def _instruction(result: OPROResult) -> str:
    return " | ".join(result.best.instructions.values())


def _shortened(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _trajectory_table(result: OPROResult, *, width: int) -> Table:
    table = Table(title="Trajectory (training estimates in percent)", title_justify="left")
    for name in ("step", "new", "mean", "top", "best so far"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("top instruction of the step", no_wrap=True)
    best_so_far = float("-inf")
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        if not mine:
            table.add_row(str(step.index), "0", "", "", f"{100 * best_so_far:.1f}", "nothing new")
            continue
        top = max(mine, key=lambda c: c.train.score)
        best_so_far = max(best_so_far, top.train.score)
        table.add_row(
            str(step.index),
            str(len(mine)),
            f"{100 * sum(c.train.score for c in mine) / len(mine):.1f}",
            f"{100 * top.train.score:.1f}",
            f"{100 * best_so_far:.1f}",
            Text(_shortened(" | ".join(top.instructions.values()), max(20, width - 48))),
        )
    return table


def _estimate_table(cost: RunEstimate) -> Table:
    table = Table(title="What it will cost, from at least to at most", title_justify="left")
    for name in ("role", "calls", "tokens in", "tokens out", "USD"):
        table.add_column(name, justify="left" if name == "role" else "right")
    for role, part in (("optimizer", cost.optimizer), ("scorer", cost.scorer)):
        spans = (part.calls, part.input_tokens, part.output_tokens)
        usd = "unknown price"
        if part.cost_usd is not None:
            usd = f"{part.cost_usd[0]:,.2f} to {part.cost_usd[1]:,.2f}"
        table.add_row(role, *(f"{low:,} to {high:,}" for low, high in spans), usd)
    return table


def _cost_table(result: OPROResult) -> Table:
    table = Table(title="What it cost", title_justify="left")
    for name in ("role", "calls", "cache hits", "tokens in", "tokens out"):
        table.add_column(name, justify="left" if name == "role" else "right")
    for role in ("optimizer", "scorer"):
        used = result.used(role)
        table.add_row(
            role,
            f"{used.calls:,}",
            f"{used.cache_hits:,}",
            f"{used.input_tokens:,}",
            f"{used.output_tokens:,}",
        )
    return table
