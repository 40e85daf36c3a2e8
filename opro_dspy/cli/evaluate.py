"""`opro-dspy evaluate`: score programs on data, two of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import dspy
import typer
from rich.table import Table

from opro_dspy import CandidateResult, LMCallError, OPROResult
from opro_dspy.cli import options
from opro_dspy.cli.finding import METRICS, SIMULATED, metric_of, program_of, scorer_of
from opro_dspy.cli.fitting import check_answers, check_inputs_of, check_labels, inputs_of
from opro_dspy.cli.group import FAILED, INTERRUPTED, Failed, failed
from opro_dspy.cli.intervals import Interval, difference_of, interval_of
from opro_dspy.cli.jobs import NO_LM, failure
from opro_dspy.cli.reading import read_examples
from opro_dspy.cli.scoring import Stopped, first_of, scored
from opro_dspy.cli.screen import complain, console, note, say, say_json
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import counted, shown
from opro_dspy.report.summary import SIMULATION

EPILOG = options.examples(
    "evaluate program.json --program 'question -> answer' --data test.jsonl --metric exact_text "
    "--model openai/gpt-5-mini",
    "evaluate my_app.rag:Program program.json --inputs question,context --data test.csv "
    "--metric my_app.rag:metric",
    words=(options.PROGRAM_HELP, options.DATA_HELP, options.METRIC_HELP, options.LM_HELP),
)

Measured = Mapping[str, CandidateResult]
"""A program's name to what was measured of it."""


def evaluate(
    programs: Annotated[
        list[str],
        typer.Argument(
            metavar="PROGRAM...", help="One or two, each a saved .json or a PROGRAM as below."
        ),
    ],
    data: Annotated[str, typer.Option(metavar="DATA", help="What to score on.")],
    metric: options.Metric,
    program: Annotated[
        str | None,
        typer.Option(
            metavar="PROGRAM", help="What the saved ones are of; the other one if not given."
        ),
    ] = None,
    inputs: options.Inputs = "",
    field: options.Field = "answer",
    model: options.Model = None,
    max_cost: options.MaxCost = None,
    num_threads: options.NumThreads = None,
    max_errors: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Examples that may fail, by default 10; each counts as 0."
        ),
    ] = None,
    limit: options.Limit = None,
    as_json: options.Json = False,
) -> None:
    """Score a program on data, with a 95 % interval; or two, with their paired difference.

    Intervals: Wilson's for scores of 0 and 1, the paired difference by Agresti and Min; for other
    scores the percentiles of 10,000 bootstrap resamples. What the cache knows is not paid for;
    --max-cost is for each program.
    """
    if len(programs) > 2:
        raise ConfigurationError(f"one or two programs can be evaluated, got {len(programs)}.")
    folder = Path.cwd()
    loaded = _loaded(programs, program, folder)
    fields = _fields_of(loaded, options.names(inputs), field if metric in METRICS else None)
    examples = read_examples(data, fields, option="--data", folder=folder, limit=limit)
    if metric in METRICS:
        check_labels(examples, field, metric=metric, option="--data")
    lm = scorer_of(model, folder, examples) or dspy.settings.lm
    if lm is None:
        raise ConfigurationError(NO_LM)
    labels = _labels(programs)
    score = partial(
        scored,
        examples=examples,
        metric=metric_of(metric, folder, field=field),
        max_errors=max_errors,
        max_cost=max_cost,
        num_threads=num_threads,
    )
    try:
        with dspy.context(lm=lm):
            results = [score(one, name=name) for name, one in zip(labels, loaded, strict=True)]
    except Stopped as stopped:
        note(f"Interrupted: {stopped} The same command asks for nothing that the cache kept.")
        raise typer.Exit(INTERRUPTED) from stopped
    except LMCallError as error:
        raise failed(error, failure(error, model)) from error
    found = [result.candidates[0] if result.candidates else None for result in results]
    if any(one is None or not one.scores for one in found):
        raise Failed(f"nothing was scored before it ended with {results[-1].stop_reason}.")
    measured = {name: one for name, one in zip(labels, found, strict=True) if one}
    if as_json:
        say_json({**_as_json(measured, results), "simulated": model == SIMULATED})
    else:
        if model == SIMULATED:
            say(SIMULATION)
        _tell(measured, results, n=len(examples))
    _end(measured, n=len(examples))


def _fields_of(
    programs: Sequence[dspy.Module], inputs: tuple[str, ...], answer: str | None
) -> tuple[str, ...]:
    """Return the input fields, once all programs were found to read them and to write `answer`."""
    inputs = inputs or inputs_of(programs[0])
    for program in programs:
        check_inputs_of(program, inputs)
        if answer is not None:
            check_answers(program, answer)
    return inputs


def _loaded(programs: Sequence[str], of: str | None, folder: Path) -> list[dspy.Module]:
    kinds = [name for name in programs if not _is_saved(name)]
    of = of or (kinds[0] if len(kinds) == 1 else None)
    found = []
    for name in programs:
        if _is_saved(name) and of is None:
            raise ConfigurationError(
                f"{name} holds instructions, not code: say with --program what it is of, such as "
                "--program 'question -> answer'."
            )
        made = program_of(of if _is_saved(name) and of else name, folder)
        found.append(_with_state(made, folder / name) if _is_saved(name) else made)
    return found


def _is_saved(name: str) -> bool:
    return name.endswith((".json", ".pkl"))


def _with_state(program: dspy.Module, path: Path) -> dspy.Module:
    """Return a copy of `program` with the instructions and demos that were saved.

    Raises:
        ConfigurationError: If the file is not there, or of another program; JSON only.
    """
    if path.suffix != ".json":
        raise ConfigurationError(f"{path}: only .json is read, as pickles can run code.")
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist. Check the path.")
    copy: dspy.Module = program.deepcopy()
    try:
        copy.load(path)
    except Exception as error:
        raise ConfigurationError(
            f"{path} is no saved state of this program ({type(error).__name__}: {error}). Check "
            "--program and the file."
        ) from error
    return copy


def _labels(programs: Sequence[str]) -> list[str]:
    return [
        f"{name} ({i})" if programs.count(name) > 1 else name for i, name in enumerate(programs, 1)
    ]


def _paired(measured: Measured) -> tuple[list[float], list[float]] | None:
    """Return the scores of two programs on the examples that both have met."""
    if len(measured) != 2:
        return None
    before, after = (one.scores for one in measured.values())
    both = sorted(before.keys() & after.keys())
    return [before[i] for i in both], [after[i] for i in both]


def _as_json(measured: Measured, results: Sequence[OPROResult]) -> dict[str, Any]:
    pairs = _paired(measured)
    return {
        "level": 0.95,
        "programs": [
            {
                "program": name,
                **asdict(interval_of(list(one.scores.values()))),
                "num_examples": len(one.scores),
                "num_failed": len(one.failures),
                "cost_usd": result.used("scorer").cost_usd,
                "scores": one.scores,
            }
            for (name, one), result in zip(measured.items(), results, strict=True)
        ],
        "difference": asdict(difference_of(*pairs)) if pairs and pairs[0] else None,
    }


def _tell(measured: Measured, results: Sequence[OPROResult], *, n: int) -> None:
    every = [score for one in measured.values() for score in one.scores.values()]
    percent = all(0.0 <= score <= 1.0 for score in every)
    table = Table(
        title=f"Score on {counted(n, 'example')}{', in percent' * percent}", title_justify="left"
    )
    for name in ("program", "score", "95 % interval", "scored", "failed", "LM calls", "USD"):
        table.add_column(name, justify="left" if name == "program" else "right")
    spans = [interval_of(list(one.scores.values())) for one in measured.values()]
    for (name, one), span, result in zip(measured.items(), spans, results, strict=True):
        low, mean, high = _numbers(span, percent=percent)
        used = result.used("scorer")
        usd = "unknown" if used.cost_usd is None else f"{used.cost_usd:,.4f}"
        counts = (f"{len(one.scores):,}", f"{len(one.failures):,}", f"{used.calls:,}", usd)
        table.add_row(shown(name), mean, f"{low} to {high}", *counts)
    console().print(table)
    for name, one in measured.items():
        if one.failures:
            say(f"Failed, and counted as 0, with {name}: {first_of(one.failures)}")
    say(f"Intervals: {', '.join(dict.fromkeys(span.method for span in spans))}.")
    pairs = _paired(measured)
    if pairs and pairs[0]:
        span = difference_of(*pairs)
        low, mean, high = _numbers(span, percent=percent, sign="+")
        better = sum(b > a for a, b in zip(*pairs, strict=True))
        worse = sum(b < a for a, b in zip(*pairs, strict=True))
        say(
            f"The second minus the first: {mean}, 95 % interval {low} to {high} ({span.method}). "
            f"It is better on {better} and worse on {worse} of "
            f"{counted(len(pairs[0]), 'example')}."
        )


def _numbers(span: Interval, *, percent: bool, sign: str = "") -> tuple[str, str, str]:
    form = f"{sign}.1f" if percent else f"{sign}.4g"
    factor = 100 if percent else 1
    low, mean, high = (format(factor * x, form) for x in (span.low, span.mean, span.high))
    return low, mean, high


def _end(measured: Measured, *, n: int) -> None:
    """Say so if not all examples were scored, and end with the exit code."""
    for name, one in measured.items():
        if len(one.scores) < n:
            complain(f"{name} met {len(one.scores)} of {counted(n, 'example')}: a cap was reached.")
            raise typer.Exit(FAILED)
