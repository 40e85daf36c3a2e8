"""The command line; thin, and the only place that prints."""

import logging

import dspy
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opro_dspy import OPRO, OPROResult
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


@app.callback()
def main() -> None:
    """OPRO, 'Large Language Models as Optimizers', for DSPy programs."""


@app.command()
def demo(
    task: str = typer.Option("arithmetic", help=f"One of {', '.join(TASK_NAMES)}."),
    land: str = typer.Option(
        "many_small_effects", "--landscape", help=f"One of {', '.join(LANDSCAPE_NAMES)}."
    ),
    steps: int = typer.Option(8, min=0, help="Steps of 8 candidates."),
    seed: int = typer.Option(0, help="Another seed, another run."),
) -> None:
    """Optimize a small DSPy program offline, on simulated LMs.

    Example: python -m opro_dspy demo --task object_counting --steps 5
    """
    console = Console()
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
        "Both LMs are [bold]simulated[/]: the numbers below are of the simulation, "
        "not of a real model.",
    )
    optimizer = OPRO(
        metric=exact_match, prompt_model=optimizer_lm(seed=seed), max_steps=steps, seed=seed
    )
    with dspy.context(lm=scorer):
        compiled = optimizer.compile(program, trainset=trainset, valset=valset)
        evaluate = dspy.Evaluate(devset=held_out, metric=exact_match)
        before, after = evaluate(program).score, evaluate(compiled).score

    result = compiled.detailed_results
    console.print(_trajectory_table(result))
    console.print(_cost_table(result))
    console.print(f"Stopped because of {result.stop_reason}.")
    console.print(Text("Best instruction: ") + Text(_instruction(result), style="bold"))
    console.print(f"Held-out score: {before:.1f} before, [bold]{after:.1f}[/] after.")


def _instruction(result: OPROResult) -> str:
    return " | ".join(result.best.instructions.values())


def _trajectory_table(result: OPROResult) -> Table:
    table = Table(title="Trajectory (training score, percent)", title_justify="left")
    for name, justify in (("step", "right"), ("new", "right"), ("mean", "right"),
                          ("best of step", "right"), ("best so far", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("best instruction of the step", overflow="ellipsis", no_wrap=True, ratio=1)
    best_so_far = float("-inf")
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        if not mine:
            table.add_row(str(step.index), "0", "", "", f"{100 * best_so_far:.1f}", "nothing new")
            continue
        best = max(mine, key=lambda c: c.train.score)
        best_so_far = max(best_so_far, best.train.score)
        table.add_row(
            str(step.index),
            str(len(mine)),
            f"{100 * sum(c.train.score for c in mine) / len(mine):.1f}",
            f"{100 * best.train.score:.1f}",
            f"{100 * best_so_far:.1f}",
            Text(" | ".join(best.instructions.values())),
        )
    return table


def _cost_table(result: OPROResult) -> Table:
    table = Table(title="What it cost", title_justify="left")
    for name in ("role", "calls", "cache hits", "tokens in", "tokens out"):
        table.add_column(name, justify="left" if name == "role" else "right")
    for role in ("optimizer", "scorer"):
        used = result.used(role)
        table.add_row(
            f"{role} ({used.model})",
            f"{used.calls:,}",
            f"{used.cache_hits:,}",
            f"{used.input_tokens:,}",
            f"{used.output_tokens:,}",
        )
    return table
