"""`opro-dspy study`: a study from the command line."""

import json
from pathlib import Path
from typing import Any

import dspy
import typer
from rich.table import Table

from opro_dspy.cli import options
from opro_dspy.cli.finding import SIMULATED, lm_of
from opro_dspy.cli.group import INTERRUPTED
from opro_dspy.cli.screen import console, note, say, say_json
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import sentence, shown
from opro_dspy.simulation import LANDSCAPE_NAMES, TASK_NAMES, make_examples
from opro_dspy.studies import STUDIES, Cap, StudyTable, plot, run_study
from opro_dspy.studies.subject import SubjectOf, real_subject, simulated_subject

EPILOG = options.examples(
    "study temperature --seeds 5",
    "study transfer --lm openai/gpt-5-mini --data mine.jsonl --other-data yours.jsonl --max-cost 5",
)

NUM_MADE = 150
"""Examples of a generated task for a real LM: a third is for training."""


def study(
    name: str = typer.Argument(metavar="STUDY", help=f"One of {', '.join(STUDIES)}."),
    seeds: int = typer.Option(3, min=1, metavar="N", help="Runs of each variant."),
    steps: int | None = typer.Option(
        None, min=1, metavar="N", help="Steps of a run; the study's own if none."
    ),
    out: Path = typer.Option(
        Path("studies"), metavar="FOLDER", help="For results; run again to go on."
    ),
    task: str = typer.Option("arithmetic", metavar="NAME", help=f"One of {', '.join(TASK_NAMES)}."),
    other_task: str = typer.Option(
        "object_counting", metavar="NAME", help="Second task, for transfer."
    ),
    land: str = typer.Option(
        "many_small_effects",
        "--landscape",
        metavar="NAME",
        help=f"One of {', '.join(LANDSCAPE_NAMES)}.",
    ),
    lm: str | None = typer.Option(
        None, metavar="LM", help="A real LM instead of the simulation: openai/gpt-5."
    ),
    scorer: str | None = typer.Option(None, metavar="LM", help="Another real LM as scorer."),
    data: Path | None = typer.Option(
        None,
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Your task: JSON lines with `question` and `answer`; needs --lm.",
    ),
    other_data: Path | None = typer.Option(
        None, exists=True, dir_okay=False, metavar="FILE", help="Your second task, for transfer."
    ),
    max_cost: float | None = typer.Option(
        None, min=0.0, metavar="USD", help="Cost of the whole study at most; needs --lm."
    ),
    max_tokens: int | None = typer.Option(
        None, min=1, metavar="N", help="Tokens of the whole study at most."
    ),
    as_json: options.Json = False,
) -> None:
    """Study how OPRO behaves, offline on simulated LMs or on a real one.

    Writes the finished cells (JSON lines, from which a study that was cut off goes on), the table
    (JSON, CSV), a plot and a paragraph.
    """
    options.check_one_of("the study", name, STUDIES)
    options.check_one_of("--task", task, TASK_NAMES)
    options.check_one_of("--other-task", other_task, TASK_NAMES)
    options.check_one_of("--landscape", land, LANDSCAPE_NAMES)
    lm = None if lm == SIMULATED else lm
    if lm is None and (data or other_data or scorer or max_cost is not None):
        raise ConfigurationError("--data, --scorer and --max-cost need a real LM: pass --lm.")
    path = out / f"{name}.jsonl"
    try:
        table = run_study(
            STUDIES[name],
            _subject(task, land, lm, scorer, data),
            other_of=_subject(other_task, land, lm, scorer, other_data),
            seeds=seeds,
            max_steps=steps,
            cap=Cap(max_cost=max_cost, max_tokens=max_tokens),
            path=path,
        )
    except KeyboardInterrupt as stopped:
        note(
            f"Interrupted: finished cells are in {path}, the running one is not. The same command "
            "goes on from there."
        )
        raise typer.Exit(INTERRUPTED) from stopped
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(str(error)) from error
    paths = table.save(out)
    try:
        plot(table, out / f"{name}.png")
        paths.append(out / f"{name}.png")
    except ImportError as error:
        note(f"No plot: {sentence(str(error))}")
    if as_json:
        say_json(table.model_dump(mode="json"))
        return
    console().print(_table(table))
    say(table.paragraph)
    say(f"Written: {', '.join(map(str, paths))}.")


def _subject(
    task: str, land: str, lm: str | None, scorer: str | None, data: Path | None
) -> SubjectOf:
    if lm is None:
        return simulated_subject(task, land)
    examples = make_examples(task, n=NUM_MADE, seed=0) if data is None else _read(data)
    return real_subject(
        examples,
        name=task if data is None else data.stem,
        prompt_model=lm_of(lm, Path.cwd()),
        task_model=None if scorer is None else lm_of(scorer, Path.cwd()),
    )


def _read(path: Path) -> list[dspy.Example]:
    """Return the examples of a file with a question and an answer on each line."""
    examples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            question, answer = row["question"], row["answer"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"line {number} of {path} must be a JSON object with `question` and `answer`."
            ) from error
        examples.append(dspy.Example(question=question, answer=answer).with_inputs("question"))
    return examples


def _table(table: StudyTable) -> Table:
    measures = list(table.rows[0].figures) if table.rows else []
    drawn = Table(title=f"{table.study}: {table.subject}", title_justify="left")
    for name in ("variant", "seeds", *measures):
        drawn.add_column(name, justify="left" if name == "variant" else "right")
    for row in table.rows:
        drawn.add_row(
            shown(row.variant), str(row.num_seeds), *(str(row.figures[m]) for m in measures)
        )
    return drawn
