"""`opro-dspy resume`: go on with a run that `compile` started."""

from pathlib import Path
from typing import Annotated

import typer

from opro_dspy.cli import options
from opro_dspy.cli.compile import finish
from opro_dspy.cli.jobs import Job, Work, settings_of

EPILOG = options.examples("resume runs/1", "resume runs/1 --max-steps 20 --max-cost 5")


def resume_run(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a run that `compile --log-dir` started."),
    ],
    max_steps: options.MaxSteps = None,
    max_metric_calls: options.MaxMetricCalls = None,
    max_cost: options.MaxCost = None,
    num_threads: options.NumThreads = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on though program, data or LMs changed; keep what fits."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Go on with a run that `compile --log-dir` started, exactly where it stopped.

    A finished run calls no LM; with a higher cap it is continued. For a run that a Python script
    started, run the script again with the same log_dir.
    """
    log_dir = run.expanduser()
    job = Job.load(log_dir)
    given = {
        "max_steps": max_steps,
        "max_metric_calls": max_metric_calls,
        "max_cost": max_cost,
        "num_threads": num_threads,
    }
    settings = {**job.settings, **settings_of(given, [])}
    if max_steps is not None:
        settings.pop("auto", None)
    job = job.model_copy(update={"settings": settings})
    finish(Work(job, log_dir, resume="force" if force else "auto"), log_dir, as_json=as_json)
