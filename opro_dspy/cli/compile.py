"""`opro-dspy compile`: optimize a program of yours; and what `resume` shares with it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from opro_dspy.cli import options
from opro_dspy.cli.group import FAILED, INTERRUPTED, Failed, failed
from opro_dspy.cli.jobs import Job, Work, failure, settings_of
from opro_dspy.cli.screen import complain, console, note, say, say_json
from opro_dspy.cli.telling import estimate_table, gain_line, summary, tell_run
from opro_dspy.filters import counted, sentence
from opro_dspy.loop import INTERRUPTED as STOPPED
from opro_dspy.report.summary import SIMULATION

EPILOG = options.examples(
    "compile 'question -> answer' --trainset train.jsonl --valset val.jsonl --metric exact_text "
    "--model openai/gpt-5-mini",
    "compile my_app.rag:Program --inputs question,context --trainset train.csv "
    "--metric my_app.rag:metric --auto light --max-cost 2 --log-dir runs/1",
    "compile 'ChainOfThought(question -> answer)' --trainset 'openai/gsm8k:main:train[:60]' "
    "--metric exact_number --model openai/gpt-5-mini --estimate",
    words=(
        *(options.PROGRAM_HELP, options.DATA_HELP, options.METRIC_HELP, options.LM_HELP),
        "OPRO's other settings go by --set, such as --set num_candidates=4 --set patience=3.",
    ),
)


def compile_program(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="What to optimize.")],
    trainset: Annotated[str, typer.Option(metavar="DATA", help="What candidates are scored on.")],
    metric: options.Metric,
    valset: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="What the best are compared on; by default trainset."),
    ] = None,
    inputs: options.Inputs = "",
    field: options.Field = "answer",
    model: options.Model = None,
    prompt_model: options.PromptModel = None,
    auto: Annotated[
        Literal["light", "medium", "heavy"] | None, typer.Option(help="Size of the search.")
    ] = None,
    max_steps: options.MaxSteps = None,
    max_metric_calls: options.MaxMetricCalls = None,
    max_cost: options.MaxCost = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another run.")] = 0,
    num_threads: options.NumThreads = None,
    limit: options.Limit = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of OPRO; repeat it."),
    ] = None,
    log_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the run, to show and resume it."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the program goes; its result beside it.")
    ] = Path("program.json"),
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Optimize the instructions of a program on your data."""
    given = {
        "auto": auto,
        "max_steps": max_steps,
        "max_metric_calls": max_metric_calls,
        "max_cost": max_cost,
        "seed": seed,
        "num_threads": num_threads,
    }
    job = Job(
        folder=str(Path.cwd()),
        program=program,
        trainset=trainset,
        valset=valset,
        inputs=options.names(inputs),
        metric=metric,
        field=field,
        model=model,
        prompt_model=prompt_model,
        limit=limit,
        settings=settings_of(given, more or []),
        out=str(out),
    )
    work = Work(job, log_dir)
    if not estimate:
        finish(work, log_dir, as_json=as_json)
        return
    cost = work.estimate()
    if as_json:
        say_json(cost.model_dump(mode="json"))
    else:
        console().print(estimate_table(cost))


def finish(work: Work, log_dir: Path | None, *, as_json: bool) -> None:
    """Do a job, write what it brought, tell of it, and end with its exit code.

    Raises:
        typer.Exit: If the run failed or was interrupted.
        Failed: If nothing was scored, or an LM failed before anything was.
    """
    out = options.check_out(Path(work.job.folder) / work.job.out)
    compiled, result, error = work.compile()
    said = error and failure(error, work.job.model, work.job.prompt_model)
    if error and said and compiled is None:
        raise failed(error, f"{said} {_go_on(log_dir)}" if log_dir else said) from error
    if work.keeps_steps:
        note(
            f"{counted(result.num_steps, 'step')} {'is' if result.num_steps == 1 else 'are'} done "
            f"already in {log_dir}, more than asked for: their result stays."
        )
    if result.best_index is None and result.stop_reason != STOPPED:
        raise Failed(f"nothing was scored before the run ended with {result.stop_reason}.")
    written: dict[str, Any] = {"program": None, "result": str(out.with_suffix(".result.json"))}
    try:
        result.save(written["result"])
        if compiled is not None:
            compiled.save(out)
            written["program"] = str(out)
    except (OSError, RuntimeError) as problem:  # DSPy makes RuntimeErrors of OSErrors
        kept = f" What was found is in {log_dir}: once that is mended, {_go_on(log_dir).lower()}"
        raise Failed(
            f"{out} cannot be written: {sentence(str(problem))}{kept if log_dir else ''}"
        ) from problem
    if as_json:
        more = {"log_dir": log_dir and str(log_dir), "simulated": work.simulated}
        say_json({**summary(result), **written, **more})
    else:
        if work.simulated:
            say(SIMULATION)
        tell_run(console(), result)
        say(f"\n{gain_line(result)}")
        say(f"Written: {', '.join(path for path in written.values() if path)}.")
    if said:
        complain(f"{said} The best so far was written. {_go_on(log_dir)}")
        raise typer.Exit(FAILED) from error
    if result.stop_reason == STOPPED:
        kept = "nothing was scored yet" if written["program"] is None else "the best was written"
        note(f"Interrupted; {kept}. {_go_on(log_dir)}")
        raise typer.Exit(INTERRUPTED)


def _go_on(log_dir: Path | None) -> str:
    if log_dir is None:
        return "With --log-dir, a run can be resumed."
    return f"To go on from here: opro-dspy resume {log_dir}."
