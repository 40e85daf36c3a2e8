"""Options that several commands share, and help with examples."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from opro_dspy.cli.finding import METRICS
from opro_dspy.cli.group import EXIT_CODES
from opro_dspy.cli.reading import HELP as DATA
from opro_dspy.errors import ConfigurationError

DATA_HELP = f"DATA: {DATA[0].lower()}{DATA[1:]}"
LM_HELP = (
    "LM: as dspy.LM names it, such as openai/gpt-5-mini, with keys from the environment; "
    "module:object for a dspy.LM of yours; `simulated` answers offline, to try things out."
)
PROGRAM_HELP = (
    "PROGRAM: module:object, which is a dspy.Module, or a class or function that makes one (the "
    "working folder comes first); or a signature, such as 'question -> answer' or "
    "'ChainOfThought(question -> answer)'."
)
METRIC_HELP = f"METRIC: one of {', '.join(METRICS)}, or module:function."

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")]
Metric = Annotated[str, typer.Option(metavar="METRIC", help="How an answer is scored.")]
Inputs = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="Input fields: question,context. By default the signature's."
    ),
]
Field = Annotated[
    str, typer.Option("--field", metavar="NAME", help="Field that a ready metric compares.")
]
Model = Annotated[str | None, typer.Option(metavar="LM", help="The LM that runs the program.")]
PromptModel = Annotated[
    str | None,
    typer.Option(metavar="LM", help="The LM that writes instructions; --model if not given."),
]
MaxSteps = Annotated[int | None, typer.Option(min=0, metavar="N", help="Steps at most.")]
MaxMetricCalls = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Scored examples at most.")
]
MaxCost = Annotated[
    float | None, typer.Option(min=0.0, metavar="USD", help="Cost of all LM calls at most.")
]
NumThreads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="LM calls in flight at most.")
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Take so many rows of each set.")
]
Timeout = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for the LM.")
]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Folder of a run (--log-dir), or a result's JSON file."),
]


def examples(*commands: str, words: Sequence[str] = ()) -> str:
    """Return the end of a command's help: what its words mean, examples, exit codes."""
    lines = [*words, "Examples:", *(f"opro-dspy {command}" for command in commands), EXIT_CODES]
    return "\n\n".join(line.replace("[", r"\[") for line in lines)


def names(text: str) -> tuple[str, ...]:
    """Return the names in `text`, which has commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_one_of(option: str, given: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of `known`.

    Raises:
        ConfigurationError: If it is none.
    """
    names = list(known)
    if given not in names:
        raise ConfigurationError(f"{option} is one of {', '.join(names)}, got {given!r}.")


def check_out(path: Path, *, suffix: str = ".json") -> Path:
    """Return `path` as it is shown, if it can be written; asked before anything is paid for.

    Raises:
        ConfigurationError: If its folder is not there or not writable, or its name ends otherwise.
    """
    if path.suffix != suffix:
        raise ConfigurationError(f"--out must be a {suffix} file, got {path}.")
    try:
        if path.exists():
            path.open("ab").close()
        else:  # what a folder's mode says is not all: root may not write in /proc either
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ConfigurationError(
            f"--out {path} cannot be written: {path.parent} is no folder that can be written in, "
            f"or it is a folder itself ({error.strerror})."
        ) from error
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
