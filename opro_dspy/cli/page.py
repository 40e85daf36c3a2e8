"""`opro-dspy report`: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from opro_dspy import read_run
from opro_dspy.cli import options
from opro_dspy.cli.screen import say, say_json

EPILOG = options.examples("report runs/1 --out report.html")


def report(
    run: options.Run,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    as_json: options.Json = False,
) -> None:
    """Write a run as one HTML page, which needs no network."""
    path = read_run(run).report(options.check_out(out, suffix=".html"))
    if as_json:
        say_json({"report": str(path)})
    else:
        say(f"Written: {path}.")
