"""`opro-dspy show`: what a run found, also while it goes on."""

import json
import os
import socket
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from opro_dspy import OPROResult, read_run
from opro_dspy.cli import options
from opro_dspy.cli.screen import bold, console, note, say_json
from opro_dspy.cli.telling import (
    cost_line,
    cost_table,
    gain_line,
    instruction_of,
    score_line,
    step_line,
    step_rows,
    steps,
    summary,
    trajectory_table,
)
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import shown
from opro_dspy.journal.folder import HOLDER
from opro_dspy.report.summary import SIMULATION, is_simulated
from opro_dspy.runs import UNFINISHED

FRAME = 5
"""Lines of the trajectory's table beside its rows."""

WIDE = 140
"""Width where lines are no screen's."""

EPILOG = options.examples("show runs/1", "show runs/1 --watch", "show program.result.json --json")


def show(
    run: options.Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow a run until it ends; Ctrl-C leaves it alone.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")
    ] = 1.0,
    as_json: options.Json = False,
) -> None:
    """Show a run: trajectory, cost, why it ended, best instruction, diagnostics."""
    if watch and as_json:
        raise ConfigurationError("--watch draws, --json prints once: pass one of them.")
    screen = console()
    if watch and run.is_dir():
        _watch(screen, run, every)
        return
    result = read_run(run)
    if as_json:
        more = {"simulated": is_simulated(result), "steps": steps(result)}
        say_json({**summary(result), **more})
    else:
        screen.print(_drawn(result, screen.width))


def _watch(screen: Console, run: Path, every: float) -> None:
    """Draw the run again and again until it ends; where nothing can be redrawn, tell each step."""
    result, told = read_run(run), 0
    live = Live(console=screen, auto_refresh=False, transient=True)
    with live if screen.is_terminal else nullcontext():
        try:
            while result.stop_reason == UNFINISHED and _goes_on(run):
                if screen.is_terminal:
                    live.update(_fitted(result, screen), refresh=True)
                else:
                    told = _tell_steps(result, told, screen)
                time.sleep(every)
                result = read_run(run)
        except KeyboardInterrupt:
            pass
        else:
            result = read_run(run)  # what was written between the last look and the end
    screen.print(_drawn(result, screen.width))
    if result.stop_reason == UNFINISHED and not _goes_on(run):
        note(f"The run does not go on: opro-dspy resume {run} takes it up again.")


def _tell_steps(result: OPROResult, told: int, screen: Console) -> int:
    """Print a line for each step after the first `told`, and return how many are told then."""
    rows = step_rows(result, width=WIDE)
    for row in rows[told:]:
        screen.print(Text(step_line(row)), soft_wrap=True)
    return len(rows)


def _goes_on(run: Path) -> bool:
    """Tell whether the process that holds the run's folder lives, as far as can be seen."""
    try:
        held = json.loads((run / HOLDER).read_text(encoding="utf-8"))
        pid, host = int(held["pid"]), held["host"]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drawn(result: OPROResult, width: int) -> Group:
    """Return the whole run."""
    parts: list[RenderableType] = [
        trajectory_table(result, width=width),
        cost_table(result),
        *_told(result),
    ]
    if result.best_index is not None:
        parts += [bold("\nBest instruction"), Text(instruction_of(result))]
    return Group(*parts)


def _fitted(result: OPROResult, screen: Console) -> Group:
    """Return what a screen has room for: the last steps, and the best instruction's beginning."""
    height = screen.height - 1
    parts: list[RenderableType] = [Text(cost_line(result)), *_told(result)]
    if result.best_index is not None:
        text = Text(instruction_of(result))
        lines = text.wrap(screen, screen.width)
        most = max(2, height // 3)
        if len(lines) > most:
            lines[most - 1].truncate(screen.width - 2)
            lines[most - 1].append(" …")
        parts += [bold("Best instruction"), *lines[:most]]
    taken = len(screen.render_lines(Group(*parts))) + FRAME
    return Group(trajectory_table(result, width=screen.width, last=max(1, height - taken)), *parts)


def _told(result: OPROResult) -> list[Text]:
    """Return what there is to say between the tables and the best instruction."""
    running = result.stop_reason == UNFINISHED
    said = [f"{'Not ended' if running else 'Ended'}: {result.stop_reason}."]
    said += [SIMULATION] * is_simulated(result)
    said += [line for line in (score_line(result), gain_line(result)) if line]
    if result.unfinished:
        met = sum(len(e.scores) for e in result.unfinished)
        said.append(f"Being scored: {len(result.unfinished)} candidates, {met} scores.")
    said += [f"Seen: {diagnostic}" for diagnostic in result.diagnostics]
    return [Text(shown(line)) for line in said]
