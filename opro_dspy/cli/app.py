"""All commands in one place."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from opro_dspy.cli import (
    cache,
    compile,
    demo,
    doctor,
    evaluate,
    options,
    page,
    repair,
    resume,
    show,
    study,
)
from opro_dspy.cli.group import DEBUG, Command, Group
from opro_dspy.cli.screen import say

COMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "demo": (demo.demo, demo.EPILOG),
    "compile": (compile.compile_program, compile.EPILOG),
    "evaluate": (evaluate.evaluate, evaluate.EPILOG),
    "show": (show.show, show.EPILOG),
    "report": (page.report, page.EPILOG),
    "resume": (resume.resume_run, resume.EPILOG),
    "repair": (repair.repair, repair.EPILOG),
    "study": (study.study, study.EPILOG),
    "doctor": (doctor.doctor, doctor.EPILOG),
}

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    epilog=options.examples(
        "demo",
        "compile 'question -> answer' --trainset train.jsonl --metric exact_text --model "
        "openai/gpt-5-mini --log-dir runs/1",
        "show runs/1 --watch",
    ),
)
for _name, (_command, _epilog) in COMMANDS.items():
    app.command(_name, cls=Command, epilog=_epilog)(_command)
app.add_typer(cache.app, name="cache")


def _say_version(wanted: bool) -> None:
    if wanted:
        try:
            say(version("opro_dspy"))
        except PackageNotFoundError:
            say("not installed")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Anywhere: show the traceback of an error.")
    ] = False,
) -> None:
    """OPRO, 'Large Language Models as Optimizers', for DSPy programs."""
