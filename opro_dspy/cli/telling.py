"""A result, an estimate or a cost as tables and paragraphs, and as JSON values."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from opro_dspy import OPROResult, RunEstimate
from opro_dspy.cli.screen import bold, say, shortened
from opro_dspy.filters import counted, shown
from opro_dspy.loop import INTERRUPTED
from opro_dspy.plots.axes import Unit
from opro_dspy.records import Estimate, Usage
from opro_dspy.report.summary import certainty
from opro_dspy.report.summary import summary as in_short
from opro_dspy.report.text import number, signed, with_error
from opro_dspy.result import RunResult

ROLES = ("optimizer", "scorer")


def instruction_of(result: OPROResult) -> str:
    """Return the chosen texts, of several predictors by their names."""
    texts = result.best.instructions
    if len(texts) == 1:
        return shown(next(iter(texts.values())))
    return "\n".join(f"{name}: {shown(text)}" for name, text in texts.items())


def trajectory_table(result: OPROResult, *, width: int, last: int | None = None) -> Table:
    """Return the steps, or the `last` of them, as a table of at most `width` characters."""
    rows, unit = step_rows(result, width=width), Unit.of(result)
    title = f"Trajectory (training estimates{' in percent' if unit.name else ''})"
    table = Table(title=title, title_justify="left")
    for name in ("step", "new", "mean", "top", "best so far"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("top instruction of the step", no_wrap=True)
    for row in rows if last is None else rows[-last:]:
        table.add_row(*row)
    return table


def step_rows(result: OPROResult, *, width: int) -> list[tuple[str, ...]]:
    """Return number, new candidates, mean, top, best so far and top instruction of each step."""
    unit = Unit.of(result)
    best = float("-inf")
    rows: list[tuple[str, ...]] = []
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        if not mine:
            so_far = "" if best == float("-inf") else number(best, unit)
            rows.append((str(step.index), "0", "", "", so_far, "nothing new"))
            continue
        top = max(mine, key=lambda c: c.train.score)
        best = max(best, top.train.score)
        mean = sum(c.train.score for c in mine) / len(mine)
        rows.append(
            (
                str(step.index),
                str(len(mine)),
                *(number(score, unit) for score in (mean, top.train.score, best)),
                shortened(" | ".join(top.instructions.values()), max(20, width - 48)),
            )
        )
    return rows


def step_line(row: Sequence[str]) -> str:
    """Return a step of `step_rows` in words."""
    step, new, mean, top, best, text = row
    scores = f"mean {mean}, top {top}, best so far {best}" if top else f"best so far {best}"
    return f"Step {step}: {new} new, {scores}: {text}"


def cost_table(result: RunResult) -> Table:
    """Return calls, tokens and, where it is known, cost by role."""
    rows = [result.used(role) for role in ROLES]
    priced = any(row.cost_usd is not None for row in rows)
    table = Table(title="What it cost", title_justify="left")
    for name in ("role", "calls", "cache hits", "tokens in", "tokens out"):
        table.add_column(name, justify="left" if name == "role" else "right")
    if priced:
        table.add_column("USD", justify="right")
    for row in rows:
        counts = (row.calls, row.cache_hits, row.input_tokens, row.output_tokens)
        usd = ["unknown price" if row.cost_usd is None else f"{row.cost_usd:,.4f}"] * priced
        table.add_row(row.role, *(f"{count:,}" for count in counts), *usd)
    return table


def cost_line(result: RunResult) -> str:
    """Return calls, tokens and, where it is known, cost in one line."""
    rows = [result.used(role) for role in ROLES]
    tokens = sum(row.input_tokens + row.output_tokens for row in rows)
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    usd = f", {sum(costs):,.4f} USD" if costs else ""
    return (
        f"Calls: {', '.join(f'{row.calls:,} {row.role}' for row in rows)}; {tokens:,} tokens{usd}."
    )


def estimate_table(cost: RunEstimate) -> Table:
    """Return what a run will cost."""
    (low, high), (fewest, most) = cost.metric_calls, cost.scorer_calls
    table = Table(
        title="What it will cost, from at least to at most",
        title_justify="left",
        caption=f"Scored examples: {low:,} to {high:,}; scorer calls for each: {fewest} to {most}",
        caption_justify="left",
    )
    for name in ("role", "calls", "tokens in", "tokens out", "USD"):
        table.add_column(name, justify="left" if name == "role" else "right")
    for role, part in zip(ROLES, (cost.optimizer, cost.scorer), strict=True):
        spans = (part.calls, part.input_tokens, part.output_tokens)
        usd = "unknown price"
        if part.cost_usd is not None:
            usd = f"{part.cost_usd[0]:,.2f} to {part.cost_usd[1]:,.2f}"
        table.add_row(role, *(f"{low:,} to {high:,}" for low, high in spans), usd)
    return table


def tell_run(console: Console, result: OPROResult) -> None:
    """Print a run: trajectory, cost, why it ended, the choice, the best instruction."""
    console.print(trajectory_table(result, width=console.width))
    console.print(cost_table(result))
    _tell_savings(result)
    say(f"{end_line(result)}\n")
    if result.best_index is None:
        say("No candidate was scored.")
        return
    _tell_choice(result)
    say(bold("Best instruction"))
    console.print(Text(instruction_of(result)))


def end_line(result: RunResult) -> str:
    """Return why the search ended."""
    if result.stop_reason == INTERRUPTED:
        return "The search was interrupted by Ctrl-C."
    return f"The search ended with {result.stop_reason}."


def _tell_savings(result: OPROResult) -> None:
    rows, reuse = [result.used(role) for role in ROLES], result.score_reuse
    hits = sum(row.cache_hits for row in rows)
    if not hits + reuse.hits:
        return
    tokens_in = sum(row.input_tokens_saved for row in rows) + reuse.input_tokens_saved
    tokens_out = sum(row.output_tokens_saved for row in rows) + reuse.output_tokens_saved
    say(
        f"The cache knew {reuse.hits:,} scores and {hits:,} answers, which saved {tokens_in:,} "
        f"tokens in and {tokens_out:,} tokens out."
    )


def _tell_choice(result: OPROResult) -> None:
    best, baseline, unit = result.best, result.baseline, Unit.of(result)
    if best.selection is None or baseline is None or baseline.selection is None:
        return
    say(
        f"On the {result.selection_set}: {number(baseline.selection.score, unit)} before, "
        f"{number(best.selection.score, unit)} ± {number(best.selection.stderr, unit)} after."
        + (f" {_flattery(result, unit)}" if best.scores else "")
        + "\n"
    )


def _flattery(result: OPROResult, unit: Unit) -> str:
    """Return what the search thought of the best, and how far that was too high, if it shows."""
    if result.selection_set == "trainset":
        return "It was found with the same examples: expect less on others, and pass a valset."
    found, above = result.best.train, result.optimism or 0.0
    said = (
        f"The training estimate, from {counted(found.n_examples, 'example')}, was "
        f"{with_error(found, unit)}"
    )
    if above <= 0 or float(number(above, unit)) == 0:
        return f"{said}."
    return f"{said}, {number(above, unit)} higher: that is what choosing flatters."


def score_line(result: OPROResult) -> str:
    """Return the scores before and after, on the examples that both met; empty if on none."""
    unit = Unit.of(result)
    found = in_short(result, unit)
    if found is None:
        return ""
    where = f"{counted(found.n, 'example')} of the {found.set_name}"
    met = "" if found.on_selection else " that both met"
    return f"On {where}{met}: {found.before} before, {found.after} after."


def gain_line(result: OPROResult) -> str:
    """Return how much better the best is than the student, paired by example."""
    gain, unit = result.gain, Unit.of(result)
    if gain is None:
        return "Nothing to compare yet."
    return (
        f"Gain over the start, paired by example: {signed(gain.score, unit)}; "
        f"{certainty(gain, unit)}."
    )


def summary(result: OPROResult) -> dict[str, Any]:
    """Return what scripts want to know of a run; scores in the metric's own unit."""
    known = result.best_index is not None
    gain, baseline = result.gain, result.baseline
    return {
        "score": result.best.score if known else None,
        "baseline_score": baseline.score if baseline else None,
        "selection_set": result.selection_set,
        "gain": None if gain is None else _gain(gain),
        "instructions": result.best.instructions if known else None,
        "num_steps": result.num_steps,
        "num_candidates": len(result.candidates),
        "stop_reason": result.stop_reason,
        "usage": {role: _usage(result.used(role)) for role in ROLES},
        "diagnostics": [d.model_dump() for d in result.diagnostics],
    }


def steps(result: OPROResult) -> list[dict[str, Any]]:
    """Return the trajectory as JSON values."""
    found = []
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        top = max(mine, key=lambda c: c.train.score, default=None)
        found.append(
            {
                "step": step.index,
                "new": len(mine),
                "top_score": top.train.score if top else None,
                "top_instructions": top.instructions if top else None,
            }
        )
    return found


def _gain(gain: Estimate) -> dict[str, Any]:
    return {"mean": gain.score, "stderr": gain.stderr, "num_examples": gain.n_examples}


def _usage(row: Usage) -> dict[str, Any]:
    names = ("calls", "cache_hits", "failures", "input_tokens", "output_tokens", "cost_usd")
    return {name: getattr(row, name) for name in names}
